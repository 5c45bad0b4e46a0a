"""The primary measure of an evaluation, and the corrected verdicts of all its differences.

The primary measure is named before the run and tested on its own. The other measures of a comparison are a family:
their p-values are corrected together, so that at most 5 % of comparisons find something among them where nothing is.
"""

from __future__ import annotations

from collections.abc import Collection, Hashable, Mapping
from typing import Any, TypeVar

from preflab.statistics.holm import holm
from preflab.statistics.interval import Interval

Name = TypeVar("Name", bound=Hashable)
PRIMARY, OTHERS = "primary", "others"


def with_verdicts(
    compared: Mapping[str, Mapping[str, Interval]], primary: str | None, *, apart: Collection[str] = ()
) -> dict[str, dict[str, Any]]:
    """Model → measure → the difference as JSON with `family` and `p_holm`, its p-value corrected within the family.

    The primary differences of several models are one family; the other measures of a model are one family each.

    Args:
        compared: model → measure → difference to the baseline.
        primary: the primary measure; None: all measures are others.
        apart: contestants that are no models, such as the texts of people: no member of the models' family.
    """
    decided = {model: measures[primary] for model, measures in compared.items() if primary and primary in measures}
    first = holm({model: interval.p for model, interval in decided.items() if model not in apart})
    first |= {model: interval.p for model, interval in decided.items() if model in apart}
    verdicts = {}
    for model, measures in compared.items():
        others = holm({name: interval.p for name, interval in measures.items() if name != primary})
        verdicts[model] = {
            name: {
                **interval.to_json(),
                "family": PRIMARY if name == primary else OTHERS,
                "p_holm": _or_none(first[model] if name == primary else others[name]),
            }
            for name, interval in measures.items()
        }
    return verdicts


def as_family(intervals: Mapping[Name, Interval]) -> dict[Name, dict[str, Any]]:
    """The differences of one family as JSON with `p_holm`, their p-values corrected together."""
    corrected = holm({name: interval.p for name, interval in intervals.items()})
    return {name: {**interval.to_json(), "p_holm": _or_none(corrected[name])} for name, interval in intervals.items()}


def _or_none(p: float) -> float | None:
    return p if p == p else None
