"""Finds the source file of a user's function and the modules beside it that it imports."""

from __future__ import annotations

import ast
import importlib.machinery
import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path

from preflab.errors import PreflabError
from preflab.recipe import Recipe


def function_files(recipe: Recipe, function: str) -> list[Path]:
    """The source file of `module:function`, then every module beside it that it imports, directly or indirectly.

    The module is looked for in the current folder, then in the recipe's folder, then among the installed packages. Of
    an installed module only its own file is returned. Imports under a name computed at run time and files that the
    function reads are not found.

    Returns:
        The files; [] if the module has no source file (it is compiled).

    Raises:
        PreflabError: there is no such module, or there are two with this name. The error comes before any stage runs.
    """
    module = function.partition(":")[0]
    for folder in dict.fromkeys((Path.cwd(), recipe.folder)):
        file = _module_file(folder, module)
        if file is not None:
            _refuse_two(recipe, function, folder, file)
            return [file, *_imported(folder, module, file)]
    try:
        spec = importlib.util.find_spec(module)
    except (ModuleNotFoundError, ValueError):
        spec = None
    if spec is not None:
        return [Path(spec.origin)] if spec.origin and Path(spec.origin).is_file() else []
    module_name = module.removesuffix(".py")
    if module_name != module:
        raise PreflabError(
            f"{recipe.path.name}: {function}: {module} is a file",
            "the name of a module, without .py",
            f"write {module_name.replace('/', '.')}{function.removeprefix(module)}",
        )
    relative = Path(*module.split("."))
    raise PreflabError(
        f"{recipe.path.name}: no module `{module}` for `{function}`",
        f"{relative}.py in the current folder or beside the recipe, or an installed package",
        "correct the name in the recipe, or install the package",
    )


def _module_file(folder: Path, module: str) -> Path | None:
    place = folder / Path(*module.split("."))
    return next((file for file in (place.with_suffix(".py"), place / "__init__.py") if file.is_file()), None)


def _refuse_two(recipe: Recipe, function: str, folder: Path, file: Path) -> None:
    """Refuse a module named like one of Python's own or an installed one, because the other might be imported."""
    top = function.partition(":")[0].partition(".")[0]
    if top in sys.stdlib_module_names:
        other = "a module of Python's standard library"
    else:
        folders = {Path.cwd().resolve(), recipe.folder.resolve()}
        places = [place for place in sys.path if Path(place or ".").resolve() not in folders]
        spec = importlib.machinery.PathFinder.find_spec(top, places)
        origin = Path(spec.origin) if spec is not None and spec.origin else None
        if origin is None or origin.parent == folder / top or origin.samefile(file):
            return
        other = f"the installed {origin}"
    raise PreflabError(
        f"{recipe.path.name}: `{function}`: {file} has the same name as {other}",
        "a name that no other module has, so that this file is imported",
        "rename the file, and correct the name in the recipe",
    )


def _imported(folder: Path, module: str, file: Path) -> list[Path]:
    """Files of the modules in the folder that a module imports, directly or indirectly, in breadth-first order."""
    files: dict[Path, None] = {file: None}
    waiting = [(module, file)]
    while waiting:
        name, source = waiting.pop(0)
        for other in _names(name, source):
            place = _module_file(folder, other)
            if place is not None and place not in files:
                files[place] = None
                waiting.append((other, place))
    return list(files)[1:]


def _names(module: str, file: Path) -> Iterator[str]:
    """Names of the modules that a source may import: `a.b` also imports `a`, and `from a import b` may import `a.b`."""
    try:
        tree = ast.parse(file.read_bytes())
    except (SyntaxError, ValueError):
        return  # importing the module reports the error
    package = module.split(".") if file.name == "__init__.py" else module.split(".")[:-1]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            wholes = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else []
            base = ".".join([*above, *(node.module.split(".") if node.module else [])])
            wholes = [base, *(f"{base}.{alias.name}".lstrip(".") for alias in node.names if alias.name != "*")]
        else:
            continue
        for whole in filter(None, wholes):
            parts = whole.split(".")
            yield from (".".join(parts[: end + 1]) for end in range(len(parts)))
