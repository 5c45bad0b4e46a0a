"""Texts made conversations: a prompt one user's turn, its completions the assistant's, for models with a template."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, TypeVar, cast

from preflab.records import Completion, Message, Preference, Prompt, Span
from preflab.store.formats.imported import Imported
from preflab.store.objects import remake

Named = TypeVar("Named", Completion, Preference)


def with_turns(read: Imported) -> Imported:
    """The same records with every text prompt as a user's turn; conversations and empty prompts stay as they are.

    The space with which a completion continues a text goes; all that names the records names the new ones.
    """
    prompts = {prompt.id: _asked(prompt) for prompt in read.prompts}
    completions = {each.id: _said(each, prompts[each.prompt_id]) for each in read.completions}
    by_prompt = {old: new.id for old, new in prompts.items()}
    ids = {old: new.id for old, new in completions.items()}

    def moved(record: Any) -> Any:
        named = tuple(ids[each] for each in record.completion_ids)
        return replace(record, prompt_id=by_prompt[record.prompt_id], completion_ids=named)

    return replace(
        read,
        prompts=list(prompts.values()),
        completions=list(completions.values()),
        preferences=[_remade(moved(preference)) for preference in read.preferences],
        tasks=[moved(task) for task in read.tasks],
        judgments=[moved(judgment) for judgment in read.judgments],
        demonstrations=[ids[each] for each in read.demonstrations],
    )


def _asked(prompt: Prompt) -> Prompt:
    if not prompt.text:
        return prompt
    return Prompt.make(messages=(Message("user", prompt.text),), columns=prompt.columns, source=prompt.source)


def _said(completion: Completion, prompt: Prompt) -> Completion:
    if prompt.id == completion.prompt_id:
        return completion
    first, *others = completion.spans
    spans = (first if first.message else Span(first.text.removeprefix(" "), first.by_policy, first.role), *others)
    return _remade(replace(completion, prompt_id=prompt.id, spans=spans))


def _remade(record: Named) -> Named:
    """The record with the id that its new content gives it."""
    return cast(Named, remake(record))
