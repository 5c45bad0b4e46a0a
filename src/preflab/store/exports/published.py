"""Preferences in the forms of well-known data sets: UltraFeedback, Open-Assistant; and OpenAI's.

Ratings come from Likert scores alone, ranks from the consensus.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from preflab.records import Completion, Message, Preference, Prompt
from preflab.store.exports.base import Export, Material, Row
from preflab.store.exports.pairs import best_completions, decided_pairs
from preflab.store.exports.words import MADE_TURNS, in_turns, only_text, plain_text, template_of, turns_of
from preflab.store.formats.columns import CONTINUE

NOT_RATED = "preferences without scores"
TOP = 5
"""UltraFeedback's best rating."""
NO_RANKS = "preferences with fewer than two ranked completions"
NOT_A_TREE = "conversations that a tree cannot hold (system turns, tools, thinking)"
GO_ON = "completions that continue a turn of the prompt"


def _ultrafeedback(preference: Preference, material: Material) -> Iterator[Row]:
    """Scores 1 to 5 per criterion as ratings, their mean as the overall score; 1 to 7 has no place in it."""
    scores = {name: row for name, row in preference.scores.items() if max((s or 0 for s in row), default=0) <= TOP}
    if not scores:
        material.drop(NOT_RATED)
        return
    prompt = material.prompts[preference.prompt_id]
    completions = [material.completions[each] for each in preference.completion_ids]
    asked, texts = only_text(prompt, material), [plain_text(each, material) for each in completions]
    if asked is None or None in texts:
        return
    yield {
        "source": preference.source,
        "instruction": asked,
        "models": [completion.model for completion in completions],
        "correct_answers": [],
        "incorrect_answers": [],
        "completions": [
            _rated({name: row[index] for name, row in scores.items()}, each, text)
            for index, (each, text) in enumerate(zip(completions, texts, strict=True))
        ],
    }


def _rated(given: Mapping[str, float | None], completion: Completion, text: str | None) -> Row:
    scores = [score for score in given.values() if score is not None]
    return {
        "model": completion.model,
        "principle": completion.columns.get("principle"),
        "custom_system_prompt": completion.columns.get("custom_system_prompt"),
        "response": text,
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
    completions = [material.completions[each] for each in preference.completion_ids]
    texts = [plain_text(each, material) for each in completions]
    if None in texts:
        return
    if not _fits_a_tree(prompt) or not all(text and text.strip() for text in texts):
        material.drop(NOT_A_TREE)
        return
    material.change(MADE_TURNS, not prompt.messages)
    ordered = sorted({rank for rank in preference.ranks if rank is not None})
    replies = [
        _message(each.id, "assistant", text or "", [])
        | {"rank": None if rank is None else ordered.index(rank), "model_name": each.model, "synthetic": True}
        for each, text, rank in zip(completions, texts, preference.ranks, strict=True)
    ]
    yield {"message_tree_id": preference.id, "tree_state": "ready_for_export", "prompt": _chain(prompt, replies)}


def _fits_a_tree(prompt: Prompt) -> bool:
    """Whether its turns are plain ones of the user's and the assistant's."""
    plain = all(turn == Message(turn.role, turn.content) for turn in prompt.messages)
    roles = {turn.role for turn in prompt.messages} <= {"user", "assistant"}
    return plain and roles and not template_of(prompt)


def _chain(prompt: Prompt, replies: list[Row]) -> Row:
    for number, message in reversed(list(enumerate(prompt.messages or (Message("user", prompt.text),)))):
        role = "assistant" if message.role == "assistant" else "prompter"
        replies = [_message(f"{prompt.id}-{number}", role, message.content, replies)]
    return replies[0]


def _message(message_id: str, role: str, text: str, replies: list[Row]) -> Row:
    return {"message_id": message_id, "role": role, "text": text, "deleted": False, "replies": replies}


def _openai_pair(preference: Preference, material: Material) -> Iterator[Row]:
    for pair in decided_pairs(preference, material):
        sides = [in_turns(each, material, openai=True) for each in (pair.chosen, pair.rejected)]
        if None in sides:
            continue
        material.change(MADE_TURNS, not pair.prompt.messages)
        asked = {"messages": turns_of(pair.prompt, openai=True), **template_of(pair.prompt)}
        yield {"input": asked, "preferred_output": sides[0], "non_preferred_output": sides[1]}


def _openai_messages(preference: Preference, material: Material) -> Iterator[Row]:
    prompt = material.prompts[preference.prompt_id]
    if prompt.columns.get(CONTINUE):
        material.drop(GO_ON)
        return
    for completion in best_completions(preference, material):
        said = in_turns(completion, material, openai=True)
        if said is not None:
            material.change(MADE_TURNS, not prompt.messages)
            yield {"messages": [*turns_of(prompt, openai=True), *said]} | template_of(prompt)


EXPORTS = (
    Export(
        "ultrafeedback",
        "instruction, completions with ratings per criterion",
        "preference",
        _ultrafeedback,
        holds="texts",
    ),
    Export(
        "oasst",
        "message trees with ranked replies, 0 = best",
        "preference",
        _tree,
        parquet=False,
        holds="plain turns; a text is a user's turn",
    ),
    Export(
        "openai-preferences",
        "input.messages, preferred_output, non_preferred_output",
        "preference",
        _openai_pair,
        holds="turns; a text is a user's turn",
    ),
    Export(
        "openai-messages",
        "messages: prompt and best completion",
        "preference",
        _openai_messages,
        read_as="demonstrations",
        holds="turns; a text is a user's turn",
    ),
)
