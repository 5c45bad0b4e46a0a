"""Ratings on one scale: each labeler's own offset and spread taken out, what they agree on left in (R9).

"Scale interpretation varies": one labeler's 4 is another one's 3. Labelers see different completions, so a labeler's
plain mean also says how good those were; offsets are therefore estimated beside the completions' worth.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from preflab.records import Judgment

PRIOR_RATINGS = 4.0
"""Ratings' worth of belief that a labeler uses the scale like everybody else: few ratings move nobody far."""
NUM_ROUNDS = 30
SPREADS = (0.25, 4.0)
"""No labeler is taken to use less or more of the scale than this."""


class OwnScale(NamedTuple):
    """How one labeler uses a criterion's scale: rating = centre + offset + spread · (worth − centre) + noise."""

    offset: float
    """What they add to everything."""
    spread: float
    """1: like everybody; below 1: keeps to the middle; above 1: uses the ends."""
    num: int
    """Ratings it was estimated from."""


class Rating(NamedTuple):
    """One rating: who, of what, how many points."""

    labeler: str
    item: str
    value: float


def own_scales(ratings: Iterable[Rating]) -> dict[str, OwnScale]:
    """Labeler → scale, by turns with the worth of what is rated; a prior of four ratings at offset 0 and spread 1.

    worth_i = mean over its labelers of levelled ratings, level(r) = centre + (r − centre − offset_l) / spread_l;
    spread_l = standard deviation of labeler l's ratings / that of the worth of what they rated, by others' ratings
    only; offset_l = mean of the ratings − spread_l · mean of that worth. It is no regression: the slope of a careless
    labeler is near 0, and to divide by it would blow up the noise; here their ratings keep their spread.
    A labeler who rated only what nobody else rated keeps (0, 1): nothing tells.
    """
    ratings = list(ratings)
    labelers = sorted({r.labeler for r in ratings})
    items = {name: i for i, name in enumerate(sorted({r.item for r in ratings}))}
    rows = {name: [r for r in ratings if r.labeler == name] for name in labelers}
    centre = float(np.mean([r.value for r in ratings])) if ratings else 0.0
    scales = {name: OwnScale(0.0, 1.0, len(rows[name])) for name in labelers}
    for _ in range(NUM_ROUNDS):
        sums, counts = np.zeros(len(items)), np.zeros(len(items))
        for r in ratings:
            sums[items[r.item]] += levelled(r.value, scales[r.labeler], centre)
            counts[items[r.item]] += 1
        scales = {name: _fit(rows[name], scales[name], sums, counts, items, centre) for name in labelers}
        scales = _anchored(scales)
    return scales


def levelled(value: float, scale: OwnScale, centre: float) -> float:
    """The rating as somebody with offset 0 and spread 1 would have given it."""
    return centre + (value - centre - scale.offset) / scale.spread


def _fit(
    rows: Sequence[Rating],
    scale: OwnScale,
    sums: np.ndarray,
    counts: np.ndarray,
    items: Mapping[str, int],
    centre: float,
) -> OwnScale:
    places = np.array([items[r.item] for r in rows], dtype=int)
    values = np.array([r.value for r in rows])
    levels = np.array([levelled(r.value, scale, centre) for r in rows])
    others = counts[places] - 1
    known = others > 0
    if not known.any():
        return scale._replace(offset=0.0, spread=1.0)
    worth = (sums[places][known] - levels[known]) / others[known] - centre
    centred = values[known] - centre
    num = int(known.sum())
    # The prior: PRIOR_RATINGS observations of typical spread, at offset 0, used like everybody does.
    prior = PRIOR_RATINGS * (float(np.var(worth)) or 1.0)
    spread = float(np.clip(np.sqrt((num * np.var(centred) + prior) / (num * np.var(worth) + prior)), *SPREADS))
    offset = float(centred.sum() - spread * worth.sum()) / (num + PRIOR_RATINGS)
    return OwnScale(offset, spread, len(rows))


def _anchored(scales: Mapping[str, OwnScale]) -> dict[str, OwnScale]:
    """Offsets that sum to 0 over ratings and spreads whose mean is 1: the group as a whole keeps its scale.

    Adding d to every worth and −spread_l · d to every offset fits the ratings alike. This is the freedom that is taken
    away here; taking the same amount from every offset instead lets it grow from round to round.
    """
    num = max(1, sum(scale.num for scale in scales.values()))
    offset = sum(scale.offset * scale.num for scale in scales.values()) / num
    spread = sum(scale.spread * scale.num for scale in scales.values()) / num
    return {
        name: OwnScale(scale.offset - scale.spread * offset / spread, scale.spread / spread, scale.num)
        for name, scale in scales.items()
    }


def level_ratings(judgments: Sequence[Judgment]) -> list[Judgment]:
    """The same judgments with levelled scores (numbers that need not be whole), other answers as they are.

    They stay between the lowest and the highest score that anybody gave on the criterion. Scores of different ways of
    judging are levelled apart.
    """
    by_scale: dict[ScaleName, list[Rating]] = defaultdict(list)
    for judgment in judgments:
        for name, given in judgment.answer.ratings.items():
            by_scale[type(judgment.answer), name] += [
                Rating(judgment.labeler_id, completion, float(value))
                for completion, value in zip(judgment.completion_ids, given, strict=True)
                if value is not None
            ]
    scales = {name: _Scale.of(ratings) for name, ratings in by_scale.items() if ratings}
    return [_levelled(judgment, scales) for judgment in judgments]


ScaleName = tuple[type, str]
"""Kind of answer and criterion."""


class _Scale(NamedTuple):
    """A criterion's scale as the labelers used it."""

    own: Mapping[str, OwnScale]
    centre: float
    low: float
    high: float

    @classmethod
    def of(cls, ratings: Sequence[Rating]) -> _Scale:
        values = [rating.value for rating in ratings]
        return cls(own_scales(ratings), float(np.mean(values)), min(values), max(values))

    def levelled(self, value: float | None, labeler: str) -> float | None:
        if value is None:
            return None
        return min(self.high, max(self.low, levelled(value, self.own[labeler], self.centre)))


def _levelled(judgment: Judgment, scales: Mapping[ScaleName, _Scale]) -> Judgment:
    ratings, kind = judgment.answer.ratings, type(judgment.answer)
    if not ratings:
        return judgment
    scores = {
        name: tuple(scales[kind, name].levelled(value, judgment.labeler_id) for value in values)
        if (kind, name) in scales
        else values
        for name, values in ratings.items()
    }
    return replace(judgment, answer=judgment.answer.with_ratings(scores))
