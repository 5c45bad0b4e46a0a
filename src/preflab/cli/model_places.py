"""Finds the model that a command names: a stage of the recipe, a folder, or a Hub id."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from preflab.cli.speaking import shown_path
from preflab.errors import PreflabError, nearest
from preflab.seeds import split_seed
from preflab.words import count

if TYPE_CHECKING:
    from preflab.recipe import Recipe

MODELS = ("model", "reward")
"""Kinds of output (`makes` of a stage's settings) that can be exported."""


def model_place(ref: str, recipe: Path, overrides: list[str], workspace: Path | None) -> Path | str:
    """The folder of a finished stage's model if `ref` names a stage of the recipe, else `ref` itself.

    If the name is not a stage, an invalid recipe is ignored.

    Raises:
        PreflabError: the stage has not finished, the recipe that has it is invalid, or `ref` looks like a misspelt
            stage.
    """
    if Path(ref).is_dir() or not recipe.exists():
        return ref
    from preflab import pipeline
    from preflab.recipe import load_recipe

    stages = _read_stages(recipe)
    if split_seed(ref)[0].partition("@")[0] not in stages:
        if "/" not in ref and nearest(ref, list(stages)):
            raise unknown_stage(ref, recipe)
        return ref
    loaded = load_recipe(recipe, overrides)
    made = loaded.seeded.get(split_seed(ref)[0], ())
    if made and ref not in made:
        raise PreflabError(
            f"{ref}: {shown_path(recipe)} makes {count(len(made), 'model')} of this stage, one per training seed",
            f"one of {', '.join(made)}",
            f"name one, such as {made[0]}",
        )
    if ref not in loaded.stages:
        return ref
    _refuse_without_model(loaded, ref)
    step = pipeline.plan(loaded, pipeline.workspace_folder(loaded, workspace) / "runs")[ref]
    if pipeline.state_of(step) != "done":
        raise PreflabError(
            f"stage {ref} of {shown_path(recipe)} is not done",
            "a finished stage, a model's folder, or a Hub id",
            f"run it with `preflab run {shown_path(recipe)} --until {ref}`",
        )
    return pipeline.output(step).model


def _refuse_without_model(recipe: Recipe, ref: str) -> None:
    """Refuse a stage that makes no model; for `ilql` say why its policy cannot be one.

    Raises:
        PreflabError: the stage makes completions, judgments or a report.
    """
    from preflab.settings.recipe import STAGE_SETTINGS

    stage = recipe.kind(ref)
    if STAGE_SETTINGS[stage].makes in MODELS:
        return
    if stage == "ilql":
        raise PreflabError(
            f"stage {ref} of kind ilql: its policy is π_ref · exp(beta · (Q − V)), two models that are read at every "
            "token",
            "a policy that one Hugging Face folder can hold",
            f"use the completions that {ref} wrote (`completions` of stage evaluate), train on them with stage sft, "
            f"or open runs/{ref}-…/values with preflab.models.action_values",
        )
    making = [name for name in recipe.stages if STAGE_SETTINGS[recipe.kind(name)].makes in MODELS]
    raise PreflabError(
        f"stage {ref} of kind {stage} makes no model",
        f"a stage that makes a model ({', '.join(making) or 'there is none'}), or a model's folder",
        "name such a stage",
    )


def _read_stages(recipe: Path) -> dict[str, Any]:
    """The stages of a recipe as written, unchecked: the recipe may be unfinished."""
    from preflab.yaml_files import read_yaml

    stages = read_yaml(recipe).get("stages")
    return stages if isinstance(stages, dict) else {}


def unknown_stage(ref: str, recipe: Path) -> PreflabError:
    """The error for a name that is neither a folder nor a stage; it lists the stages that make a model."""
    if not recipe.exists():
        return PreflabError(
            f"{ref}: there is no such folder, and no {shown_path(recipe)} with a stage of this name",
            "a finished stage, or a model's folder",
            "name another model, or the recipe with --recipe",
        )
    from preflab.settings.recipe import STAGE_SETTINGS

    kinds = {name: str(stage.get("kind")) for name, stage in _read_stages(recipe).items() if isinstance(stage, dict)}
    making = [name for name, kind in kinds.items() if getattr(STAGE_SETTINGS.get(kind), "makes", "") in MODELS]
    near = nearest(ref, making)
    return PreflabError(
        f"{ref}: neither a stage of {shown_path(recipe)} nor a folder",
        f"a stage that makes a model ({', '.join(making) or 'there is none'}), or a model's folder",
        "correct the name" + (f"; near it: {near}" if near else ""),
    )
