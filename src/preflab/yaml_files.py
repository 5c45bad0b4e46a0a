"""YAML, read strictly: a key written twice is refused, `1e-4` is a number, dates stay text."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import yaml

from preflab.errors import PreflabError


class _Loader(yaml.SafeLoader):
    """SafeLoader with YAML 1.2's numbers, no dates, and no doubled keys."""


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
        key = loader.construct_object(key_node, deep=True)
        if not isinstance(key, str):
            raise yaml.constructor.ConstructorError(None, None, f"the key {key!r} is not a name", key_node.start_mark)
        if key in found:
            first = found[key].line + 1
            problem = f"`{key}` stands here and in line {first} already"
            raise yaml.constructor.ConstructorError(None, None, problem, key_node.start_mark)
        found[key] = key_node.start_mark
    return yaml.SafeLoader.construct_mapping(loader, node, deep=True)


def _number(loader: _Loader, node: yaml.ScalarNode) -> float:
    value = float(yaml.SafeLoader.construct_yaml_float(loader, node))
    if not math.isfinite(value):
        raise yaml.constructor.ConstructorError(None, None, f"{node.value} is not a finite number", node.start_mark)
    return value


_Loader.add_constructor("tag:yaml.org,2002:map", _mapping)
_Loader.add_constructor("tag:yaml.org,2002:float", _number)


def read_yaml(path: Path) -> dict[str, Any]:
    """The mapping in a YAML file.

    Raises:
        PreflabError: no such file, not YAML (with its line), a doubled key, or something else than a mapping.
    """
    try:
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
        return yaml.load(text, _Loader)
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
