"""Where the labelling app of a workspace is reached, for the links that other commands print."""

from __future__ import annotations

from pathlib import Path

from preflab.files import read_json, write_json

FILE = "label.json"
USUAL = "http://127.0.0.1:8400"
"""Where `preflab label` serves when nothing else is said."""


def write_address(folder: Path, url: str) -> None:
    """Remember where the app of this workspace was served last."""
    write_json(folder / FILE, {"url": url})


def address(folder: Path) -> str:
    """The address the app was served at last; the usual one when it never was."""
    path = folder / FILE
    return str(read_json(path)["url"]) if path.exists() else USUAL
