"""Selects the prompts of an evaluation: those that fit, with a completion, into the context of every model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from preflab.errors import PreflabError
from preflab.settings.evaluation import EvaluateSettings
from preflab.stages.base import StageContext
from preflab.words import count

if TYPE_CHECKING:
    from preflab.records import Prompt


def evaluated_prompts(ctx: StageContext) -> tuple[list[Prompt], list[str]]:
    """The prompts that all models answer, and a note about prompts that were left out, if any.

    With `too_long: refuse` nothing is left out here: a prompt that does not fit is an error when it is sampled.

    Raises:
        PreflabError: no prompt leaves room for a completion.
    """
    settings: EvaluateSettings = ctx.settings
    prompts = ctx.prompts(settings.prompts)
    if settings.too_long == "refuse":
        return prompts[: settings.max_prompts], []
    room = settings.decoding.max_new_tokens
    limits = [_limit(ctx, name) for name in settings.models]
    fitting = [prompt for prompt in prompts if all(fits(prompt, room) for fits in limits)]
    if not fitting:
        raise PreflabError(
            f"{settings.prompts}: none of {count(len(prompts), 'prompt')} leaves room for {count(room, 'token')}",
            "prompts that leave room for a completion in the context of every model",
            "shorten the prompts, or lower decoding.max_new_tokens",
        )
    num = len(prompts) - len(fitting)
    note = f"{num:,} of {count(len(prompts), 'prompt')} without room for {count(room, 'token')}: left out"
    return fitting[: settings.max_prompts], [note] if num else []


def _limit(ctx: StageContext, name: str) -> Any:
    """Returns a function (prompt, room) → whether the prompt and `room` tokens fit into the model's context."""
    from preflab.conversations.renderer import Renderer
    from preflab.models.facts import token_limits
    from preflab.models.kinds import reads_prompts_apart
    from preflab.models.loading import load_tokenizer, read_config
    from preflab.models.packages import resolve_package
    from preflab.training.batches import TokenSequence

    folder = resolve_package(ctx.model_folder(name))
    config = read_config(folder)
    renderer = Renderer(load_tokenizer(folder), apart=reads_prompts_apart(config))
    limits = token_limits(config)
    return lambda prompt, room: limits.fits(TokenSequence(renderer.prompt_ids(prompt), ()), room)
