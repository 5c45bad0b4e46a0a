"""Finds the runs of a dial and opens it, for the commands that measure or export a setting."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from preflab.cli.model_places import model_place
from preflab.cli.speaking import DEFAULT_RECIPE, shown_path
from preflab.errors import PreflabError

if TYPE_CHECKING:
    from preflab.explain.dial import Dial
    from preflab.recipe import Recipe
    from preflab.report.card_dial import Dialled
    from preflab.stages.base import StageContext, StageOutput
    from preflab.stages.common.finished_runs import FinishedRun
    from preflab.store.workspace import Workspace

AverageOption = Annotated[
    list[str] | None,
    typer.Option("--average", metavar="RUN", help="Average RUN's weights with this run's first. May be repeated."),
]


class Runs:
    """Finds finished runs by stage or by folder, and the recipe that their prompts and judges come from."""

    def __init__(self, recipe: Path, overrides: Sequence[str], workspace: Path | None) -> None:
        self.recipe, self.overrides, self.workspace = recipe, list(overrides), workspace

    def find(self, ref: str) -> FinishedRun:
        """The finished run of a stage, or in a folder.

        Raises:
            PreflabError: there is none.
        """
        from preflab.stages.common.finished_runs import FinishedRun

        place = Path(model_place(ref, self.recipe, self.overrides, self.workspace))
        if not place.is_dir() and (place.parent / "manifest.json").is_file():
            place = place.parent  # a stage that makes no model: the error below says so
        if not place.is_dir():
            raise PreflabError(
                f"{ref}: neither a finished stage of {shown_path(self.recipe)} nor the folder of a run",
                "a finished stage that trained a model, or its folder below runs/",
                "correct the name, or name the recipe with --recipe",
            )
        return FinishedRun.read(place)

    @contextmanager
    def context(self, run: FinishedRun) -> Iterator[StageContext]:
        """The context of the run's stage; functions of the recipe's folder can be imported inside the block."""
        from preflab import pipeline

        recipe, workspaces = self._load(run), list[Any]()

        def opened() -> Workspace:
            from preflab.store.opening import opened

            workspaces.append(opened(run.folder.parent.parent, create=False))
            return workspaces[-1]

        try:
            with pipeline.functions_found(recipe):
                ctx = run.context(recipe, opened)
                ctx = replace(ctx, upstream={**_reward_models(recipe, run), **ctx.upstream})
                pipeline.prepare(recipe, ctx.seed, needs_torch=True)
                yield ctx
        finally:
            for one in workspaces:
                one.close()

    def _load(self, run: FinishedRun) -> Recipe:
        """The recipe named, else the one beside the run's workspace.

        Raises:
            PreflabError: there is neither.
        """
        from preflab.recipe import load_recipe

        places = [self.recipe, run.folder.parent.parent / DEFAULT_RECIPE.name]
        path = next((place for place in places if place.exists()), None)
        if path is None:
            raise PreflabError(
                f"{shown_path(self.recipe)}: there is no such recipe",
                "the recipe of the run, which names prompts and judges",
                "name it with --recipe",
            )
        return load_recipe(path, self.overrides)


def _reward_models(recipe: Recipe, run: FinishedRun) -> dict[str, StageOutput]:
    """The finished reward models of the recipe that its evaluations name; a run without rewards was made from none."""
    from preflab import pipeline
    from preflab.settings.evaluation import EvaluateSettings

    evaluations = [stage for stage in recipe.stages.values() if isinstance(stage, EvaluateSettings)]
    wanted = {name for stage in evaluations for name in stage.rewards if name in recipe.stages} - set(run.upstream)
    steps = pipeline.plan(recipe, run.folder.parent) if wanted else {}
    return {name: pipeline.output(steps[name]) for name in wanted if pipeline.state_of(steps[name]) == "done"}


def named(runs: Sequence[FinishedRun]) -> dict[str, FinishedRun]:
    """Name → run, each run once; a second run of a stage has the start of its key in its name: `ppo-3f2a`."""
    names: dict[str, FinishedRun] = {}
    for run in runs:
        if run.folder not in [each.folder for each in names.values()]:
            names[run.name if run.name not in names else f"{run.name}-{run.manifest['key'][:4]}"] = run
    return names


def check_averaged_once(runs: Sequence[FinishedRun]) -> None:
    """Check that no run is averaged with itself.

    Raises:
        PreflabError: one is.
    """
    if len(named(runs)) < len(runs):
        raise PreflabError(
            f"--average: {', '.join(run.folder.name for run in runs)} has a run twice", "different runs", "name it once"
        )


def open_dial(ctx: StageContext, run: FinishedRun, averaged: Sequence[FinishedRun], **how: Any) -> Dial:
    """The dial of a run, or of the average of several.

    Raises:
        PreflabError: the runs started from different models, or a model cannot be dialled.
    """
    from preflab.explain.dial import Dial
    from preflab.stages.common.dialled import check_one_start

    check_averaged_once([run, *averaged])
    check_one_start(run, averaged, started_from(ctx))
    return Dial.open(run.start(ctx), [each.output.model for each in (run, *averaged)], **how)


def started_from(ctx: StageContext) -> Callable[[FinishedRun], str]:
    """A function of a run: the place of the model it started from, equal for equal models of one workspace."""
    from preflab.stages.common.finished_runs import context_beside

    return lambda run: str(Path(run.start(context_beside(ctx, [run]))))


def dial_folder(runs: Sequence[FinishedRun]) -> Path:
    """Default folder of a dial's measurements: `dial/RUN`, or `dial/RUN+RUN`, in the workspace."""
    return runs[0].folder.parent.parent / "dial" / "+".join(run.folder.name for run in runs)


