"""TeX in texts: what is a formula and what is money, the source kept, MathML that can do nothing, hostile TeX."""

from __future__ import annotations

import re
import threading
import time
from html import unescape
from html.parser import HTMLParser

import pytest

from preflab.web.markdown import markdown_html
from preflab.web.mathematics import ATTRIBUTES, CLASSES, MATHML, WITHIN_TEXT, formula_at, mathml
from preflab.web.rendering import rendered

TITLE = re.compile(r'title="([^"]*)"')
NOT_TEX = [
    "$5 and $6",
    "It costs $5.",
    "from $5-$6 a piece",
    "$ 5$",
    "5 $",
    "$5 $",
    "a $20,000 car",
    r"\$x\$",
    r"\$5 and x$",
    "`$x$`",
    "```\n$x$\n```",
    "    $x$",
    "~~~\n$$\nx\n$$\n~~~",
    r"`\(a\)` and ``\[b\]``",
    "$$x\n\ny$$",
    r"\(x",
    "$$",
    "$$$$",
    r"\(\)",
    "The PID is in $$:\n```bash\necho $$\n```\nThat is it.",
    "in $$\n~~~\n$$\n~~~",
    "Costs $$ to make:\n- one\n- two, still $$",
    "> from \\[ on:\n> 1. one\n> 2. two \\]",
]
TEX = [
    ("$x_1*y_1 + x_2*y_2$", ["$x_1*y_1 + x_2*y_2$"]),
    (r"\(a\)", [r"\(a\)"]),
    (r"$\int x\,dx$", [r"$\int x\,dx$"]),
    (r"$\{a,b\}$", [r"$\{a,b\}$"]),
    ("$$x^2$$", ["$$x^2$$"]),
    (r"\[ x \]", [r"\[ x \]"]),
    ("so $x$, and $y$.", ["$x$", "$y$"]),
    ("$5 and $6, but $x$", ["$x$"]),
    (r"$\text{costs \$5}$", [r"$\text{costs \$5}$"]),
    ("$$\na\n=\nb\n- c\n> e\n1. f\n$$", ["$$\na\n=\nb\n- c\n> e\n1. f\n$$"]),
    ("We get:\n$$\na\n=\nb\n$$\nwhich is it.", ["$$\na\n=\nb\n$$"]),
    ("> $$\n> a\n> - b\n> $$", ["$$\na\n- b\n$$"]),
    ("- one\n- $$\n  a\n  - b\n  $$", ["$$\na\n- b\n$$"]),
    ("\\[\nx\n---\ny\n\\]", ["\\[\nx\n---\ny\n\\]"]),
    (r"\(a_1 * b * c_1\) * d *", [r"\(a_1 * b * c_1\)"]),
    (r"$<b>x</b>$", [r"$<b>x</b>$"]),
    (r"$[a](b)$", [r"$[a](b)$"]),
    (r"$a\\b$", [r"$a\\b$"]),
    ("| a |\n|---|\n| $\\|v\\|$ |", [r"$\|v\|$"]),
    ("*a $b* c$ d*", ["$b* c$"]),
]


TABLES = [
    # a row of a table with the columns a and b → its cells
    (r"| $|x|$ | $a\|b$ |", ["$|x|$", r"$a\|b$"]),
    (r"$|x|$ | \(|y|\)", ["$|x|$", r"\(|y|\)"]),
    (r"| $$|x|$$ | \[P(A|B)\] |", ["$$|x|$$", r"\[P(A|B)\]"]),
    (r"| $P(A | B)$ | so $\|v\|$ and $|w|$ |", ["$P(A | B)$", r"so $\|v\|$ and $|w|$"]),
    (r"| $\{x | x > 0\}$ | 2 |", [r"$\{x | x > 0\}$", "2"]),
    ("| $5 | $6 |", ["$5", "$6"]),
    ("| $5 | $|x|$ |", ["$5", "$|x|$"]),
    ("| $x | y$ |", ["$x", "y$"]),
    ("|$x|y$|", ["$x", "y$"]),
    ("| 5$ | 6$ |", ["5$", "6$"]),
    ("| $$ | $$ |", ["$$", "$$"]),
    ("| `$x` | `y$` |", ["`$x`", "`y$`"]),
    (r"| \$x | y\$ |", ["$x", "y$"]),
    ("| $|x|$ |", ["$|x|$", ""]),
    ("| $|x|$ |  |", ["$|x|$", ""]),
    ("|  | $|x|$ |", ["", "$|x|$"]),
    (r"| one \| two | `a \| b` |", ["one | two", "`a | b`"]),
    ("| one | two | three | four |", ["one", "two | three | four"]),
    ("| one | two | $|x|$ | |", ["one", "two | $|x|$"]),
    ("one", ["one", ""]),
]


