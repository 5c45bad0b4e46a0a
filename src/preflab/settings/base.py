"""What all settings share: strictness, and a default that names its source."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field


class Settings(BaseModel):
    """Strict and frozen: an unknown key or a wrong type is refused, never ignored."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=False, validate_default=True)


def setting(default: Any, meaning: str, source: str, **limits: Any) -> Any:
    """A field with its meaning (one sentence) and the source of its default.

    Args:
        default: the default; `...` for a setting that must be given.
        meaning: one sentence, with the unit.
        source: a paper with its section, a measurement of ours, or "choice: …" with the reason.
        limits: pydantic's `ge`, `gt`, `le`, `lt`, `min_length`.
    """
    return Field(default, description=meaning, json_schema_extra={"source": source}, **limits)


class StageSettings(Settings):
    """What every stage of a recipe may say besides its own settings."""

    seed: int | None = setting(
        None,
        "Seed of this stage; None: derived from the recipe's seed and the stage's name.",
        "choice: a stage can be repeated alone",
    )
