"""Exports judgments: Stiennon's comparisons, Chatbot Arena's battles, Argilla's records, plain rankings.

Comparisons and battles have one row per vote, so that disagreement is not lost. "Both bad" is written if both
completions are marked F.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations
from typing import Any

from preflab.records import Completion, Judgment
from preflab.store.exports.base import Export, Material, Row
from preflab.store.exports.decided_pairs import TIED
from preflab.store.exports.trainer_texts import (
    MADE_TURNS,
    asked_for,
    in_turns,
    only_text,
    plain_text,
    template_of,
    turns_of,
    write_completion,
)
from preflab.store.formats.judgment_records import best_first, fails

SURPLUS, DECISIONS = "surplus judgments", "decisions of adjudicators"
NOT_TWO = "judgments of one completion"
FAILED = "pairs with a completion marked F"
TOO_FEW_RANKED = "judgments that rank fewer than two completions"
NOT_JUDGED = "completions without an answer, written as F"


def _votes(judgment: Judgment, material: Material) -> Iterator[tuple[Completion, Completion, str]]:
    """(first, second, outcome) of every pair: `first`, `second`, `tie` or `both_bad`; a pair with one F is dropped."""
    if not _counts(judgment, material):
        return
    if len(judgment.completion_ids) < 2:
        material.drop(NOT_TWO)
        return
    ranks, failed = best_first(judgment), fails(judgment.answer, len(judgment.completion_ids))
    completions = [material.completions[each] for each in judgment.completion_ids]
    for i, j in combinations(range(len(ranks)), 2):
        one, other = ranks[i], ranks[j]
        if one is not None and other is not None:
            yield completions[i], completions[j], "first" if one < other else "second" if other < one else "tie"
        elif failed[i] and failed[j]:
            yield completions[i], completions[j], "both_bad"
        else:
            material.drop(FAILED)


def _counts(judgment: Judgment, material: Material) -> bool:
    """Whether the judgment is a label that counts; surplus and decisions are counted as dropped."""
    for reason, wrong in ((SURPLUS, judgment.surplus), (DECISIONS, judgment.decides)):
        if wrong:
            material.drop(reason)
            return False
    return True


def _comparison(judgment: Judgment, material: Material) -> Iterator[Row]:
    """Stiennon et al. 2020: choice 0 or 1; ties and conversations are dropped."""
    prompt = material.prompts[judgment.prompt_id]
    for first, second, outcome in _votes(judgment, material):
        if outcome not in ("first", "second"):
            material.drop(TIED if outcome == "tie" else FAILED)
            continue
        post, texts = only_text(prompt, material), [plain_text(each, material) for each in (first, second)]
        if post is None or None in texts:
            continue
        yield {
            "info": {"id": prompt.id, "post": post, "title": "", "subreddit": ""},
            "summaries": [
                {"text": text, "policy": each.model, "note": ""}
                for text, each in zip(texts, (first, second), strict=True)
            ],
            "choice": int(outcome == "second"),
            "worker": material.labelers[judgment.labeler_id].name,
            "batch": material.campaigns[judgment.campaign_id].name,
            "split": "train",
            "extra": {"confidence": None},
        }


WINNERS = {"first": "model_a", "second": "model_b", "tie": "tie", "both_bad": "tie (bothbad)"}


def _battle(judgment: Judgment, material: Material) -> Iterator[Row]:
    prompt, turns = material.prompts[judgment.prompt_id], turns_of(material.prompts[judgment.prompt_id])
    for first, second, outcome in _votes(judgment, material):
        sides = [in_turns(each, material) for each in (first, second)]
        if sides[0] is None or sides[1] is None:
            continue
        material.change(MADE_TURNS, not prompt.messages)
        row = {
            "question_id": prompt.id,
            "model_a": first.model,
            "model_b": second.model,
            "winner": WINNERS[outcome],
            "judge": material.labelers[judgment.labeler_id].name,
            "conversation_a": [*turns, *sides[0]],
            "conversation_b": [*turns, *sides[1]],
            "turn": sum(turn["role"] == "user" for turn in turns),
            "anony": True,
            "tstamp": judgment.created_at,
        }
        yield row | template_of(prompt)


def by_task(judgments: list[Judgment]) -> list[list[Judgment]]:
    """The judgments grouped by task, sorted by task and labeler."""
    tasks: dict[str, list[Judgment]] = {}
    for judgment in sorted(judgments, key=lambda j: (j.task_id, j.labeler_id)):
        tasks.setdefault(judgment.task_id, []).append(judgment)
    return list(tasks.values())


def _argilla(judgments: list[Judgment], material: Material) -> Iterator[Row]:
    """One row per task: its fields (texts or turns), and the labelers' answers as lists."""
    counted = [judgment for judgment in judgments if _counts(judgment, material)]
    if not counted:
        return
    first = counted[0]
    prompt = material.prompts[first.prompt_id]
    fields = [f"response-{number}" for number in range(1, len(first.completion_ids) + 1)]
    words = [write_completion(prompt, material.completions[each], material) for each in first.completion_ids]
    if None in words:
        return
    row: Row = {"id": first.task_id, "prompt": asked_for(prompt), **dict(zip(fields, words, strict=True))}
    row |= template_of(prompt)
    people = [material.labelers[judgment.labeler_id].name for judgment in counted]
    for question, responses in _questions(counted, fields, material).items():
        answers = [(user, answer) for user, answer in zip(people, responses, strict=True) if answer is not None]
        row |= {
            f"{question}.responses": [answer for _, answer in answers],
            f"{question}.responses.users": [user for user, _ in answers],
            f"{question}.responses.status": ["submitted"] * len(answers),
        }
    yield row


