"""Plain rankings: a prompt, its completions, their ranks, who ranked; as JSON lines or as a spreadsheet.

JSON lines hold lists, `{"prompt": "…", "completions": ["…", "…"], "ranks": [2, 1], "labeler": "one"}`. A spreadsheet
holds `prompt, completion_1, rank_1, completion_2, rank_2, …, labeler`, or the two lists as JSON in a cell. Ranks are 1
for the best, equal numbers for a tie, F for nonsense. K may differ from row to row.
"""

from __future__ import annotations

import json
import re
from typing import Any

from preflab.records import RankingAnswer
from preflab.store.formats.base import Format, Parsed
from preflab.store.formats.fields import column, completion_text, kind_of, prompt_of
from preflab.store.formats.judged import NOBODY, Judged, completions_of, rank_of, records_of
from preflab.store.formats.reading import BadRow, Row

NAME = "rankings"
NUMBERED = re.compile(r"completion_(\d+)$")


def _row(row: Row, source: str) -> Parsed:
    if str(row.get("prompt")).startswith("[{"):  # a conversation in a cell of a spreadsheet
        row = row | {"prompt": _listed(row, "prompt")}
    prompt = prompt_of(row, "prompt", source)
    texts, ranks = _lists(row) if "completions" in row else _cells(row)
    if len(texts) < 2:
        raise BadRow(f"{len(texts)} completions", "at least two to rank")
    models = _listed(row, "models") if row.get("models") else [str(row.get("model") or NAME)] * len(texts)
    if len(models) != len(texts):
        raise BadRow("the column 'models' does not fit the completions", "one name per completion")
    completions = completions_of(prompt, texts, [str(model) for model in models])
    judged = Judged(
        NAME,
        str(row.get("campaign") or NAME),
        prompt.id,
        tuple(completion.id for completion in completions),
        RankingAnswer(tuple(ranks)),
        str(row.get("labeler") or NOBODY),
        created_at=str(row.get("created_at") or ""),
        note=str(row.get("note") or ""),
    )
    key = (judged.question, prompt.id, judged.completion_ids, judged.answer.ranks, judged.labeler)  # type: ignore[union-attr]
    return Parsed((prompt, *completions), key=key, items=(judged,))


def _lists(row: Row) -> tuple[list[str], list[int | None]]:
    texts, ranks = (_listed(row, name) for name in ("completions", "ranks"))
    if len(texts) != len(ranks):
        raise BadRow(f"{len(texts)} completions and {len(ranks)} ranks", "one rank per completion")
    said = [completion_text(value, "completions") for value in texts]
    return said, [rank_of(value, f"completion {place}") for place, value in enumerate(ranks, 1)]


def _listed(row: Row, name: str) -> list[Any]:
    value = column(row, name)
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except json.JSONDecodeError:
            raise BadRow(f"the column {name!r} is no JSON list", '["…", "…"]') from None
    if not isinstance(value, list):
        raise BadRow(f"the column {name!r} holds {kind_of(value)}", "a list")
    return value


def _cells(row: Row) -> tuple[list[str], list[int | None]]:
    """completion_1, rank_1, …; a place where both cells are empty is not there."""
    texts, ranks = [], []
    numbers = sorted((found[1] for name in row if (found := NUMBERED.match(name))), key=int)
    for number in numbers:
        words, rank = row[f"completion_{number}"], column(row, f"rank_{number}")
        if words in ("", None) and rank in ("", None):
            continue
        if rank in ("", None):
            raise BadRow(f"no rank of completion_{number}", "1 (best), 2, 3, …, or F")
        texts.append(completion_text(words, f"completion_{number}"))
        ranks.append(rank_of(rank, f"completion_{number}"))
    return texts, ranks


RANKINGS = Format(
    NAME,
    "plain rankings: prompt, completions, ranks, labeler; or prompt, completion_1, rank_1, …",
    _row,
    lambda row: "prompt" in row and ({"completions", "ranks"} <= set(row) or {"completion_1", "rank_1"} <= set(row)),
    finish=records_of,
)
