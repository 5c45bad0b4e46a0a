"""The losses a recipe names, computed as their rows in `preflab.settings.preference_losses` say.

No loss is known by name here: the row names its function in `preflab.maths.dpo` and its implicit reward.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

from torch import Tensor

from preflab.maths import dpo
from preflab.policy.dpo_groups import Weights
from preflab.settings.preference_losses import LossSettings


class Learned(NamedTuple):
    """What a loss may look at."""

    pairs: dpo.Pairs
    verdicts: dpo.Verdicts
    step: Weights
    """Denominators of the whole step."""
    kl: float
    """KTO's z₀ of the whole step."""


def loss_of(settings: LossSettings, given: Learned) -> Tensor:
    """The loss that a recipe asks for, 0-d, before its weight; divided by the weights of the whole step."""
    function = getattr(dpo, settings.row.function)
    value: Tensor
    if settings.row.learns_from == "pairs":
        value = function(given.pairs, **settings.hyperparameters, denominator=given.step.pairs)
    else:
        value = function(given.verdicts, **settings.hyperparameters, kl=given.kl, denominator=given.step.verdicts)
    return value


@dataclass(frozen=True)
class ImplicitReward:
    """scale · a quantity of `maths.dpo.IMPLICIT`: what a policy trained so thinks a completion is worth."""

    of: str
    scale: float

    def __call__(self, side: dpo.Side) -> Tensor:
        """(N,) rewards."""
        return self.scale * dpo.IMPLICIT[self.of].value(side)

    def to_json(self) -> dict[str, Any]:
        """As it stands in implicit_reward.json."""
        return asdict(self)


def summed(losses: Sequence[LossSettings], given: Learned) -> tuple[Tensor, dict[str, Tensor]]:
    """The weighted sum of the losses, 0-d, and each of them alone, detached, before its weight."""
    terms = {loss.kind: loss_of(loss, given) for loss in losses}
    total = sum((loss.weight * terms[loss.kind] for loss in losses[1:]), losses[0].weight * terms[losses[0].kind])
    return total, {f"loss/{kind}": value.detach() for kind, value in terms.items()}


def implicit_reward(losses: Sequence[LossSettings]) -> ImplicitReward:
    """The implicit reward of the first loss: the one the others are mixed into."""
    return ImplicitReward(*losses[0].reward)
