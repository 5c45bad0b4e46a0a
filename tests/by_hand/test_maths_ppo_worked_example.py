"""The worked example of docs/algorithms/ppo.md: every number of its data file, from the rewards down to the loss.

The numbers in the file were worked out on paper; the arithmetic stands on the page.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from preflab.maths.advantages import gae, scores_at_last_token, whiten
from preflab.maths.kl import kl_rewards_k1
from preflab.maths.losses import clipped_policy_loss, clipped_value_loss
from preflab.maths.masks import completion_mask_from_lengths

EXAMPLE: dict[str, Any] = json.loads((Path(__file__).parent / "data" / "ppo_worked_example.json").read_text("utf-8"))
SETTINGS, ROLLOUT, UPDATE = EXAMPLE["settings"], EXAMPLE["rollout"], EXAMPLE["update"]
EXPECTED, EXPECTED_UPDATE = EXAMPLE["expected"], EXAMPLE["expected_update"]
LENGTHS = torch.tensor([len(row) for row in ROLLOUT["old_logps"]])
MASK = completion_mask_from_lengths(LENGTHS, int(LENGTHS.max()))


def padded(rows: list[list[float]], fill: float = math.nan) -> Tensor:
    """Lists of unequal length → (B, T), the rest NaN, as nothing may depend on it."""
    width = MASK.shape[1]
    return torch.tensor([row + [fill] * (width - len(row)) for row in rows], dtype=torch.float64)


def assert_rows(found: Tensor, rows: list[list[float]]) -> None:
    torch.testing.assert_close(torch.where(MASK, found, 0), padded(rows, 0.0), rtol=0, atol=1e-6)


def collected() -> tuple[Tensor, Tensor]:
    """Rewards and old values, as after scoring."""
    kl_rewards = kl_rewards_k1(padded(ROLLOUT["old_logps"]), padded(ROLLOUT["ref_logps"]), MASK, SETTINGS["kl_coef"])
    scores = torch.tensor(ROLLOUT["scores"], dtype=torch.float64)
    return kl_rewards + scores_at_last_token(scores, MASK), padded(ROLLOUT["old_values"])


def advantages_and_returns(lam: float) -> tuple[Tensor, Tensor]:
    rewards, values = collected()
    return gae(rewards, values, MASK, gamma=SETTINGS["gamma"], lam=lam)


def policy_loss(advantages: Tensor) -> Any:
    old_logps = padded(ROLLOUT["old_logps"])
    logps = old_logps + padded(UPDATE["ratios"]).log()
    return clipped_policy_loss(
        logps, old_logps, advantages, MASK, clip_low=SETTINGS["clip_low"], clip_high=SETTINGS["clip_high"]
    )


def test_rewards() -> None:
    rewards, _ = collected()
    assert_rows(rewards, EXPECTED["rewards"])
    assert_rows(rewards - scores_at_last_token(torch.tensor(ROLLOUT["scores"]).double(), MASK), EXPECTED["kl_rewards"])


def test_advantages_and_returns() -> None:
    advantages, returns = advantages_and_returns(SETTINGS["lam"])
    assert_rows(advantages, EXPECTED["advantages"])
    assert_rows(returns, EXPECTED["returns"])
    # With lam = 0 the advantages are the deltas.
    assert_rows(advantages_and_returns(0.0)[0], EXPECTED["deltas"])


def test_whitening() -> None:
    advantages, _ = advantages_and_returns(SETTINGS["lam"])
    whitened = whiten(advantages, MASK)
    assert_rows(whitened, EXPECTED["whitened"])
    # The mean and the deviation of the file are those that lead from the one to the other.
    back = whitened * EXPECTED["advantage_std"] + EXPECTED["advantage_mean"]
    assert_rows(back, EXPECTED["advantages"])


def test_first_minibatch_has_loss_zero_and_a_gradient() -> None:
    logps = padded(ROLLOUT["old_logps"]).requires_grad_()
    whitened = whiten(advantages_and_returns(SETTINGS["lam"])[0], MASK)
    found = clipped_policy_loss(logps, logps.detach(), whitened, MASK, clip_low=0.2, clip_high=0.2)
    found.loss.backward()
    assert found.loss.item() == pytest.approx(0, abs=1e-12)
    assert logps.grad is not None
    assert_rows(-5 * logps.grad, EXPECTED["whitened"])


def test_policy_loss() -> None:
    advantages, _ = advantages_and_returns(SETTINGS["lam"])
    found = policy_loss(whiten(advantages, MASK))
    for name in ("clip_fraction", "approx_kl", "max_ratio_deviation"):
        assert getattr(found, name).item() == pytest.approx(EXPECTED_UPDATE[name], abs=1e-6)
    assert found.loss.item() == pytest.approx(EXPECTED_UPDATE["policy_loss"], abs=1e-6)
    assert sum(map(sum, EXPECTED_UPDATE["policy_terms"])) / 5 == pytest.approx(EXPECTED_UPDATE["policy_loss"])
    not_whitened = policy_loss(advantages).loss.item()
    assert not_whitened == pytest.approx(EXPECTED_UPDATE["policy_loss_not_whitened"], abs=1e-6)


def test_policy_terms_token_by_token() -> None:
    whitened = whiten(advantages_and_returns(SETTINGS["lam"])[0], MASK)
    old_logps, ratios = padded(ROLLOUT["old_logps"]), padded(UPDATE["ratios"])
    for row, t in MASK.nonzero().tolist():
        cell = (slice(row, row + 1), slice(t, t + 1))

        def loss(low: float, high: float, cell: tuple[slice, slice] = cell) -> float:
            logps = old_logps[cell] + ratios[cell].log()
            found = clipped_policy_loss(
                logps, old_logps[cell], whitened[cell], MASK[cell], clip_low=low, clip_high=high, denominator=1.0
            )
            return found.loss.item()

        assert loss(0.2, 0.2) == pytest.approx(EXPECTED_UPDATE["policy_terms"][row][t], abs=1e-6)
        assert loss(9.0, 9.0) == pytest.approx(EXPECTED_UPDATE["unclipped"][row][t], abs=1e-6)
        larger = max(EXPECTED_UPDATE["unclipped"][row][t], EXPECTED_UPDATE["clipped"][row][t])
        assert larger == EXPECTED_UPDATE["policy_terms"][row][t]


def test_value_loss_and_total() -> None:
    advantages, returns = advantages_and_returns(SETTINGS["lam"])
    values, old_values = padded(UPDATE["values"]), padded(ROLLOUT["old_values"])
    found = clipped_value_loss(values, old_values, returns, MASK, clip=SETTINGS["value_clip"])
    assert found.loss.item() == pytest.approx(EXPECTED_UPDATE["value_loss"], abs=1e-9)
    assert found.clip_fraction.item() == pytest.approx(EXPECTED_UPDATE["value_clip_fraction"])
    plain, clipped = EXPECTED_UPDATE["value_errors"], EXPECTED_UPDATE["clipped_value_errors"]
    assert_rows((values - returns).square(), plain)
    larger = [max(pair) for row in zip(plain, clipped, strict=True) for pair in zip(*row, strict=True)]
    assert sum(larger) / 2 / 5 == pytest.approx(EXPECTED_UPDATE["value_loss"])
    total = policy_loss(whiten(advantages, MASK)).loss + SETTINGS["value_coef"] * found.loss
    assert SETTINGS["entropy_coef"] == 0
    assert total.item() == pytest.approx(EXPECTED_UPDATE["total_loss"], abs=1e-6)
