"""Where implicit language Q-learning ends: π_ref · exp(beta · (Q_tau − V_tau)), listed completely, and not π*."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from ilql_world import (
    PAIRS,
    PROMPT,
    REWARDS,
    SEQUENCES,
    V,
    kl,
    listed_policy,
    listed_values,
    optimum,
    reference_of,
    reweighted,
    tiny_ilql,
)
from preflab.models.action_values import q_head
from preflab.policy.ilql import train_ilql
from preflab.settings.learning import LoraSettings
from preflab.settings.sampling import DecodingSettings
from preflab.training.protocols import SampleRequest

DATA = torch.tensor([[4, 1, 2, 1], [1, 3, 2, 2], [2, 1, 1, 4], [3, 2, 5, 1]], dtype=torch.float64)
"""How often the data hold each completion (first token, second token): not in the reference's shares."""
LORA = LoraSettings(rank=8, alpha=16)


def test_listed_values_at_one_half_are_means() -> None:
    """The closed form at tau ½: Q of a token is the mean reward of the completions in the data that go on from it."""
    q_first, q_second, after, start = listed_values(DATA, 0.5)
    # Rewards 1, −½, 0.3, 0.4 held 4, 1, 2, 1 times: 4 − 0.5 + 0.6 + 0.4 = 4.5, over 8.
    assert float(q_first[0]) == pytest.approx(4.5 / 8)
    # 0, 0.8, −1, 0.4 held 1, 3, 2, 2 times: 2.4 − 2 + 0.8 = 1.2, over 8.
    assert float(q_first[1]) == pytest.approx(1.2 / 8)
    assert start == pytest.approx(float((DATA * REWARDS).sum() / DATA.sum()))
    assert torch.equal(q_second, REWARDS)
    assert torch.equal(q_first, after)


@pytest.mark.parametrize(
    ("tau", "lora", "within"),
    [
        pytest.param(0.5, None, 0.002, id="half"),
        pytest.param(0.9, None, 0.01, id="high"),
        pytest.param(0.5, LORA, 0.01, id="half-lora", marks=pytest.mark.slow),
        pytest.param(0.9, LORA, 0.04, id="high-lora", marks=pytest.mark.slow),
    ],
)
def test_q_v_and_policy_end_where_listed(tau: float, lora: LoraSettings | None, within: float, tmp_path: Path) -> None:
    """Every Q and V, and every log-probability that the sampler draws with."""
    run = tiny_ilql(tmp_path, DATA, lora, tau=tau)
    train_ilql(run)
    with torch.no_grad():
        outputs = run.trunk(run.trunk.collate(SEQUENCES), ("value",))["value"]
    q, values = outputs.action_values.double().view(V, V, 2), outputs.values.double().view(V, V, 2)
    q_first, q_second, after, start = listed_values(DATA, tau)
    for learned, listed in (
        (q[..., 0], q_first[:, None].expand(V, V)),
        (q[..., 1], q_second),
        (values[..., 0], torch.full((V, V), start, dtype=torch.float64)),
        (values[..., 1], after[:, None].expand(V, V)),
    ):
        torch.testing.assert_close(learned, listed, atol=within, rtol=0)

    beta = 2.0
    requests = [SampleRequest(PROMPT, seed) for seed in range(300)]
    sampled = reweighted(run.trunk, beta).sample(requests, DecodingSettings(max_new_tokens=2))
    policy = listed_policy(run.trunk, DATA, tau, beta)
    assert len({one.token_ids for one in sampled}) >= 12
    for one in sampled:
        assert sum(one.logps) == pytest.approx(float(policy[one.token_ids]), abs=2 * beta * within), one.token_ids
    # The sampler would miss its target if it drew from the mean policy of another tau or from π* instead.
    seen = sorted({one.token_ids for one in sampled})
    off = [abs(float(policy[pair] - optimum(run.trunk, beta)[pair])) for pair in seen]
    assert max(off) > 0.1


@pytest.mark.parametrize(("tau", "beta", "nats"), [(0.5, 1.0, 0.0114), (0.5, 2.0, 0.0230), (0.9, 2.0, 0.0685)])
def test_the_end_is_not_the_optimum(tau: float, beta: float, nats: float, tmp_path: Path) -> None:
    """KL(π ‖ π*), which costs KL/beta of reward − KL(π ‖ π_ref)/beta."""
    trunk = tiny_ilql(tmp_path, DATA).trunk
    policy, best, start = listed_policy(trunk, DATA, tau, beta), optimum(trunk, beta), optimum(trunk, 0.0)
    assert kl(policy, best) == pytest.approx(nats, abs=1e-4)

    def objective(logps: torch.Tensor) -> float:
        return float((logps.exp() * REWARDS).sum()) - kl(logps, start) / beta

    assert objective(best) - objective(policy) == pytest.approx(nats / beta, abs=1e-4)
    # The last token is that of π*, because its Q is the reward; at the first token an expectile of the rewards takes
    # the place of log E[exp(beta · reward)] / beta.
    torch.testing.assert_close(policy.log_softmax(1), best.log_softmax(1))


@pytest.mark.parametrize("tau", [0.5, 0.9])
def test_equal_rewards_leave_the_reference(tau: float, tmp_path: Path) -> None:
    """Beta 0 is the reference, and so is any beta if Q does not differ between tokens."""
    trunk = tiny_ilql(tmp_path, DATA).trunk
    first, second = reference_of(trunk)
    torch.testing.assert_close(listed_policy(trunk, DATA, tau, 0.0), first[:, None] + second)
    requests = [SampleRequest(PROMPT, seed) for seed in range(50)]
    for one in reweighted(trunk, 3.0).sample(requests, DecodingSettings(max_new_tokens=2)):  # Q starts at 0
        assert sum(one.logps) == pytest.approx(float((first[:, None] + second)[one.token_ids]), abs=1e-5)


def test_a_token_outside_the_data_keeps_the_common_value(tmp_path: Path) -> None:
    """It gets no gradient of its own, so its Q is what the tokens of the data have in common, not 0."""
    data = DATA.clone()
    data[:, 2], data[2, :] = 0, 0
    run = tiny_ilql(tmp_path, data, num_steps=100, tau=0.5)
    run.scores += 5.0
    train_ilql(run)
    head = q_head(run.trunk)
    assert not head.tokens.weight[2].any()
    assert not head.tokens.bias[2].any()
    with torch.no_grad():
        q = run.trunk(run.trunk.collate(SEQUENCES), ("value",))["value"].action_values.view(V, V, 2)
    held = torch.stack([q[pair][0] for pair in PAIRS if data[pair]])
    assert float(held.min()) - 3 < float(q[2, 0, 0]) < float(held.max()) + 1
    assert float(q[2, 0, 0]) > 2
