"""Select prompts that leave room for a completion; those that are too long are refused, left out, or cut."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from preflab.conversations.joining import Ids
from preflab.conversations.renderer import Renderer
from preflab.conversations.template import where
from preflab.errors import PreflabError
from preflab.records import Prompt
from preflab.training.batches import TokenSequence
from preflab.training.token_limits import TokenLimits
from preflab.training.too_long import LongRows, TooLong


@dataclass(frozen=True)
class FittingPrompts:
    """Prompts with their tokens, and the record of those that were too long."""

    prompts: list[tuple[Prompt, Ids]]
    long: LongRows


def unread_prompts(
    renderer: Renderer,
    prompts: Sequence[Prompt],
    *,
    max_new_tokens: int,
    limits: TokenLimits,
    too_long: TooLong = "refuse",
) -> FittingPrompts:
    """Prompts that an environment will read first, so that their tokens are not known; arguments as below.

    Raises:
        PreflabError: `too_long` is not "refuse": what an environment says is never cut.
    """
    if too_long != "refuse":
        raise PreflabError(
            f"too_long: {too_long} with an environment",
            "refuse: an environment makes the first turn, which is not cut",
            "remove too_long, and let the environment say less",
        )
    return FittingPrompts([(prompt, ()) for prompt in prompts], LongRows(limits, too_long, room=max_new_tokens))


def fitting_prompts(
    renderer: Renderer,
    prompts: Sequence[Prompt],
    *,
    max_new_tokens: int,
    limits: TokenLimits,
    too_long: TooLong = "refuse",
) -> FittingPrompts:
    """The token ids of every prompt that leaves room for its completion, found before anything is sampled.

    Raises:
        PreflabError: with `too_long` "refuse", some prompts plus max_new_tokens exceed the context; the error gives
            their number and the lines of the first ones.
    """
    long = LongRows(limits, too_long, room=max_new_tokens)
    kept = []
    for prompt in prompts:
        fitting = long.fitted([TokenSequence(renderer.prompt_ids(prompt), ())], where(prompt))
        if fitting is not None:
            kept.append((prompt, fitting[0].prompt_ids))
    long.check(len(kept))
    return FittingPrompts(kept, long)
