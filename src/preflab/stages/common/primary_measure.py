"""The primary measure of an evaluation: the one that the recipe names, or a default that is said."""

from __future__ import annotations

from dataclasses import dataclass

from preflab.errors import PreflabError, nearest
from preflab.report.measures import LEADING, OF_CLASSIFIERS, measure_name
from preflab.settings.evaluation import EvaluateSettings

ALWAYS = (
    "kl/exact", "length/tokens", "length/words", "repeat/share", "distinct/1", "distinct/2", "entropy/token",
    "finished/share",
)  # fmt: skip
"""Measures of every evaluation."""
ROUGE = tuple(f"rouge/{kind}{part}" for part in ("", "/precision", "/recall") for kind in ("1", "2", "l"))
"""Measures with reference texts."""


@dataclass(frozen=True)
class PrimaryMeasure:
    """The measure whose verdict comes first; None where neither a judge nor a reward model scores."""

    measure: str | None
    note: str
    """One sentence without a full stop if it is a default, else ""."""


def primary_measure(settings: EvaluateSettings) -> PrimaryMeasure:
    """The measure that `primary` names; by default the first judge, else the first reward model, else classifier.

    Raises:
        PreflabError: `primary` names a measure that this evaluation does not have.
    """
    if settings.primary is not None:
        _check(settings)
        return PrimaryMeasure(settings.primary, "")
    scores = {
        "judge": [f"judge/{name}" for name in settings.judges],
        "reward model": [f"reward/{name}" for name in settings.rewards],
        "classifier": [f"probability/{name}" for name in settings.classifiers],
    }
    kind, measure = next(((kind, names[0]) for kind, names in scores.items() if names), ("", None))
    num_compared = len(settings.models) + len(settings.completions) + bool(settings.reference_texts)
    if measure is None or num_compared < 2:
        return PrimaryMeasure(measure, "")
    note = f"Primary measure by default: {measure_name(measure)}, the first {kind}; name one by `primary: {measure}`"
    return PrimaryMeasure(measure, note)


def _check(settings: EvaluateSettings) -> None:
    name = str(settings.primary)
    known = [
        *(f"{kind}/{judge}" for kind in ("judge", "fail") for judge in settings.judges),
        *(f"reward/{stage}" for stage in settings.rewards),
        *(f"{kind}/{one}" for kind in OF_CLASSIFIERS for one in settings.classifiers),
        *(ROUGE if settings.reference_texts else ()),
        *ALWAYS,
    ]
    if name in known or (settings.labels and name.startswith("label/")):
        return
    near = nearest(name, known)
    scores = [each for each in known if each.startswith(LEADING)]
    raise PreflabError(
        f"primary: {name!r} is not a measure of this evaluation",
        f"one of {', '.join(known)}" + (f"; near it: {near}" if near else ""),
        f"name the measure that decides, such as `primary: {near or (scores or known)[0]}`",
    )
