"""The stages of a recipe: one file per kind, glue between the rooms, the workspace and the run folder.

A stage module is light to import: it says what it is, and brings torch and the rooms in inside `run`. It has

    VERSION = 1                                  raise it when the same settings give another result: old runs go stale
    resumable = ("num_steps",)                   settings left out of the key, because more of them just continues
    distributed = True                           all processes of a launch run it together (default: the main one alone)
    def check(recipe, settings) -> None          what can be refused before anything has run (default: nothing)
    needs_torch = True                           False: threads and seeds of torch are left alone (default True)
    def run(ctx: StageContext) -> StageResult    called again with the same folder after an interruption

Its settings stand in `preflab.settings.recipe.STAGE_SETTINGS`; which other stages it reads follows from them.
"""

from __future__ import annotations

import importlib
from typing import Protocol, cast

from preflab.errors import PreflabError
from preflab.recipe import Recipe
from preflab.recipe.references import references
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
        "dpo",
        "ppo",
        "grpo",
        "online_dpo",
        "best_of_n",
        "evaluate",
        "probe",
        "report",
    )
}
"""Kind → the module that runs it."""


class StageModule(Protocol):
    """What the pipeline calls."""

    VERSION: int

    def run(self, ctx: StageContext) -> StageResult:
        """Does the work, leaving its results in the stage's folder."""


def stage_module(kind: str) -> StageModule:
    """The module of a kind, imported now."""
    return cast(StageModule, importlib.import_module(MODULES[kind]))


def resumable(kind: str) -> tuple[str, ...]:
    """The settings of a kind that are left out of its key."""
    return tuple(getattr(stage_module(kind), "resumable", ()))


def check_before(recipe: Recipe, name: str) -> None:
    """What a stage refuses of its settings, functions and files before anything has run.

    Raises:
        PreflabError: a function that is not there or takes something else, a model of a kind that the stage cannot
            use, or what its module's `check` finds.
    """
    functions = [word for refers, word, _ in references(recipe.stages[name]) if refers == "function"]
    if functions:
        from preflab.rewards.functions import load_function

        for word in functions:
            load_function(word)
    _check_models(recipe, name)
    check = getattr(stage_module(recipe.kind(name)), "check", None)
    if check is not None:
        check(recipe, recipe.stages[name])


def _check_models(recipe: Recipe, name: str) -> None:
    """Models in folders are of a kind that the stage can use; ids on the Hub are looked at when they are loaded.

    Raises:
        PreflabError: an encoder or an encoder–decoder where text is to be written, or a model without its tokenizer.
    """
    named = [(word, place) for refers, word, place in references(recipe.stages[name]) if refers == "model"]
    folders = [(word, place) for word, place in named if word not in recipe.stages and _is_folder(recipe, word)]
    if not folders:
        return
    from preflab.models.kinds import check_no_reward_model, check_reads, check_writes
    from preflab.models.loading import check_tokenizer, read_config
    from preflab.models.packages import resolve_package

    for word, place in folders:
        ref = word if word.startswith("package:") else recipe.resolve(word)
        carries_head = recipe.kind(name) in ("reward", "rating") and place == ("model",)
        try:
            if not carries_head:
                check_no_reward_model(ref)
            (check_reads if carries_head else check_writes)(word, read_config(ref))
            check_tokenizer(resolve_package(ref))
        except PreflabError as error:
            raise PreflabError(f"stage {name}: {error.found}", error.expected, error.do) from error


def _is_folder(recipe: Recipe, word: str) -> bool:
    return word.startswith("package:") or (recipe.resolve(word) / "config.json").is_file()
