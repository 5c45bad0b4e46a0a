"""The input of a stage (`StageContext`) and its output (`StageResult`, `StageOutput`)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sized
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from preflab.progress import progress
from preflab.recipe import Recipe
from preflab.settings.recipe import STAGE_SETTINGS, DeviceSettings
from preflab.stages.common.data import Row, demonstrations_in, read_data, read_demonstrations, read_prompts
from preflab.stages.common.plain_texts import say_plain_texts

if TYPE_CHECKING:
    from preflab.records import Completion, Prompt
    from preflab.store.workspace import Workspace

Records = TypeVar("Records", bound=Sized)


def computed_precision(device: DeviceSettings) -> str:
    """`device.precision`, with `auto` resolved for this machine; torch is imported only for `auto`."""
    if device.precision != "auto":
        return device.precision
    from preflab.models.precision import resolved

    return resolved(device.precision)


@dataclass(frozen=True)
class StageOutput:
    """A finished stage, as later stages see it."""

    name: str
    kind: str
    key: str
    folder: Path
    manifest: Mapping[str, Any]

    @property
    def model(self) -> Path:
        """The folder of the trained model: `reward/` for stages that train a reward model, `model/` for all others."""
        return self.folder / ("reward" if STAGE_SETTINGS[self.kind].makes == "reward" else "model")


@dataclass(frozen=True)
class StageResult:
    """The result that a stage's `run` returns."""

    summary: str
    """One short line for the table, e.g. `loss 2.31 → 0.94`."""
    figures: Mapping[str, float | str] = field(default_factory=dict)
    waiting: str | None = None
    """The line shown while the stage waits for people, e.g. `312 of 480 tasks have 3 labels`; None if it is done."""
    link: str = ""
    """The next page for a person (in the labelling app, or the report), shown in the table's last column."""


@dataclass
class StageContext:
    """Everything a stage may use.

    A stage reads it once, into a record of its checked inputs, before it opens a model; later it only writes results.

    `folder` is `runs/<name>-<key12>/` and exists. After an interruption it still holds the files of the earlier call.
    """

    name: str
    settings: Any
    """Typed settings of this kind; the stage names in them are keys of `inputs`."""
    seed: int
    folder: Path
    recipe: Recipe
    inputs: Mapping[str, StageOutput]
    """Name → finished stage, for the stages that the settings name."""
    upstream: Mapping[str, StageOutput]
    """Name → finished stage, for `inputs` and all stages before them."""
    device: DeviceSettings
    open_workspace: Callable[[], Workspace]
    is_main_process: bool = True
    """False in the other processes of a distributed launch: they train, but write no files and print nothing."""
    num_done: int | None = None
    """The resumable setting's value in the last finished call (60 if `num_steps` is 100 now); None on the first."""
    num_read: dict[str, int] = field(default_factory=dict)
    """Name of the recipe's data → number of rows, prompts or preferences read from it, for the manifest."""
    spoken_of: set[str] = field(default_factory=set)
    """Names of data already checked for plain-text prompts, so that the notice appears once (see
    `stages.common.plain_texts`)."""

    @cached_property
    def workspace(self) -> Workspace:
        """The database, opened when it is first used."""
        return self.open_workspace()

    @cached_property
    def precision(self) -> str:
        """The precision of computations on this machine: `float32`, `bfloat16` or `float16`."""
        return computed_precision(self.device)

    @property
    def progress(self) -> Any:
        """`with ctx.progress("ppo", total=60) as bar: bar.advance(1, reward=0.4)`."""
        return progress

    def model_folder(self, ref: str) -> Path | str:
        """The folder of a model named by stage or by a path relative to the recipe; a Hub id is returned unchanged."""
        if ref in self.upstream:
            return self.upstream[ref].model
        folder = self.recipe.resolve(ref)
        return folder if folder.is_dir() else ref

    def data(self, name: str) -> list[Row]:
        """The rows of `name`, `name.train` or `name.held_out`; each row carries its file and line."""
        return self.counted(name, read_data(self.recipe, name))

    def completions(self, stage: str) -> list[Completion]:
        """The completions that a stage listed in its completions.json, in that order.

        Raises:
            PreflabError: some of them are images.
        """
        from preflab.files import read_json
        from preflab.store.image_texts import refuse_images

        completions = self.workspace.completions(read_json(self.upstream[stage].folder / "completions.json"))
        refuse_images([completion.text for completion in completions], stage)
        return completions

    def prompted_completions(self, stage: str) -> list[tuple[Prompt, Completion]]:
        """The completions that a stage listed, see `completions`, each with its prompt."""
        completions = self.completions(stage)
        prompts = {one.id: one for one in self.workspace.prompts(sorted({c.prompt_id for c in completions}))}
        return [(prompts[completion.prompt_id], completion) for completion in completions]

    def demonstrations(self, name: str) -> list[tuple[Prompt, Completion]]:
        """The demonstrations of `name`, `name.train` or `name.held_out`, or of a stage that writes demonstrations."""
        if name in self.upstream:
            return demonstrations_in(self.upstream[name].folder / "demonstrations.jsonl", "demonstrations")
        demonstrations = self.counted(name, read_demonstrations(self.recipe, name))
        say_plain_texts(self, name, [prompt for prompt, _ in demonstrations], completed=True)
        return demonstrations

    def prompts(self, name: str) -> list[Prompt]:
        """The prompts of `name`, `name.train` or `name.held_out`; an empty prompt is an error that names its line."""
        prompts = self.counted(name, read_prompts(self.recipe, name))
        say_plain_texts(self, name, prompts)
        return prompts

    def counted(self, name: str, records: Records) -> Records:
        """Notes the number of records read from the recipe's data, for the manifest, and returns the records."""
        self.num_read[name] = len(records)
        return records
