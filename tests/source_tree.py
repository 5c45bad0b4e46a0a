"""Reads the source tree without importing it: modules, what they import, tracked files."""

from __future__ import annotations

import ast
import functools
import subprocess
from collections.abc import Iterator
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1] / "src" / "preflab"


def module_name(file: Path) -> str:
    """src/preflab/maths/kl.py → preflab.maths.kl; a package's __init__ is the package."""
    parts = ["preflab", *file.relative_to(PACKAGE).with_suffix("").parts]
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@functools.cache
def modules() -> dict[str, ast.Module]:
    """Every module of preflab by name, parsed once per process; migrations, which are history, are left out."""
    files = (file for file in sorted(PACKAGE.rglob("*.py")) if "migrations" not in file.parts)
    return {module_name(file): ast.parse(file.read_text(encoding="utf-8"), str(file)) for file in files}


def imports(tree: ast.Module, name: str, *, at_import_time: bool = False) -> Iterator[str]:
    """Full dotted names a module imports, from anywhere in it or only those that run when it is imported."""
    for node in _import_nodes(tree, skip_functions=at_import_time):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif node.level:
            package = name.split(".")[: -node.level]
            yield ".".join([*package, node.module or ""])
        else:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _import_nodes(node: ast.AST, *, skip_functions: bool) -> Iterator[ast.Import | ast.ImportFrom]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import | ast.ImportFrom):
            yield child
        elif skip_functions and isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        elif isinstance(child, ast.If) and ast.unparse(child.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING"):
            # Types alone: nothing runs, and an import for a type is still an import of that room.
            if not skip_functions:
                yield from _import_nodes(child, skip_functions=False)
        else:
            yield from _import_nodes(child, skip_functions=skip_functions)


def room(module: str) -> str:
    """preflab.maths.kl → maths; preflab.cli_train → cli_train; preflab → preflab."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else parts[0]


def tracked_files(repository: Path) -> list[Path]:
    """The files under version control, or every file outside hidden folders where git is absent."""
    listing = subprocess.run(["git", "ls-files", "-z"], cwd=repository, capture_output=True, check=False)
    if listing.returncode == 0 and listing.stdout:
        names = listing.stdout.decode().split("\0")
        return [repository / name for name in names if name and (repository / name).is_file()]
    visible = (file for file in repository.rglob("*") if not any(part.startswith(".") for part in file.parts))
    return [file for file in visible if file.is_file()]
