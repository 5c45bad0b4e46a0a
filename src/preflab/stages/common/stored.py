"""Reads the stored completions of another stage, for stages that evaluate completions."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from preflab.errors import PreflabError
from preflab.maths.best_of_n import best_of_n_kl_bound
from preflab.records import Completion, Prompt
from preflab.settings.best_of_n import BestOfNSettings
from preflab.settings.ilql import IlqlSettings
from preflab.stages.base import StageContext
from preflab.words import count


@dataclass(frozen=True)
class Stored:
    """Completions that a stage wrote for given prompts."""

    completions: list[Completion]
    """The same number for each prompt, adjacent, in the order of the prompts."""
    model: str
    """A name for their origin: the model's hash with the stage's name, or with the n of best-of-n."""
    chosen: bool
    """Each was selected from several, so its log-probability does not describe the distribution it comes from."""
    note: str
    """A note to show beside their figures."""


def stored_completions(ctx: StageContext, name: str, prompts: Sequence[Prompt], num: int) -> Stored:
    """The `num` completions of each prompt that the stage `name` wrote.

    Raises:
        PreflabError: the stage has another number of completions for one of the prompts, or dialogues.
    """
    if getattr(ctx.recipe.stages[name], "environment", None) is not None:
        raise PreflabError(
            f"stage {ctx.name}: {name} has dialogues with an environment",
            "single answers to the prompts, as those of the models",
            f"leave {name} out of `completions`, and compare its dialogues in a stage judge or ai_judge",
        )
    records = ctx.completions(name)
    by_prompt: dict[str, list[Completion]] = defaultdict(list)
    for completion in records:
        by_prompt[completion.prompt_id].append(completion)
    for prompt in prompts:
        if len(by_prompt[prompt.id]) != num:
            raise PreflabError(
                f"stage {ctx.name}: {name} has {count(len(by_prompt[prompt.id]), 'completion')} of "
                f"{prompt.shown[:60]!r}",
                f"{num} completions of every prompt, as for the models",
                f"use the same prompts and num_completions in {name}",
            )
    completions = [completion for prompt in prompts for completion in by_prompt[prompt.id]]
    model, settings = completions[0].model, ctx.recipe.stages[name]
    if isinstance(settings, IlqlSettings):
        kl = ctx.upstream[name].manifest["figures"].get("kl_sampled")
        known = "KL not measured" if kl is None else f"KL to it {kl:.2f} nats, from the sampled tokens"
        note = f"{name}: π_ref · exp({settings.beta:g} · (Q − V)) of {settings.model}; {known}"
        return Stored(completions, f"{model} as {name}", False, note)
    if not isinstance(settings, BestOfNSettings):
        return Stored(completions, f"{model} as {name}", False, f"{name}: stored completions, so no KL")
    n = settings.num_completions
    bound = f"KL to it at most log n − (n−1)/n = {best_of_n_kl_bound(n):.2f} nats"
    note = f"{name}: the best of {n} of {settings.model}, {bound}, not measured"
    return Stored(completions, f"best of {n} of {model}", True, note)
