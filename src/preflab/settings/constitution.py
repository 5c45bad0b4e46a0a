"""Settings of critique and revision."""

from __future__ import annotations

from typing import ClassVar, Literal

from preflab.settings.base import StageSettings, setting
from preflab.settings.sampling import DecodingSettings


class ReviseSettings(DecodingSettings, StageSettings):
    """Stage `revise`: a model answers prompts, criticises its answers by drawn principles, and revises them.

    The last revisions can serve as demonstrations (`data` of stage `sft`) and as completions to judge or evaluate.
    """

    makes: ClassVar[str] = "completions"
    demonstrates: ClassVar[bool] = True
    kind: Literal["revise"] = "revise"
    model: str = setting(..., "A stage that makes a model, a folder or a Hub id.", "required", refers="model")
    prompts: str = setting(
        ..., "Prompts that provoke bad answers: `data name`, `data name.train` or `data name.held_out`.", "required",
        refers="data",
    )  # fmt: skip
    constitution: str | None = setting(
        None,
        "YAML file of principles, relative to the recipe; None: preflab's own (helpful, honest, harmless).",
        "choice: `preflab constitution show` prints it, for editing",
        refers="file",
    )
    num_rounds: int = setting(
        1, "Rounds of critique and revision per answer.", "Bai et al. 2022b, section 3.1", ge=1, le=8
    )
    num_examples: int = setting(
        0,
        "Number of the constitution's examples shown before each request, for small models.",
        "choice: none",
        ge=0,
    )
    max_prompts: int | None = setting(None, "Use only this many prompts; None: all.", "choice: all", ge=1)
