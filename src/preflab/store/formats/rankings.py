"""Plain rankings: a prompt, its completions, their ranks and the labeler, as JSON lines or as a spreadsheet.

JSON lines hold lists, `{"prompt": "…", "completions": ["…", "…"], "ranks": [2, 1], "labeler": "one"}`. A spreadsheet
has the columns `prompt, completion_1, rank_1, completion_2, rank_2, …, labeler`, or the two lists as JSON in cells.
Rank 1 is the best, equal ranks are a tie, F means failed. The number of completions may differ from row to row.
"""

from __future__ import annotations

import json
import re
from typing import Any

from preflab.records import RankingAnswer
from preflab.store.formats.asked import Words, completion_of, read_question, spans_of
from preflab.store.formats.base import Format, Parsed
from preflab.store.formats.columns import PROMPTS, column, first, has
from preflab.store.formats.fields import kind_of
from preflab.store.formats.json_rows import STRICT, BadRow, Row
from preflab.store.formats.judgment_records import NOBODY, Judged, completions_of, rank_of, records_of
from preflab.words import count

NAME = "rankings"
NUMBERED = re.compile(r"completion_(\d+)$")


def _row(row: Row, source: str) -> Parsed:
    question = read_question(row)
    words, ranks = _lists(row) if has(row, "completions") else _cells(row)
    if len(words) < 2:
        raise BadRow(count(len(words), "completion"), "at least two to rank")
    models = _listed(row, "models") if row.get("models") else [str(row.get("model") or NAME)] * len(words)
    if len(models) != len(words):
        raise BadRow("the column 'models' has another length than the completions", "one name per completion")
    prompt = question.prompt(source, chat=any(each.turns for each in words))
    completions = completions_of(prompt, [spans_of(each) for each in words], [str(model) for model in models])
    answer = RankingAnswer(tuple(ranks))
    judged = Judged(
        NAME,
        str(row.get("campaign") or NAME),
        prompt.id,
        tuple(completion.id for completion in completions),
        answer,
        str(row.get("labeler") or NOBODY),
        created_at=str(row.get("created_at") or ""),
        note=str(row.get("note") or ""),
    )
    key = (judged.question, prompt.id, judged.completion_ids, answer.ranks, judged.labeler)
    left_out = (*question.words.left_out, *(reason for each in words for reason in each.left_out))
    return Parsed((prompt, *completions), content=key, items=(judged,), left_out=left_out)


def _lists(row: Row) -> tuple[list[Words], list[int | None]]:
    texts, ranks = (_listed(row, name) for name in ("completions", "ranks"))
    if len(texts) != len(ranks):
        raise BadRow(f"{count(len(texts), 'completion')} and {count(len(ranks), 'rank')}", "one rank per completion")
    contents = [completion_of(value, "completions") for value in texts]
    return contents, [rank_of(value, f"completion {place}") for place, value in enumerate(ranks, 1)]


def _listed(row: Row, name: str) -> list[Any]:
    value = column(row, name)
    if isinstance(value, str):
        try:
            value = json.loads(value, **STRICT)
        except json.JSONDecodeError:
            raise BadRow(f"the column {name!r} is no JSON list", '["…", "…"]') from None
    if not isinstance(value, list):
        raise BadRow(f"the column {name!r} holds {kind_of(value)}", "a list")
    return value


def _cells(row: Row) -> tuple[list[Words], list[int | None]]:
    """Completions and ranks from the columns completion_1, rank_1, …; numbers with two empty cells are skipped."""
    texts: list[Words] = []
    ranks: list[int | None] = []
    numbers = sorted((match[1] for name in row if (match := NUMBERED.match(name))), key=int)
    for number in numbers:
        words, rank = row[f"completion_{number}"], column(row, f"rank_{number}")
        if words in ("", None) and rank in ("", None):
            continue
        if rank in ("", None):
            raise BadRow(f"no rank of completion_{number}", "1 (best), 2, 3, …, or F")
        texts.append(completion_of(words, f"completion_{number}"))
        ranks.append(rank_of(rank, f"completion_{number}"))
    return texts, ranks


def _looks_like(row: Row) -> bool:
    ranked = has(row, "completions", "ranks") or {"completion_1", "rank_1"} <= set(row)
    return first(row, PROMPTS) is not None and ranked


RANKINGS = Format(
    NAME,
    "plain rankings: prompt, completions, ranks, labeler; or prompt, completion_1, rank_1, …",
    _row,
    _looks_like,
    finish=records_of,
    needs=("prompt", "completions", "ranks"),
    columns="`prompt`, `completions`, `ranks`, `labeler`; or `prompt`, `completion_1`, `rank_1`, …",
    becomes="one judgment per row, and a group of K per task",
)
