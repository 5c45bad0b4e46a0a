"""The primary measure of an evaluation: the one that the recipe names, or a default that is said."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from preflab.errors import PreflabError, nearest
from preflab.report.measures import measure_name
from preflab.settings.evaluation import EvaluateSettings

ALWAYS = (
    "kl/exact", "length/tokens", "length/words", "repeat/share", "distinct/1", "distinct/2", "entropy/token",
    "finished/share",
)  # fmt: skip
"""Measures of every evaluation."""


@dataclass(frozen=True)
class PrimaryMeasure:
    """The measure whose verdict comes first; None where neither a judge nor a reward model scores."""

    measure: str | None
    note: str
    """One sentence without a full stop if it is a default, else ""."""


def primary_measure(settings: EvaluateSettings) -> PrimaryMeasure:
    """The measure that `primary` names; by default the first judge, else the first reward model.

    Raises:
        PreflabError: `primary` names a measure that this evaluation does not have.
    """
    judges, rewards = ([f"{kind}/{name}" for name in names] for kind, names in (
        ("judge", settings.judges), ("reward", settings.rewards),
    ))  # fmt: skip
    if settings.primary is not None:
        _check(settings, [*judges, *rewards])
        return PrimaryMeasure(settings.primary, "")
    if not (judges or rewards) or len(settings.models) + len(settings.completions) < 2:
        return PrimaryMeasure(next(iter([*judges, *rewards]), None), "")
    measure, kind = (judges[0], "judge") if judges else (rewards[0], "reward model")
    note = f"Primary measure by default: {measure_name(measure)}, the first {kind}; name one by `primary: {measure}`"
    return PrimaryMeasure(measure, note)


def _check(settings: EvaluateSettings, scores: Sequence[str]) -> None:
    name = str(settings.primary)
    known = [*scores, *(f"fail/{judge}" for judge in settings.judges), *ALWAYS]
    if name in known or (settings.labels and name.startswith("label/")):
        return
    near = nearest(name, known)
    raise PreflabError(
        f"primary: {name!r} is no measure of this evaluation",
        f"one of {', '.join(known)}" + (f"; near it: {near}" if near else ""),
        "name the judge or reward model that decides, such as `judge/NAME`",
    )
