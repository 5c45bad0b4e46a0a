"""Reads a file and stores its records in one call, as the command `import` does in two."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from preflab.store.transfer import ImportSummary, read_import, store_import
from preflab.store.workspace import Workspace


def import_into(workspace: Workspace, path: Path, *arguments: Any, **options: Any) -> ImportSummary:
    """The summary of the import; the further arguments are those of `read_import`."""
    return store_import(workspace, read_import(path, *arguments, **options))
