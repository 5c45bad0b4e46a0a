"""Renders Markdown as harmless HTML: CommonMark with tables, strikethrough and TeX, without HTML and images.

Differences from CommonMark, all so that no text is lost or misread: line breaks are kept (except in documents), `<br>`
is a line break, TeX is never parsed as Markdown, even within tables, surplus cells of a table's row are joined to the
last column, and a list gets the text direction of its words.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence
from functools import lru_cache, partial

import nh3
from markdown_it import MarkdownIt
from markdown_it.rules_block import StateBlock
from markdown_it.rules_block.table import escapedSplit, getLine, table
from markdown_it.rules_core import StateCore
from markdown_it.rules_inline import StateInline
from markdown_it.token import Token
from markupsafe import Markup

from preflab.web.mathematics import ATTRIBUTES, CLASSES, MATHML, WITHIN_TEXT, Formula, formula_at, formula_html

SCHEMES = ("http", "https", "mailto")
TAGS = {
    "p", "br", "hr", "h2", "h3", "h4", "h5", "h6", "em", "strong", "s", "code", "pre", "blockquote", "ul", "ol", "li",
    "a", "table", "thead", "tbody", "tr", "th", "td", "span", "div",
}  # fmt: skip
WITH_DIRECTION = {"paragraph_open", "heading_open", "th_open", "td_open", "blockquote_open"}
BREAK = re.compile(r"<br[ \t]*/?>[ \t]*\n?[ ]*", re.I)
BREAKS = ("softbreak", "hardbreak")
SIGN = re.compile(r"[`$\\]")
ROOM = {4: "wide", 6: "wider"}
"""Number of digits of a list's last number → the class with a wider margin; the usual margin fits three digits."""
STRONG = {"L": "ltr", "R": "rtl", "AL": "rtl"}
HIDDEN = "\0"
"""Replaces the pipes of formulas while a line of a table is split. The parser has removed this character from texts."""
DELIMITERS = re.compile(r"[-:|\s]+")
"""The delimiter row, the second line of a table."""
SPACED_PIPE = re.compile(r"\s\|\s")
MARKS = re.compile(
    r"^[ \t>]*+(?:(?:[-*+]|\d{1,9}[.)])[ \t]++)*+(?P<fence>`{3,}+|~{3,}+)[^\n]*+$"
    r"|(?P<ticks>`++)|\\[^(\[]|(?P<math>\$\$|\\\(|\\\[)",
    re.M,
)
"""The marks that separate code from TeX in a text: fences, runs of backticks, escapes and opening delimiters."""


@lru_cache(maxsize=512)
def markdown_html(text: str, document: bool = False, top: int = 3) -> Markup:
    """Markdown as HTML.

    Args:
        text: text by a person or a model.
        document: whether single line breaks are spaces, as in a text whose lines an editor wrapped.
        top: the level of its highest headings, below the headings of the page.
    """
    parser = DOCUMENTS if document else PARSER
    tokens = parser.parse(text)
    _adapt(tokens, top)
    return Markup(CLEAN(parser.renderer.render(tokens, parser.options, {})))


def _parser(*, breaks: bool) -> MarkdownIt:
    options = {"html": False, "linkify": False, "maxNesting": 20, "breaks": breaks}
    parser = MarkdownIt("commonmark", options)
    parser.enable(["table", "strikethrough"])
    parser.disable("image")  # loading an external image would tell its owner who reads this, and when
    parser.core.ruler.after("normalize", "tex", _find_tex_lines)
    parser.block.ruler.at("table", _table, {"alt": ["paragraph", "reference"]})
    parser.block.ruler.before("lheading", "tex", _tex_paragraph, {"alt": []})
    parser.inline.ruler.before("escape", "tex", _tex)
    parser.inline.ruler.before("autolink", "br", _line_break)
    parser.add_render_rule("formula", _formula)
    parser.add_render_rule("table_open", lambda *_: '<div class="scroll"><table>\n')
    parser.add_render_rule("table_close", lambda *_: "</table></div>\n")
    return parser


