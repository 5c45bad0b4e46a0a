"""Where the source of a user's function lies, and which modules beside it are part of it."""

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
    """The source of `module:function`, then every module beside it that it imports, directly or by another one.

    It is looked for in the current folder, the recipe's folder, and among installed packages; of an installed one it is
    its own file alone. What a function imports by a name it makes up, and what it reads, is not seen.

    Returns:
        the files; [] when the module has no source to read (it is compiled).

    Raises:
        PreflabError: there is no such module, or two of this name; said before anything has run.
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
    relative = Path(*module.split("."))
    raise PreflabError(
        f"{recipe.path.name}: no module `{module}` for `{function}`",
        f"{relative}.py in the current folder or beside the recipe, or an installed package",
        "mend the name, or install it",
    )


def _module_file(folder: Path, module: str) -> Path | None:
    place = folder / Path(*module.split("."))
    return next((file for file in (place.with_suffix(".py"), place / "__init__.py") if file.is_file()), None)


def _refuse_two(recipe: Recipe, function: str, folder: Path, file: Path) -> None:
    """A module beside the recipe with the name of Python's own or of an installed one: the other may be imported."""
    top = function.partition(":")[0].partition(".")[0]
    if top in sys.stdlib_module_names:
        other = "a module of Python's own"
    else:
        folders = {Path.cwd().resolve(), recipe.folder.resolve()}
        places = [place for place in sys.path if Path(place or ".").resolve() not in folders]
        spec = importlib.machinery.PathFinder.find_spec(top, places)
        origin = Path(spec.origin) if spec is not None and spec.origin else None
        if origin is None or origin.parent == folder / top or origin.samefile(file):
            return
        other = f"the installed {origin}"
    raise PreflabError(
        f"{recipe.path.name}: `{function}`: {file} has the name of {other}",
        "one module of that name, so that what is looked at is what is imported",
        "rename the file, and the module in the recipe",
    )


def _imported(folder: Path, module: str, file: Path) -> list[Path]:
    """Modules below the folder that a module needs, in the order in which they are met."""
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
    """Modules that a source may import: `a.b` also means `a`, and `from a import b` may mean `a.b`."""
    try:
        tree = ast.parse(file.read_bytes())
    except (SyntaxError, ValueError):
        return  # the import will say so
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
