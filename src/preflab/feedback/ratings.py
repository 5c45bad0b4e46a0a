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

from preflab.records import Judgment, LikertAnswer

PRIOR_RATINGS = 4.0
"""Ratings' worth of belief that a labeler uses the scale like everybody else: few ratings move nobody far."""
NUM_ROUNDS = 30


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
    """Labeler → scale, by alternating least squares with a prior of four ratings at offset 0 and spread 1.

    worth_i = mean over its labelers of levelled ratings, level(r) = centre + (r − centre − offset_l) / spread_l;
    (offset_l, spread_l) = regression of labeler l's ratings on the worth of what they rated, by others' ratings only,
    shrunk towards (0, 1). A labeler who rated only what nobody else rated keeps (0, 1): nothing tells.
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
    own = np.array([levelled(r.value, scale, centre) for r in rows])
    others = counts[places] - 1
    known = others > 0
    if not known.any():
        return scale._replace(offset=0.0, spread=1.0)
    worth = (sums[places][known] - own[known]) / others[known] - centre
    given = values[known] - centre
    # The prior: PRIOR_RATINGS observations at offset 0, and as many of typical spread at slope 1.
    typical = float(np.var(worth)) or 1.0
    normal = np.array(
        [
            [known.sum() + PRIOR_RATINGS, worth.sum()],
            [worth.sum(), float(worth @ worth) + PRIOR_RATINGS * typical],
        ]
    )
    offset, spread = np.linalg.solve(normal, [given.sum(), float(worth @ given) + PRIOR_RATINGS * typical])
    return OwnScale(float(offset), float(np.clip(spread, 0.25, 4.0)), len(rows))


def _anchored(scales: Mapping[str, OwnScale]) -> dict[str, OwnScale]:
    """Offsets that sum to 0 over ratings and spreads whose mean is 1: the group as a whole keeps its scale."""
    num = max(1, sum(scale.num for scale in scales.values()))
    offset = sum(scale.offset * scale.num for scale in scales.values()) / num
    spread = sum(scale.spread * scale.num for scale in scales.values()) / num
    return {name: OwnScale(scale.offset - offset, scale.spread / spread, scale.num) for name, scale in scales.items()}


def level_ratings(judgments: Sequence[Judgment]) -> list[Judgment]:
    """The same judgments with levelled Likert scores (numbers that need not be whole), other answers as they are."""
    by_criterion: dict[str, list[Rating]] = defaultdict(list)
    for judgment in judgments:
        if isinstance(judgment.answer, LikertAnswer):
            for name, given in judgment.answer.scores.items():
                by_criterion[name] += [
                    Rating(judgment.labeler_id, completion, float(value))
                    for completion, value in zip(judgment.completion_ids, given, strict=True)
                    if value is not None
                ]
    scales = {name: own_scales(ratings) for name, ratings in by_criterion.items()}
    centres = {name: float(np.mean([r.value for r in ratings])) for name, ratings in by_criterion.items()}
    return [_levelled(judgment, scales, centres) for judgment in judgments]


def _levelled(
    judgment: Judgment, scales: Mapping[str, Mapping[str, OwnScale]], centres: Mapping[str, float]
) -> Judgment:
    if not isinstance(judgment.answer, LikertAnswer):
        return judgment
    scores = {
        name: tuple(
            None if value is None else levelled(value, scales[name][judgment.labeler_id], centres[name])
            for value in given
        )
        for name, given in judgment.answer.scores.items()
    }
    return replace(judgment, answer=replace(judgment.answer, scores=scores))  # type: ignore[arg-type]
