"""Entropy, likelihood and the distance from the old policy over every completion."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from enumerated.world import World
from preflab.maths.losses import clipped_policy_loss, nll_loss

WORLDS = {
    "V=3, T=2": World(3, 2),
    "V=2, T<=3": World(2, 3, end_token=0),
}
worlds = pytest.mark.parametrize("world", WORLDS.values(), ids=WORLDS.keys())


def some_policy(world: World) -> Tensor:
    noise = torch.randn(world.ref_logits.shape, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    return world.ref_logits + 0.3 * noise


@worlds
def test_approx_kl_expects_the_kl_from_the_old_policy_to_the_new(world: World) -> None:
    old, new = world.ref_logits, some_policy(world)
    old_probabilities = world.seq_logps(old).exp()
    found = 0.0
    for n, probability in enumerate(old_probabilities.tolist()):
        row = slice(n, n + 1)
        loss = clipped_policy_loss(
            world.logps(new)[row],
            world.logps(old)[row],
            torch.zeros(1, world.num_tokens).double(),
            world.mask[row],
            clip_low=0.2,
            clip_high=0.2,
            denominator=1.0,
        )
        found += probability * loss.approx_kl.item()
    true_kl = world.kl(old, new).item()
    assert found == pytest.approx(true_kl, abs=1e-10)
    assert abs(world.kl(new, old).item() - true_kl) > 1e-4


@worlds
def test_nll_is_least_at_the_distribution_of_the_data(world: World) -> None:
    data = world.seq_logps(some_policy(world)).exp()

    def expected_gradient(logits: Tensor) -> tuple[float, Tensor]:
        logits = logits.clone().requires_grad_()
        logps = world.logps(logits)
        losses = [nll_loss(logps[n : n + 1], world.mask[n : n + 1], 1.0) for n in range(len(world.completions))]
        loss = (data * torch.stack(losses)).sum()
        (gradient,) = torch.autograd.grad(loss, logits)
        return loss.item(), gradient

    loss, gradient = expected_gradient(some_policy(world))
    torch.testing.assert_close(gradient, torch.zeros_like(gradient), rtol=0, atol=1e-10)
    assert loss == pytest.approx(-(data * data.log()).sum().item(), abs=1e-12)
    assert expected_gradient(world.ref_logits)[0] > loss
