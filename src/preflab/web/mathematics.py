"""Finds TeX formulas in a text and renders them as harmless MathML.

math-core converts TeX into MathML. Its output is parsed again here, and only the tags, attributes and styles of the
tables below are allowed. A formula with anything else, or one that math-core cannot convert, is shown as source.
"""

from __future__ import annotations

import re
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache, lru_cache
from html import unescape
from xml.etree import ElementTree
from xml.etree.ElementTree import Element, SubElement

from markupsafe import Markup
from math_core import LatexError, LatexToMathML

CLOSING = {"$$": "$$", r"\[": r"\]", r"\(": r"\)", "$": "$"}
"""Opening → closing delimiter; a longer one comes before one that is its prefix."""
UNTIL = {
    "$$": re.compile(r"(?:[^$\\]|\\.|\$(?!\$))*+", re.S),
    "$": re.compile(r"(?:[^$\\]|\\.)*+", re.S),
    r"\]": re.compile(r"(?:[^\\]|\\[^\]])*+", re.S),
    r"\)": re.compile(r"(?:[^\\]|\\[^)])*+", re.S),
}
"""Closing delimiter → the text that may precede it. As in TeX, a backslash escapes the next character."""
BLANK_LINE = re.compile(r"\n[ \t>]*(?:\n|`{3}|~{3})")
"""The end of a paragraph, and so of a formula: an empty line, or one that opens a block of code."""
ITEM = r"(?:[-+*]|\d{1,9}[.)])[ \t]"
LIST_LINE = re.compile(rf"\n[ \t>]*{ITEM}")
LINE_START = re.compile(rf"[ \t>]*(?:{ITEM}[ \t]*)*")
LONGEST = 4_000
"""Largest number of characters of a formula; a longer one is treated as text."""
DEFINITION = re.compile(r"\\(?:(?:new|renew|provide)command|g?def|let|global)(?![a-zA-Z])")
"""Definitions of macros. Formulas with them are not converted: a few nested macros can expand into gigabytes."""
EXPANSIONS = 500
"""Largest number of expansions of math-core's own macros, such as `\\implies`."""
DEEPEST = 120
"""Largest number of nested levels of MathML; a deeper formula is shown as source."""
STACK = 64 * 2**20
"""Bytes of the stack of the thread for math-core, which recurses once per level. A stack overflow would end the
process; the deepest formula of LONGEST characters was measured to need between 4 and 8 MB."""

