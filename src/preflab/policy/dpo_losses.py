"""Computes the losses of a recipe from their rows in the table of `preflab.settings.preference_losses`.

This file knows no loss by name: the row names the loss function in `preflab.maths.dpo` and the implicit reward.
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
    """Inputs of a loss."""

    pairs: dpo.Pairs
    verdicts: dpo.Verdicts
    step: Weights
    """Denominators of the whole step."""
    kl: float
    """KTO's z₀ of the whole step."""


def loss_of(settings: LossSettings, inputs: Learned) -> Tensor:
    """One loss of a recipe, 0-d: divided by the weights of the whole step, not yet multiplied by its own weight."""
    function = getattr(dpo, settings.row.function)
    value: Tensor
    if settings.row.learns_from == "pairs":
        value = function(inputs.pairs, **settings.hyperparameters, denominator=inputs.step.pairs)
    else:
        value = function(inputs.verdicts, **settings.hyperparameters, kl=inputs.kl, denominator=inputs.step.verdicts)
    return value


@dataclass(frozen=True)
class ImplicitReward:
    """The reward that a policy trained with a loss implies: `scale` times the quantity `of` of `maths.dpo.IMPLICIT`."""

    of: str
    scale: float

    def __call__(self, side: dpo.Side) -> Tensor:
        """(N,) rewards."""
        return self.scale * dpo.IMPLICIT[self.of].value(side)

    def to_json(self) -> dict[str, Any]:
        """The content of implicit_reward.json."""
        return asdict(self)


def summed(losses: Sequence[LossSettings], inputs: Learned) -> tuple[Tensor, dict[str, Tensor]]:
    """The weighted sum of the losses, 0-d, and each unweighted loss, detached, as `loss/<kind>`."""
    terms = {loss.kind: loss_of(loss, inputs) for loss in losses}
    total = sum((loss.weight * terms[loss.kind] for loss in losses[1:]), losses[0].weight * terms[losses[0].kind])
    return total, {f"loss/{kind}": value.detach() for kind, value in terms.items()}


def implicit_reward(losses: Sequence[LossSettings]) -> ImplicitReward:
    """The implicit reward of the first loss, which counts as the main one."""
    return ImplicitReward(*losses[0].reward)