def _questions(judgments: list[Judgment], fields: list[str], material: Material) -> dict[str, list[Any]]:
    """Question → each labeler's response: a rating or label per field, or one ranking of the fields."""
    if all(judgment.answer.criteria for judgment in judgments):
        names = sorted({name for j in judgments for name in j.answer.criteria})
        return {
            f"{field}-{name}": [j.answer.ratings.get(name, (None,) * len(fields))[i] for j in judgments]
            for name in names
            for i, field in enumerate(fields)
        }
    if all(judgment.answer.verdicts for judgment in judgments):
        return {f"{field}-thumb": [THUMBS[j.answer.verdicts[i]] for j in judgments] for i, field in enumerate(fields)}
    ranked = [_ranked(judgment, fields) for judgment in judgments]
    material.drop(TOO_FEW_RANKED, ranked.count(None))
    return {"ranking": ranked}


THUMBS = {True: "good", False: "bad", None: None}


def _ranked(judgment: Judgment, fields: list[str]) -> list[Row] | None:
    """The ranked fields, best first, without those marked F (Argilla has no such mark); None for fewer than two."""
    ranks = best_first(judgment)
    entries = [{"value": field, "rank": rank} for field, rank in zip(fields, ranks, strict=True) if rank is not None]
    return sorted(entries, key=lambda entry: (entry["rank"], entry["value"])) if len(entries) > 1 else None


def _ranking(judgment: Judgment, material: Material) -> Iterator[Row]:
    """Plain rankings; the rank of a completion marked F is "F"."""
    if not _counts(judgment, material):
        return
    if len(judgment.completion_ids) < 2:
        material.drop(NOT_TWO)
        return
    ranks, prompt = best_first(judgment), material.prompts[judgment.prompt_id]
    marks = fails(judgment.answer, len(ranks))
    material.change(NOT_JUDGED, sum(rank is None and not failed for rank, failed in zip(ranks, marks, strict=True)))
    words = [write_completion(prompt, material.completions[each], material) for each in judgment.completion_ids]
    if None in words:
        return
    row: Row = {
        "prompt": asked_for(prompt),
        "completions": words,
        "ranks": ["F" if rank is None else rank for rank in ranks],
        "labeler": material.labelers[judgment.labeler_id].name,
        "campaign": material.campaigns[judgment.campaign_id].name,
    }
    row |= template_of(prompt)
    columns = {"models": [material.completions[each].model for each in judgment.completion_ids], "note": judgment.note}
    yield row if material.settings.strict else row | columns | {"created_at": judgment.created_at}


EXPORTS = (
    Export(
        "stiennon",
        "comparisons: info, summaries, choice; one row per vote",
        "judgment",
        _comparison,
        latest=True,
        holds="texts",
        keeps=frozenset({"models", "failed"}),
    ),
    Export(
        "chatbot-arena",
        "battles: conversation_a, conversation_b, winner; one row per vote",
        "judgment",
        _battle,
        latest=True,
        holds="turns; a text is a user's turn",
        keeps=frozenset({"models", "failed"}),
    ),
    Export(
        "argilla",
        "flattened: fields, responses of all users side by side",
        "judgment",
        _argilla,
        latest=True,
        units=by_task,
        keeps=frozenset({"answers"}),
    ),
    Export(
        "rankings",
        "prompt, completions, ranks, labeler; one row per judgment",
        "judgment",
        _ranking,
        latest=True,
        parquet=False,
        keeps=frozenset({"failed"}),
        beside=frozenset({"models", "notes"}),
    ),
)
