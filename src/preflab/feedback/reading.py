"""How judgments are read, in one record: everything beside the judgments that decides what they come to.

Consensus, adjudication, read-outs, exports and training are all given a `Reading` and never its parts, so that two of
them cannot read one campaign in two ways. A campaign's is made by `labelling.reading`, a stage's by `stages.readings`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

import numpy as np

from preflab.feedback.gold import known_outcomes
from preflab.feedback.order import OrderRule, best_order, copeland
from preflab.feedback.pairs import Vote, all_votes, failed
from preflab.feedback.reliability import Known, Reliability, one_coin_em, relative_weights
from preflab.feedback.shrinkage import prior_of, shrunk
from preflab.records import Answer, Judgment

if TYPE_CHECKING:
    from preflab.settings.feedback import ReadingSettings

ORDERS: Mapping[str, OrderRule] = {"kemeny": best_order, "copeland": copeland}


@dataclass(frozen=True)
class Reading:
    """One way to read judgments. Two readings are equal where they read alike."""

    consensus: Literal["one_coin_em", "majority"] = "one_coin_em"
    """How labelers are weighed: by reliability, or one vote each."""
    fail_share: float = 0.5
    """A completion is F when at least this share of its labelers say so."""
    criterion: str | None = None
    """The Likert criterion that orders the completions; None where there is one at most."""
    level_scores: bool = True
    """Whether each labeler's own offset and spread are taken out of scores before they are averaged (R9)."""
    pairs_by: Literal["text", "completion"] = "text"
    """Whether completions of one text make no pair. Texts that are not known count as different."""
    order_rule: Literal["kemeny", "copeland"] = "kemeny"
    """How margins become an order."""
    confirmed_reversed: frozenset[str] = frozenset()
    """Labelers whose votes are turned round, because a lead has confirmed that they read the scale backwards."""
    gold: Mapping[str, Answer] = field(default_factory=dict)
    """Task → the answer known to be right: such tasks tell who is reliable, and nothing else."""

    @classmethod
    def of(
        cls,
        settings: ReadingSettings,
        *,
        criterion: str | None = None,
        confirmed_reversed: Iterable[str] = (),
        gold: Mapping[str, Answer] | None = None,
    ) -> Reading:
        """The reading that settings ask for, of judgments ordered by this criterion."""
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
        """Whether labelers are weighed by how reliable they are."""
        return self.consensus != "majority"

    @property
    def order(self) -> OrderRule:
        """Margins → order."""
        return ORDERS[self.order_rule]

    def votes(self, judgments: Iterable[Judgment]) -> list[Vote]:
        """The votes on pairs, turned round where a reversal is confirmed."""
        return all_votes(judgments, self.confirmed_reversed, self.criterion)

    def asked(self, judgments: Iterable[Judgment]) -> list[Judgment]:
        """The judgments without those of gold tasks."""
        return [judgment for judgment in judgments if judgment.task_id not in self.gold]

    def known(self, judgments: Iterable[Judgment]) -> Known:
        """The outcomes of the pairs that the gold answers decide."""
        return known_outcomes(judgments, self.gold, self.criterion)

    def failed(self, judgments: Sequence[Judgment]) -> list[bool]:
        """Per completion of one task: whether enough of its labelers marked it F."""
        marks = np.array([failed(judgment) for judgment in judgments], dtype=float)
        return [bool(share >= self.fail_share - 1e-9) for share in marks.mean(axis=0)]

    def names(self, completion_ids: Sequence[str], texts: Mapping[str, str] | None) -> list[str]:
        """What the completions are told apart by: equal names make no pair."""
        if self.pairs_by == "completion" or texts is None:
            return [f"id {place}" for place in range(len(completion_ids))]
        return [f"text {texts[i]}" if i in texts else f"id {i}" for i in completion_ids]

    def reliabilities(self, judgments: Iterable[Judgment]) -> dict[str, Reliability]:
        """Labeler → reliability over judgments that count, shrunk as `shrinkage` does."""
        judgments = list(judgments)
        everyone = {judgment.labeler_id for judgment in judgments}
        return shrunk(self.votes(judgments), everyone, known=self.known(judgments))

    def weights(self, judgments: Iterable[Judgment]) -> dict[str, float]:
        """Labeler → weight from 0 to 1 over judgments that count: by reliability, or 1 for each."""
        judgments = list(judgments)
        if not self.weighs:
            return {judgment.labeler_id: 1.0 for judgment in judgments}
        return relative_weights(self.reliabilities(judgments))

    def odds(self, judgments: Iterable[Judgment]) -> dict[str, Reliability]:
        """Labeler → reliability as the votes count: the mean of all for each where everybody has one vote."""
        reliabilities = self.reliabilities(judgments)
        if self.weighs or not reliabilities:
            return reliabilities
        mean = float(np.mean([each.accuracy for each in reliabilities.values()]))
        return {name: Reliability(mean, each.num_votes) for name, each in reliabilities.items()}

    def estimates(self, judgments: Iterable[Judgment]) -> tuple[dict[str, Reliability], frozenset[str]]:
        """Labeler with a vote → reliability before it is shrunk, and those of whom it cannot be told at all.

        Who stands out is judged by these (`standing`), which asks for many votes before it says a word.
        """
        judgments = list(judgments)
        votes, known = self.votes(judgments), self.known(judgments)
        strict = [vote for vote in votes if vote.outcome]
        return one_coin_em(votes, known=known), prior_of(strict, known=known).unknown

    def least_reliable_first(self, judgments: Iterable[Judgment]) -> list[str]:
        """Labelers in the order in which to look at them; those believed equal by what was estimated of each."""
        judgments = list(judgments)
        estimates, untold = self.estimates(judgments)

        def place(item: tuple[str, Reliability]) -> tuple[float, float, str]:
            name, believed = item
            told = name in estimates and name not in untold
            return believed.accuracy, estimates[name].accuracy if told else believed.accuracy, name

        return [name for name, _ in sorted(self.reliabilities(judgments).items(), key=place)]


USUAL = Reading()
"""How judgments are read where nobody said anything else."""
