"""Brings ratings to one scale: removes each labeler's own offset and spread (R9).

Labelers use scales differently: one labeler's 4 is another one's 3. They also see different completions, so a labeler's
mean depends on the quality of those, too; offsets and the worth of the completions are therefore estimated together.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from preflab.records import Judgment

PRIOR_RATINGS = 4.0
"""Strength of the prior (offset 0, spread 1), in ratings: a labeler with few ratings stays close to it."""
NUM_ROUNDS = 30
SPREADS = (0.25, 4.0)
"""Bounds of every labeler's spread."""


class OwnScale(NamedTuple):
    """How one labeler uses a criterion's scale: rating = centre + offset + spread · (worth − centre) + noise."""

    offset: float
    """What the labeler adds to every rating, in points."""
    spread: float
    """1: typical; below 1: keeps to the middle of the scale; above 1: uses its ends."""
    num: int
    """Number of ratings behind the estimate."""


class Rating(NamedTuple):
    """One rating: the labeler, the completion rated (`item`), and the points."""

    labeler: str
    item: str
    value: float


def own_scales(ratings: Iterable[Rating]) -> dict[str, OwnScale]:
    """Labeler → scale, estimated in turns with the worth of the items; the prior is offset 0 and spread 1.

    worth_i = mean over its labelers of levelled ratings, level(r) = centre + (r − centre − offset_l) / spread_l;
    spread_l = standard deviation of labeler l's ratings / standard deviation of the worth of the items rated, by the
    ratings of others alone; offset_l = mean of l's ratings − spread_l · mean of that worth. A regression is not used:
    its slope is near 0 for a careless labeler, and division by it would amplify the noise.
    A labeler who shares no item with another one keeps offset 0 and spread 1, since the data do not identify them.
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
            sums[items[r.item]] += level_rating(r.value, scales[r.labeler], centre)
            counts[items[r.item]] += 1
        scales = {name: _fit(rows[name], scales[name], sums, counts, items, centre) for name in labelers}
        scales = _anchor(scales)
    return scales


def level_rating(value: float, scale: OwnScale, centre: float) -> float:
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
    levels = np.array([level_rating(r.value, scale, centre) for r in rows])
    others = counts[places] - 1
    known = others > 0
    if not known.any():
        return scale._replace(offset=0.0, spread=1.0)
    worth = (sums[places][known] - levels[known]) / others[known] - centre
    centred = values[known] - centre
    num = int(known.sum())
    # The prior adds PRIOR_RATINGS observations with the typical spread and no offset.
    prior = PRIOR_RATINGS * (float(np.var(worth)) or 1.0)
    spread = float(np.clip(np.sqrt((num * np.var(centred) + prior) / (num * np.var(worth) + prior)), *SPREADS))
    offset = float(centred.sum() - spread * worth.sum()) / (num + PRIOR_RATINGS)
    return OwnScale(offset, spread, len(rows))


def _anchor(scales: Mapping[str, OwnScale]) -> dict[str, OwnScale]:
    """Normalise offsets to sum 0 over ratings and spreads to mean 1, so that the group keeps its scale.

    Adding d to every worth and −spread_l · d to every offset fits the ratings equally well, so d is fixed here.
    Subtracting the same amount from every offset instead would let d grow from round to round.
    """
    num = max(1, sum(scale.num for scale in scales.values()))
    offset = sum(scale.offset * scale.num for scale in scales.values()) / num
    spread = sum(scale.spread * scale.num for scale in scales.values()) / num
    return {
        name: OwnScale(scale.offset - scale.spread * offset / spread, scale.spread / spread, scale.num)
        for name, scale in scales.items()
    }


def level_ratings(judgments: Sequence[Judgment]) -> list[Judgment]:
    """The judgments with levelled scores (not necessarily whole numbers); answers without scores are unchanged.

    Levelled scores are clipped to the lowest and highest score that anybody gave on the criterion. Scores of different
    ways of judging are levelled separately.
    """
    by_scale: dict[ScaleName, list[Rating]] = defaultdict(list)
    for judgment in judgments:
        for name, scores in judgment.answer.ratings.items():
            by_scale[type(judgment.answer), name] += [
                Rating(judgment.labeler_id, completion, float(value))
                for completion, value in zip(judgment.completion_ids, scores, strict=True)
                if value is not None
            ]
    scales = {name: _Scale.of(ratings) for name, ratings in by_scale.items() if ratings}
    return [_level_judgment(judgment, scales) for judgment in judgments]


ScaleName = tuple[type, str]
"""(class of the answer, criterion)."""


class _Scale(NamedTuple):
    """One criterion: each labeler's own scale, the mean rating, and the lowest and highest rating given."""

    own: Mapping[str, OwnScale]
    centre: float
    low: float
    high: float

    @classmethod
    def of(cls, ratings: Sequence[Rating]) -> _Scale:
        values = [rating.value for rating in ratings]
        return cls(own_scales(ratings), float(np.mean(values)), min(values), max(values))

    def level(self, value: float | None, labeler: str) -> float | None:
        if value is None:
            return None
        return min(self.high, max(self.low, level_rating(value, self.own[labeler], self.centre)))


def _level_judgment(judgment: Judgment, scales: Mapping[ScaleName, _Scale]) -> Judgment:
    ratings, answer_class = judgment.answer.ratings, type(judgment.answer)
    if not ratings:
        return judgment
    scores = {
        name: tuple(scales[answer_class, name].level(value, judgment.labeler_id) for value in values)
        if (answer_class, name) in scales
        else values
        for name, values in ratings.items()
    }
    return replace(judgment, answer=judgment.answer.with_ratings(scores))
