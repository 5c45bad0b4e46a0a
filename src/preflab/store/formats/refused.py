"""Layouts that are known but not supported; each is refused by name, with the reason."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from preflab.store.formats.columns import PICTURES, blank, has, peek
from preflab.store.formats.json_rows import Row


@dataclass(frozen=True)
class Reason:
    """The reason why a layout is not supported, as the lines of an error."""

    found: str
    expected: str
    do: str = ""


@dataclass(frozen=True)
class Refused:
    """One layout that is not supported."""

    name: str
    columns: str
    fits: Callable[[Row], bool]
    reason: Reason


def _is_stepwise(row: Row) -> bool:
    steps, labels = peek(row, "completions"), peek(row, "labels")
    return has(row, "prompt") and isinstance(steps, list) and isinstance(labels, list)


def _has_pictures(row: Row) -> bool:
    return any(not blank(peek(row, name)) for name in PICTURES)


def _is_red_team(row: Row) -> bool:
    return has(row, "transcript", "rating", "task_description")


REFUSED = (
    Refused(
        "step-wise labels (TRL, PRM)",
        "`prompt`, `completions`, `labels`",
        _is_stepwise,
        Reason(
            "rows of step-wise labels (prompt, completions, labels)",
            "step-wise rewards are not read: here a completion is judged as a whole",
            "name ranks of whole completions `ranks`, or scores of them `scores`, with --column labels=NEW",
        ),
    ),
    Refused(
        "images, sounds, films",
        "`images`, `image`, `audio`, `video`; parts of such types",
        _has_pictures,
        Reason(
            "rows with images, sounds or films",
            "texts alone: models here read no images or sounds, so completions about them cannot be learned",
            "leave those rows out; images are judged in a campaign (content: image)",
        ),
    ),
    Refused(
        "HH-RLHF's red-team attempts",
        "`transcript`, `rating`, `task_description`, …",
        _is_red_team,
        Reason(
            "red-team attempts (transcript, rating): a rating of the whole attempt, where higher is worse",
            "judgments of completions",
            "write their first turns as prompts: a file with the column `prompt`",
        ),
    ),
)


def reason_to_refuse(row: Row) -> Reason | None:
    """The reason to refuse a row of an unsupported layout; None for other rows."""
    return next((each.reason for each in REFUSED if each.fits(row)), None)
