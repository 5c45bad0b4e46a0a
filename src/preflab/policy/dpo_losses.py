"""The losses a recipe names: one row per loss, none of them known to the loop.

Each row of `LOSSES` is a loss of the step's pairs or verdicts, with the weights of the whole step as denominator; each
row of `REWARDS` says what the trained policy then thinks a completion is worth.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

from torch import Tensor

from preflab.maths import dpo
from preflab.policy.dpo_groups import Weights


class Learned(NamedTuple):
    """What a loss may look at."""

    pairs: dpo.Pairs
    verdicts: dpo.Verdicts
    step: Weights
    """Denominators of the whole step."""
    kl: float
    """KTO's z₀ of the whole step."""


LOSSES: dict[str, Callable[[Learned, Any], Tensor]] = {
    "dpo": lambda given, s: dpo.dpo_loss(
        given.pairs,
        beta=s.beta,
        margin=s.margin,
        length_normalised=s.length_normalised,
        denominator=given.step.pairs,
    ),
    "cdpo": lambda given, s: dpo.cdpo_loss(
        given.pairs, beta=s.beta, flip_rate=s.flip_rate, denominator=given.step.pairs
    ),
    "robust": lambda given, s: dpo.robust_loss(
        given.pairs, beta=s.beta, flip_rate=s.flip_rate, denominator=given.step.pairs
    ),
    "ipo": lambda given, s: dpo.ipo_loss(
        given.pairs, tau=s.tau, length_normalised=s.length_normalised, denominator=given.step.pairs
    ),
    "hinge": lambda given, s: dpo.hinge_loss(given.pairs, beta=s.beta, denominator=given.step.pairs),
    "simpo": lambda given, s: dpo.simpo_loss(given.pairs, beta=s.beta, margin=s.margin, denominator=given.step.pairs),
    "orpo": lambda given, s: dpo.orpo_loss(given.pairs, odds_weight=s.odds_weight, denominator=given.step.pairs),
    "nll": lambda given, s: dpo.chosen_nll_loss(given.pairs, denominator=given.step.pairs),
    "kto": lambda given, s: dpo.kto_loss(
        given.verdicts,
        beta=s.beta,
        kl=given.kl,
        desirable_weight=s.desirable_weight,
        undesirable_weight=s.undesirable_weight,
        denominator=given.step.verdicts,
    ),
}
"""Kind of a loss → the loss of its settings."""


@dataclass(frozen=True)
class ImplicitReward:
    """scale · a quantity of `maths.dpo.IMPLICIT`: what a policy trained so thinks a completion is worth."""

    of: str
    scale: float

    def __call__(self, side: dpo.Side) -> Tensor:
        """(N,) rewards."""
        return self.scale * dpo.IMPLICIT[self.of](side)

    def to_json(self) -> dict[str, Any]:
        """As it stands in implicit_reward.json."""
        return asdict(self)


def _log_ratio(settings: Any, scale: float) -> ImplicitReward:
    normalised = getattr(settings, "length_normalised", False)
    return ImplicitReward("mean_log_ratio" if normalised else "log_ratio", scale)


REWARDS: dict[str, Callable[[Any], ImplicitReward]] = {
    **{kind: lambda s: _log_ratio(s, s.beta) for kind in ("dpo", "cdpo", "robust", "hinge", "kto")},
    "ipo": lambda s: _log_ratio(s, s.tau),
    "simpo": lambda s: ImplicitReward("mean_logp", s.beta),
    "orpo": lambda s: ImplicitReward("log_odds", 1.0),
    "nll": lambda s: ImplicitReward("mean_logp", 1.0),
}
"""Kind of a loss → the implicit reward of its settings."""


def summed(losses: Sequence[Any], given: Learned) -> tuple[Tensor, dict[str, Tensor]]:
    """The weighted sum of the losses, 0-d, and each of them alone, detached, before its weight."""
    found = {loss.kind: LOSSES[loss.kind](given, loss) for loss in losses}
    total = sum((loss.weight * found[loss.kind] for loss in losses[1:]), losses[0].weight * found[losses[0].kind])
    return total, {f"loss/{kind}": value.detach() for kind, value in found.items()}


def implicit_reward(losses: Sequence[Any]) -> ImplicitReward:
    """The implicit reward of the first loss: the one the others are mixed into."""
    return REWARDS[losses[0].kind](losses[0])
