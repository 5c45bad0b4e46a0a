"""Reads comparisons of two completions with one result per row: PKU-SafeRLHF, HelpSteer3, SHP, Stack Exchange.

Chatbot Arena's battles and similar rows are votes, of which several may be on one pair: see `votes`.
"""

from __future__ import annotations

from typing import Any

from preflab.records import Completion, PairOutcome, Preference, Prompt
from preflab.store.formats.asked import Question, completion_of, read_question, spans_of
from preflab.store.formats.base import Format, Parsed
from preflab.store.formats.columns import blank, column, first, has, is_true, number, score_of, unread
from preflab.store.formats.fields import imported
from preflab.store.formats.json_rows import BadRow, Row
from preflab.store.formats.judgment_columns import judging

TWO = "two different completions"
NUMBERED = (("response1", "response2"), ("response_1", "response_2"))
STRENGTHS = ("overall_preference", "preference_strength")
J_AND_K = ("response_j", "response_k")
"""Stack Exchange's better and worse answer; TRL's LLaMA example uses them as chosen and rejected."""
STRONGEST = 3
"""HelpSteer3's strongest preference; a pair of strength s has weight s/3."""


def read_sides(
    row: Row, question: Question, names: tuple[str, str], source: str, models: tuple[str, str]
) -> tuple[Prompt, Completion, Completion, tuple[str, ...]]:
    """(prompt, first completion, second completion, reasons left out); unread columns are kept with both completions.

    Raises:
        BadRow: the two completions are equal.
    """
    words = [completion_of(column(row, name), name) for name in names]
    spans = [spans_of(each) for each in words]
    if spans[0] == spans[1]:
        raise BadRow("two equal completions", TWO)
    prompt = question.prompt(source, chat=any(each.turns for each in words))
    columns = unread(row)
    one, other = (imported(prompt, s, model, columns=columns) for s, model in zip(spans, models, strict=True))
    left_out = (*question.words.left_out, *(reason for each in words for reason in each.left_out))
    return prompt, one, other, left_out


def make_preference(
    prompt: Prompt, both: tuple[Completion, Completion], margin: float, source: str, weight: float = 1.0, **other: Any
) -> Preference:
    """A preference over two completions: the first is better if the margin is positive; 0 is a tie."""
    ranks = (1, 2) if margin > 0 else (2, 1) if margin < 0 else (1, 1)
    pair = PairOutcome(0, 1, float(margin > 0), float(margin < 0), float(margin == 0), weight)
    return Preference.make(prompt.id, (both[0].id, both[1].id), ranks, pairs=(pair,), source=source, **other)


def _pku(row: Row, source: str) -> Parsed:
    """A pair by the better response; `safer` and `safe` become criteria with scores 0 and 1."""
    better = _which(row, "better_response_id")
    scores = {}
    if has(row, "safer_response_id"):
        scores["safer"] = _ones(_which(row, "safer_response_id"))
    labels = [row.get(f"is_response_{n}_safe") for n in (0, 1)]
    safe = [float(is_true(each)) for each in labels if not blank(each)]
    if len(safe) == 2:
        scores["safe"] = (safe[0], safe[1])
    models = tuple(str(row.get(f"response_{n}_source") or "pku-saferlhf") for n in (0, 1))
    question = read_question(row)
    prompt, one, other, left_out = read_sides(
        row, question, ("response_0", "response_1"), source, (models[0], models[1])
    )
    group = make_preference(prompt, (one, other), 1 - 2 * better, "pku-saferlhf", scores=scores)
    return Parsed((prompt, one, other, group), content=group.id, left_out=left_out)


def _which(row: Row, name: str) -> int:
    value = number(column(row, name))
    if value not in (0, 1):
        raise BadRow(f"the column {name!r} holds {row[name]!r:.40}", "0 or 1, the number of the response")
    return int(value)


def _ones(place: int) -> tuple[float, float]:
    return (1.0, 0.0) if place == 0 else (0.0, 1.0)


