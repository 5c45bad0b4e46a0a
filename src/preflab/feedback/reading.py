"""`Reading`: all options that decide which preferences follow from judgments, in one record.

Consensus, adjudication, read-outs, exports and training take a `Reading` and never its parts, so they cannot interpret
one campaign in different ways. `labelling.reading` makes it for a campaign, `stages.common.readings` for a stage.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

import numpy as np

from preflab.feedback.gold_tasks import known_outcomes
from preflab.feedback.order import OrderRule, best_order, copeland
from preflab.feedback.pair_votes import Vote, all_votes, failed
from preflab.feedback.reliability import Known, Reliability, one_coin_em, relative_weights
from preflab.feedback.shrinkage import estimate_prior, shrink_reliabilities
from preflab.records import Answer, Judgment

if TYPE_CHECKING:
    from preflab.settings.feedback import ReadingSettings

ORDERS: Mapping[str, OrderRule] = {"kemeny": best_order, "copeland": copeland}


@dataclass(frozen=True)
class Reading:
    """One way to interpret judgments; readings with equal options are equal."""

    consensus: Literal["one_coin_em", "majority"] = "one_coin_em"
    """How labelers are weighted: by reliability, or one vote each."""
    fail_share: float = 0.5
    """A completion is F when at least this share of its labelers mark it F."""
    criterion: str | None = None
    """The Likert criterion that orders the completions; None where there is at most one."""
    level_scores: bool = True
    """Whether each labeler's own offset and spread are removed from scores before averaging (R9)."""
    pairs_by: Literal["text", "completion"] = "text"
    """`text`: two completions with the same text make no pair (unknown texts count as different)."""
    order_rule: Literal["kemeny", "copeland"] = "kemeny"
    """How margins become an order."""
    confirmed_reversed: frozenset[str] = frozenset()
    """Labelers whose votes are inverted, because a lead has confirmed that they read the scale backwards."""
    gold: Mapping[str, Answer] = field(default_factory=dict)
    """Task → the answer known to be right; these tasks only measure reliability and give no preference."""

    @classmethod
    def of(
        cls,
        settings: ReadingSettings,
        *,
        criterion: str | None = None,
        confirmed_reversed: Iterable[str] = (),
        gold: Mapping[str, Answer] | None = None,
    ) -> Reading:
        """The reading with the options of `settings`."""
        return cls(
            consensus=settings.consensus,
            fail_share=settings.fail_share,
            criterion=criterion,
            level_scores=settings.level_scores,
            pairs_by=settings.pairs_by,
            order_rule=settings.order_rule,
            confirmed_reversed=frozenset(confirmed_reversed),
            gold=gold or {},
        )

    @property
    def weighs(self) -> bool:
        """Whether labelers are weighted by reliability."""
        return self.consensus != "majority"

    @property
    def order(self) -> OrderRule:
        """The function from margins to an order."""
        return ORDERS[self.order_rule]

    def votes(self, judgments: Iterable[Judgment]) -> list[Vote]:
        """The votes on pairs, inverted for labelers with a confirmed reversal."""
        return all_votes(judgments, self.confirmed_reversed, self.criterion)

    def asked(self, judgments: Iterable[Judgment]) -> list[Judgment]:
        """The judgments of tasks that are not gold tasks."""
        return [judgment for judgment in judgments if judgment.task_id not in self.gold]

    def known(self, judgments: Iterable[Judgment]) -> Known:
        """The outcomes of the pairs that the gold answers decide."""
        return known_outcomes(judgments, self.gold, self.criterion)

    def failed(self, judgments: Sequence[Judgment]) -> list[bool]:
        """For each completion of one task: whether at least `fail_share` of the labelers marked it F."""
        marks = np.array([failed(judgment) for judgment in judgments], dtype=float)
        return [bool(share >= self.fail_share - 1e-9) for share in marks.mean(axis=0)]

    def names(self, completion_ids: Sequence[str], texts: Mapping[str, str] | None) -> list[str]:
        """A name for each completion of a task; two completions with the same name make no pair.

        The name is the text, or the id where the text is unknown. It is the position, so that all names differ, if
        `pairs_by` is `completion` or no texts are given.
        """
        if self.pairs_by == "completion" or texts is None:
            return [f"id {place}" for place in range(len(completion_ids))]
        return [f"text {texts[i]}" if i in texts else f"id {i}" for i in completion_ids]

    def reliabilities(self, judgments: Iterable[Judgment]) -> dict[str, Reliability]:
        """Labeler → reliability from judgments that count, shrunk to the campaign's prior (`shrinkage`)."""
        judgments = list(judgments)
        everyone = {judgment.labeler_id for judgment in judgments}
        return shrink_reliabilities(self.votes(judgments), everyone, known=self.known(judgments))

    def weights(self, judgments: Iterable[Judgment]) -> dict[str, float]:
        """Labeler → weight from 0 to 1, from judgments that count: by reliability, or 1 each with `majority`."""
        judgments = list(judgments)
        if not self.weighs:
            return {judgment.labeler_id: 1.0 for judgment in judgments}
        return relative_weights(self.reliabilities(judgments))

    def odds(self, judgments: Iterable[Judgment]) -> dict[str, Reliability]:
        """Labeler → the reliability that votes are weighted by; with one vote each, everyone has the mean."""
        reliabilities = self.reliabilities(judgments)
        if self.weighs or not reliabilities:
            return reliabilities
        mean = float(np.mean([each.accuracy for each in reliabilities.values()]))
        return {name: Reliability(mean, each.num_votes) for name, each in reliabilities.items()}

    def estimates(self, judgments: Iterable[Judgment]) -> tuple[dict[str, Reliability], frozenset[str]]:
        """(labeler with a vote → reliability before shrinkage, labelers whose reliability cannot be identified).

        `standing` flags labelers by these values; it requires many votes first, so it needs no shrinkage.
        """
        judgments = list(judgments)
        votes, known = self.votes(judgments), self.known(judgments)
        strict = [vote for vote in votes if vote.outcome]
        return one_coin_em(votes, known=known), estimate_prior(strict, known=known).unidentified

    def least_reliable_first(self, judgments: Iterable[Judgment]) -> list[str]:
        """All labelers by reliability, lowest first; equals are ordered by their reliability before shrinkage."""
        judgments = list(judgments)
        estimates, unidentified = self.estimates(judgments)

        def sort_key(item: tuple[str, Reliability]) -> tuple[float, float, str]:
            name, shrunk = item
            is_identified = name in estimates and name not in unidentified
            return shrunk.accuracy, estimates[name].accuracy if is_identified else shrunk.accuracy, name

        return [name for name, _ in sorted(self.reliabilities(judgments).items(), key=sort_key)]


USUAL = Reading()
"""The default reading."""
