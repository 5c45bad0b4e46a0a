"""Exports in the formats that trainers read: TRL's columns, HH-RLHF's transcripts, prompts, demonstrations.

Pairs come from decided pairs alone. Good/bad labels come from thumbs or scores alone, never from pairs, because the
better of two completions is not always good, nor the worse one bad.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from preflab.errors import PreflabError
from preflab.records import Completion, Message, Preference, Prompt
from preflab.store.exports.base import Export, Material, Row
from preflab.store.exports.decided_pairs import (
    BESIDE_PAIRS,
    PAIRS,
    Pair,
    beside,
    best_completions,
    decided_pairs,
    origin,
)
from preflab.store.exports.trainer_texts import (
    LOOKS_LIKE_TURNS,
    MADE_TURNS,
    asked_for,
    continues,
    in_turns,
    plain_text,
    reads_as_turns,
    template_of,
    turns_of,
    write_completion,
)
from preflab.store.formats.answered import FINISH_REASON
from preflab.store.formats.columns import CONTINUE, OF_TEMPLATE, PICTURES, SYSTEM
from preflab.store.formats.hh_rlhf import ASSISTANT, HUMAN, conversation
from preflab.store.formats.prompts import DEMONSTRATION, UNLEARNED
from preflab.store.formats.trl import shared_words

NOT_A_TRANSCRIPT = "pairs that a transcript cannot hold (tools, thinking, or words that look like turns)"
ANOTHER_BORDER = "pairs whose prompt an import ends elsewhere"
BEGIN_ALIKE = "pairs whose completions begin with the same turn"
GO_ON = "pairs whose completions continue a turn of the prompt"
TAKEN = "columns whose names the format uses itself"


def _explicit(preference: Preference, material: Material) -> Iterator[Row]:
    for pair in decided_pairs(preference, material):
        sides = [write_completion(pair.prompt, each, material) for each in (pair.chosen, pair.rejected)]
        if None not in sides:
            row = {"prompt": asked_for(pair.prompt), "chosen": sides[0], "rejected": sides[1]}
            yield row | template_of(pair.prompt) | beside(pair, material)


def _conversational(preference: Preference, material: Material) -> Iterator[Row]:
    for pair in decided_pairs(preference, material):
        sides = [in_turns(each, material) for each in (pair.chosen, pair.rejected)]
        if None not in sides:
            material.change(MADE_TURNS, not pair.prompt.messages)
            row = {"prompt": turns_of(pair.prompt), "chosen": sides[0], "rejected": sides[1]}
            yield row | template_of(pair.prompt) | beside(pair, material)


def _implicit(preference: Preference, material: Material) -> Iterator[Row]:
    for pair in decided_pairs(preference, material):
        sides = [write_completion(pair.prompt, each, material) for each in (pair.chosen, pair.rejected)]
        if None in sides:
            continue
        if not pair.prompt.messages:
            whole, other = (f"{pair.prompt.text}{side}" for side in sides)
            material.change(ANOTHER_BORDER, shared_words(whole, other) != len(pair.prompt.text))
            yield {
                name: f"{pair.prompt.text}{side}" for name, side in zip(("chosen", "rejected"), sides, strict=True)
            } | beside(pair, material)
        elif reason := _not_inside_both(pair, sides):
            material.drop(reason)
        else:
            turns = turns_of(pair.prompt)
            row: Row = {"chosen": [*turns, *(sides[0] or [])], "rejected": [*turns, *(sides[1] or [])]}
            yield row | template_of(pair.prompt) | beside(pair, material)


def _not_inside_both(pair: Pair, sides: list[str | list[Row] | None]) -> str:
    """The reason why an import could not separate the prompt from the completions again; "" if it could."""
    if continues(pair.prompt):
        return GO_ON
    first = [side[0] for side in sides if side]
    return BEGIN_ALIKE if first[0] == first[1] else ""


def _transcripts(preference: Preference, material: Material) -> Iterator[Row]:
    for pair in decided_pairs(preference, material):
        texts = [plain_text(each, material) for each in (pair.chosen, pair.rejected)]
        if texts[0] is None or texts[1] is None:
            continue
        whole = [_transcript(pair.prompt, text) for text in texts if text is not None]
        if len(whole) < 2 or None in whole or template_of(pair.prompt):
            material.drop(NOT_A_TRANSCRIPT)
            continue
        yield {"chosen": whole[0], "rejected": whole[1]} | beside(pair, material)


def _transcript(prompt: Prompt, completion: str) -> str | None:
    """Prompt and completion as a transcript (a prompt that is one is continued); None if it cannot be parsed back."""
    if not prompt.messages and prompt.text.endswith(ASSISTANT):
        return None if ASSISTANT in completion else prompt.text + completion
    heads = {"user": f"{HUMAN} ", "assistant": f"{ASSISTANT} "}
    turns = (*(prompt.messages or (Message("user", prompt.text),)), Message("assistant", completion))
    whole = "".join(heads.get(turn.role, "") + turn.content for turn in turns)
    plain = tuple(Message(turn.role, turn.content.strip()) for turn in turns)
    return whole if conversation(whole) == plain else None


def _best(preference: Preference, material: Material) -> Iterator[Row]:
    prompt = material.prompts[preference.prompt_id]
    for completion in best_completions(preference, material):
        turns = write_completion(prompt, completion, material)
        if turns is not None:
            row: Row = {"prompt": asked_for(prompt), "completion": turns}
            yield row | template_of(prompt) | origin(preference, completion, material)


def _whole_text(preference: Preference, material: Material) -> Iterator[Row]:
    prompt = material.prompts[preference.prompt_id]
    for completion in best_completions(preference, material):
        answer = write_completion(prompt, completion, material)
        if answer is None:
            continue
        if isinstance(answer, str):
            row: Row = {"text": prompt.text + answer}
        elif continues(prompt):
            *turns, last = turns_of(prompt)
            row = {"messages": [*turns, {**last, "content": last["content"] + answer[0]["content"]}, *answer[1:]]}
        else:
            row = {"messages": [*turns_of(prompt), *answer]}
        columns = {name: value for name, value in template_of(prompt).items() if name != CONTINUE}
        yield row | columns | origin(preference, completion, material)


def _prompt(prompt: Prompt, material: Material) -> Iterator[Row]:
    asked = asked_for(prompt)
    if not asked:
        material.drop("empty prompts, which plain texts belong to")
        return
    if reads_as_turns(prompt.text):
        material.drop(LOOKS_LIKE_TURNS)
        return
    yield {"prompt": asked} | template_of(prompt) | _other_columns(prompt.columns, material)


def _demonstration(completion: Completion, material: Material) -> Iterator[Row]:
    prompt = material.prompts[completion.prompt_id]
    turns = write_completion(prompt, completion, material)
    if turns is None:
        return
    columns = {name: value for name, value in completion.columns.items() if name != UNLEARNED}
    if completion.finish_reason != "imported":
        columns[FINISH_REASON] = completion.finish_reason
    row: Row = {"text": turns}
    if prompt.messages:
        unlearned = completion.columns.get(UNLEARNED) or ()
        row = {"prompt": turns_of(prompt, unlearned=unlearned), "completion": turns}
    elif prompt.text:
        row = {"prompt": prompt.text, "completion": turns}
    yield row | template_of(prompt) | _other_columns(columns, material)


def _other_columns(columns: Mapping[str, Any], material: Material) -> Row:
    """The columns by name, {} in strict mode; those with names that the format uses itself are counted as dropped."""
    if material.settings.strict:
        return {}
    taken = {"prompt", "completion", "text", *SYSTEM, *PICTURES, *OF_TEMPLATE}
    other = {name: columns[name] for name in sorted(columns) if name not in OF_TEMPLATE}
    material.drop(TAKEN, sum(name in taken for name in other))
    return {name: value for name, value in other.items() if name not in taken}


def one_form(prompts: Iterable[Prompt]) -> None:
    """Refuse a mixture of text prompts and conversations, which no trainer reads from one file."""
    forms = {bool(prompt.messages) for prompt in prompts}
    if len(forms) > 1:
        raise PreflabError(
            "some prompts are text and some are conversations",
            "one of the two in a file",
            "export them separately (--campaign), or in a format that writes a text as one user's turn: "
            "trl-conversational for pairs, openai-messages for demonstrations",
        )


EXPORTS = (
    Export(
        "trl-explicit",
        "prompt, chosen, rejected (DPO): text or turns",
        "preference",
        _explicit,
        one_form,
        keeps=PAIRS,
        beside=BESIDE_PAIRS,
    ),
    Export(
        "trl-conversational",
        "prompt, chosen, rejected, always as turns",
        "preference",
        _conversational,
        read_as="trl-explicit",
        holds="turns; a text is a user's turn",
        keeps=PAIRS,
        beside=BESIDE_PAIRS,
    ),
    Export(
        "trl-implicit",
        "chosen, rejected with the prompt in both (Reward)",
        "preference",
        _implicit,
        one_form,
        keeps=PAIRS,
        beside=BESIDE_PAIRS,
    ),
    Export(
        "trl-prompt-completion",
        "prompt, completion (SFT): the best completion of each group",
        "preference",
        _best,
        one_form,
        read_as="demonstrations",
    ),
    Export(
        "trl-text",
        "text or messages (SFT): prompt and best completion as one",
        "preference",
        _whole_text,
        one_form,
        read_as="text",
    ),
    Export(
        "hh-rlhf",
        "chosen and rejected as whole transcripts",
        "preference",
        _transcripts,
        holds="texts; plain turns as transcripts",
        keeps=PAIRS,
        beside=BESIDE_PAIRS,
    ),
    Export(
        "prompts",
        "prompt (text or turns) and its other columns",
        "prompt",
        _prompt,
        beside=frozenset({"asked_columns"}),
    ),
    Export(
        "demonstrations",
        "prompt and completion, or text, of imported demonstrations",
        "completion",
        _demonstration,
        model=DEMONSTRATION,
        beside=frozenset({"columns", "finish_reason"}),
    ),
)
