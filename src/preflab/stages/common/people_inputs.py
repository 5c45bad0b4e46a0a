"""Reads and checks the inputs of a `judge` stage with people before its campaign is made or updated."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from preflab.errors import PreflabError
from preflab.files import check_regular
from preflab.settings.feedback import JudgeSettings
from preflab.stages.base import StageContext
from preflab.stages.common.readings import asked_reading, told_of

if TYPE_CHECKING:
    from preflab.labelling.gold_file import Gold
    from preflab.labelling.options import CampaignOptions

OF_THE_RECIPE = (
    "question", "polarity", "way", "criteria", "scale_ends", "content", "overlap", "ask_note", "allow_fail", "order",
    "lease_minutes", "hourly_cost", "currency",
)  # fmt: skip
"""Settings of the stage that become campaign options of the same names."""


@dataclass(frozen=True)
class Asked:
    """The checked inputs of the stage, before its campaign is made or updated."""

    settings: JudgeSettings
    name: str
    folder: Path
    recipe_file: str
    """The name of the recipe's file."""
    groups: Sequence[tuple[str, ...]]
    """The completion ids of each task."""
    completions_key: str
    """The key of the stage that wrote the completions."""
    options: CampaignOptions
    """The campaign options that the recipe sets."""
    sets_reading: bool
    """Whether the recipe sets how the judgments are read, so that the campaign takes over its reading."""
    reading_words: str
    """Text about the reading for the waiting line; "" if all options are defaults."""
    gold: Gold
    instructions: str | None
    """The text of the instructions file; None if the recipe names none."""


def ask(ctx: StageContext, groups: Sequence[tuple[str, ...]]) -> Asked:
    """Read the campaign's options, gold tasks and instructions from the recipe and the files that it names.

    Raises:
        PreflabError: options that do not fit each other, a bad row of the gold file, or no readable instructions.
    """
    settings: JudgeSettings = ctx.settings
    reading = asked_reading(ctx.recipe, ctx.name)
    options = _read_options(ctx.name, settings, reading)
    return Asked(
        settings=settings,
        name=ctx.name,
        folder=ctx.folder,
        recipe_file=ctx.recipe.path.name,
        groups=groups,
        completions_key=ctx.inputs[settings.completions].key,
        options=options,
        sets_reading=bool(reading),
        reading_words=told_of(ctx.recipe, ctx.name),
        gold=_read_gold(ctx.recipe.resolve(settings.gold) if settings.gold else None, options),
        instructions=_read_instructions(ctx),
    )


def _read_options(name: str, settings: JudgeSettings, reading: Mapping[str, Any]) -> CampaignOptions:
    from preflab.labelling.campaign_rows import checked_options

    values = {option: getattr(settings, option) for option in OF_THE_RECIPE} | dict(reading)
    return checked_options({"name": name, "gold_share": settings.gold_share if settings.gold else 0.0, **values})


def _read_gold(path: Path | None, options: CampaignOptions) -> Gold:
    from preflab.labelling.gold_file import NONE, read_gold

    return NONE if path is None else read_gold(path, options)


def _read_instructions(ctx: StageContext) -> str | None:
    """The text of the instructions file that the recipe names; None if it names none.

    Raises:
        PreflabError: there is no such file, or it is not UTF-8 text.
    """
    if ctx.settings.instructions is None:
        return None
    path = ctx.recipe.resolve(ctx.settings.instructions)
    check_regular(path)
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise PreflabError(
            f"{ctx.recipe.path.name}, stages.{ctx.name}.instructions: {path}: {reason}",
            "a Markdown file in UTF-8",
            "correct the path, or save the file as UTF-8",
        ) from error