MATHML = {
    "math", "semantics", "annotation", "mrow", "mi", "mn", "mo", "mtext", "mspace", "ms", "mfrac", "msqrt", "mroot",
    "msub", "msup", "msubsup", "munder", "mover", "munderover", "mmultiscripts", "mprescripts", "mpadded", "mphantom",
    "mstyle", "mtable", "mtr", "mtd", "menclose", "merror",
}  # fmt: skip
"""Allowed tags: those of MathML Core and `menclose`. No links, no actions, no HTML within `annotation-xml`."""
WITHIN_TEXT = {"b", "i", "em", "s", "u", "code", "span"}
"""Allowed HTML tags within `mtext`."""
LENGTH = re.compile(r"-?\d{0,4}(?:\.\d{1,9})?(?:em|ex|rem|px|pt|%)?")
NAMED = re.compile(r"&(?!(?:lt|gt|amp|quot|apos);)\w+;")
"""Named characters of HTML that math-core writes and XML does not know."""
LONG_NUMBER = re.compile(r"\d*\.\d{5,}")
COLOUR = re.compile(r"#[0-9a-fA-F]{6}")
ATTRIBUTES = {
    **dict.fromkeys(("display", "encoding", "form", "mathvariant"), re.compile(r"[a-z/-]{1,20}")),
    **dict.fromkeys(
        ("displaystyle", "stretchy", "symmetric", "largeop", "movablelimits", "accent", "accentunder", "fence"),
        re.compile("true|false"),
    ),
    **dict.fromkeys(
        ("width", "height", "depth", "voffset", "lspace", "rspace", "minsize", "maxsize", "linethickness", "mathsize"),
        LENGTH,
    ),
    **dict.fromkeys(("mathcolor", "mathbackground"), COLOUR),
    "scriptlevel": re.compile(r"\d"),
    "notation": re.compile(r"[a-z ]{1,60}"),
}  # fmt: skip
"""Attribute → its allowed values. The page's security policy forbids `style`, which LOOKS replaces by classes."""
LOOKS = {
    "text-align:left": "left",
    "text-align:right": "right",
    "padding-left:0": "joined-left",
    "padding-right:0": "joined-right",
    "padding-left:1em": "apart",
    "padding-left:0.1em": "thin",
    "border-left:0.05em solid currentcolor": "rule-left",
    "border-left:0.05em dashed currentcolor": "dash-left",
    "border-right:0.05em solid currentcolor": "rule-right",
    "border-right:0.05em dashed currentcolor": "dash-right",
    "border-top:0.05em solid currentcolor": "rule-top",
    "border-top:0.05em dashed currentcolor": "dash-top",
    "padding-top:0": "dense",
    "width:100%": "full",
    "width:50%": "half",
    "width:7.5%": "margin",
    "margin-left:-0.1667em": "back-3",
    "margin-left:-0.2222em": "back-4",
    "margin-left:-0.2778em": "back-5",
    "padding-left:0.1667em": "left-3",
    "padding-left:0.2222em": "left-4",
    "padding-left:0.2778em": "left-5",
    "padding-right:0.1667em": "right-3",
    "padding-right:0.2222em": "right-4",
    "padding-right:0.2778em": "right-5",
    "font-variant-caps:small-caps": "small-caps",
}
"""CSS declaration that math-core writes → the class in app.css that replaces it."""
NOT_NEEDED = {
    "justify-items:start", "justify-items:end", "padding-right:0.1em", "padding-bottom:0", "padding-top:0.1667em",
    "math-shift:compact",
}  # fmt: skip
"""Declarations that are dropped: another one implies them, or they have almost no visible effect."""
KEPT_CLASSES = {
    "menclose-updiagonalstrike": "strike-up",
    "menclose-downdiagonalstrike": "strike-down",
    "math-core-sans-serif-font": "sans",
    "math-core-serif-font": "serif",
}
CLASSES = {*LOOKS.values(), *KEPT_CLASSES.values()}
AS_ATTRIBUTE = {"color": ("mathcolor", COLOUR), "font-size": ("mathsize", LENGTH), "width": ("width", LENGTH)}


@dataclass(frozen=True)
class Formula:
    """A formula within a text."""

    tex: str
    opening: str
    end: int
    """The position in the text after the closing delimiter."""

    @property
    def display(self) -> bool:
        """Whether the formula is displayed as a separate block."""
        return self.opening in ("$$", r"\[")

    @property
    def source(self) -> str:
        """The TeX source with its delimiters."""
        return f"{self.opening}{self.tex}{CLOSING[self.opening]}"


class Unfit(Exception):
    """MathML with a tag, attribute or style that is not allowed."""


def formula_at(text: str, start: int) -> Formula | None:
    r"""The formula that begins at position `start` of a text; None if none does.

    `$$…$$`, `\[…\]` and `\(…\)` may contain anything except blank lines and code fences. If such a formula does not
    begin its line, it also may not contain a line that looks like a list item (`Costs $$ to make:`). `$…$` follows
    pandoc's rule: no space after the opening sign or before the closing one, and no digit after it, so that
    `$5 and $6` is money.
    """
    for opening, closing in CLOSING.items():
        if not text.startswith(opening, start):
            continue
        begin = start + len(opening)
        if text.find(closing, begin, begin + LONGEST + len(closing)) < 0:
            continue
        match = UNTIL[closing].match(text, begin, begin + LONGEST)
        end = match.end() if match else begin
        tex = text[begin:end]
        if not text.startswith(closing, end) or not tex.strip() or BLANK_LINE.search(tex):
            continue
        if LIST_LINE.search(tex) and not _begins_line(text, start):
            continue
        if opening == "$" and (tex[0].isspace() or tex[-1].isspace() or text[end + 1 : end + 2].isdigit()):
            continue
        return Formula(tex, opening, end + len(closing))
    return None


def _begins_line(text: str, start: int) -> bool:
    """Whether only quote and list markers precede a position in its line."""
    return LINE_START.fullmatch(text, text.rfind("\n", 0, start) + 1, start) is not None


