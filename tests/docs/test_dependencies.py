"""What the package imports is what it declares: an empty environment gets everything, and nothing more."""

from __future__ import annotations

import functools
import re
import sys
import tomllib
from collections import defaultdict
from importlib.metadata import packages_distributions
from pathlib import Path

from source_tree import imports, modules

NOT_IMPORTED: dict[str, str] = {}
"""Declared, and used without an import of ours."""


def declared(repository: Path) -> set[str]:
    """Distributions in `dependencies`, in one spelling."""
    project = tomllib.loads((repository / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return {spelled(re.split(r"[^\w.-]", requirement)[0]) for requirement in project["dependencies"]}


def spelled(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


@functools.cache
def imported() -> dict[str, set[str]]:
    """Distribution → the modules of preflab that import it, also within functions and for types."""
    brought_by = packages_distributions()
    found: dict[str, set[str]] = defaultdict(set)
    for module, tree in modules().items():
        for name in imports(tree, module):
            package = name.partition(".")[0]
            if package not in (*sys.stdlib_module_names, "preflab"):
                for distribution in brought_by.get(package, [package]):
                    found[spelled(distribution)].add(module)
    return found


def test_every_import_is_declared(repository: Path) -> None:
    missing = {name: sorted(where)[:3] for name, where in imported().items() if name not in declared(repository)}
    assert not missing


def test_everything_declared_is_used(repository: Path) -> None:
    assert declared(repository) - set(imported()) == set(NOT_IMPORTED)