def cells(html: str) -> list[str]:
    """The words of a table's cells, formulas and code as they were written."""
    found = re.findall(r"<t[dh]\b[^>]*>(.*?)</t[dh]>", html, re.S)
    formula = re.compile(r'<span class="math[^>]*title="([^"]*)">.*?</math></span>', re.S)
    return [unescape(re.sub("</?code>", "`", formula.sub(r"\1", cell))) for cell in found]


def sources(html: str) -> list[str]:
    """The sources of the formulas shown."""
    plain = {"&lt;": "<", "&gt;": ">", "&quot;": '"', "&#34;": '"', "&amp;": "&"}
    found = []
    for title in TITLE.findall(html):
        for name, letter in plain.items():
            title = title.replace(name, letter)
        found.append(title)
    return found


@pytest.mark.parametrize("text", NOT_TEX)
@pytest.mark.parametrize("content", ["markdown", "chat"])
def test_what_is_no_formula_stays_text(text: str, content: str) -> None:
    assert "<math" not in rendered(text, content)


def test_two_dollars_in_prose_swallow_neither_code_nor_lists() -> None:
    code = rendered("The PID is in $$:\n```bash\necho $$\n```\nThat is it.", "markdown")
    assert "<pre><code>echo $$\n</code></pre>" in code
    assert '<p dir="auto">That is it.</p>' in code
    assert rendered("Costs $$ to make:\n- one\n- two, still $$", "markdown").count("<li") == 2


@pytest.mark.parametrize(("text", "expected"), TEX)
@pytest.mark.parametrize("content", ["markdown", "chat"])
def test_formulas_are_shown_and_their_sources_are_kept(text: str, expected: list[str], content: str) -> None:
    html = str(rendered(text, content))
    assert html.count("<math") == len(expected)
    assert sources(html) == expected


@pytest.mark.parametrize(("row", "expected"), TABLES)
@pytest.mark.parametrize("around", ["{}", "> {}", "- {}", "words\n\n{}\n\nmore"])
def test_formulas_keep_their_pipes_and_no_text_of_a_row_is_lost(row: str, expected: list[str], around: str) -> None:
    before, _, after = around.partition("{}")
    more = {"> ": "> ", "- ": "  "}.get(before, "")
    html = markdown_html(before + f"\n{more}".join(["| a | b |", "|---|:-:|", row, "| c | d |"]) + after)
    assert cells(html) == ["a", "b", *expected, "c", "d"]


@pytest.mark.parametrize("header", [r"| $|x|$ | $P(A|B)$ |", r"$|x|$ | $P(A|B)$"])
def test_formulas_in_the_header_of_a_table_keep_their_pipes(header: str) -> None:
    assert cells(markdown_html(f"words:\n\n{header}\n--|--\n1 | 2")) == ["$|x|$", "$P(A|B)$", "1", "2"]
    assert cells(markdown_html("| $x | y$ |\n|--|--|\n| $5 | $6 |")) == ["$x", "y$", "$5", "$6"]
    assert cells(markdown_html("| $x | $|y|$ | z$ |\n|--|--|--|")) == ["$x", "$|y|$", "z$"]


def test_spaced_pipes_end_cells_before_others_do() -> None:
    table = "| a | b | c |\n|--|--|--|\n| $P(A|B)$ | $x | y$ |"
    assert cells(markdown_html(table))[3:] == ["$P(A|B)$", "$x", "y$"]


def test_pipes_outside_tables_stay() -> None:
    html = markdown_html("one | $|x|$ | two\n\n$a\\|b$\n---\n\nend")
    assert "<table" not in html
    assert sources(html) == ["$|x|$", r"$a\|b$"]


@pytest.mark.parametrize("content", ["plain", "code"])
def test_plain_and_code_stay_as_they_were_written(content: str) -> None:
    for text, _ in TEX:
        assert "<math" not in rendered(text, content)


