"""What a stage is given and what it gives back."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sized
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from preflab.progress import progress
from preflab.recipe import Recipe
from preflab.settings.recipe import STAGE_SETTINGS, DeviceSettings
from preflab.stages.data import Row, demonstrations_in, read_data, read_demonstrations, read_prompts
from preflab.stages.plain_texts import say_plain_texts

if TYPE_CHECKING:
    from preflab.records import Completion, Prompt
    from preflab.store.workspace import Workspace

Records = TypeVar("Records", bound=Sized)


def computed_precision(device: DeviceSettings) -> str:
    """`device.precision`, with `auto` as what it means on this machine; torch is imported for `auto` alone."""
    if device.precision != "auto":
        return device.precision
    from preflab.models.precision import resolved

    return resolved(device.precision)


@dataclass(frozen=True)
class StageOutput:
    """A finished stage, as the stages after it see it."""

    name: str
    kind: str
    key: str
    folder: Path
    manifest: Mapping[str, Any]

    @property
    def model(self) -> Path:
        """The folder of what it trained: `reward/` where it makes a reward model, `model/` of every other."""
        return self.folder / ("reward" if STAGE_SETTINGS[self.kind].makes == "reward" else "model")


@dataclass(frozen=True)
class StageResult:
    """What a stage says when it returns."""

    summary: str
    """One short line for the table, e.g. `loss 2.31 → 0.94`."""
    figures: Mapping[str, float | str] = field(default_factory=dict)
    waiting: str | None = None
    """The line shown when people are awaited, e.g. `312 of 480 tasks have 3 labels`; None: the stage is done."""
    link: str = ""
    """Where a person goes on (a page of the labelling app, the report), shown in the table's last column."""


@dataclass
class StageContext:
    """Everything a stage may use.

    `folder` is `runs/<name>-<key12>/` and exists; called again after an interruption it holds what was left in it.
    """

    name: str
    settings: Any
    """Typed settings of this kind; names in them are those of `inputs`."""
    seed: int
    folder: Path
    recipe: Recipe
    inputs: Mapping[str, StageOutput]
    """The stages this one names, finished, by name."""
    upstream: Mapping[str, StageOutput]
    """Those and everything before them."""
    device: DeviceSettings
    open_workspace: Callable[[], Workspace]
    is_main_process: bool = True
    """False in the processes of a launch that only train along: they write nothing and tell nobody anything."""
    num_done: int | None = None
    """The resumable setting's value of the last finished call (60 steps of 100); None on a first one."""
    num_read: dict[str, int] = field(default_factory=dict)
    """Name of the recipe's data → how many rows, prompts or preferences were read of it, for the manifest."""
    spoken_of: set[str] = field(default_factory=set)
    """Data of which it was said, or need not be, that their prompts are plain text (`stages.plain_texts`)."""

    @cached_property
    def workspace(self) -> Workspace:
        """The database, opened when it is first used."""
        return self.open_workspace()

    @cached_property
    def precision(self) -> str:
        """What is computed in on this machine: `float32`, `bfloat16` or `float16`."""
        return computed_precision(self.device)

    @property
    def progress(self) -> Any:
        """`with ctx.progress("ppo", total=60) as bar: bar.advance(1, reward=0.4)`."""
        return progress

    def model_folder(self, ref: str) -> Path | str:
        """The folder of a model named by a stage, by a path relative to the recipe, or a Hub id as it is."""
        if ref in self.upstream:
            return self.upstream[ref].model
        folder = self.recipe.resolve(ref)
        return folder if folder.is_dir() else ref

    def data(self, name: str) -> list[Row]:
        """The rows of `name`, `name.train` or `name.held_out`; each knows its line."""
        return self.counted(name, read_data(self.recipe, name))

    def completions(self, stage: str) -> list[Completion]:
        """The completions that a stage left, in its order.

        Raises:
            PreflabError: images are among them.
        """
        from preflab.files import read_json
        from preflab.store.image_texts import refuse_images

        completions = self.workspace.completions(read_json(self.upstream[stage].folder / "completions.json"))
        refuse_images([completion.text for completion in completions], stage)
        return completions

    def demonstrations(self, name: str) -> list[tuple[Prompt, Completion]]:
        """The demonstrations of `name`, `name.train` or `name.held_out`, or of a stage that demonstrates."""
        if name in self.upstream:
            return demonstrations_in(self.upstream[name].folder / "demonstrations.jsonl", "demonstrations")
        demonstrations = self.counted(name, read_demonstrations(self.recipe, name))
        say_plain_texts(self, name, [prompt for prompt, _ in demonstrations], completed=True)
        return demonstrations

    def prompts(self, name: str) -> list[Prompt]:
        """The prompts of `name`, `name.train` or `name.held_out`; empty and repeated ones are refused by line."""
        prompts = self.counted(name, read_prompts(self.recipe, name))
        say_plain_texts(self, name, prompts)
        return prompts

    def counted(self, name: str, records: Records) -> Records:
        """The records that were read of the recipe's data, their number noted for the manifest."""
        self.num_read[name] = len(records)
        return records
