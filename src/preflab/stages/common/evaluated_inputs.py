"""Reads and checks all inputs of the stage `evaluate` before a model is opened."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from preflab.errors import PreflabError, nearest
from preflab.evaluation.texts import Judge
from preflab.files import read_json
from preflab.records import Prompt
from preflab.rewards.functions import RewardFunction, load_function
from preflab.settings.evaluation import EvaluateSettings
from preflab.stages.base import StageContext
from preflab.stages.common.episodes import single_answers_note
from preflab.stages.common.evaluated_prompts import evaluated_prompts
from preflab.stages.common.reference_texts import HUMAN, read_reference_texts
from preflab.stages.common.stage_facts import StageFacts
from preflab.stages.common.stored import Stored, stored_completions


@dataclass(frozen=True)
class Asked:
    """The checked inputs of the stage, before a model is opened."""

    settings: EvaluateSettings
    stage: StageFacts
    prompts: list[Prompt]
    """The prompts that all models answer."""
    left_out: list[str]
    """A note about prompts that were left out, if any."""
    seeds: Mapping[str, tuple[str, ...]]
    """Stage that is compared for several training seeds → their names among the models and completions."""
    seed_notes: list[str]
    """A note per stage of which one seed is compared."""
    dialogue_notes: list[str]
    """A note per model that learned in dialogues, since it is compared on single answers."""
    judges: list[Judge]
    classify: RewardFunction | None
    """Names the class of each text; None without `labels`."""
    reference_texts: list[tuple[str, ...]]
    """The texts that people wrote for each prompt; [] without `reference_texts`."""
    folders: Mapping[str, Path | str]
    """Model, reference, reward stage or classifier of the settings → its folder or Hub id."""
    stored: Mapping[str, Stored]
    """Stage of `completions` → its completions of the prompts."""
    accuracies: Mapping[str, Mapping[str, Any]]
    """Reward stage → the held-out figures of its report; {} if it has none."""

    @property
    def reference(self) -> str:
        """The name of the KL's reference model."""
        return reference_of(self.settings)


def ask(ctx: StageContext) -> Asked:
    """Read the prompts and stored completions, load the functions, and locate the models.

    Raises:
        PreflabError: no prompt leaves room for a completion, `tilted_optimum` is no judge, a stage has another
            number of completions for one of the prompts, or a prompt has no reference text.
    """
    settings: EvaluateSettings = ctx.settings
    prompts, left_out = evaluated_prompts(ctx)
    judges = [load_judge(name, path) for name, path in settings.judges.items()]
    _check_optimum(settings)
    _check_human(settings)
    seeds = _seeds(ctx, settings)
    classified = [one.model for one in settings.classifiers.values()]
    return Asked(
        settings=settings,
        stage=StageFacts.of(ctx),
        prompts=prompts,
        left_out=left_out,
        seeds={stage: names for stage, names in seeds.items() if len(names) > 1},
        seed_notes=[
            f"{stage}: one training seed, so no interval over seeds" for stage in seeds if len(seeds[stage]) == 1
        ],
        dialogue_notes=[
            note
            for name in settings.models
            if name in ctx.recipe.stages
            for note in single_answers_note(name, ctx.recipe.stages[name].model_dump(mode="json"))
        ],
        judges=judges,
        classify=load_function(settings.labels) if settings.labels else None,
        reference_texts=read_reference_texts(prompts, settings.reference_texts) if settings.reference_texts else [],
        folders={
            name: ctx.model_folder(name)
            for name in (*settings.models, reference_of(settings), *settings.rewards, *classified)
        },
        stored={
            name: stored_completions(ctx, name, prompts, settings.num_completions) for name in settings.completions
        },
        accuracies={name: _held_out(ctx.inputs[name].folder) for name in settings.rewards if name in ctx.inputs},
    )


def _seeds(ctx: StageContext, settings: EvaluateSettings) -> dict[str, tuple[str, ...]]:
    """Stage that the recipe repeats → the names of those of its seeds that are compared with the first model."""
    compared = (*settings.models[1:], *settings.completions)
    seeds = {stage: tuple(name for name in names if name in compared) for stage, names in ctx.recipe.seeded.items()}
    return {stage: names for stage, names in seeds.items() if names}


def reference_of(settings: EvaluateSettings) -> str:
    """The name of the KL's reference model: the first model, if no other is named."""
    return settings.reference or settings.models[0]


def load_judge(name: str, path: str) -> Judge:
    """The judge `module:function`. An F counts as FAIL_UTILITY of its module; without one it is left out of means."""
    function = load_function(path, allow_none=True)
    fail = getattr(sys.modules[path.partition(":")[0]], "FAIL_UTILITY", None)
    return Judge(name, function, None if fail is None else float(fail))


def _check_optimum(settings: EvaluateSettings) -> None:
    if settings.tilted_optimum and settings.tilted_optimum not in settings.judges:
        raise PreflabError(
            f"tilted_optimum: {settings.tilted_optimum!r} is not a judge of this stage",
            f"one of {', '.join(settings.judges) or '(there are none)'}"
            + (f"; near it: {near}" if (near := nearest(settings.tilted_optimum, list(settings.judges))) else ""),
            "use a name from `judges`",
        )


def _check_human(settings: EvaluateSettings) -> None:
    if settings.reference_texts and HUMAN in (*settings.models, *settings.completions):
        raise PreflabError(
            f"the model {HUMAN!r} beside `reference_texts`",
            f"another name, since the texts of people are shown as {HUMAN!r}",
            "rename the stage or the folder",
        )


def _held_out(folder: Path) -> Mapping[str, Any]:
    path = folder / "reward_report.json"
    return (read_json(path).get("held_out") if path.is_file() else None) or {}
