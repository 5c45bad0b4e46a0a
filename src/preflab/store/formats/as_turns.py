"""Converts texts to conversations for chat models: a prompt becomes a user's turn, completions the assistant's."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, TypeVar, cast

from preflab.records import Completion, Message, Preference, Prompt, Span
from preflab.store.formats.imported import Imported
from preflab.store.objects import remake

Named = TypeVar("Named", Completion, Preference)


def with_turns(read: Imported) -> Imported:
    """The records with every text prompt as a user's turn; conversations and empty prompts are unchanged.

    A space at the beginning of a completion is removed. References between the records are updated to the new ids.
    """
    prompts = {prompt.id: _prompt_as_turn(prompt) for prompt in read.prompts}
    completions = {each.id: _completion_of_turns(each, prompts[each.prompt_id]) for each in read.completions}
    by_prompt = {old: new.id for old, new in prompts.items()}
    ids = {old: new.id for old, new in completions.items()}

    def with_new_ids(record: Any) -> Any:
        completion_ids = tuple(ids[each] for each in record.completion_ids)
        return replace(record, prompt_id=by_prompt[record.prompt_id], completion_ids=completion_ids)

    return replace(
        read,
        prompts=list(prompts.values()),
        completions=list(completions.values()),
        preferences=[_remake(with_new_ids(preference)) for preference in read.preferences],
        tasks=[with_new_ids(task) for task in read.tasks],
        judgments=[with_new_ids(judgment) for judgment in read.judgments],
        demonstrations=[ids[each] for each in read.demonstrations],
    )


def _prompt_as_turn(prompt: Prompt) -> Prompt:
    if not prompt.text:
        return prompt
    return Prompt.make(messages=(Message("user", prompt.text),), columns=prompt.columns, source=prompt.source)


def _completion_of_turns(completion: Completion, prompt: Prompt) -> Completion:
    if prompt.id == completion.prompt_id:
        return completion
    first, *others = completion.spans
    spans = (first if first.message else Span(first.text.removeprefix(" "), first.by_policy, first.role), *others)
    return _remake(replace(completion, prompt_id=prompt.id, spans=spans))


def _remake(record: Named) -> Named:
    """The record with its id computed from the new content."""
    return cast(Named, remake(record))
