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
    """The measure whose verdict comes first; None where no judge, reward model or classifier scores."""

    measure: str | None
    note: str
    """One sentence without a full stop if it is a default, else ""."""


def primary_measure(settings: EvaluateSettings) -> PrimaryMeasure:
    """The measure that `primary` names; by default the first judge, else reward model, else classifier.

    Raises:
        PreflabError: `primary` names a measure that this evaluation does not have.
    """
    judges = [(f"judge/{name}", "judge") for name in settings.judges]
    rewards = [(f"reward/{name}", "reward model") for name in settings.rewards]
    classifiers = [(f"probability/{name}", "classifier") for name in settings.classifiers]
    deciding = [*judges, *rewards, *classifiers]
    if settings.primary is not None:
        _check(settings, [measure for measure, _ in deciding])
        return PrimaryMeasure(settings.primary, "")
    if not deciding:
        return PrimaryMeasure(None, "")
    measure, kind = deciding[0]
    if len(settings.models) + len(settings.completions) < 2:
        return PrimaryMeasure(measure, "")
    note = f"Primary measure by default: {measure_name(measure)}, the first {kind}; name one by `primary: {measure}`"
    return PrimaryMeasure(measure, note)


def _check(settings: EvaluateSettings, scores: Sequence[str]) -> None:
    name = str(settings.primary)
    known = [*scores, *(f"fail/{judge}" for judge in settings.judges), *ALWAYS]
    known += [f"{part}/{classifier}" for classifier in settings.classifiers for part in ("spread", "above")]
    known += ["rouge/1", "rouge/2", "rouge/l"] if settings.reference_texts else []
    if name in known or (settings.labels and name.startswith("label/")):
        return
    near = nearest(name, known)
    raise PreflabError(
        f"primary: {name!r} is no measure of this evaluation",
        f"one of {', '.join(known)}" + (f"; near it: {near}" if near else ""),
        "name the judge, reward model or classifier that decides, such as `judge/NAME`",
    )