def _tex(state: StateInline, silent: bool) -> bool:
    """Inline rule: parse a formula into one token, so that nothing in it is parsed as Markdown."""
    if state.src[state.pos] not in "$\\":
        return False
    formula = formula_at(state.src, state.pos)
    if formula is None or formula.end > state.posMax:
        return False
    if not silent:
        token = state.push("formula", "math", 0)
        token.content, token.markup = formula.tex, formula.opening
    state.pos = formula.end
    return True


def _line_break(state: StateInline, silent: bool) -> bool:
    """Inline rule: parse `<br>`, in any of its spellings, with the line break that follows it."""
    match = BREAK.match(state.src, state.pos, state.posMax)
    if match is None:
        return False
    if not silent:
        state.push("hardbreak", "br", 0)
    state.pos = match.end()
    return True


def _formula(_: object, tokens: Sequence[Token], index: int, *__: object) -> str:
    token = tokens[index]
    return formula_html(Formula(token.content, token.markup, 0))


def _find_tex_lines(state: StateCore) -> None:
    """Core rule: store which lines begin within a formula."""
    if "\n" in state.src:
        state.env["within"] = set(_lines_within(state.src))


def _lines_within(text: str) -> Iterator[int]:
    """The lines that begin within `$$…$$`, `\\(…\\)` or `\\[…\\]`, where no list, heading or rule can begin."""
    place = line = seen = 0
    dead: set[int] = set()
    while match := MARKS.search(text, place):
        place = match.end()
        if match["fence"]:
            place = _end_of_fence(text, match)
        elif match["ticks"]:
            place = _end_of_code(text, match, dead)
        elif match["math"] and (formula := formula_at(text, match.start())):
            line += text.count("\n", seen, match.start())
            within = text.count("\n", match.start(), formula.end)
            yield from range(line + 1, line + within + 1)
            line, seen = line + within, formula.end
            place = formula.end


def _end_of_fence(text: str, match: re.Match[str]) -> int:
    fence = match["fence"]
    closing = re.compile(rf"^[ \t>]*+{re.escape(fence[0])}{{{len(fence)},}}[ \t]*$", re.M)
    closing_line = closing.search(text, match.end())
    return closing_line.end() if closing_line else len(text)


def _end_of_code(text: str, match: re.Match[str], dead: set[int]) -> int:
    """The end of a code span, or of its backticks if nothing closes it; `dead` collects lengths never closed."""
    length = len(match["ticks"])
    if length in dead:
        return match.end()
    closing = re.compile(rf"(?<!`)`{{{length}}}(?!`)").search(text, match.end())
    if closing is None:
        dead.add(length)
    return closing.end() if closing else match.end()


def _table(state: StateBlock, start: int, end: int, silent: bool) -> bool:
    """Block rule: parse a table with markdown-it's rule, then split its cells again so that no TeX or text is lost.

    markdown-it recognises a table by the number of cells in the header, so the pipes of formulas in it are hidden.
    """
    if start + 2 > end or not DELIMITERS.fullmatch(delimiters := getLine(state, start + 1)):
        return False
    num_columns = sum(bool(cell.strip()) for cell in delimiters.split("|"))
    source, begin, stop = state.src, state.bMarks[start] + state.tShift[start], state.eMarks[start]
    header = _hide_pipes(source[begin:stop], num_columns)
    num_tokens = len(state.tokens)
    state.src = source[:begin] + header + source[stop:]
    try:
        is_table = table(state, start, end, silent)
    finally:
        state.src = source
    if is_table and not silent:
        _fill_cells(state, num_tokens, num_columns)
    return is_table


def _fill_cells(state: StateBlock, first_token: int, num_columns: int) -> None:
    cells: Iterator[str] = iter(())
    for token in state.tokens[first_token:]:
        if token.type == "tr_open" and token.map:
            cells = iter(_cells(getLine(state, token.map[0]), num_columns))
        elif token.type == "inline":
            token.content = next(cells, "")


