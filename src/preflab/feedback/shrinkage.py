"""Reliabilities shrunk to a prior whose mean and strength are estimated from the labelers themselves.

An even split is decided by whoever weighs more, so a weight has to be knowledge. Three things can be missing:

- a third labeler. The votes of two tell the product of (2p − 1) alone: whether one is better than the other cannot be
  known, however many there are. In general the labelers of a campaign are linked wherever two of them voted on one
  pair, and reliabilities follow from the votes where the links close a circle of odd length, or where an answer is
  known. Elsewhere (`Prior.unknown`) everybody has the prior's mean, so all weigh the same.
- a difference. While the labelers' agreement with one another differs no more than chance lets it, nobody is believed
  to be better: the prior is infinitely strong, and all weigh the same.
- votes. Where the labelers differ significantly, each is shrunk by a prior worth s votes; s follows from the spread.

The formulas, with an example on paper: docs/algorithms/consensus.md, section 3.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from math import inf, isinf, sqrt

import numpy as np
from scipy.special import chdtri

from preflab.feedback.pairs import Vote
from preflab.feedback.reliability import CLIP, PRIOR_MEAN, PRIOR_WEIGHT, Known, Reliability, one_coin_em

LEAST_MEAN = 0.55
"""The labelers of a campaign as a whole are taken to be better than chance: nothing else could be asked of them."""
PRIOR_SHARE = PRIOR_MEAN**2 + (1 - PRIOR_MEAN) ** 2
"""How often two labelers nobody has seen agree."""
CHANCE = 0.05
"""How often labelers who are equally good may be taken for different."""


@dataclass(frozen=True)
class Prior:
    """What a campaign says of its labelers before it says anything of one of them."""

    mean: float = PRIOR_MEAN
    """m: the mean reliability."""
    strength: float = inf
    """s: how many votes that belief is worth; infinite while nothing shows that labelers differ."""
    together: float = 1.0
    """φ: so many votes of one labeler say as much as one, for those of a task hang together."""
    unknown: frozenset[str] = frozenset()
    """Labelers whose reliability cannot be identified, however many such votes they give."""


@dataclass(frozen=True)
class Checks:
    """How often a labeler's vote was checked by another's, or by a known answer, and agreed with it.

    One row for each labeler and task.
    """

    labeler: np.ndarray
    agreed: np.ndarray
    num: np.ndarray

    @property
    def share(self) -> float:
        """Σ agreed / Σ checks; 0 without a check."""
        return float(self.agreed.sum() / self.num.sum()) if len(self.num) else 0.0

    @property
    def together(self) -> float:
        """φ = N / (N − L) · Σ_lt (agreed_lt − a_l c_lt)² / (a (1 − a) Σ c_lt), at least 1; a the share of all.

        Over N rows of L labelers: 1 where the checks inside a task are independent of each other; as many as there are
        where they all go one way. With fewer than two tasks a labeler it is taken around a, without N / (N − L).
        """
        chance = self.share * (1 - self.share)
        if chance == 0:
            return 1.0
        place, num_labelers = self._place, int(self._place.max()) + 1
        num_rows, mean, free = len(self.num), np.full(num_labelers, self.share), 1.0
        if num_rows >= 2 * num_labelers:
            mean = np.bincount(place, self.agreed) / np.bincount(place, self.num)
            free = num_rows / (num_rows - num_labelers)
        apart = float(((self.agreed - mean[place] * self.num) ** 2).sum())
        return max(1.0, free * apart / (chance * float(self.num.sum())))

    @property
    def _place(self) -> np.ndarray:
        """The labelers of the rows, numbered from 0."""
        place: np.ndarray = np.unique(self.labeler, return_inverse=True)[1]
        return place

    def spread(self) -> float:
        """The variance between labelers of the share of their checks that agree; 0 unless they surely differ.

        Q = Σ_l c_l (a_l − a)² / (φ a (1 − a)), which is about chi-square with L − 1 degrees of freedom where all L
        labelers are equally good; the variance is DerSimonian and Laird's (1986).
        """
        place = self._place
        chance, free = self.share * (1 - self.share) * self.together, int(place.max(initial=-1))
        if chance == 0 or free < 1:
            return 0.0
        num = np.bincount(place, self.num)
        agreed = np.bincount(place, self.agreed) / num
        differ = float((num * (agreed - self.share) ** 2).sum() / chance)
        if differ <= chdtri(free, CHANCE):
            return 0.0
        return float((differ - free) * chance / (num.sum() - (num**2).sum() / num.sum()))


def shrunk(
    votes: Iterable[Vote], labelers: Iterable[str] = (), *, known: Known | None = None
) -> dict[str, Reliability]:
    """Labeler → reliability, for everyone with a vote and those named: what the consensus weighs by.

    By `one_coin_em` over the votes that something checks, from the prior that the campaign itself gives.
    """
    votes, known = list(votes), known or {}
    strict = [vote for vote in votes if vote.outcome]
    prior = prior_of(strict, known=known)
    checked = [] if isinf(prior.strength) else [vote for vote in _checked(strict, known) if _can_be_told(vote, prior)]
    estimates = one_coin_em(checked, known=known, mean=prior.mean, strength=prior.strength, together=prior.together)
    num: dict[str, int] = defaultdict(int)
    for vote in strict:
        num[vote.labeler] += 1
    everyone = sorted({*labelers, *(vote.labeler for vote in votes)})
    unseen = Reliability(prior.mean, 0)
    return {name: Reliability(estimates.get(name, unseen).accuracy, num[name]) for name in everyone}


def prior_of(votes: Sequence[Vote], *, known: Known | None = None) -> Prior:
    """The prior that a campaign's strict votes give.

        A = (Σ agreed + 2 · 0.58) / (Σ checks + 2)        over labelers; 0.58 = 0.7² + 0.3²
        ū = √(2A − 1), at least 0.1        m = (1 + ū) / 2
        Var p = spread of a_l / ū², or the spread on known answers where that is larger
        s = m (1 − m) / Var p − 1, at least 2

    Two labelers agree with probability (1 + u_l u_k) / 2, u = 2p − 1: the mean share gives the mean of u, and a
    labeler's own share is a_l = (1 + u_l ū) / 2.
    """
    known = known or {}
    unknown = untold(votes, known)
    told = [vote for vote in votes if vote.labeler not in unknown]
    by_others, by_answers = checks(told or votes, known), _checks_of_known(told, known)
    share = (by_others.agreed.sum() + PRIOR_WEIGHT * PRIOR_SHARE) / (by_others.num.sum() + PRIOR_WEIGHT)
    squared = max(2 * float(share) - 1, (2 * LEAST_MEAN - 1) ** 2)
    mean = min((1 + sqrt(squared)) / 2, 1 - CLIP)
    variance = max(by_others.spread() / squared if told else 0.0, by_answers.spread())
    together = (by_others if len(by_others.num) else by_answers).together
    return Prior(mean, _strength(mean, variance), together, unknown)


def _strength(mean: float, variance: float) -> float:
    """The votes a Beta distribution of this mean and variance is worth; infinite without variance."""
    return max(PRIOR_WEIGHT, mean * (1 - mean) / variance - 1) if variance > 0 else inf


def checks(votes: Iterable[Vote], known: Known | None = None) -> Checks:
    """How often each labeler's strict votes were checked by another's on the same pair.

    Pairs with a known answer are left out: they are easy.
    """
    asked = [vote for vote in votes if not (known or {}).get(vote[1:4])]
    places: dict[tuple[str, int, int], int] = {}
    pair = np.array([places.setdefault(vote[1:4], len(places)) for vote in asked], dtype=int)
    first = np.array([vote.outcome > 0 for vote in asked], dtype=bool)
    total, for_first = np.bincount(pair), np.bincount(pair, first)
    num = (total[pair] - 1).astype(float)
    agreed = np.where(first, for_first[pair], total[pair] - for_first[pair]) - 1
    return _summed(asked, agreed, num)


def _checks_of_known(votes: Iterable[Vote], known: Known) -> Checks:
    asked = [vote for vote in votes if known.get(vote[1:4])]
    agreed = np.array([vote.outcome == known[vote[1:4]] for vote in asked], dtype=float)
    return _summed(asked, agreed, np.ones(len(asked)))


def _summed(votes: Sequence[Vote], agreed: np.ndarray, num: np.ndarray) -> Checks:
    """Summed over the votes of a labeler on a task; rows without a check left out."""
    labelers: dict[str, int] = {}
    rows: dict[tuple[int, str], int] = {}
    of = [rows.setdefault((labelers.setdefault(v.labeler, len(labelers)), v.task), len(rows)) for v in votes]
    row = np.array(of, dtype=int)
    sums = [np.bincount(row, values, minlength=len(rows)) for values in (agreed, num)]
    kept = np.flatnonzero(sums[1] > 0)
    return Checks(np.array([labeler for labeler, _ in rows], dtype=int)[kept], sums[0][kept], sums[1][kept])


def untold(votes: Iterable[Vote], known: Known | None = None) -> frozenset[str]:
    """Returns the labelers whose reliability the strict votes do not identify, however many votes there are.

    Two who voted on one pair are linked. Agreement gives (2p − 1)(2q − 1) of every link: all of them hold as well when
    one side of a chain is better and the other worse by the same factor, unless a circle of odd length, or a known
    answer, fixes it. A labeler without a link is among them.
    """
    known = known or {}
    links: dict[str, set[str]] = defaultdict(set)
    fixed: set[str] = set()
    together: dict[tuple[str, int, int], set[str]] = defaultdict(set)
    for vote in votes:
        if vote.outcome:
            together[vote[1:4]].add(vote.labeler)
            links[vote.labeler]
    for pair, names in together.items():
        if known.get(pair):
            fixed |= names
        for one, other in combinations(names, 2):
            links[one].add(other)
            links[other].add(one)
    unknown: set[str] = set()
    for part, has_odd_circle in _parts(links):
        if not (has_odd_circle or part & fixed):
            unknown |= part
    return frozenset(unknown)


def _parts(links: Mapping[str, Collection[str]]) -> list[tuple[set[str], bool]]:
    """The connected parts of a graph, and whether each has a circle of odd length."""
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


def _checked(votes: Sequence[Vote], known: Known) -> list[Vote]:
    """The votes on pairs that somebody else voted on, or whose answer is known; the others say nothing of anybody."""
    num: dict[tuple[str, int, int], int] = defaultdict(int)
    for vote in votes:
        num[vote[1:4]] += 1
    return [vote for vote in votes if num[vote[1:4]] > 1 or known.get(vote[1:4])]


def _can_be_told(vote: Vote, prior: Prior) -> bool:
    return vote.labeler not in prior.unknown
