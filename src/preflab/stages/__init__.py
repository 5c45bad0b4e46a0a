"""The stages of a recipe, one module per kind; they connect the other packages to the workspace and the run folder.

A stage module is cheap to import: torch and most other packages are imported inside `run`. A module defines

    VERSION = 1                                  raise it when the same settings give another result: old runs go stale
    resumable = ("num_steps",)                   settings left out of the key: a higher value continues the same run
    distributed = True                           all processes of a launch run it together (default: only the main one)
    def check(recipe, settings) -> None          refuses bad settings before any stage runs (default: no check)
    needs_torch = True                           False: torch's threads and seeds are not set (default True)
    def run(ctx: StageContext) -> StageResult    called again with the same folder after an interruption

The settings of each kind are in `preflab.settings.recipe.STAGE_SETTINGS`; they name the stages that a stage reads.
"""

from __future__ import annotations

import importlib
from typing import Protocol, cast

from preflab.errors import PreflabError
from preflab.models.bitsandbytes_import import check_installed, needing_bitsandbytes
from preflab.recipe import Recipe
from preflab.recipe.references import references
from preflab.settings.learning import LoraSettings, OptimiserSettings
from preflab.stages.base import StageContext, StageResult

MODULES: dict[str, str] = {
    kind: f"preflab.stages.{kind}"
    for kind in (
        "tiny",
        "sft",
        "sample",
        "judge",
        "ai_judge",
        "preferences",
        "revise",
        "reward",
        "rating",
        "classifier",
        "dpo",
        "ppo",
        "grpo",
        "online_dpo",
        "ilql",
        "best_of_n",
        "evaluate",
        "probe",
        "simulate",
        "report",
    )
}
"""Kind of stage → name of the module that runs it."""


class StageModule(Protocol):
    """The part of a stage module that every kind has, as the pipeline calls it."""

    VERSION: int

    def run(self, ctx: StageContext) -> StageResult:
        """Runs the stage and writes its results into its run folder."""


def stage_module(kind: str) -> StageModule:
    """Imports and returns the module of a kind."""
    return cast(StageModule, importlib.import_module(MODULES[kind]))


def resumable(kind: str) -> tuple[str, ...]:
    """The settings of a kind that are left out of the stage's key."""
    return tuple(getattr(stage_module(kind), "resumable", ()))


def check_before(recipe: Recipe, name: str) -> None:
    """Checks a stage's settings, optional packages, functions and model folders before anything runs.

    Raises:
        PreflabError: an optional package that a setting needs is not installed, a 4-bit base is to be compiled, a
            function or an environment does not exist or takes other arguments, an environment has no prompts where the
            stage has none, a model is of a kind that the stage cannot use, or the module's `check` refuses the
            settings.
    """
    stage = recipe.stages[name]
    for wanted in needing_bitsandbytes(stage):
        check_installed(f"stages.{name}.{wanted}")
    _check_compiled(name, getattr(stage, "lora", None), getattr(stage, "optimiser", None))
    for refers, word, _ in references(recipe.stages[name]):
        if refers == "function":
            from preflab.rewards.functions import load_function

            load_function(word)
        if refers == "environment":
            from preflab.environments.loading import EnvironmentSource

            source = EnvironmentSource.load(word)
            if getattr(recipe.stages[name], "prompts", None) is None:
                source.prompts()
    _check_models(recipe, name)
    check = getattr(stage_module(recipe.kind(name)), "check", None)
    if check is not None:
        check(recipe, recipe.stages[name])


def _check_compiled(name: str, lora: LoraSettings | None, optimiser: OptimiserSettings | None) -> None:
    """Check that no 4-bit base is to be compiled, which `models.compiled_blocks` refuses once the model is loaded.

    Raises:
        PreflabError: the stage's settings want both.
    """
    if optimiser is not None and optimiser.compile and lora is not None and lora.base == "nf4":
        raise PreflabError(
            f"stages.{name}: optimiser.compile: true together with lora.base: nf4",
            "one of the two",
            "remove optimiser.compile or lora.base",
        )


def _check_models(recipe: Recipe, name: str) -> None:
    """Checks that models in folders are of a kind that the stage can use; Hub ids are checked when they are loaded.

    Raises:
        PreflabError: an encoder or an encoder–decoder where the stage must generate text, a reward model where it
            needs a language model, a model without its tokenizer, or an encoder–decoder with an environment.
    """
    named = [(word, place) for refers, word, place in references(recipe.stages[name]) if refers == "model"]
    folders = [(word, place) for word, place in named if word not in recipe.stages and _is_folder(recipe, word)]
    if not folders:
        return
    from preflab.conversations.exchange import refuse_apart
    from preflab.models.kinds import check_no_reward_model, check_reads, check_writes, reads_prompts_apart
    from preflab.models.loading import check_tokenizer, read_config
    from preflab.models.packages import resolve_package

    for word, place in folders:
        ref = word if word.startswith("package:") else recipe.resolve(word)
        carries_head = recipe.kind(name) in ("reward", "rating", "classifier") and place == ("model",)
        try:
            if not carries_head:
                check_no_reward_model(ref)
            config = read_config(ref)
            (check_reads if carries_head else check_writes)(word, config)
            if place == ("model",) and getattr(recipe.stages[name], "environment", None) is not None:
                refuse_apart(reads_prompts_apart(config), word)
            check_tokenizer(resolve_package(ref))
        except PreflabError as error:
            raise PreflabError(f"stage {name}: {error.found}", error.expected, error.do) from error


def _is_folder(recipe: Recipe, word: str) -> bool:
    return word.startswith("package:") or (recipe.resolve(word) / "config.json").is_file()
