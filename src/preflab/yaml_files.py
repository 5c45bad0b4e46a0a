"""Strict reading of YAML: duplicate keys are refused, `1e-4` is a number, dates and `1:40` stay text.

A file that would expand to far more than it contains (aliases of aliases, deep nesting) is refused before it expands.
"""

from __future__ import annotations

import math
import re
from contextlib import suppress
from pathlib import Path
from typing import Any

import yaml

from preflab.errors import PreflabError, cut
from preflab.files import check_regular
from preflab.storable import shown, unstorable_text

MAX_DEPTH = 64
"""Levels of nesting; a recipe has six."""

MAX_VALUES = 100_000
"""Values in a file, each alias counted as everything that it expands to."""

MAX_DIGITS = 100
"""Characters of a whole number."""


class _Loader(yaml.SafeLoader):
    """SafeLoader limited to the types of JSON: no base-60 numbers, no duplicate or merged keys, limited nesting."""

    depth = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        """Compose a value with everything inside it; refuse nesting beyond `MAX_DEPTH`."""
        if self.depth >= MAX_DEPTH:
            raise _error(f"more than {MAX_DEPTH} levels of nesting", self.peek_event().start_mark)
        self.depth += 1
        try:
            return super().compose_node(parent, index)
        finally:
            self.depth -= 1


class _Refused(yaml.constructor.ConstructorError):
    """YAML that preflab refuses, with what is expected instead and what to do."""

    def __init__(self, problem: str, mark: yaml.Mark, expected: str, do: str) -> None:
        super().__init__(None, None, problem, mark)
        self.expected = expected
        self.do = do


EXPECTED, ADVICE = "YAML, each key once", "correct this line; put text with ? : , or { in quotes"


def _error(problem: str, mark: yaml.Mark, expected: str = EXPECTED, do: str = ADVICE) -> yaml.MarkedYAMLError:
    return _Refused(problem, mark, expected, do)


CORE = ("null", "bool", "int", "float", "str", "seq", "map")
"""The types of YAML's core schema, which are those of JSON. Sets, dates and bytes have no place in a recipe."""
TAG = "tag:yaml.org,2002:"
NUMBERS = {
    "int": re.compile(r"[-+]?(0b_*[01][01_]*|0x_*[0-9a-fA-F][0-9a-fA-F_]*|0[0-7_]*|[1-9][0-9_]*)$"),
    "float": re.compile(
        r"([-+]?([0-9][0-9_]*\.[0-9_]*|\.[0-9][0-9_]*)([eE][-+]?[0-9]+)?|[-+]?[0-9]+[eE][-+]?[0-9]+"
        r"|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN))$"
    ),
}
"""How numbers are written: as in YAML 1.1, except that `1:40` (base 60) is text and `1e-4` is a number."""

_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in pairs if tag.removeprefix(TAG) in ("null", "bool", "merge")]
    for first, pairs in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
for _name, _pattern in NUMBERS.items():
    _Loader.add_implicit_resolver(TAG + _name, _pattern, list("-+.0123456789"))


def _mapping(loader: _Loader, node: yaml.Node, deep: bool = False) -> dict[Any, Any]:
    if not isinstance(node, yaml.MappingNode):
        raise _not_a("map", "a mapping", node)
    marks: dict[Any, yaml.Mark] = {}
    for key_node, _ in node.value:
        if key_node.tag == TAG + "merge":
            problem = "`<<` merges the keys of another mapping, which is not supported: write the keys out"
            raise _error(problem, key_node.start_mark)
        key = loader.construct_object(key_node, deep=True)
        if not isinstance(key, str):
            raise _error(f"the key {shown(key)} is not a name", key_node.start_mark)
        if key in marks:
            first = marks[key].line + 1
            raise _error(f"the key `{cut(key)}` is already in line {first}", key_node.start_mark)
        marks[key] = key_node.start_mark
    return yaml.SafeLoader.construct_mapping(loader, node, deep=True)


def _not_a(name: str, what: str, node: yaml.Node) -> yaml.MarkedYAMLError:
    """The error for a value that does not have the type its tag names."""
    value = f"`{cut(node.value)}`" if isinstance(node, yaml.ScalarNode) else "a list"
    return _error(f"`!!{name}` stands before {value}", node.start_mark, f"{what} after it", f"leave out `!!{name}`")


def _null(loader: _Loader, node: yaml.ScalarNode) -> None:
    if str(loader.construct_scalar(node)).lower() not in ("", "~", "null"):
        raise _not_a("null", "nothing, `~` or `null`", node)


def _bool(loader: _Loader, node: yaml.ScalarNode) -> bool:
    value = loader.bool_values.get(str(loader.construct_scalar(node)).lower())
    if value is None:
        raise _not_a("bool", "`true` or `false`", node)
    return bool(value)


def _number(loader: _Loader, node: yaml.ScalarNode) -> float:
    text = str(loader.construct_scalar(node))
    if not any(pattern.match(text) for pattern in NUMBERS.values()):
        raise _not_a("float", "a number", node)
    try:
        value = float(yaml.SafeLoader.construct_yaml_float(loader, node))
    except ValueError:  # 0x1F, which is a whole number only
        raise _not_a("float", "a number with a point", node) from None
    if not math.isfinite(value):
        raise _error(f"{cut(text)} is not a finite number", node.start_mark, "a finite number", "correct the number")
    return value


