"""Shrinks reliabilities to a prior whose mean and strength are estimated from the campaign's labelers.

The heavier side decides an even split, so weights must differ only where the data show a difference. They may not:

- Two labelers. Their votes determine only the product of their (2p − 1), so no number of votes shows which of them is
  better. In general, link two labelers if they voted on one pair; reliabilities are identified where the links form a
  cycle of odd length, or where an answer is known. Labelers elsewhere (`Prior.unidentified`) get the prior's mean, so
  they all have the same weight.
- No significant difference. While the labelers' rates of agreement vary no more than chance explains, the prior is
  infinitely strong, and all have the same weight.
- Few votes. Where labelers differ significantly, each is shrunk by a prior worth s votes; s follows from the spread.

The formulas, with a worked example: docs/algorithms/consensus.md, section 3.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from math import inf, isinf, sqrt

import numpy as np
from scipy.special import chdtri

from preflab.feedback.pair_votes import Vote
from preflab.feedback.reliability import CLIP, PRIOR_MEAN, PRIOR_WEIGHT, Known, Reliability, one_coin_em

LEAST_MEAN = 0.55
"""Lower bound of the mean reliability: a campaign's labelers as a whole are assumed to be better than chance."""
PRIOR_SHARE = PRIOR_MEAN**2 + (1 - PRIOR_MEAN) ** 2
"""Prior probability that two labelers agree."""
CHANCE = 0.05
"""Significance level of the test that labelers differ."""


@dataclass(frozen=True)
class Prior:
    """The prior of the reliability of a campaign's labelers."""

    mean: float = PRIOR_MEAN
    """m: the mean reliability."""
    strength: float = inf
    """s: the strength of the prior in votes; infinite while the labelers do not differ significantly."""
    overdispersion: float = 1.0
    """φ: the number of a labeler's votes that carry the information of one, as votes on one task are correlated."""
    unidentified: frozenset[str] = frozenset()
    """Labelers whose reliability the votes do not identify, however many there are."""


@dataclass(frozen=True)
class Checks:
    """Comparisons of labelers' votes with other labelers' votes, or with known answers; a row per labeler and task."""

    labeler: np.ndarray
    """The labeler of each row, as a number."""
    agreed: np.ndarray
    """Comparisons in which the two agreed."""
    num: np.ndarray
    """Comparisons."""

    @property
    def share(self) -> float:
        """Σ agreed / Σ num; 0 without a check."""
        return float(self.agreed.sum() / self.num.sum()) if len(self.num) else 0.0

    @property
    def overdispersion(self) -> float:
        """φ = N / (N − L) · Σ_lt (agreed_lt − a_l c_lt)² / (a (1 − a) Σ c_lt), at least 1.

        N rows, L labelers, c_lt checks of labeler l in task t, a_l the labeler's share and a the share of all. φ is 1
        if the checks inside a task are independent, and their number per task if they always agree with one another.
        With fewer than two tasks per labeler, a replaces a_l and the factor N / (N − L) is left out.
        """
        chance = self.share * (1 - self.share)
        if chance == 0:
            return 1.0
        place, num_labelers = self._place, int(self._place.max()) + 1
        num_rows, mean, correction = len(self.num), np.full(num_labelers, self.share), 1.0
        if num_rows >= 2 * num_labelers:
            mean = np.bincount(place, self.agreed) / np.bincount(place, self.num)
            correction = num_rows / (num_rows - num_labelers)
        squares = float(((self.agreed - mean[place] * self.num) ** 2).sum())
        return max(1.0, correction * squares / (chance * float(self.num.sum())))

    @property
    def _place(self) -> np.ndarray:
        """(N,) the labeler of each row, renumbered from 0 without gaps."""
        place: np.ndarray = np.unique(self.labeler, return_inverse=True)[1]
        return place

    def spread(self) -> float:
        """The variance between labelers of their share of agreeing checks; 0 unless they differ significantly.

        Q = Σ_l c_l (a_l − a)² / (φ a (1 − a)) is about chi-square with L − 1 degrees of freedom if all L labelers are
        equally good; the variance is that of DerSimonian and Laird (1986).
        """
        place = self._place
        chance, freedom = self.share * (1 - self.share) * self.overdispersion, int(place.max(initial=-1))
        if chance == 0 or freedom < 1:
            return 0.0
        num = np.bincount(place, self.num)
        agreed = np.bincount(place, self.agreed) / num
        statistic = float((num * (agreed - self.share) ** 2).sum() / chance)
        if statistic <= chdtri(freedom, CHANCE):
            return 0.0
        return float((statistic - freedom) * chance / (num.sum() - (num**2).sum() / num.sum()))