def _cells(line: str, num_columns: int) -> list[str]:
    """The cells of a table's line; surplus cells are joined to the last one."""
    cells = [cell.replace(HIDDEN, "|").strip() for cell in _split(_hide_pipes(line, num_columns))]
    surplus = [cell for cell in cells[num_columns - 1 :] if cell]
    return [*cells[: num_columns - 1], " | ".join(surplus)]


def _split(line: str) -> list[str]:
    cells = escapedSplit(line.strip())
    begin, end = not cells[0], len(cells) - (not cells[-1])
    return cells[begin:end]


def _hide_pipes(line: str, num_columns: int) -> str:
    """A table's line with the pipes of formulas replaced by HIDDEN, so that they do not end cells.

    Two amounts of money may look like a formula (`$x | y$`). If the line has too few cells, the pipes of some formulas
    end cells after all, as long as that does not make too many. Formulas with spaces around a pipe come first.
    """
    formulas = [(begin, end) for begin, end in _formulas(line) if "|" in line[begin:end]]
    num_missing = num_columns - len(_split(_replace_pipes(line, formulas)))
    for formula in sorted(formulas, key=lambda place: not SPACED_PIPE.search(line, *place)):
        num_pipes = len(escapedSplit(line[slice(*formula)])) - 1
        if num_missing <= 0:
            break
        if 0 < num_pipes <= num_missing:
            formulas.remove(formula)
            num_missing -= num_pipes
    return _replace_pipes(line, formulas)


def _replace_pipes(line: str, places: Sequence[tuple[int, int]]) -> str:
    parts, copied = [], 0
    for begin, end in places:
        parts += [line[copied:begin], line[begin:end].replace("|", HIDDEN)]
        copied = end
    return "".join([*parts, line[copied:]])


def _formulas(line: str) -> Iterator[tuple[int, int]]:
    """The (begin, end) positions of the formulas in one line, outside of code."""
    place, dead = 0, set[int]()
    while (place := _next_sign(line, place)) < len(line):
        if line[place] == "`":
            ticks = re.compile("(?P<ticks>`+)").match(line, place)
            place = _end_of_code(line, ticks, dead) if ticks else place + 1
        elif formula := formula_at(line, place):
            yield place, formula.end
            place = formula.end
        else:
            place += 2 if line[place] == "\\" else 1


def _next_sign(line: str, place: int) -> int:
    match = SIGN.search(line, place)
    return match.start() if match else len(line)


def _tex_paragraph(state: StateBlock, start: int, end: int, _: bool) -> bool:
    """Block rule: parse a paragraph with a formula of several lines, in which nothing ends the paragraph."""
    within = state.env.get("within")
    if not within or state.is_code_block(start):
        return False
    line = _stop(state, start, within)
    if line is None:
        return False
    state.line = line
    token = state.push("paragraph_open", "p", 1)
    token.map = [start, line]
    token = state.push("inline", "", 0)
    token.content = state.getLines(start, line, state.blkIndent, False).strip()
    token.map, token.children = [start, line], []
    state.push("paragraph_close", "p", -1)
    return True


def _stop(state: StateBlock, start: int, within: set[int]) -> int | None:
    """The line after a paragraph that contains lines of `within`; None if it contains none."""
    rules = state.md.block.ruler.getRules("paragraph")
    parent, state.parentType = state.parentType, "paragraph"
    line, has_formula = start + 1, False
    while line < state.lineMax and not state.isEmpty(line):
        lazy = state.sCount[line] - state.blkIndent > 3 or state.sCount[line] < 0
        if line in within:
            has_formula = True
        elif not lazy and any(rule(state, line, state.lineMax, True) for rule in rules):
            break
        line += 1
    state.parentType = parent
    return line if has_formula else None