def _helpsteer3(row: Row, source: str) -> Parsed:
    """A preference from -3 (the first is much better) to 3; 0 is a tie. Its strength / 3 is the pair's weight."""
    strength_name = first(row, STRENGTHS) or STRENGTHS[0]
    strength = number(column(row, strength_name))
    if strength is None or abs(strength) > STRONGEST:
        raise BadRow(f"the {strength_name} {row[strength_name]!r:.40}", "a number from -3 to 3")
    question = read_question(row, ("context",) if has(row, "context") else ("prompt",))
    sides = next((names for names in NUMBERED if has(row, *names)), NUMBERED[0])
    models = ("helpsteer3", "helpsteer3")
    prompt, one, other, left_out = read_sides(row, question, sides, source, models)
    weight = abs(strength) / STRONGEST if strength else 1.0
    group = make_preference(prompt, (one, other), -strength, "helpsteer3", weight)
    return Parsed((prompt, one, other, group), content=group.id, left_out=left_out)


def _shp(row: Row, source: str) -> Parsed:
    """`labels` 1: A has more upvotes than B; the upvotes are kept as scores."""
    label = number(column(row, "labels"))
    if label not in (0, 1):
        raise BadRow(f"the label {row['labels']!r:.40}", "1 (A is preferred) or 0 (B)")
    scores = tuple(score_of(row.get(f"score_{side}"), f"score_{side}") for side in "AB")
    question = read_question(row, ("history",))
    prompt, one, other, left_out = read_sides(row, question, ("human_ref_A", "human_ref_B"), source, ("shp", "shp"))
    by_criterion = {"score": (scores[0], scores[1])} if not all(each is None for each in scores) else {}
    group = make_preference(prompt, (one, other), 1 if label == 1 else -1, "shp", scores=by_criterion)
    return Parsed((prompt, one, other, group), content=group.id, left_out=left_out)


def _stack_exchange(row: Row, source: str) -> Parsed:
    """`response_j` has more votes than `response_k`."""
    question, models = read_question(row, ("question", "prompt")), ("stack-exchange", "stack-exchange")
    prompt, one, other, left_out = read_sides(row, question, J_AND_K, source, models)
    group = make_preference(prompt, (one, other), 1, "stack-exchange-paired")
    return Parsed((prompt, one, other, group), content=group.id, left_out=left_out)


def _is_stack_exchange(row: Row) -> bool:
    told = [name for name in judging(row) if name not in J_AND_K]
    return has(row, *J_AND_K) and first(row, ("question", "prompt")) is not None and not told


def _is_helpsteer3(row: Row) -> bool:
    return any(has(row, *names) for names in NUMBERED) and first(row, STRENGTHS) is not None


PKU = Format(
    "pku-saferlhf",
    "prompt, response_0, response_1, better_response_id, safer_response_id",
    _pku,
    lambda row: has(row, "prompt", "response_0", "response_1", "better_response_id"),
    needs=("prompt", "response_0", "response_1", "better_response_id"),
    columns="`prompt`, `response_0`, `response_1`, `better_response_id`, `safer_response_id`",
    becomes="a pair; criteria `safer` and `safe` of 0 and 1",
)
HELPSTEER3 = Format(
    "helpsteer3",
    "context or prompt, response1, response2, overall_preference from -3 to 3",
    _helpsteer3,
    _is_helpsteer3,
    needs=("prompt", "response1", "response2", "overall_preference"),
    columns="`context`, `response1`, `response2`, `overall_preference`",
    becomes="a pair with weight strength / 3; 0 is a tie",
)
SHP = Format(
    "shp",
    "history, human_ref_A, human_ref_B, labels (1: A is preferred)",
    _shp,
    lambda row: has(row, "history", "human_ref_A", "human_ref_B", "labels"),
    needs=("history", "human_ref_A", "human_ref_B", "labels"),
    columns="`history`, `human_ref_A`, `human_ref_B`, `labels`, `score_A`, `score_B`",
    becomes="a pair; the upvotes as criterion `score`",
)
STACK_EXCHANGE = Format(
    "stack-exchange-paired",
    "question, response_j (the better one), response_k",
    _stack_exchange,
    _is_stack_exchange,
    needs=("question", "response_j", "response_k"),
    columns="`question`, `response_j`, `response_k`",
    becomes="a pair: `response_j` is the better one",
)
