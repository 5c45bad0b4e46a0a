"""The formats that can be read, by name; `preflab import --help` lists them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from preflab.errors import PreflabError, nearest
from preflab.store.formats.archive import COMPLETIONS, JUDGMENTS, PREFERENCES
from preflab.store.formats.argilla import ARGILLA
from preflab.store.formats.base import Format
from preflab.store.formats.hh_rlhf import HH_RLHF, HH_RLHF_CHAT
from preflab.store.formats.imported import Imported
from preflab.store.formats.label_studio import LABEL_STUDIO
from preflab.store.formats.oasst import OASST, OASST_FLAT
from preflab.store.formats.openai import OPENAI
from preflab.store.formats.prompts import DEMONSTRATIONS, PROMPTS_ALONE, TEXT
from preflab.store.formats.ranked import NECTAR, REWARDBENCH2
from preflab.store.formats.rankings import RANKINGS
from preflab.store.formats.rated import RATINGS, UNPAIRED
from preflab.store.formats.sides import HELPSTEER3, PKU, SHP, STACK_EXCHANGE
from preflab.store.formats.trl import EXPLICIT, IMPLICIT
from preflab.store.formats.ultrafeedback import ULTRAFEEDBACK
from preflab.store.formats.votes import ARENA, ARENA_ROWS, ARENA_WIDE, STIENNON

FORMATS: dict[str, Format] = {
    format.name: format
    for format in (
        JUDGMENTS,
        PREFERENCES,
        COMPLETIONS,
        LABEL_STUDIO,
        ARGILLA,
        RANKINGS,
        OASST,
        OASST_FLAT,
        ULTRAFEEDBACK,
        NECTAR,
        STIENNON,
        ARENA,
        ARENA_WIDE,
        ARENA_ROWS,
        PKU,
        HELPSTEER3,
        SHP,
        STACK_EXCHANGE,
        OPENAI,
        REWARDBENCH2,
        HH_RLHF,
        HH_RLHF_CHAT,
        EXPLICIT,
        IMPLICIT,
        UNPAIRED,
        RATINGS,
        DEMONSTRATIONS,
        PROMPTS_ALONE,
        TEXT,
    )
}
"""Name → format, the most particular first: the first one that fits a row is what it looks like."""


def format_named(name: str) -> Format:
    """The format of this name.

    Raises:
        PreflabError: there is none.
    """
    if name not in FORMATS:
        near = nearest(name, list(FORMATS))
        raise PreflabError(
            f"{name!r}: there is no such format",
            f"one of {', '.join(sorted(FORMATS))}",
            f"near it: {near}" if near else "",
        )
    return FORMATS[name]


def read_file(
    path: Path | str,
    format: str | None = None,
    *,
    limit_rows: int | None = None,
    skip_bad: bool = False,
    rename: Mapping[str, str] | None = None,
    defaults: Mapping[str, Any] | None = None,
    split: str | None = None,
) -> Imported:
    """Read records from a file without a workspace; the format is guessed from the first rows when not named.

    Args:
        path: a file, a folder, or the id of a data set on the Hub.
        format: one of `FORMATS`; None: guessed.
        limit_rows: read only so many rows.
        skip_bad: leave bad rows out and report each by line, instead of refusing the file.
        rename: column of the file → the name the format knows.
        defaults: column → the value of rows in which it is missing or empty.
        split: of a folder or data set with several.

    Raises:
        PreflabError: no such file, a format that cannot be guessed, or bad rows (unless `skip_bad`).
    """
    from preflab.store.formats.detect import detect

    path = Path(path)
    chosen = format_named(format or detect(path, rename=rename, split=split).format)
    return chosen.read(
        path,
        limit_rows=limit_rows,
        skip_bad=skip_bad,
        rename=rename,
        defaults=defaults,
        split=split,
        guessed=format is None,
    )