def shrink_reliabilities(
    votes: Iterable[Vote], labelers: Iterable[str] = (), *, known: Known | None = None
) -> dict[str, Reliability]:
    """Labeler → reliability, for everyone with a vote and everyone in `labelers`; the consensus weights come from it.

    Computed by `one_coin_em` with the campaign's prior, over the votes that another vote or a known answer checks.
    """
    votes, known = list(votes), known or {}
    strict = [vote for vote in votes if vote.outcome]
    prior = estimate_prior(strict, known=known)
    checked = [vote for vote in _select_checked(strict, known) if vote.labeler not in prior.unidentified]
    estimates = one_coin_em(
        [] if isinf(prior.strength) else checked,
        known=known,
        mean=prior.mean,
        strength=prior.strength,
        overdispersion=prior.overdispersion,
    )
    num: dict[str, int] = defaultdict(int)
    for vote in strict:
        num[vote.labeler] += 1
    everyone = sorted({*labelers, *(vote.labeler for vote in votes)})
    unseen = Reliability(prior.mean, 0)
    return {name: Reliability(estimates.get(name, unseen).accuracy, num[name]) for name in everyone}


def estimate_prior(votes: Sequence[Vote], *, known: Known | None = None) -> Prior:
    """The prior estimated from a campaign's strict votes.

        A = (Σ agreed + 2 · 0.58) / (Σ checks + 2)        over labelers; 0.58 = 0.7² + 0.3²
        ū = √(2A − 1), at least 0.1        m = (1 + ū) / 2
        Var p = the larger of: spread of a_l / ū², spread of the shares of known answers
        s = m (1 − m) / Var p − 1, at least 2

    With u = 2p − 1, two labelers agree with probability (1 + u_l u_k) / 2. So the mean share of agreement gives the
    mean of u, and the expected share of labeler l is a_l = (1 + u_l ū) / 2.
    """
    known = known or {}
    unidentified = find_unidentified(votes, known)
    identified = [vote for vote in votes if vote.labeler not in unidentified]
    by_others, by_answers = count_checks(identified or votes, known), _count_known_checks(identified, known)
    share = (by_others.agreed.sum() + PRIOR_WEIGHT * PRIOR_SHARE) / (by_others.num.sum() + PRIOR_WEIGHT)
    squared = max(2 * float(share) - 1, (2 * LEAST_MEAN - 1) ** 2)
    mean = min((1 + sqrt(squared)) / 2, 1 - CLIP)
    variance = max(by_others.spread() / squared if identified else 0.0, by_answers.spread())
    overdispersion = (by_others if len(by_others.num) else by_answers).overdispersion
    return Prior(mean, _prior_strength(mean, variance), overdispersion, unidentified)


def _prior_strength(mean: float, variance: float) -> float:
    """The strength, in votes, of a Beta prior with this mean and variance; infinite if the variance is 0."""
    return max(PRIOR_WEIGHT, mean * (1 - mean) / variance - 1) if variance > 0 else inf


