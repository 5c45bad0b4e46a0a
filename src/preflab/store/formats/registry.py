"""The formats that can be read, by name; `preflab import --help` lists them."""

from __future__ import annotations

from preflab.errors import PreflabError, nearest
from preflab.store.formats.archive import COMPLETIONS, JUDGMENTS, PREFERENCES
from preflab.store.formats.argilla import ARGILLA
from preflab.store.formats.base import Format
from preflab.store.formats.hh_rlhf import HH_RLHF, HH_RLHF_CHAT
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
"""Name → format, the most specific first: a row has the first format that fits it."""


def format_named(name: str) -> Format:
    """The format of this name.

    Raises:
        PreflabError: no such format.
    """
    if name not in FORMATS:
        near = nearest(name, list(FORMATS))
        raise PreflabError(
            f"{name!r}: there is no such format",
            f"one of {', '.join(sorted(FORMATS))}",
            f"near it: {near}" if near else "",
        )
    return FORMATS[name]
