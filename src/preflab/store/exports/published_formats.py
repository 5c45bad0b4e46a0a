"""Exports preferences in the formats of UltraFeedback, Open-Assistant and OpenAI.

Ratings come from Likert scores alone, ranks from the consensus.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from preflab.records import Completion, Message, Preference, Prompt
from preflab.store.exports.base import Export, Material, Row
from preflab.store.exports.decided_pairs import PAIRS, best_completions, decided_pairs
from preflab.store.exports.trainer_texts import MADE_TURNS, in_turns, only_text, plain_text, template_of, turns_of
from preflab.store.formats.columns import CONTINUE
from preflab.store.formats.fields import ranks_of_scores

NOT_RATED = "preferences without scores"
LEAST, TOP, BEST, OVERALL = 1, 5, 10, "overall"
"""UltraFeedback's lowest and highest rating, its highest overall score, and the name of the overall criterion."""
BEYOND = "scores that are no ratings from 1 to 5"
MEAN_AS_OVERALL = "overall scores written as the mean of the ratings"
OTHER_RANKS = "preferences whose ranks the ratings do not give"
NO_RANKS = "preferences with fewer than two ranked completions"
NOT_A_TREE = "conversations that a tree cannot hold (system turns, tools, thinking)"
GO_ON = "completions that continue a turn of the prompt"


def _ultrafeedback(preference: Preference, material: Material) -> Iterator[Row]:
    """UltraFeedback: ratings from 1 to 5 per criterion; their mean is the overall score if there is no other."""
    scores = {name: row for name, row in preference.scores.items() if name != OVERALL and _are_ratings(row)}
    overall = preference.scores.get(OVERALL, ())
    overall = overall if not scores or all(0 <= (score or 0) <= BEST for score in overall) else ()
    if not scores and not any(score is not None for score in overall):
        material.drop(NOT_RATED)
        return
    prompt = material.prompts[preference.prompt_id]
    completions = [material.completions[each] for each in preference.completion_ids]
    instruction, texts = only_text(prompt, material), [plain_text(each, material) for each in completions]
    if instruction is None or None in texts:
        return
    _count_changes(preference, scores, overall, material)
    defaults: Row = {"source": preference.source, "correct_answers": [], "incorrect_answers": []}
    yield {
        **defaults,
        **{name: prompt.columns[name] for name in defaults if name in prompt.columns},
        "instruction": instruction,
        "models": [completion.model for completion in completions],
        "completions": [
            _completion_row({name: row[index] for name, row in scores.items()}, each, text, overall[index : index + 1])
            for index, (each, text) in enumerate(zip(completions, texts, strict=True))
        ],
    }


def _are_ratings(row: Sequence[float | None]) -> bool:
    rated = [score for score in row if score is not None]
    return bool(rated) and min(rated) >= LEAST and max(rated) <= TOP


def _count_changes(
    preference: Preference, scores: Mapping[str, Sequence[float | None]], overall: Sequence[float | None], to: Material
) -> None:
    """Count what an import will read differently: scores left out, means as overall scores, and other ranks."""
    written = {*scores, *([OVERALL] if overall else [])}
    beyond = [row for name, row in preference.scores.items() if name not in written]
    to.leave_out(BEYOND, sum(score is not None for row in beyond for score in row))
    means = [_mean([row[place] for row in scores.values()]) for place in range(len(preference.ranks))]
    overall_scores = overall or (None,) * len(means)
    to.change(
        MEAN_AS_OVERALL, sum(o is None and mean is not None for o, mean in zip(overall_scores, means, strict=True))
    )
    levels = [level for level in (means if scores else overall_scores) if level is not None]
    to.change(OTHER_RANKS, len(levels) < len(means) or preference.ranks != ranks_of_scores(levels))


def _mean(scores: Sequence[float | None]) -> float | None:
    rated = [score for score in scores if score is not None]
    return sum(rated) / len(rated) if rated else None


def _completion_row(
    ratings: Mapping[str, float | None], completion: Completion, text: str | None, overall: Sequence[float | None]
) -> Row:
    """One completion of an UltraFeedback row with its ratings."""
    overall_score = next(iter(overall), None)
    return {
        "model": completion.model,
        "principle": completion.columns.get("principle"),
        "custom_system_prompt": completion.columns.get("custom_system_prompt"),
        "response": text,
        "annotations": {name: {"Rating": _rating(score), "Rationale": ""} for name, score in ratings.items()},
        "overall_score": _mean(list(ratings.values())) if overall_score is None else overall_score,
    }


def _rating(score: float | None) -> str:
    return "N/A" if score is None else f"{score:g}"


def _tree(preference: Preference, material: Material) -> Iterator[Row]:
    """Open-Assistant: the prompt as a chain of messages, the completions as ranked replies to the last, 0 = best."""
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
    """Whether the prompt has only plain turns of the user and the assistant, and no columns for the chat template."""
    plain = all(turn == Message(turn.role, turn.content) for turn in prompt.messages)
    roles = {turn.role for turn in prompt.messages} <= {"user", "assistant"}
    return plain and roles and not template_of(prompt)


def _chain(prompt: Prompt, replies: list[Row]) -> Row:
    """The first message of the prompt, with the next one as its reply, and so on; the last one has `replies`."""
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
        turns = in_turns(completion, material, openai=True)
        if turns is not None:
            material.change(MADE_TURNS, not prompt.messages)
            yield {"messages": [*turns_of(prompt, openai=True), *turns]} | template_of(prompt)


EXPORTS = (
    Export(
        "ultrafeedback",
        "instruction, completions with ratings per criterion",
        "preference",
        _ultrafeedback,
        holds="texts",
        keeps=frozenset({"models", "scores", "side_scores", "pairs"}),
        columns=("source", "correct_answers", "incorrect_answers", "principle", "custom_system_prompt"),
    ),
    Export(
        "oasst",
        "message trees with ranked replies, 0 = best",
        "preference",
        _tree,
        parquet=False,
        holds="plain turns; a text is a user's turn",
        keeps=frozenset({"models", "pairs"}),
    ),
    Export(
        "openai-preferences",
        "input.messages, preferred_output, non_preferred_output",
        "preference",
        _openai_pair,
        holds="turns; a text is a user's turn",
        keeps=PAIRS,
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
