"""The forms of well-known data sets: Stiennon's comparisons, UltraFeedback, Chatbot Arena, Open-Assistant; OpenAI's.

Comparisons and battles are one row per vote, so that who disagreed is not lost; a vote of "both bad" needs a mark F on
both. Ratings come from Likert scores alone, ranks from the consensus.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import combinations
from typing import Any

from preflab.records import Completion, Judgment, LikertAnswer, Message, Preference, Prompt, ThumbsAnswer
from preflab.store.exports.base import Export, Material, Row
from preflab.store.exports.trainers import TIED, best_completions, decided_pairs, turn_of, turns_of
from preflab.store.formats.judged import best_first, fails

SURPLUS, DECISIONS = "surplus judgments", "decisions of adjudicators"
NOT_TWO = "judgments of one completion"
NOT_RATED = "preferences without scores"
FAILED = "pairs with a completion marked F"
TOP = 5
"""UltraFeedback's best rating."""
NO_RANKS = "preferences with fewer than two ranked completions"


def _votes(judgment: Judgment, material: Material) -> Iterator[tuple[Completion, Completion, str]]:
    """Every pair of a judgment in the task's order: `first`, `second`, `tie` or `both_bad`; one F alone gives none."""
    if not _counts(judgment, material):
        return
    if len(judgment.completion_ids) < 2:
        material.drop(NOT_TWO)
        return
    ranks, gone = best_first(judgment), fails(judgment.answer, len(judgment.completion_ids))
    completions = [material.completions[each] for each in judgment.completion_ids]
    for i, j in combinations(range(len(ranks)), 2):
        one, other = ranks[i], ranks[j]
        if one is not None and other is not None:
            yield completions[i], completions[j], "first" if one < other else "second" if other < one else "tie"
        elif gone[i] and gone[j]:
            yield completions[i], completions[j], "both_bad"
        else:
            material.drop(FAILED)


def _counts(judgment: Judgment, material: Material) -> bool:
    """Whether it is one of the labels that were asked for."""
    for reason, wrong in ((SURPLUS, judgment.surplus), (DECISIONS, judgment.decides)):
        if wrong:
            material.drop(reason)
            return False
    return True