def _whole_number(loader: _Loader, node: yaml.ScalarNode) -> int:
    text = str(loader.construct_scalar(node))
    if len(text) > MAX_DIGITS:
        problem = f"a whole number of {len(text):,} characters"
        raise _error(problem, node.start_mark, f"at most {MAX_DIGITS} characters", "correct the number")
    if not NUMBERS["int"].match(text):
        raise _not_a("int", "a whole number", node)
    return int(yaml.SafeLoader.construct_yaml_int(loader, node))


def _text(loader: _Loader, node: yaml.ScalarNode) -> str:
    """A text; two escaped surrogates, as JSON writes one character, are joined into that character."""
    text = str(loader.construct_scalar(node))
    with suppress(UnicodeDecodeError):
        text = text.encode("utf-16", "surrogatepass").decode("utf-16")
    if wrong := unstorable_text(text):
        raise _error(wrong, node.start_mark, "whole characters", "write the character itself")
    return text


def _unknown(loader: _Loader, node: yaml.Node) -> None:
    written = str(node.tag)
    tag = "!!" + written.removeprefix(TAG) if written.startswith(TAG) else written
    raise _error(
        f"the tag `{cut(tag)}`", node.start_mark, f"a value of YAML's own types: {', '.join(CORE)}", "leave out the tag"
    )


_Loader.yaml_constructors = {
    TAG + "null": _null,
    TAG + "bool": _bool,
    TAG + "int": _whole_number,
    TAG + "float": _number,
    TAG + "str": _text,
    TAG + "seq": yaml.SafeLoader.construct_yaml_seq,
    TAG + "map": _mapping,
    TAG + "merge": _text,  # `<<` as a value
    None: _unknown,
}


def _check_size(node: yaml.Node) -> None:
    """Refuse a value that contains itself, or more than `MAX_VALUES` values once aliases are expanded."""
    sizes: dict[int, int] = {}

    def size(node: yaml.Node) -> int:
        if id(node) in sizes:
            if not sizes[id(node)]:
                raise _error("an alias is inside the value that it names", node.start_mark)
            return sizes[id(node)]
        sizes[id(node)] = 0  # not counted yet
        parts = node.value if isinstance(node, yaml.CollectionNode) else ()
        inside = [part for pair in parts for part in pair] if isinstance(node, yaml.MappingNode) else parts
        sizes[id(node)] = size_here = 1 + sum(map(size, inside))
        if size_here > MAX_VALUES:
            raise _error(
                f"{size_here:,} values once its aliases are expanded, more than {MAX_VALUES:,}", node.start_mark
            )
        return size_here

    size(node)


def read_yaml(path: Path) -> dict[str, Any]:
    """The mapping in a YAML file.

    Raises:
        PreflabError: no such file, not YAML (with the line), a duplicate key, or a value that is not a mapping.
    """
    try:
        check_regular(path)
        text = path.read_text(encoding="utf-8")
    except (FileNotFoundError, IsADirectoryError) as error:
        raise PreflabError(
            f"{path}: no such file", "a YAML file", "correct the path, or write a first recipe with `preflab init`"
        ) from error
    except UnicodeDecodeError as error:
        raise PreflabError(f"{path}: not UTF-8", "text in UTF-8", "save the file as UTF-8") from error
    value = parse(text, str(path))
    if not isinstance(value, dict):
        raise PreflabError(
            f"{path}: {kind(value)}, not a mapping",
            "keys with values, as in a recipe: `recipe: 1`, data, stages, …",
            "see `preflab init`",
        )
    return value


def parse(text: str, where: str) -> Any:
    """YAML text as Python values; `where` names it in errors."""
    try:
        loader = _Loader(text)
        node = _compose(loader)
        if node is None:
            return None
        _check_size(node)
        return loader.construct_document(node)
    except yaml.MarkedYAMLError as error:
        cure = (error.expected, error.do) if isinstance(error, _Refused) else (EXPECTED, ADVICE)
        line = error.problem_mark.line + 1 if error.problem_mark else None
        problem = cut(error.problem or "not YAML", 160)
        raise PreflabError(f"{where}{_line(text, line)}: {problem}", *cure) from error
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        problem = f"the character U+{error.character:04X}"  # a number, as the text is a string
        expected = "characters that YAML allows: no control characters, no lone surrogates"
        raise PreflabError(
            f"{where}{_line(text, line)}: {problem}", expected, "leave it out, or write `\\x..`"
        ) from error


def _compose(loader: _Loader) -> yaml.Node | None:
    """The root node of the document; None for an empty one."""
    try:
        return loader.get_single_node()
    except (ValueError, OverflowError) as error:  # of `chr`: an escape such as \\UFFFFFFFF
        raise _error(f"an escape that is no character ({error})", loader.get_mark(), "`\\U0010FFFF` at most") from error


def _line(text: str, line: int | None) -> str:
    return f", line {line}" if line and "\n" in text.strip() else ""


def kind(value: Any) -> str:
    """A YAML value in words, for errors."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return f"{str(value).lower()} (yes/no)"
    if isinstance(value, str):
        return f"the text `{cut(value, 40)}`"
    if isinstance(value, int | float):
        return f"the number {value}"
    return "a list" if isinstance(value, list) else "a mapping"
