"""The numbers of kept rollouts against separate passes: entropy, alternatives, ratio, and the columns of real runs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import torch

from preflab.models.alternatives import most_likely
from preflab.models.trunk import Trunk
from preflab.policy.grpo import train_grpo
from preflab.policy.online_dpo import train_online_dpo
from preflab.policy.ppo import train_ppo
from preflab.settings.learning import LoraSettings
from preflab.training.batches import TokenSequence
from preflab.training.record_columns import ROLLOUTS, TERM
from tiny_encoder_decoders import tiny_t5
from tiny_groups import tiny_grpo, tiny_online_dpo
from tiny_worlds import kept_rollouts, tiny_ppo, tiny_trunk

LORA = LoraSettings(rank=2, alpha=4)
FAST = {"learning_rate": 3e-2, "schedule": "constant"}
HALF = {"max_new_tokens": 3, "temperature": 0.5}


def reward(ids: tuple[int, ...]) -> float:
    """Likes token 1."""
    return float(ids.count(1))


def run(kind: str, folder: Path, trunk: Trunk, **changes: Any) -> list[dict[str, Any]]:
    """The rollouts of a short run; one step learns from them twice."""
    loops: dict[str, tuple[Callable[..., Any], Callable[..., Any]]] = {
        "ppo": (train_ppo, tiny_ppo),
        "grpo": (train_grpo, tiny_grpo),
        "online_dpo": (train_online_dpo, tiny_online_dpo),
    }
    train, make = loops[kind]
    train(make(folder, trunk, reward, **{"num_steps": 1, "optimiser": FAST, **changes}))
    return kept_rollouts(folder)


def trunk_for(kind: str, model: Any = None) -> Trunk:
    roles: Any = ("policy", "reference", "value") if kind == "ppo" else ("policy", "reference")
    return tiny_trunk(roles, lora=LORA, model=model, sharpen=8.0 if model is None else 1.0)


def plain_logps(trunk: Trunk, row: dict[str, Any], temperature: float) -> torch.Tensor:
    """(T, V) log-probabilities of the policy by a plain forward pass of the model."""
    prompt, completion = row["prompt_ids"], row["token_ids"]
    with torch.no_grad(), trunk.role("policy"):
        logits = trunk.language_model("policy")(torch.tensor([prompt + completion])).logits[0]
    return (logits[len(prompt) - 1 : -1] / temperature).log_softmax(-1)


@pytest.mark.parametrize("kind", ["ppo", "grpo", "online_dpo"])
def test_columns_of_a_real_run_are_those_of_the_table(kind: str, tmp_path: Path) -> None:
    for num in (0, 2):
        run(kind, tmp_path / str(num), trunk_for(kind), num_kept_alternatives=num)
        schema = pq.read_schema(tmp_path / str(num) / "rollouts" / "step-000000.parquet")
        where = {"always", kind} | ({"alternatives"} if num else set())
        expected = {name: column.type for name, column in ROLLOUTS.items() if column.where in where}
        expected = {"reward/known" if name == TERM else name: kept for name, kept in expected.items()}
        assert {field.name: field.type for field in schema} == expected
        assert list(schema.names) == list(expected), "in the order of the page"


@pytest.mark.parametrize("kind", ["ppo", "grpo", "online_dpo"])
def test_numbers_before_the_update_are_those_of_a_plain_pass(kind: str, tmp_path: Path) -> None:
    """The policy that writes the first step's rollouts is the reference; a plain pass of it gives all numbers."""
    trunk = trunk_for(kind)
    rows = run(kind, tmp_path, trunk, num_kept_alternatives=3, decoding=HALF)
    assert len(rows) == 4
    fresh = trunk_for(kind)
    for row in rows:
        logps = plain_logps(fresh, row, 0.5)
        chosen = logps.gather(1, torch.tensor(row["token_ids"])[:, None])[:, 0]
        for name in ("sampler_logps", "trainer_logps", "ref_logps"):
            assert row[name] == pytest.approx(chosen.tolist(), abs=1e-5), name
        assert row["entropy"] == pytest.approx((-logps.exp() * logps).sum(1).tolist(), abs=1e-5)
        assert row["kl"] == pytest.approx([0.0] * 3, abs=1e-6)
        top = logps.topk(3)
        assert row["top_ids"] == top.indices.tolist()
        for at, logps_at in enumerate(row["top_logps"]):
            assert logps_at == pytest.approx(top.values[at].tolist(), abs=1e-5)
            assert sum(2.718281828459045**logp for logp in logps_at) <= 1 + 1e-6
        assert row["top_tokens"] == [[chr(ord("a") + one) for one in place] for place in row["top_ids"]]
        assert row["reward"] == row["reward/known"] == row["completion"].count("b")