def about(run: FinishedRun) -> dict[str, Any]:
    """A run in dial.json; key and time of its end tell whether it has changed since."""
    settings, manifest = run.settings, run.manifest
    known = {"key": manifest["key"], "finished": manifest.get("finished"), "kl_coef": settings.get("kl_coef")}
    return {"name": run.name, "kind": run.kind, **known}


def scales(runs: Sequence[FinishedRun]) -> str:
    """The part of these runs that the dial scales: `adapter`, or `weights` if one of them trained all weights."""
    return "weights" if any(run.settings.get("lora") is None for run in runs) else "adapter"


def write_setting(
    runs: Runs, ref: str, average: Sequence[str], setting: float, folder: Path
) -> tuple[Dialled, Path, float]:
    """Write a setting as a Hugging Face folder.

    Returns:
        What it is, the run's own model folder, and the largest difference of logits from the model in memory.

    Raises:
        PreflabError: the setting is outside 0 to 1.5, or a run cannot be dialled.
    """
    from preflab.explain.dial import check_setting
    from preflab.report.card_dial import Dialled

    check_setting(setting)
    run, averaged = runs.find(ref), [runs.find(each) for each in average]
    with runs.context(run) as ctx:
        difference = open_dial(ctx, run, averaged).write(setting, folder)
    dialled = [run, *averaged]
    names, reference = list(named(dialled)), str(run.settings["model"])
    card = Dialled(setting, names, reference, scales(dialled), _measured(dialled, setting))
    return card, run.output.model, difference


def _measured(runs: Sequence[FinishedRun], setting: float) -> dict[str, Any] | None:
    """The measurements of `preflab dial`, if they have this setting and the runs have not changed since."""
    from preflab.files import read_json

    path = dial_folder(runs) / "dial.json"
    if not path.is_file():
        return None
    data: dict[str, Any] = read_json(path)
    same = [data.get("run"), *data.get("averaged_runs", [])] == [about(run) for run in runs]
    return data if same and any(one["setting"] == setting for one in data["points"]) else None
