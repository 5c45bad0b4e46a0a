"""The base of all settings: strict validation, and fields with a meaning and the source of their default."""

from __future__ import annotations

from typing import Any, ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from preflab.storable import unstorable

MOST_COMPLETIONS = 100_000
"""Most completions of one prompt; best-of-n has been studied up to 60,000."""

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
    "environment",
    "file",
]


class Settings(BaseModel):
    """Strict, frozen settings: unknown keys, wrong types and values that cannot be stored are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=False, validate_default=True)

    @model_validator(mode="after")
    def _can_be_stored(self) -> Self:
        """Refuse NaN, infinity, whole numbers beyond 64 bits, lone surrogates and excessive nesting, by name.

        It runs after pydantic's validation: a validator before it would get Python objects instead of JSON, and strict
        mode would then refuse lists for tuples.
        """
        wrong = unstorable(dict(self))
        if wrong is not None:
            raise ValueError(f"{wrong.where}: {wrong.found}, expected {wrong.expected}")
        return self


Counts = Literal["always", "if_set", "never"]
"""Whether a setting is part of its stage's key: always; only if it differs from its default (for settings added later,
so that earlier results stay valid); or never, because it does not change the meaning of the stage's result."""


def setting(
    default: Any, meaning: str, source: str, *, refers: Refers | None = None, counts: Counts = "always", **limits: Any
) -> Any:
    """A field with its meaning and the source of its default.

    Args:
        default: the default; `...` for a required setting.
        meaning: one sentence, with the unit.
        source: a paper with its section, "measured: …", or "choice: …" with the reason.
        refers: the kind of thing that the value names, if it is a name; the recipe checks the name and orders the
            stages by it.
        counts: whether it is part of the stage's key.
        limits: pydantic's `ge`, `gt`, `le`, `lt`, `min_length`.
    """
    extra: dict[str, Any] = {"source": source} | ({"refers": refers} if refers else {})
    extra |= {"counts": counts} if counts != "always" else {}
    return Field(default, description=meaning, json_schema_extra=extra, **limits)


class StageSettings(Settings):
    """The settings that every stage of a recipe has."""

    makes: ClassVar[str] = ""
    """The output that other stages read: `model`, `reward`, `completions`, `judgments`, `preferences`, or ""."""
    demonstrates: ClassVar[bool] = False
    """Whether it writes `demonstrations.jsonl` into its folder; stage `sft` can then name the stage as its data."""

    seed: int | None = setting(
        None,
        "Seed of this stage; None: derived from the recipe's seed and the stage's name.",
        "choice: a stage can be repeated alone",
    )
