"""Every group of K completions of a tiny world: exact expected gradients of the GRPO family and of Online DPO."""

from __future__ import annotations

import math
from collections import Counter
from itertools import combinations_with_replacement
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from enumerated.world import World
from preflab.maths.dpo import Pairs, Side, dpo_loss
from preflab.maths.reductions import StepCounts
from preflab.maths.sequence_ratio import clipped_ratio_loss
from preflab.models.role_output import RoleOutput
from preflab.policy.grpo import advantages
from preflab.policy.variants import KL_LOSSES, VARIANTS


class GroupWorld:
    """A world whose completions come in groups of K: (G, K) indices into its N completions.

    Groups that differ in order alone are listed once, with `orders` (G,), in how many orders they can come.
    """

    def __init__(self, world: World, num: int) -> None:
        self.world, self.num = world, num
        groups = list(combinations_with_replacement(range(len(world.completions)), num))
        self.groups = torch.tensor(groups)
        repeats = [math.prod(math.factorial(count) for count in Counter(group).values()) for group in groups]
        self.orders = math.factorial(num) / torch.tensor(repeats, dtype=torch.float64)

    def probabilities(self, logits: Tensor) -> Tensor:
        """(G,) how often each group is drawn, in whatever order; they add up to 1."""
        return self.orders * self.world.seq_logps(logits).detach().exp()[self.groups].prod(-1)

    def gradient(self, logits: Tensor, algorithm: str, treatment: str, kl_coef: float) -> Tensor:
        """The expected gradient of an on-policy step of the package's own functions, put together as the loop does.

        The number of tokens of a step is the expected one, as it is for large batches.
        """
        world, variant = self.world, VARIANTS[algorithm]
        logits = logits.detach().requires_grad_()
        rollout = world.rollouts(logits)
        rows = self.groups.flatten()
        logps, ref_logps, kl, mask = (
            part[rows] for part in (rollout.logps, rollout.ref_logps, rollout.exact_kl, rollout.mask)
        )
        run: Any = SimpleNamespace(
            settings=SimpleNamespace(num_completions_per_prompt=self.num, kl_treatment=treatment, algorithm=algorithm)
        )
        rollouts: Any = SimpleNamespace(
            old_logps=logps.detach(), ref_logps=ref_logps, exact_kl=kl.detach(), completion_mask=mask
        )
        gained = advantages(run, rollouts, rollout.score[rows], kl_coef)
        lengths = (world.seq_logps(logits).detach().exp() * world.mask.sum(-1)).sum().item()
        counts = StepCounts(self.num, self.num * lengths, world.num_tokens)
        often = self.probabilities(logits).repeat_interleave(self.num).unsqueeze(-1)
        weights = variant.reduction(mask, counts).double() * often
        loss = clipped_ratio_loss(
            logps, logps.detach(), gained, mask, weights, log_ratio=variant.log_ratio, clip_low=variant.clip_low,
            clip_high=variant.clip_high, num_tokens=1.0,
        ).loss  # fmt: skip
        if treatment in KL_LOSSES:
            loss = loss + kl_coef * KL_LOSSES[treatment](RoleOutput(logps=logps, kl=kl), ref_logps, mask, weights)
        (gradient,) = torch.autograd.grad(loss, logits)
        return gradient


def online_dpo_gradient(world: World, logits: Tensor, beta: float, labels: Tensor) -> Tensor:
    """The expected gradient of DPO on pairs that the policy draws; labels (N, N) are P(a ≻ b)."""
    logits = logits.detach().requires_grad_()
    logps, ref_logps = world.seq_logps(logits), world.seq_logps(world.ref_logits)
    lengths, num = world.mask.sum(-1), len(world.completions)
    a, b = (part.flatten() for part in torch.meshgrid(torch.arange(num), torch.arange(num), indexing="ij"))
    sides = [Side(logps[side], ref_logps[side], lengths[side]) for side in (a, b)]
    often = (logps[a] + logps[b]).detach().exp()
    loss = dpo_loss(Pairs(*sides, labels.flatten(), often), beta=beta, denominator=1.0)
    (gradient,) = torch.autograd.grad(loss, logits)
    return gradient