@pytest.mark.parametrize("kind", ["ppo", "grpo", "online_dpo"])
def test_ratio_is_that_of_the_last_visit(kind: str, tmp_path: Path) -> None:
    """With one update nothing had changed when it came by; the second of two saw the policy after the first."""
    once = run(kind, tmp_path / "once", trunk_for(kind), num_epochs=1, num_minibatches=1)
    for row in once:
        assert row["ratio"] == pytest.approx([1.0] * 3, abs=1e-5)
    after_one = trunk_for(kind)
    run(kind, tmp_path / "one", after_one, num_epochs=1, num_minibatches=1)
    twice = run(kind, tmp_path / "twice", trunk_for(kind), num_epochs=2, num_minibatches=1)
    for row in twice:
        chosen = plain_logps(after_one, row, 1.0).gather(1, torch.tensor(row["token_ids"])[:, None])[:, 0]
        expected = (chosen - torch.tensor(row["trainer_logps"])).exp().tolist()
        assert row["ratio"] == pytest.approx(expected, rel=1e-4)
    assert max(abs(one - 1) for row in twice for one in row["ratio"]) > 0.01, "so that another visit would show"


def test_critic_warm_up_leaves_the_ratio_at_one(tmp_path: Path) -> None:
    rows = run("ppo", tmp_path, trunk_for("ppo"), num_critic_warmup_steps=1)
    assert {ratio for row in rows for ratio in row["ratio"]} == {1.0}


def test_kept_numbers_leave_the_run_as_it_is(tmp_path: Path) -> None:
    """Bit for bit: neither the entropy nor the alternatives change what is learned."""
    without, with_all = trunk_for("ppo"), trunk_for("ppo")
    train_ppo(tiny_ppo(tmp_path / "none", without, reward, num_kept_rollouts=0))
    train_ppo(tiny_ppo(tmp_path / "all", with_all, reward, num_kept_rollouts=16, num_kept_alternatives=2))
    for name, tensor in without.state_dict().items():
        assert torch.equal(tensor, with_all.state_dict()[name]), name
    assert not (tmp_path / "none" / "rollouts").exists()
    assert len(kept_rollouts(tmp_path / "all")) == 32


def test_alternatives_of_an_encoder_decoder(tmp_path: Path) -> None:
    trunk = trunk_for("grpo", tiny_t5(8))
    rows = run("grpo", tmp_path, trunk, num_kept_alternatives=2)
    for row in rows:
        for place, token in enumerate(row["token_ids"]):
            best = row["top_logps"][place][0]
            assert row["trainer_logps"][place] <= best + 1e-5
            if token == row["top_ids"][place][0]:
                assert row["trainer_logps"][place] == pytest.approx(best, abs=1e-5)


def test_more_alternatives_than_tokens_are_all_tokens() -> None:
    trunk = trunk_for("grpo")
    batch = trunk.collate([TokenSequence((3,), (1, 2)), TokenSequence((3,), (0,))])
    ids, logps = most_likely(trunk, batch, 9, temperature=1.0)
    assert ids.shape == logps.shape == (3, 4)
    assert logps.exp().sum(1).tolist() == pytest.approx([1.0] * 3)
    assert [sorted(row) for row in ids.tolist()] == [[0, 1, 2, 3]] * 3
