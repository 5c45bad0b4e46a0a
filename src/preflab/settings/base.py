"""What all settings share: strictness, and a default that names its source."""

from __future__ import annotations

from typing import Any, ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from preflab.storable import unstorable

MOST_COMPLETIONS = 100_000
"""Completions of one prompt; best-of-n is studied up to 60,000 of them."""

Refers = Literal[
    "model",
    "reward",
    "data",
    "demonstrations",
    "completions",
    "judgments",
    "preferences",
    "labelers",
    "stage",
    "function",
    "file",
]


class Settings(BaseModel):
    """Strict and frozen: an unknown key or a wrong type is refused, never ignored; so is what cannot be stored."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=False, validate_default=True)

    @model_validator(mode="after")
    def _can_be_stored(self) -> Self:
        """NaN, infinity, whole numbers beyond 64 bits, halves of characters and endless nesting end here, named.

        After the rest: looked at before, a recipe's JSON would no longer count as JSON, whose lists may be tuples.
        """
        wrong = unstorable(dict(self))
        if wrong is not None:
            raise ValueError(f"{wrong.where}: {wrong.found}, expected {wrong.expected}")
        return self


Counts = Literal["always", "if_set", "never"]
"""Whether a setting is part of its stage's key: always; only where it is not its default (settings that came later,
so that what was done before them stays done); or never, because it does not change what the stage's result means."""


def setting(
    default: Any, meaning: str, source: str, *, refers: Refers | None = None, counts: Counts = "always", **limits: Any
) -> Any:
    """A field with its meaning (one sentence) and the source of its default.

    Args:
        default: the default; `...` for a setting that must be given.
        meaning: one sentence, with the unit.
        source: a paper with its section, a measurement of ours, or "choice: …" with the reason.
        refers: what the text names, when it names something: the recipe checks it and knows the order of the stages.
        counts: whether it is part of the stage's key.
        limits: pydantic's `ge`, `gt`, `le`, `lt`, `min_length`.
    """
    extra: dict[str, Any] = {"source": source} | ({"refers": refers} if refers else {})
    extra |= {"counts": counts} if counts != "always" else {}
    return Field(default, description=meaning, json_schema_extra=extra, **limits)


class StageSettings(Settings):
    """What every stage of a recipe may say besides its own settings."""

    makes: ClassVar[str] = ""
    """What other stages find in this one: `model`, `reward`, `completions`, `judgments`, `preferences`, or nothing."""
    demonstrates: ClassVar[bool] = False
    """Whether it leaves `demonstrations.jsonl` in its folder, which stage `sft` learns from by the stage's name."""

    seed: int | None = setting(
        None,
        "Seed of this stage; None: derived from the recipe's seed and the stage's name.",
        "choice: a stage can be repeated alone",
    )
