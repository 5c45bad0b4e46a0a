"""Reads and writes the manifest of a run folder, which records the stage, its key and its state."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from preflab.errors import PreflabError
from preflab.files import read_json, write_json

MANIFEST = "manifest.json"


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of a run folder; {} if the stage has not started.

    Raises:
        PreflabError: the file is truncated or is not a manifest; names the stage.
    """
    path = folder / MANIFEST
    if not path.exists():
        return {}
    stage = folder.name.rpartition("-")[0].replace(".", "/")
    wrong = "the manifest of a stage", f"restore the file, or run the stage again with --fresh {stage}"
    try:
        manifest = read_json(path)
    except PreflabError as error:
        raise PreflabError(f"stage {stage}: {error.found}", *wrong) from error
    if not isinstance(manifest, dict) or not {"key", "state", "settings"} <= manifest.keys():
        raise PreflabError(f"stage {stage}: {path} is not a manifest", *wrong)
    return manifest


def write_manifest(folder: Path, manifest: dict[str, Any]) -> None:
    """Writes the manifest atomically."""
    write_json(folder / MANIFEST, manifest)