def _comparison(judgment: Judgment, material: Material) -> Iterator[Row]:
    """Stiennon et al. 2020: choice 0 or 1; ties have no place in it."""
    prompt = material.prompts[judgment.prompt_id]
    for first, second, outcome in _votes(judgment, material):
        if outcome not in ("first", "second"):
            material.drop(TIED if outcome == "tie" else FAILED)
            continue
        yield {
            "info": {"id": prompt.id, "post": prompt.shown, "title": "", "subreddit": ""},
            "summaries": [{"text": each.text, "policy": each.model, "note": ""} for each in (first, second)],
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
        yield {
            "question_id": prompt.id,
            "model_a": first.model,
            "model_b": second.model,
            "winner": WINNERS[outcome],
            "judge": material.labelers[judgment.labeler_id].name,
            "conversation_a": [*turns, turn_of("assistant", first.text)],
            "conversation_b": [*turns, turn_of("assistant", second.text)],
            "turn": sum(turn["role"] == "user" for turn in turns),
            "anony": True,
            "tstamp": judgment.created_at,
        }


def _ultrafeedback(preference: Preference, material: Material) -> Iterator[Row]:
    """Scores 1 to 5 per criterion as ratings, their mean as the overall score; 1 to 7 has no place in it."""
    scores = {name: row for name, row in preference.scores.items() if max((s or 0 for s in row), default=0) <= TOP}
    if not scores:
        material.drop(NOT_RATED)
        return
    prompt = material.prompts[preference.prompt_id]
    completions = [material.completions[each] for each in preference.completion_ids]
    yield {
        "source": preference.source,
        "instruction": prompt.shown,
        "models": [completion.model for completion in completions],
        "correct_answers": [],
        "incorrect_answers": [],
        "completions": [
            _rated({name: row[index] for name, row in scores.items()}, each) for index, each in enumerate(completions)
        ],
    }


def _rated(given: Mapping[str, float | None], completion: Completion) -> Row:
    scores = [score for score in given.values() if score is not None]
    return {
        "model": completion.model,
        "principle": completion.columns.get("principle"),
        "custom_system_prompt": completion.columns.get("custom_system_prompt"),
        "response": completion.text,
        "annotations": {name: {"Rating": _rating(score), "Rationale": ""} for name, score in given.items()},
        "overall_score": sum(scores) / len(scores) if scores else None,
    }


def _rating(score: float | None) -> str:
    return "N/A" if score is None else f"{score:g}"


def _tree(preference: Preference, material: Material) -> Iterator[Row]:
    """Open-Assistant: the conversation as a chain, the completions as its last message's ranked replies, 0 = best."""
    if sum(rank is not None for rank in preference.ranks) < 2:
        material.drop(NO_RANKS)
        return
    prompt = material.prompts[preference.prompt_id]
    ordered = sorted({rank for rank in preference.ranks if rank is not None})
    replies = [
        _message(completion_id, "assistant", material.completions[completion_id].text, [])
        | {
            "rank": None if rank is None else ordered.index(rank),
            "model_name": material.completions[completion_id].model,
        }
        | {"synthetic": True}
        for completion_id, rank in zip(preference.completion_ids, preference.ranks, strict=True)
    ]
    yield {"message_tree_id": preference.id, "tree_state": "ready_for_export", "prompt": _chain(prompt, replies)}


def _chain(prompt: Prompt, replies: list[Row]) -> Row:
    for number, message in reversed(list(enumerate(prompt.messages or (Message("user", prompt.text),)))):
        role = "assistant" if message.role == "assistant" else "prompter"
        replies = [_message(f"{prompt.id}-{number}", role, message.content, replies)]
    return replies[0]


def _message(message_id: str, role: str, text: str, replies: list[Row]) -> Row:
    return {"message_id": message_id, "role": role, "text": text, "deleted": False, "replies": replies}


def _openai_pair(preference: Preference, material: Material) -> Iterator[Row]:
    for pair in decided_pairs(preference, material):
        yield {
            "input": {"messages": turns_of(pair.prompt)},
            "preferred_output": [turn_of("assistant", pair.chosen.text)],
            "non_preferred_output": [turn_of("assistant", pair.rejected.text)],
        }


def _openai_messages(preference: Preference, material: Material) -> Iterator[Row]:
    turns = turns_of(material.prompts[preference.prompt_id])
    for completion in best_completions(preference, material):
        yield {"messages": [*turns, turn_of("assistant", completion.text)]}


def by_task(judgments: list[Judgment]) -> list[list[Judgment]]:
    """The judgments of each task together, those of a labeler in the order of their ids."""
    tasks: dict[str, list[Judgment]] = {}
    for judgment in sorted(judgments, key=lambda j: (j.task_id, j.labeler_id)):
        tasks.setdefault(judgment.task_id, []).append(judgment)
    return list(tasks.values())


def _argilla(judgments: list[Judgment], material: Material) -> Iterator[Row]:
    """One row per task: its fields, and the labelers' answers side by side."""
    counted = [judgment for judgment in judgments if _counts(judgment, material)]
    if not counted:
        return
    first = counted[0]
    fields = [f"response-{number}" for number in range(1, len(first.completion_ids) + 1)]
    texts = [material.completions[each].text for each in first.completion_ids]
    row: Row = {
        "id": first.task_id,
        "prompt": material.prompts[first.prompt_id].shown,
        **dict(zip(fields, texts, strict=True)),
    }
    people = [material.labelers[judgment.labeler_id].name for judgment in counted]
    for question, responses in _questions(counted, fields).items():
        given = [(who, said) for who, said in zip(people, responses, strict=True) if said is not None]
        row |= {
            f"{question}.responses": [said for _, said in given],
            f"{question}.responses.users": [who for who, _ in given],
            f"{question}.responses.status": ["submitted"] * len(given),
        }
    yield row


def _questions(judgments: list[Judgment], fields: list[str]) -> dict[str, list[Any]]:
    """Question → each labeler's response: a rating or label per field, or one ranking of the fields."""
    if all(isinstance(judgment.answer, LikertAnswer) for judgment in judgments):
        names = sorted({name for j in judgments for name in j.answer.scores})  # type: ignore[union-attr]
        return {
            f"{field}-{name}": [j.answer.scores.get(name, (None,) * len(fields))[i] for j in judgments]  # type: ignore[union-attr]
            for name in names
            for i, field in enumerate(fields)
        }
    if all(isinstance(judgment.answer, ThumbsAnswer) for judgment in judgments):
        return {
            f"{field}-thumb": [THUMBS[j.answer.up[i]] for j in judgments]  # type: ignore[union-attr]
            for i, field in enumerate(fields)
        }
    return {"ranking": [_ranked(judgment, fields) for judgment in judgments]}


THUMBS = {True: "good", False: "bad", None: None}


def _ranked(judgment: Judgment, fields: list[str]) -> list[Row] | None:
    """Those ranked; Argilla has no mark F."""
    ranks = best_first(judgment)
    entries = [{"value": field, "rank": rank} for field, rank in zip(fields, ranks, strict=True) if rank is not None]
    return sorted(entries, key=lambda entry: (entry["rank"], entry["value"])) if len(entries) > 1 else None


def _ranking(judgment: Judgment, material: Material) -> Iterator[Row]:
    """Plain rankings, F written as "F"."""
    if not _counts(judgment, material):
        return
    if len(judgment.completion_ids) < 2:
        material.drop(NOT_TWO)
        return
    ranks, prompt = best_first(judgment), material.prompts[judgment.prompt_id]
    row: Row = {
        "prompt": turns_of(prompt) if prompt.messages else prompt.text,
        "completions": [material.completions[each].text for each in judgment.completion_ids],
        "ranks": ["F" if rank is None else rank for rank in ranks],
        "labeler": material.labelers[judgment.labeler_id].name,
        "campaign": material.campaigns[judgment.campaign_id].name,
    }
    more = {"models": [material.completions[each].model for each in judgment.completion_ids], "note": judgment.note}
    yield row if material.settings.strict else row | more | {"created_at": judgment.created_at}


EXPORTS = (
    Export("stiennon", "comparisons: info, summaries, choice; one row per vote", "judgment", _comparison, latest=True),
    Export(
        "chatbot-arena", "battles: conversation_a, conversation_b, winner; one row per vote", "judgment", _battle,
        latest=True,
    ),
    Export("ultrafeedback", "instruction, completions with ratings per criterion", "preference", _ultrafeedback),
    Export("oasst", "message trees with ranked replies, 0 = best", "preference", _tree, parquet=False),
    Export("openai-preferences", "input.messages, preferred_output, non_preferred_output", "preference", _openai_pair),
    Export("openai-messages", "messages: prompt and best completion", "preference", _openai_messages),
    Export("argilla", "flattened: fields, responses of all users side by side", "judgment", _argilla, latest=True,
           units=by_task),
    Export("rankings", "prompt, completions, ranks, labeler; one row per judgment", "judgment", _ranking, latest=True,
           parquet=False),
)  # fmt: skip
