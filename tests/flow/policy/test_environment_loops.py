"""PPO and GRPO on dialogues: turns of the environment carry no gradient, each turn keeps its reward, runs resume."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from preflab.files import read_jsonl
from preflab.messages import Message
from preflab.models.trunk import Role, Trunk
from preflab.policy import grpo, ppo
from preflab.policy.completion_groups import score_rollouts, scoring_items
from preflab.policy.grpo import train_grpo
from preflab.policy.on_policy_setup import ppo_optimiser
from preflab.policy.ppo import train_ppo
from preflab.rewards.combine import NoReward, Term, WeightedSum
from preflab.settings.learning import LoraSettings
from preflab.settings.ppo import PpoSettings
from preflab.training.metrics import is_time
from preflab.training.optimiser import make_optimiser
from preflab.training.protocols import Episode
from preflab.training.rollouts import Rollouts
from talking_world import Endless, talking_grpo, talking_ppo, talking_trunk
from tiny_worlds import FunctionScorer, files_of, kept_rollouts, the_prompt

LORA = LoraSettings(rank=2, alpha=4)
ROLES: dict[str, tuple[Role, ...]] = {"ppo": ("policy", "reference", "value"), "grpo": ("policy", "reference")}
TABLES = ("sampler_logps", "trainer_logps", "old_logps", "ref_logps", "exact_kl", "entropy", "values")


def trained(kind: str, folder: Path, num_steps: int, **changes: Any) -> Trunk:
    trunk = talking_trunk(ROLES[kind], lora=LORA)
    if kind == "ppo":
        train_ppo(talking_ppo(folder, trunk, num_steps=num_steps, **changes))
    else:
        train_grpo(talking_grpo(folder, trunk, num_steps=num_steps, **changes))
    return trunk


def without_times(folder: Path) -> list[dict[str, float]]:
    return [{k: v for k, v in row.items() if not is_time(k)} for row in read_jsonl(folder / "metrics.jsonl")]


@pytest.mark.parametrize("kind", ["ppo", "grpo"])
def test_n_restart_n_is_2n(kind: str, tmp_path: Path) -> None:
    whole = trained(kind, tmp_path / "whole", 4)
    trained(kind, tmp_path / "cut", 2)
    resumed = trained(kind, tmp_path / "cut", 4)
    for name, tensor in whole.state_dict().items():
        assert torch.equal(tensor, resumed.state_dict()[name]), name
    assert without_times(tmp_path / "whole") == without_times(tmp_path / "cut")
    assert files_of(tmp_path / "whole" / "rollouts") == files_of(tmp_path / "cut" / "rollouts")


def updated(kind: str, folder: Path, poison: Callable[[Rollouts], None], **changes: Any) -> dict[str, torch.Tensor]:
    """The weights after the updates of one step, whose rollouts were changed before they were learned from."""
    trunk = talking_trunk(ROLES[kind])
    rate = 1e-2
    if kind == "ppo":
        run = talking_ppo(folder, trunk, **changes)
        rollouts = ppo.collect(run, 0)
        scores, _ = ppo.score(run, rollouts)
        poison(rollouts)
        optimiser = ppo_optimiser(run.trunk, run.settings)
        batch = ppo.advantages(run, rollouts, scores, 0.1)
        ppo.update(run, trunk, optimiser, rollouts, batch, 0, 0.1)
    else:
        other = talking_grpo(folder, trunk, **changes)
        rollouts = grpo.collect(other, 0)
        scores = torch.arange(len(rollouts)).float()  # the environment's are all equal
        poison(rollouts)
        policy = [p for _, p in trunk.parameters_of("policy")]
        optimiser = make_optimiser([(policy, rate)], other.settings.optimiser, other.trunk)
        gained = grpo.advantages(other, rollouts, scores, 0.1)
        grpo.update(other, trunk, optimiser, rollouts, gained, 0, 0.1)
    return {name: tensor.clone() for name, tensor in trunk.state_dict().items()}


def poison(rollouts: Rollouts) -> None:
    """NaN in every number of a token that the policy did not write."""
    assert int((~rollouts.completion_mask).sum()) > 0
    for name in TABLES:
        getattr(rollouts, name).masked_fill_(~rollouts.completion_mask, math.nan)


ONCE = {"num_epochs": 1, "num_minibatches": 1}
LOOPS: list[tuple[str, dict[str, Any]]] = [
    ("ppo", {"kl_treatment": "reward_k1"}),
    ("ppo", {"kl_treatment": "exact", "whiten_rewards": "published"}),
    ("ppo", {"kl_treatment": "sequence_loss", "whiten_rewards": "scale", "bootstrap_truncated": True, **ONCE}),
    ("grpo", {"kl_treatment": "reward_k1"}),
    ("grpo", {"kl_treatment": "exact", "algorithm": "dr_grpo"}),
    ("grpo", {"kl_treatment": "token_k3", "algorithm": "gspo"}),
    ("grpo", {"kl_treatment": "token_k3", "algorithm": "dapo"}),
    ("grpo", {"kl_treatment": "sequence_loss", "algorithm": "rloo", **ONCE}),
]


@pytest.mark.parametrize(
    ("kind", "changes"), LOOPS, ids=[f"{kind} {'-'.join(map(str, c.values()))}" for kind, c in LOOPS]
)
def test_turns_of_the_environment_carry_no_gradient(kind: str, changes: dict[str, Any], tmp_path: Path) -> None:
    plain = updated(kind, tmp_path, lambda rollouts: None, **changes)
    poisoned = updated(kind, tmp_path, poison, **changes)
    before = talking_trunk(ROLES[kind]).state_dict()
    assert any(not torch.equal(tensor, before[name]) for name, tensor in plain.items())
    for name, tensor in plain.items():
        assert torch.equal(tensor, poisoned[name]), name


def test_the_ratio_is_one_before_the_first_update(tmp_path: Path) -> None:
    for kind in ROLES:
        trained(kind, tmp_path / kind, 1)
        (row,) = read_jsonl(tmp_path / kind / "metrics.jsonl")
        assert row["ratio/first_deviation"] < 1e-4, kind
        assert row["mismatch/logps"] < 1e-4, kind
        assert row["reward/environment"] == pytest.approx(6.0)
        assert row["reward/mean"] == pytest.approx(6.0)
        assert row["reward/environment/num_turns"] == 3.0


def test_rewards_of_turns_reach_the_turns_before_them_and_not_those_after(tmp_path: Path) -> None:
    """By hand, with values 0, γ = 1, λ = 1 and no KL: the return of a token is the sum of the rewards from its turn on.

    mask     1 1 0 0 1 1 0 1        the turns of the policy
    rewards  . 1 . . . 2 . 4        at the last token of each
    returns  7 7 . . 6 6 . 4
    """
    written = (True, True, False, False, True, True, False, True)
    rewards = (0.0, 1.0, 0.0, 0.0, 0.0, 2.0, 0.0, 4.0)
    episode = Episode(the_prompt()[0][0], (3,), tuple(range(8)), (0.0,) * 8, "", True, written, rewards=rewards)
    run = talking_ppo(tmp_path, talking_trunk(ROLES["ppo"]), lam=1.0, whiten_advantages=False)
    rollouts = Rollouts.of_episodes([episode])
    batch = ppo.advantages(run, rollouts, torch.tensor([7.0]), 0.0)
    assert batch.returns.tolist() == [[7.0, 7.0, 0.0, 0.0, 6.0, 6.0, 0.0, 4.0]]
    with_more = ppo.advantages(run, rollouts, torch.tensor([7.5]), 0.0)  # half a point of other rewards, at the end
    assert with_more.returns.tolist() == [[7.5, 7.5, 0.0, 0.0, 6.5, 6.5, 0.0, 4.5]]


def test_with_bootstrap_a_cut_episode_keeps_the_rewards_of_its_turns(tmp_path: Path) -> None:
    run = talking_ppo(tmp_path, talking_trunk(ROLES["ppo"]), Endless, bootstrap_truncated=True, missing_eos_penalty=5.0)
    run.scorer = WeightedSum([Term("more", 1.0, FunctionScorer(lambda ids: 100.0))])
    scores, _ = ppo.score(run, rollouts := ppo.collect(run, 0))
    assert scores.tolist() == rollouts.turn_rewards.sum(1).tolist(), "one per turn; nothing for the rest, which is cut"
    assert not rollouts.finished.any()


@pytest.mark.parametrize(("terminal", "expected"), [(True, [0.0, 3.0, 0.0, 3.0]), (False, [0.0, 3.0, 0.0, 8.0])])
def test_only_an_episode_that_would_go_on_is_bootstrapped(
    terminal: bool, expected: list[float], tmp_path: Path
) -> None:
    """A limit of tokens cut the first turn. If the environment ended the episode, its rewards are complete: by hand,
    with values 0, γ = 1 and λ = 0, each token's return is its reward, and the last one's 3 and the last value 5."""
    rewards = (0.0, 3.0, 0.0, 3.0)
    episode = Episode(
        the_prompt()[0][0], (3,), (4, 5, 6, 7), (0.0,) * 4, "", False, (True, True, False, True),
        rewards=rewards, columns={"num_turns": 2.0}, terminal=terminal, closed=True,
    )  # fmt: skip
    changes = {"lam": 0.0, "whiten_advantages": False, "bootstrap_truncated": True}
    run = talking_ppo(tmp_path, talking_trunk(ROLES["ppo"]), **changes)
    run.scorer = WeightedSum([Term("more", 1.0, FunctionScorer(lambda ids: 100.0))])
    rollouts = Rollouts.of_episodes([episode])
    rollouts.last_values = torch.tensor([5.0])
    scores, _ = ppo.score(run, rollouts)
    assert scores.tolist() == [106.0 if terminal else 6.0]
    batch = ppo.advantages(run, rollouts, rollouts.turn_rewards.sum(1), 0.0)
    assert batch.returns.tolist() == [expected]


def test_scorers_learn_whether_the_last_turn_is_whole_and_which_tokens_are_the_policys() -> None:
    """A dialogue that a limit of turns cut is a complete text; what a limit of tokens cut within a turn is not."""
    prompt, written = the_prompt()[0][0], (True, False, True)
    turns = (Message("assistant", "a"), Message("user", "b"), Message("assistant", "c"))
    episodes = [
        Episode(prompt, (3,), (4, 5, 6), (0.0,) * 3, "", False, written, turns=turns, closed=closed)
        for closed in (True, False)
    ]
    items = scoring_items(Rollouts.of_episodes(episodes))
    assert [item.finish_reason for item in items] == ["stop", "length"]
    assert [item.policy_tokens for item in items] == [written, written]


def test_other_rewards_are_added_and_may_not_take_the_name(tmp_path: Path) -> None:
    run = talking_grpo(tmp_path, talking_trunk())
    rollouts = grpo.collect(run, 0)
    half = WeightedSum([Term("half", 0.5, FunctionScorer(lambda ids: 1.0))])
    total, terms = score_rollouts(half, rollouts, missing_eos_penalty=0.0)
    assert total.tolist() == [6.5] * 8
    assert {"environment", "half", "environment/num_turns", "environment/long"} <= set(terms)
    taken = WeightedSum([Term("environment", 1.0, FunctionScorer(lambda ids: 1.0))])
    with pytest.raises(Exception, match="a term of the reward is named environment"):
        score_rollouts(taken, rollouts, missing_eos_penalty=0.0)
    assert NoReward().score([]).total.tolist() == []


def test_a_group_shares_one_start(tmp_path: Path) -> None:
    rollouts = grpo.collect(talking_grpo(tmp_path, talking_trunk()), 0)
    firsts = [prompt.messages[-1].content for prompt in rollouts.prompts]
    assert firsts[0::2] == firsts[1::2], "K = 2"
    assert len(set(firsts)) > 1
    texts = list(zip(rollouts.texts[0::2], rollouts.texts[1::2], strict=True))
    assert all(one != other for one, other in texts)
    of_ppo = ppo.collect(talking_ppo(tmp_path, talking_trunk(ROLES["ppo"]), num_completions_per_prompt=2), 0)
    firsts = [prompt.messages[-1].content for prompt in of_ppo.prompts]
    assert firsts[0::2] == firsts[1::2]


@pytest.mark.parametrize("kind", ["ppo", "grpo"])
def test_the_record_keeps_all_turns(kind: str, tmp_path: Path) -> None:
    trained(kind, tmp_path, 1, num_kept_alternatives=2)
    rows = kept_rollouts(tmp_path)
    assert len(rows) == 8
    for row in rows:
        assert row["last_turn"] == "No 3"
        assert "No 1" in row["completion"]
        assert "No 2" in row["completion"]
        written = row["written"]
        assert not all(written)
        assert row["turns"][1::2] == ["No 1", "No 2"]
        assert len(row["turns"]) == 5
        for name in ("sampler_logps", "trainer_logps", "ref_logps", "kl", "entropy", "ratio", "advantages"):
            assert len(row[name]) == len(row["token_ids"])
            assert [not math.isnan(value) for value in row[name]] == written, name
        assert [bool(place) for place in row["top_ids"]] == written
        assert [value for value in row["turn_rewards"] if value] == [1.0, 2.0, 3.0]


def test_prompts_and_rewards_are_required_without_an_environment() -> None:
    with pytest.raises(ValueError, match="prompts and rewards: required without an `environment`"):
        PpoSettings(model="m")
    with pytest.raises(ValueError, match="rewards: required"):
        PpoSettings(model="m", prompts="p")
    short = PpoSettings.model_validate({"model": "m", "environment": "a:B"})
    assert short.environment is not None
    assert (short.environment.source, short.environment.max_turns) == ("a:B", 8)
    whole = PpoSettings.model_validate({"model": "m", "environment": {"source": "a:B", "max_turns": 3}})
    assert whole.environment is not None
    assert whole.environment.max_turns == 3
