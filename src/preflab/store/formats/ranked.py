"""Reads rows with a ranking but no labeler: Nectar's ranked answers, RewardBench 2's chosen and rejected lists."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from preflab.records import Preference
from preflab.store.formats.asked import Words, completion_of, read_question, spans_of
from preflab.store.formats.base import Format, Parsed
from preflab.store.formats.columns import PROMPTS, column, first, has, number, peek, unread
from preflab.store.formats.fields import imported, pairs_of_ranks, ranks_of_scores
from preflab.store.formats.json_rows import BadRow, Row
from preflab.store.formats.judgment_records import completions_of
from preflab.store.formats.trl import is_lists
from preflab.store.formats.turns import kind_of, rows_of_columns
from preflab.words import count

TEXTS = ("answer", "response", "completion", "output", "text", "content")
"""Keys that may hold an answer's text."""


def _nectar(row: Row, source: str) -> Parsed:
    """`answers` of {answer, model, rank}, 1 for the best."""
    entries = rows_of_columns(column(row, "answers"))
    if not isinstance(entries, list) or not all(isinstance(each, dict) for each in entries):
        raise BadRow(f"the column 'answers' holds {kind_of(entries)}", "a list of {answer, model, rank}")
    ranks = [_rank(each, place) for place, each in enumerate(entries, 1)]
    words = [_answer(each, place) for place, each in enumerate(entries, 1)]
    models = [str(each.get("model") or "nectar") for each in entries]
    return _group(row, source, words, ranks_of_scores([-rank for rank in ranks]), models, "nectar")


def _rank(entry: Row, place: int) -> float:
    rank = number(entry.get("rank"))
    if rank is None or rank < 1:
        raise BadRow(f"the rank {entry.get('rank')!r:.40} of answer {place}", "1 (best), 2, 3, …")
    return rank


def _answer(entry: Row, place: int) -> Words:
    name = next((each for each in TEXTS if each in entry), None)
    if name is None:
        raise BadRow(f"no text in answer {place}", f"one of {', '.join(TEXTS)}")
    return completion_of(entry[name], f"answer {place}")


def _rewardbench2(row: Row, source: str) -> Parsed:
    """Lists of chosen and of rejected completions: every chosen one ranks above every rejected one."""
    sides = [_listed(row, name) for name in ("chosen", "rejected")]
    ranks = [1] * len(sides[0]) + [2] * len(sides[1])
    words = sides[0] + sides[1]
    named = peek(row, "models")
    fits = isinstance(named, list) and len(named) == len(words)
    models = [str(each) for each in row["models"]] if fits else ["rewardbench2"] * len(words)
    return _group(row, source, words, ranks, models, "rewardbench2")


def _listed(row: Row, name: str) -> list[Words]:
    value = column(row, name)
    if not isinstance(value, list) or not value:
        raise BadRow(f"the column {name!r} holds {kind_of(value)}", "a list of completions")
    return [completion_of(each, name) for each in value]


def _group(
    row: Row, source: str, words: Sequence[Words], ranks: Sequence[int], models: Sequence[str], name: str
) -> Parsed:
    if len(words) < 2:
        raise BadRow(count(len(words), "completion"), "at least two to rank")
    question = read_question(row)
    prompt = question.prompt(source, chat=any(each.turns for each in words))
    columns = unread(row)
    completions = [
        imported(prompt, made.spans, made.model, made.index, columns)
        for made in completions_of(prompt, [spans_of(each) for each in words], models)
    ]
    ids = tuple(completion.id for completion in completions)
    group = Preference.make(prompt.id, ids, tuple(ranks), pairs=pairs_of_ranks(ranks), source=name)
    left_out = (*question.words.left_out, *(reason for each in words for reason in each.left_out))
    return Parsed((prompt, *completions, group), content=group.id, left_out=left_out)


def _is_nectar(row: Row) -> bool:
    answers: Any = rows_of_columns(peek(row, "answers"))
    listed = isinstance(answers, list) and bool(answers) and isinstance(answers[0], dict)
    return first(row, PROMPTS) is not None and listed and "rank" in answers[0]


NECTAR = Format(
    "nectar",
    "prompt and answers, each with its text, model and rank (1 is the best)",
    _nectar,
    _is_nectar,
    needs=("prompt", "answers"),
    holds_objects={"answers"}.__contains__,
    columns="`prompt`, `answers` of `answer`, `model`, `rank`",
    becomes="a group of K with its ranks",
)
REWARDBENCH2 = Format(
    "rewardbench2",
    "prompt, and lists of chosen and of rejected completions: a ranking in two ranks",
    _rewardbench2,
    lambda row: first(row, PROMPTS) is not None and has(row, "chosen", "rejected") and is_lists(row),
    holds_objects=lambda name: name == "chosen" or name == "rejected",
    columns="`prompt`, `chosen` and `rejected` as lists",
    becomes="a group of K in two ranks",
)
