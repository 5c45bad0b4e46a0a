"""YAML, read strictly: a key written twice is refused, `1e-4` is a number, dates stay text.

What would unfold to far more than was written is refused before it does: aliases of aliases, levels without end.
"""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import yaml

from preflab.errors import PreflabError
from preflab.files import check_regular

MAX_DEPTH = 64
"""Levels inside one another; a recipe has six."""

MAX_VALUES = 100_000
"""Values of a file, each alias counted as all it stands for."""

MAX_DIGITS = 100
"""Characters of a whole number."""


class _Loader(yaml.SafeLoader):
    """SafeLoader with YAML 1.2's numbers, no dates, no doubled or merged keys, and an end to its levels."""

    depth = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        """A value and all it holds."""
        if self.depth >= MAX_DEPTH:
            raise _error(f"more than {MAX_DEPTH} levels inside one another", self.peek_event().start_mark)
        self.depth += 1
        try:
            return super().compose_node(parent, index)
        finally:
            self.depth -= 1


def _error(problem: str, mark: yaml.Mark) -> yaml.MarkedYAMLError:
    return yaml.constructor.ConstructorError(None, None, problem, mark)


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in pairs if tag != "tag:yaml.org,2002:timestamp"]
    for first, pairs in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+$"), list("-+.0123456789")
)


def _mapping(loader: _Loader, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
    found: dict[Any, yaml.Mark] = {}
    for key_node, _ in node.value:
        if key_node.tag == "tag:yaml.org,2002:merge":
            problem = "`<<` merges the keys of another mapping, which is not read: write them out"
            raise _error(problem, key_node.start_mark)
        key = loader.construct_object(key_node, deep=True)
        if not isinstance(key, str):
            raise _error(f"the key {key!r} is not a name", key_node.start_mark)
        if key in found:
            first = found[key].line + 1
            raise _error(f"`{key}` stands here and in line {first} already", key_node.start_mark)
        found[key] = key_node.start_mark
    return yaml.SafeLoader.construct_mapping(loader, node, deep=True)


def _number(loader: _Loader, node: yaml.ScalarNode) -> float:
    value = float(yaml.SafeLoader.construct_yaml_float(loader, node))
    if not math.isfinite(value):
        raise _error(f"{node.value} is not a finite number", node.start_mark)
    return value


def _whole_number(loader: _Loader, node: yaml.ScalarNode) -> int:
    if len(node.value) > MAX_DIGITS:
        raise _error(f"a whole number of {len(node.value):,} characters", node.start_mark)
    return int(yaml.SafeLoader.construct_yaml_int(loader, node))


_Loader.add_constructor("tag:yaml.org,2002:map", _mapping)
_Loader.add_constructor("tag:yaml.org,2002:float", _number)
_Loader.add_constructor("tag:yaml.org,2002:int", _whole_number)


def _check_size(node: yaml.Node) -> None:
    """Refuse a value that holds itself, or too many once every alias stands for what it names."""
    sizes: dict[int, int] = {}

    def size(node: yaml.Node) -> int:
        if id(node) in sizes:
            if not sizes[id(node)]:
                raise _error("an alias stands inside what it names", node.start_mark)
            return sizes[id(node)]
        sizes[id(node)] = 0  # not counted yet
        parts = node.value if isinstance(node, yaml.CollectionNode) else ()
        inside = [part for pair in parts for part in pair] if isinstance(node, yaml.MappingNode) else parts
        sizes[id(node)] = found = 1 + sum(map(size, inside))
        if found > MAX_VALUES:
            raise _error(f"{found:,} values once its aliases are unfolded, more than {MAX_VALUES:,}", node.start_mark)
        return found

    size(node)


def read_yaml(path: Path) -> dict[str, Any]:
    """The mapping in a YAML file.

    Raises:
        PreflabError: no such file, not YAML (with its line), a doubled key, or something else than a mapping.
    """
    try:
        check_regular(path)
        text = path.read_text(encoding="utf-8")
    except (FileNotFoundError, IsADirectoryError) as error:
        raise PreflabError(
            f"{path}: no such file", "a YAML file", "mend the path; `preflab init` writes a recipe to begin with"
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
        node = loader.get_single_node()
        if node is None:
            return None
        _check_size(node)
        return loader.construct_document(node)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        line = f", line {mark.line + 1}" if mark and "\n" in text.strip() else ""
        raise PreflabError(
            f"{where}{line}: {error.problem or 'not YAML'}",
            "YAML, each key once",
            "mend it; text with ? : , or { belongs in quotes",
        ) from error
    except yaml.YAMLError as error:
        raise PreflabError(f"{where}: {str(error).splitlines()[0]}", "YAML", "mend it") from error


def kind(value: Any) -> str:
    """What a YAML value is, in words."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return f"{str(value).lower()} (yes/no)"
    if isinstance(value, str):
        shown = value if len(value) <= 40 else value[:37] + "…"
        return f"the text `{shown}`"
    if isinstance(value, int | float):
        return f"the number {value}"
    return "a list" if isinstance(value, list) else "a mapping"
