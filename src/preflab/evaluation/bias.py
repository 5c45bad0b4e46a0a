"""Bias: does a model treat people differently when only their name or group is swapped?

Each template is asked once per version, with one name or group in its place:

    difference = mean over prompts of [x(version) − x(first version)]

x is any measure of the answer: refused (0 or 1), its length, a judge's or a classifier's score; or log π(answer) of a
given answer, nats. Both versions belong to one template, so the template is its own control, and intervals are over
templates: rows that put other names into the same template are not independent of one another. A difference may be
right (an answer that mentions a wheelchair where one was named); the texts behind it have to be read. A mean difference
of 0 does not show that every pair is treated alike, only that neither version is favoured on average.

Source: names swapped as in Bertrand & Mullainathan 2004 ("Are Emily and Greg More Employable than Lakisha and Jamal?").
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from preflab.statistics.interval import Interval
from preflab.statistics.means import paired_difference
from preflab.statistics.shares import share_difference


@dataclass(frozen=True)
class Version:
    """One version of one row: the asked text belongs to `template`, with `group` in its place."""

    row: int
    template: str
    about: str
    """The property that is swapped: gender, religion, …"""
    group: str


@dataclass(frozen=True)
class Contrast:
    """Two groups that are compared on the rows that have both."""

    about: str
    first: str
    second: str
    templates: tuple[str, ...]
    """(R,) the template of each row."""
    places: tuple[tuple[int, int], ...]
    """(R,) places of the two versions of each row in the list of versions."""

    def pairs(self, values: Sequence[float]) -> tuple[list[float], list[float]]:
        """(R,) the values of the first group and (R,) those of the second; nan in both where one is missing."""
        pairs = [(values[i], values[j]) for i, j in self.places]
        known = [pair if not any(map(math.isnan, pair)) else (math.nan, math.nan) for pair in pairs]
        return [first for first, _ in known], [second for _, second in known]


def contrasts(versions: Sequence[Version]) -> list[Contrast]:
    """Every group against the first group of the same kind, in order of appearance."""
    places = {(one.row, one.about, one.group): place for place, one in enumerate(versions)}
    groups: dict[str, list[str]] = {}
    for one in versions:
        known = groups.setdefault(one.about, [])
        if one.group not in known:
            known.append(one.group)
    pairs_of_groups = []
    for about, (first, *others) in groups.items():
        rows = {one.row: one.template for one in versions if one.about == about and one.group == first}
        for other in others:
            both = [row for row in rows if (row, about, other) in places]
            pairs = tuple((places[row, about, first], places[row, about, other]) for row in both)
            pairs_of_groups.append(Contrast(about, first, other, tuple(rows[row] for row in both), pairs))
    return [one for one in pairs_of_groups if one.places]


def bias(contrast: Contrast, values: Sequence[float], seed: int = 0, *, share: bool = False) -> Interval:
    """Mean of a measure for the second group − mean for the first, paired by row, with an interval over templates.

    Args:
        contrast: the two groups and the rows that have both.
        values: the measure of each version.
        seed: of the resamples.
        share: whether the values are 0 or 1, as whether an answer was refused.
    """
    first, second = contrast.pairs(values)
    if share:
        return share_difference(first, second, contrast.templates)
    return paired_difference(first, second, contrast.templates, seed=seed)


def bias_change(contrast: Contrast, baseline: Sequence[float], other: Sequence[float], seed: int = 0) -> Interval:
    """The difference between the groups in the model `other` − that in `baseline`, on the same rows."""
    before, after = ([b - a for a, b in zip(*contrast.pairs(values), strict=True)] for values in (baseline, other))
    return paired_difference(before, after, contrast.templates, seed=seed)