def _adapt(tokens: Sequence[Token], top: int) -> None:
    """Adapt the tokens to the page: levels of headings, text directions of blocks and lists, margins, line breaks."""
    _place_headings(tokens, top)
    open_lists: list[Token] = []
    parents: list[str] = []
    for place, token in enumerate(tokens):
        if token.type in WITH_DIRECTION and not (parents and parents[-1] == "list_item_open"):
            token.attrSet("dir", "auto")
        if token.type in ("ordered_list_open", "bullet_list_open"):
            token.attrSet("dir", _direction(tokens, place))
            open_lists.append(token)
        elif token.type in ("ordered_list_close", "bullet_list_close"):
            _widen(open_lists.pop())
        elif token.type == "list_item_open" and open_lists:
            open_lists[-1].meta["items"] = open_lists[-1].meta.get("items", 0) + 1
        if token.nesting:
            parents.append(token.type) if token.nesting > 0 else parents.pop()
        if token.children:
            token.children = list(_without_idle_breaks(token.children))


def _place_headings(tokens: Sequence[Token], top: int) -> None:
    """Renumber the levels of headings from `top` without gaps, for navigation with screen readers."""
    above: list[int] = []
    for token in tokens:
        if token.type == "heading_open":
            level = int(token.tag[1])
            above = [each for each in above if each < level] + [level]
        if token.type in ("heading_open", "heading_close"):
            token.tag = f"h{min(top + len(above) - 1, 6)}"


def _direction(tokens: Sequence[Token], place: int) -> str:
    """The text direction of a list, from its first letter outside of code and TeX."""
    for token in tokens[place + 1 :]:
        if token.level == tokens[place].level:
            break
        for child in token.children or []:
            for letter in child.content if child.type == "text" else "":
                direction = STRONG.get(unicodedata.bidirectional(letter))
                if direction:
                    return direction
    return "ltr"


def _widen(listing: Token) -> None:
    """Give a list a wider margin if its numbers need it: `1000.` does not fit into the margin of `1.`"""
    last = int(listing.attrGet("start") or 1) + int(listing.meta.get("items", 0)) - 1
    enough = [name for digits, name in ROOM.items() if len(str(last)) >= digits]
    if listing.type == "ordered_list_open" and enough:
        listing.attrSet("class", enough[-1])


def _without_idle_breaks(children: Sequence[Token]) -> Iterator[Token]:
    """The tokens without line breaks before or after a displayed formula, which is a separate block anyway."""
    for place, token in enumerate(children):
        around = [*children[max(place - 1, 0) : place], *children[place + 1 : place + 2]]
        if not (token.type in BREAKS and any(_is_displayed(neighbour) for neighbour in around)):
            yield token


def _is_displayed(token: Token) -> bool:
    return token.type == "formula" and Formula(token.content, token.markup, 0).display


def _filter_attribute(tag: str, attribute: str, value: str) -> str | None:
    """The value of an attribute if it is allowed, else None.

    Links need an allowed scheme: a relative link could trigger actions of the app itself.
    """
    if tag in MATHML and attribute in ATTRIBUTES:
        return value if ATTRIBUTES[attribute].fullmatch(value) else None
    if attribute != "href":
        return value
    scheme = value.partition(":")[0].strip().lower()
    return value if scheme in SCHEMES and ":" in value else None


CLEAN = partial(
    nh3.clean,
    tags=TAGS | MATHML | WITHIN_TEXT,
    attributes={
        "*": {"dir"}, "a": {"href"}, "ol": {"start"}, "span": {"title"},
        **{tag: set(ATTRIBUTES) for tag in MATHML},
    },
    attribute_filter=_filter_attribute,
    allowed_classes={
        "ol": set(ROOM.values()), "div": {"scroll"}, "span": {"math", "display", "tex", *CLASSES},
        **{tag: set(CLASSES) for tag in MATHML},
    },
    url_schemes=set(SCHEMES),
    link_rel="noopener noreferrer nofollow",
    set_tag_attribute_values={"a": {"target": "_blank"}},
)  # fmt: skip
PARSER = _parser(breaks=True)
DOCUMENTS = _parser(breaks=False)
