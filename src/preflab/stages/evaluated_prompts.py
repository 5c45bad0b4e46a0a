"""The prompts of an evaluation: the same for every model, those that one of them has no room to answer left out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from preflab.errors import PreflabError
from preflab.settings.evaluation import EvaluateSettings
from preflab.stages.base import StageContext
from preflab.words import count

if TYPE_CHECKING:
    from preflab.records import Prompt


def evaluated_prompts(ctx: StageContext) -> tuple[list[Prompt], list[str]]:
    """The prompts that go through every model, and what has to be said of those left out.

    Raises:
        PreflabError: none of them has room for a completion.
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
            "prompts shorter than the context of every model",
            "lower decoding.max_new_tokens",
        )
    num = len(prompts) - len(fitting)
    note = f"{num:,} of {count(len(prompts), 'prompt')} without room for {count(room, 'token')}: left out"
    return fitting[: settings.max_prompts], [note] if num else []


def _limit(ctx: StageContext, name: str) -> Any:
    """Whether a prompt and its completion fit into a model's context."""
    from transformers import AutoConfig

    from preflab.conversations.renderer import Renderer
    from preflab.models.loading import load_tokenizer
    from preflab.models.packages import resolve_package

    folder = resolve_package(ctx.model_folder(name))
    renderer = Renderer(load_tokenizer(folder))
    config = AutoConfig.from_pretrained(str(folder), trust_remote_code=False).get_text_config()
    context = getattr(config, "max_position_embeddings", None) or 2**31
    return lambda prompt, room: len(renderer.prompt_ids(prompt)) + room <= context