def count_checks(votes: Iterable[Vote], known: Known | None = None) -> Checks:
    """Comparisons of each labeler's strict votes with the votes of others on the same pair.

    Pairs with a known answer are left out, because gold pairs are easier than others.
    """
    asked = [vote for vote in votes if not (known or {}).get(vote[1:4])]
    places: dict[tuple[str, int, int], int] = {}
    pair = np.array([places.setdefault(vote[1:4], len(places)) for vote in asked], dtype=int)
    first = np.array([vote.outcome > 0 for vote in asked], dtype=bool)
    total, for_first = np.bincount(pair), np.bincount(pair, first)
    num = (total[pair] - 1).astype(float)
    agreed = np.where(first, for_first[pair], total[pair] - for_first[pair]) - 1
    return _sum_checks(asked, agreed, num)


def _count_known_checks(votes: Iterable[Vote], known: Known) -> Checks:
    """Comparisons of each labeler's votes with known answers."""
    gold = [vote for vote in votes if known.get(vote[1:4])]
    agreed = np.array([vote.outcome == known[vote[1:4]] for vote in gold], dtype=float)
    return _sum_checks(gold, agreed, np.ones(len(gold)))


def _sum_checks(votes: Sequence[Vote], agreed: np.ndarray, num: np.ndarray) -> Checks:
    """The comparisons of each vote summed by labeler and task; rows without a comparison are left out."""
    labelers: dict[str, int] = {}
    rows: dict[tuple[int, str], int] = {}
    numbers = [rows.setdefault((labelers.setdefault(v.labeler, len(labelers)), v.task), len(rows)) for v in votes]
    row = np.array(numbers, dtype=int)
    sums = [np.bincount(row, values, minlength=len(rows)) for values in (agreed, num)]
    nonempty = np.flatnonzero(sums[1] > 0)
    labeler = np.array([labeler for labeler, _ in rows], dtype=int)
    return Checks(labeler[nonempty], sums[0][nonempty], sums[1][nonempty])


def find_unidentified(votes: Iterable[Vote], known: Known | None = None) -> frozenset[str]:
    """The labelers whose reliability the strict votes do not identify, however many votes there are.

    Two labelers are linked if they voted on one pair. Their agreement determines (2p − 1)(2q − 1) of the link alone.
    Along a chain, every second labeler can be better and the others worse by the same factor without changing any of
    these products, unless a cycle of odd length or a known answer fixes that factor. A labeler without a link is not
    identified either.
    """
    known = known or {}
    links: dict[str, set[str]] = defaultdict(set)
    fixed: set[str] = set()
    voters: dict[tuple[str, int, int], set[str]] = defaultdict(set)
    for vote in votes:
        if vote.outcome:
            voters[vote[1:4]].add(vote.labeler)
            links[vote.labeler]
    for pair, names in voters.items():
        if known.get(pair):
            fixed |= names
        for one, other in combinations(names, 2):
            links[one].add(other)
            links[other].add(one)
    unidentified: set[str] = set()
    for part, has_odd_cycle in _connected_parts(links):
        if not (has_odd_cycle or part & fixed):
            unidentified |= part
    return frozenset(unidentified)


def _connected_parts(links: Mapping[str, Collection[str]]) -> list[tuple[set[str], bool]]:
    """The connected parts of a graph, and whether each has a cycle of odd length."""
    side: dict[str, int] = {}
    parts = []
    for start in sorted(links):
        if start in side:
            continue
        side[start], part, is_odd = 0, {start}, False
        waiting = deque([start])
        while waiting:
            name = waiting.popleft()
            for other in links[name]:
                if other not in side:
                    side[other] = 1 - side[name]
                    part.add(other)
                    waiting.append(other)
                is_odd = is_odd or side[other] == side[name]
        parts.append((part, is_odd))
    return parts


def _select_checked(votes: Sequence[Vote], known: Known) -> list[Vote]:
    """The votes on pairs with another vote or a known answer; other votes say nothing about reliability."""
    num: dict[tuple[str, int, int], int] = defaultdict(int)
    for vote in votes:
        num[vote[1:4]] += 1
    return [vote for vote in votes if num[vote[1:4]] > 1 or known.get(vote[1:4])]
