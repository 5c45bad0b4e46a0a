"""Reads files of other tools and data sets into records: one module per format; `read_file` needs no workspace."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from preflab.store.formats.imported import Imported
from preflab.store.formats.registry import FORMATS, format_named

__all__ = ["FORMATS", "Imported", "format_named", "read_file"]


def read_file(
    path: Path | str,
    format: str | None = None,
    *,
    limit_rows: int | None = None,
    skip_bad: bool = False,
    rename: Mapping[str, str] | None = None,
    defaults: Mapping[str, Any] | None = None,
    split: str | None = None,
    template: str | None = None,
) -> Imported:
    """Read records from a file without a workspace.

    Args:
        path: a file, a folder, or the id of a data set on the Hub.
        format: one of `FORMATS`; None: guessed from the first rows.
        limit_rows: the most rows to read.
        skip_bad: leave bad rows out and report each by line, instead of refusing the file.
        rename: column of the file → the name that the format expects.
        defaults: column → the value for rows in which it is missing or empty.
        split: the split to read, if the folder or data set has several.
        template: makes the prompt from other columns, see `prompt_template`.

    Raises:
        PreflabError: no such file, a format that cannot be guessed, or bad rows (unless `skip_bad`).
    """
    from preflab.store.formats.detect import detect

    path = Path(path)
    chosen = format_named(format or detect(path, rename=rename, split=split, template=template).format)
    return chosen.read(
        path,
        limit_rows=limit_rows,
        skip_bad=skip_bad,
        rename=rename,
        defaults=defaults,
        split=split,
        template=template,
        guessed=format is None,
    )