def test_a_formula_is_mathml_with_its_source_and_in_its_own_direction() -> None:
    html = markdown_html(r"מהו $\frac{a}{b}$?")
    assert "<mfrac><mi>a</mi><mi>b</mi></mfrac>" in html
    assert r'<annotation encoding="application/x-tex">\frac{a}{b}</annotation>' in html
    assert re.search(r'<span[^>]* dir="ltr"', html)
    assert 'display="block"' not in html
    assert '<math display="block">' in markdown_html("$$x$$")


def test_what_cannot_be_shown_is_its_source() -> None:
    for text in (r"$\nosuchcommand{x}$", r"$\frac{1}$", r"$x^{$", r"\(\begin{tikzpicture}\end{tikzpicture}\)"):
        html = markdown_html(text)
        assert "<math" not in html
        assert f'class="tex">{text}</span>' in re.sub(r' dir="ltr"', "", html)


class Elements(HTMLParser):
    """The tags and attributes of a piece of HTML."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: list[tuple[str, str]] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes += [(name, value or "") for name, value in attrs]


HOSTILE = [
    r"\href{javascript:alert(1)}{x}",
    r"\url{javascript:alert(1)}",
    r"\class{evil}{x}",
    r"\style{background:url(https://evil.example)}{x}",
    r"\cssId{main}{x}",
    r"\data{onclick=alert(1)}{x}",
    r"\html{<script>alert(1)</script>}",
    r"\htmlStyle{color:red}{x}",
    r"\includegraphics{https://evil.example/x.png}",
    r"\text{<script>alert(1)</script>}",
    r"\text{</annotation></semantics></math><img src=x onerror=alert(1)>}",
    r"<img src=x onerror=alert(1)>",
    r"\unicode{x3c}script\unicode{x3e}",
    r"\color{red;background:url(https://evil.example)}{x}",
    r"\def\a{\a\a}\a",
    r"\newcommand{\a}[1]{#1#1}\a{\a{\a{\a{x}}}}",
    r"\label{x}\tag{<b>}\ref{x}\eqref{x}",
    r"\begin{align}a\label{main}\\\eqref{main}\end{align}",
    r"\rule{100000em}{100000em}",
    r"\hspace{99999999999999em}x",
    r"\kern-99999em x",
    r"\raise 9999em x",
    "\u202ex",
    "\x00",
]


@pytest.mark.parametrize("tex", HOSTILE)
@pytest.mark.parametrize("delimiters", [("$$", "$$"), (r"\(", r"\)")])
def test_hostile_tex_gives_nothing_but_mathml(tex: str, delimiters: tuple[str, str]) -> None:
    html = str(rendered(f"{delimiters[0]}{tex}{delimiters[1]}", "markdown"))
    seen = Elements(html)
    assert seen.tags <= MATHML | WITHIN_TEXT | {"div", "p", "span", "br"}
    assert {name for name, _ in seen.attributes} <= {*ATTRIBUTES, "class", "dir", "title"}
    for name, value in seen.attributes:
        if name == "class":
            assert set(value.split()) <= CLASSES | {"text", "marked", "math", "display", "tex"}
        if name in ATTRIBUTES:
            assert len(value) < 60
            assert not re.search(r"[:;()/]", value) or value == "application/x-tex"


DEEP = {
    "braces": "{" * 40_000,
    "roots": r"\sqrt" * 20_000 + "x",
    "balanced": "{" * 3_000 + "x" + "}" * 3_000,
    "fractions": r"\frac a" * 3_000 + "b c",
    "powers": "x^" * 3_000 + "x",
    "scripts": "x_{" * 3_000 + "x" + "}" * 3_000,
    "left": r"\left(" * 3_000 + r"\right)" * 3_000,
    "matrices": r"\begin{matrix}" * 600 + r"\end{matrix}" * 600,
    "primes": "x" + "'" * 10_000,
    "text": r"\text{" * 3_000,
    "accents": r"\hat" * 3_000 + "x",
}


@pytest.mark.parametrize("name", DEEP)
def test_deep_formulas_end_soon_and_never_end_the_process(name: str) -> None:
    """In a thread with a small stack, as some systems give them: a stack that overflows takes the server with it."""
    known, found = threading.stack_size(), []

    def render() -> None:
        for most in (200, 1_000, 3_900, len(DEEP[name])):
            found.append(mathml(DEEP[name][:most], True))
            rendered(f"$${DEEP[name][:most]}$$", "markdown")

    started = time.monotonic()
    threading.stack_size(512 * 1024)
    try:
        thread = threading.Thread(target=render)
        thread.start()
        thread.join(20)
    finally:
        threading.stack_size(known)
    assert len(found) == 4
    assert time.monotonic() - started < 5


@pytest.mark.parametrize(
    "text",
    [
        "$x$ " * 15_000,
        "$a " * 20_000,
        r"\(a" * 20_000,
        r"\(\\)" * 12_000,
        "$$a\n" * 15_000,
        r"\[" * 30_000,
        "- $a\n" * 12_000,
        "`" * 60_000,
        "".join("`" * n + " $$\n" for n in range(1, 340)),
        "| $a\\|b$ " * 6_000,
        "| $a|b$ " * 6_000 + "\n" + "|--" * 2_000,
        "|--\n" + "| $a|b$ " * 6_000,
        "| $a|b$ |\n|--|\n" * 4_000,
        "- $a|b$\n  --|--\n" * 4_000,
        "|a\n|-\n|$\\|$`$|$|$\n\n" * 3_500,
        "> " * 30_000,
        "> $$\n" * 12_000,
        "$$\n" + "- a\n" * 15_000 + "$$",
        "1. a\n" * 12_000,
        "<br" * 20_000,
    ],
)
def test_long_hostile_texts_end_soon(text: str) -> None:
    started = time.process_time()
    rendered(text[:63_000], "markdown", fold=False)
    assert time.process_time() - started < 5, "seconds of a processor"


def test_the_rule_of_the_dollar_is_pandocs() -> None:
    assert formula_at("$x$", 0).tex == "x"
    assert formula_at("$x$1", 0) is None
    assert formula_at("$x $", 0) is None
    assert formula_at("$ x$", 0) is None
    assert formula_at(r"$x\$y$", 0).tex == r"x\$y"
    assert formula_at("$x\ny$", 0).tex == "x\ny"
    assert formula_at("$x\n\ny$", 0) is None
    assert formula_at("$$x$$", 0).display
    assert not formula_at("$x$", 0).display


def test_known_mathematics_is_known() -> None:
    """What models write: each of these is shown, not given up."""
    for tex in (
        r"x = \frac{-b \pm \sqrt{b^2 - 4ac}}{2a}",
        r"\sum_{i=1}^{n} i = \frac{n(n+1)}{2}",
        r"\int_0^\infty e^{-x^2}\,dx = \frac{\sqrt{\pi}}{2}",
        r"\lim_{x \to 0} \frac{\sin x}{x} = 1",
        r"\begin{pmatrix} a & b \\ c & d \end{pmatrix}",
        r"\begin{cases} x & x > 0 \\ -x & \text{otherwise} \end{cases}",
        r"\begin{align*} a &= b \\ &= c \end{align*}",
        r"\begin{aligned} a &= b \\ &= c \end{aligned}",
        r"\begin{array}{c|c} a & b \\ \hline c & d \end{array}",
        r"\mathbb{R}^n \to \mathbf{x} \cdot \mathcal{L} + \mathrm{d}x",
        r"\mathbb{E}_{x \sim p}[\log \pi_\theta(y \mid x)]",
        r"\boxed{42}",
        r"\cancel{x}",
        r"\vec{v} \times \hat{w} = \bar{z} \tilde{a} \dot{b}",
        r"\left( \frac{a}{b} \right)^{2}",
        r"\operatorname{argmax}_\theta",
        r"\underbrace{a + b}_{n} \overbrace{c}^{m}",
        r"\color{red}{x} + \textcolor{blue}{y}",
        r"P(A \mid B) \le 1, \quad \forall x \in S \setminus \{0\}",
        r"a \!\!\; b",
        r"\stackrel{?}{=} \overset{a}{b} \binom{n}{k}",
        r"\therefore x \neq y \implies z",
        r"\text{if } x > 0",
        r"30^\circ",
        r"x \xrightarrow{f} y",
    ):
        shown = mathml(tex, True)
        assert shown is not None, tex
        assert "merror" not in shown, tex
