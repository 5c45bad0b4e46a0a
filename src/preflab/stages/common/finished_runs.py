"""A finished run of a recipe, read from its folder: its model, the model it started from, and the context of its stage.

Commands that look at runs afterwards use it. A run keeps its own settings, so it need not be what the recipe says now.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from preflab.errors import PreflabError
from preflab.files import run_folder_name
from preflab.recipe import Recipe
from preflab.recipe.checking import checked
from preflab.settings.recipe import STAGE_SETTINGS
from preflab.stages.base import StageContext, StageOutput
from preflab.stages.common.manifest import MANIFEST, read_manifest

if TYPE_CHECKING:
    from preflab.store.workspace import Workspace


@dataclass(frozen=True)
class FinishedRun:
    """A run that trained a language model."""

    folder: Path
    manifest: Mapping[str, Any]

    @classmethod
    def read(cls, folder: Path) -> FinishedRun:
        """The run in a folder `runs/<stage>-<key>`, or whose `model/` the folder is.

        Raises:
            PreflabError: the folder is none of a run, or the run has not finished or trained no language model.
        """
        place = folder.resolve()
        place = place.parent if not (place / MANIFEST).is_file() and (place.parent / MANIFEST).is_file() else place
        manifest = read_manifest(place)
        if not manifest:
            raise PreflabError(
                f"{folder}: not the folder of a run",
                "a finished stage of the recipe that trained a model, or its folder below runs/",
                "name such a stage, or its folder",
            )
        run = cls(place, manifest)
        if manifest["state"] != "done":
            raise PreflabError(
                f"{folder}: stage {run.name} is not done", "a finished run", "run `preflab run` to finish it"
            )
        if "model" not in manifest["settings"] or STAGE_SETTINGS[run.kind].makes != "model":
            raise PreflabError(
                f"{folder}: stage {run.name} of kind {run.kind} trains no model from another",
                "a stage of kind sft, dpo, ppo, grpo or online_dpo",
                "name another stage",
            )
        return run

    @property
    def name(self) -> str:
        """The stage's name."""
        return str(self.manifest.get("stage", self.folder.name))

    @property
    def kind(self) -> str:
        """The stage's kind."""
        return str(self.manifest.get("kind", ""))

    @property
    def settings(self) -> Mapping[str, Any]:
        """The settings it ran with, as JSON."""
        settings: Mapping[str, Any] = self.manifest["settings"]
        return settings

    @property
    def output(self) -> StageOutput:
        """The run as an input of other stages."""
        return StageOutput(self.name, self.kind, str(self.manifest["key"]), self.folder, self.manifest)

    @cached_property
    def upstream(self) -> dict[str, StageOutput]:
        """Name → output of every stage that led to it and whose folder still exists."""
        found: dict[str, StageOutput] = {}
        _collect(self.folder.parent, self.manifest, found)
        return found

    def context(self, recipe: Recipe, open_workspace: Callable[[], Workspace]) -> StageContext:
        """The context that the stage ran in; `recipe` gives data, labelers and the device.

        Raises:
            PreflabError: the settings are of an earlier version and no longer valid.
        """
        settings = checked(STAGE_SETTINGS[self.kind], dict(self.settings), self.folder / MANIFEST, ("settings",))
        return StageContext(
            name=self.name,
            settings=settings,
            seed=int(self.manifest["seed"]),
            folder=self.folder,
            recipe=recipe,
            inputs={name: one for name, one in self.upstream.items() if name in self.manifest.get("inputs", {})},
            upstream=self.upstream,
            device=recipe.device,
            open_workspace=open_workspace,
        )

    def start(self, ctx: StageContext) -> Path | str:
        """The folder or Hub id of the model that training started from."""
        return ctx.model_folder(str(self.settings["model"]))


def context_beside(ctx: StageContext, runs: list[FinishedRun], **changes: Any) -> StageContext:
    """A context like `ctx` in which these runs can be named as models, with some fields changed."""
    upstream = {name: one for run in runs for name, one in {**run.upstream, run.name: run.output}.items()}
    return replace(ctx, inputs=upstream, upstream={**ctx.upstream, **upstream}, **changes)


def _collect(runs: Path, manifest: Mapping[str, Any], found: dict[str, StageOutput]) -> None:
    for name, key in (manifest.get("inputs") or {}).items():
        folder = runs / run_folder_name(name, str(key))
        read = read_manifest(folder)
        if read and name not in found:
            _collect(runs, read, found)
            found[name] = StageOutput(name, str(read.get("kind", "")), str(read["key"]), folder, read)
