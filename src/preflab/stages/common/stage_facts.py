"""The name, seed, folder and device settings of a stage: a part of every stage's record of inputs."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from preflab.settings.vllm import VllmSettings
from preflab.stages.base import StageContext

if TYPE_CHECKING:
    from preflab.settings.recipe import EngineName, PackingName


@dataclass(frozen=True)
class StageFacts:
    """The name, seed, folder and device settings of a stage that uses models."""

    name: str
    seed: int
    folder: Path
    precision: str
    """The precision of computations: `float32`, `bfloat16` or `float16`."""
    engine: EngineName
    packing: PackingName = "auto"
    server: VllmSettings = field(default_factory=VllmSettings)
    """Where the server of the engine `vllm` is."""

    @classmethod
    def of(cls, ctx: StageContext) -> StageFacts:
        """The facts in a context, with `device.precision` resolved for this machine."""
        device = ctx.device
        return cls(ctx.name, ctx.seed, ctx.folder, ctx.precision, device.engine, device.packing, device.vllm)