def formula_html(formula: Formula) -> Markup:
    """A formula as HTML: MathML with the source as title, or the source alone if it cannot be converted."""
    shown = mathml(formula.tex, formula.display)
    if shown is None:
        return Markup('<span class="tex" dir="ltr">{}</span>').format(formula.source)
    kind = "math display" if formula.display else "math"
    return Markup('<span class="{}" dir="ltr" title="{}">{}</span>').format(kind, formula.source, Markup(shown))


@lru_cache(maxsize=4096)
def mathml(tex: str, display: bool) -> str | None:
    """A formula as MathML with its source as annotation; None if it cannot be converted or uses forbidden parts."""
    if len(tex) > LONGEST or DEFINITION.search(tex):
        return None
    try:
        written = _worker().submit(_convert, tex, display).result()
        root = ElementTree.fromstring(NAMED.sub(lambda named: unescape(named.group()), written))
        shown = _clean_copy(root)
    except (LatexError, ElementTree.ParseError, Unfit):
        return None
    row = Element("mrow")
    row.extend(shown)
    whole = Element("math", {"display": "block"} if display else {})
    pair = SubElement(whole, "semantics")
    pair.append(row)
    SubElement(pair, "annotation", {"encoding": "application/x-tex"}).text = tex
    return ElementTree.tostring(whole, encoding="unicode", short_empty_elements=False)


@cache
def _worker() -> ThreadPoolExecutor:
    """A separate thread for math-core with a large stack, since the calling thread's stack may be small."""
    usual = threading.stack_size(STACK)
    try:
        worker = ThreadPoolExecutor(1, "tex")
        worker.submit(int).result()  # the thread begins here, with the size that is set now
    finally:
        threading.stack_size(usual)
    return worker


def _convert(tex: str, display: bool) -> str:
    """Convert TeX into MathML with math-core.

    A panic in Rust is a BaseException and leaves the converter locked, so each formula gets a new converter, which
    takes a microsecond.

    Raises:
        Unfit: math-core panicked.
        LatexError: math-core cannot convert the formula.
    """
    converter = LatexToMathML(fancy_error=False, max_expansions=EXPANSIONS)
    try:
        return converter.convert_with_local_state(tex, displaystyle=display)
    except BaseException as error:
        if type(error).__name__ == "PanicException":
            raise Unfit(str(error)) from None
        raise


def _clean_copy(node: Element, depth: int = 0) -> Element:
    """A copy of an element that contains only what the tables allow.

    Raises:
        Unfit: the element contains something that is not allowed.
    """
    if node.tag not in MATHML | WITHIN_TEXT or depth > DEEPEST:
        raise Unfit(node.tag)
    clean = Element(node.tag)
    clean.text, clean.tail = node.text, node.tail
    classes: list[str] = []
    for name, value in node.attrib.items():
        if name == "style":
            classes += _looks(clean, value)
        elif name == "class":
            classes += [_known(KEPT_CLASSES, each) for each in value.split()]
        elif name != "id":  # ids are dropped: they are targets of links, which are not allowed
            if name not in ATTRIBUTES or not ATTRIBUTES[name].fullmatch(value):
                raise Unfit(f"{name}={value}")
            clean.set(name, value)
    if classes:
        clean.set("class", " ".join(classes))
    clean.extend([_clean_copy(child, depth + 1) for child in node])
    return clean


def _looks(node: Element, style: str) -> list[str]:
    """Convert style declarations to classes; colours, sizes and widths become MathML attributes of the node."""
    classes = []
    for declaration in LONG_NUMBER.sub(lambda number: f"{float(number.group()):.4f}", style).split(";"):
        name, _, value = (part.strip() for part in declaration.partition(":"))
        written = f"{name}:{value}"
        if written in LOOKS:
            classes.append(LOOKS[written])
        elif name in AS_ATTRIBUTE and AS_ATTRIBUTE[name][1].fullmatch(value):
            node.set(AS_ATTRIBUTE[name][0], value)
        elif name and written not in NOT_NEEDED:
            raise Unfit(written)
    return classes


def _known(table: dict[str, str], name: str) -> str:
    if name not in table:
        raise Unfit(name)
    return table[name]
