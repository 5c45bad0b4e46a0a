"""Prompts with room for a completion: what is too long is refused all at once, left out, or cut."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from preflab.conversations.joining import Ids
from preflab.conversations.renderer import Renderer
from preflab.conversations.template import where
from preflab.records import Prompt
from preflab.training.batches import TokenSequence
from preflab.training.too_long import LongRows, TooLong


@dataclass(frozen=True)
class FittingPrompts:
    """Prompts with their tokens, and which of them were too long."""

    prompts: list[tuple[Prompt, Ids]]
    long: LongRows


def fitting_prompts(
    renderer: Renderer,
    prompts: Sequence[Prompt],
    *,
    max_new_tokens: int,
    context_length: int | None,
    too_long: TooLong = "refuse",
) -> FittingPrompts:
    """The token ids of every prompt that leaves room for its completion, before anything is written.

    Raises:
        PreflabError: prompts and max_new_tokens are together longer than the context, and that is refused; all of them
            are counted, the first ones named by their lines.
    """
    long = LongRows(context_length or 2**31, too_long, room=max_new_tokens)
    found = []
    for prompt in prompts:
        fitting = long.fitted([TokenSequence(renderer.prompt_ids(prompt), ())], where(prompt))
        if fitting is not None:
            found.append((prompt, fitting[0].prompt_ids))
    long.check(len(found))
    return FittingPrompts(found, long)
