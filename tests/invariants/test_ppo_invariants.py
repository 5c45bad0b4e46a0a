"""What must not change a PPO step, and what it must start from."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel

from preflab.errors import PreflabError
from preflab.files import read_jsonl
from preflab.models.trunk import Role, Trunk
from preflab.policy.on_policy_run import RunResult
from preflab.policy.on_policy_setup import ppo_optimiser
from preflab.policy.ppo import PpoRun, advantages, collect, policy_loss, train_ppo, value_loss
from preflab.policy.step_statistics import LearningBatch, read_statistics
from preflab.records import Prompt
from preflab.settings.learning import LoraSettings
from preflab.settings.ppo import PpoSettings
from preflab.stages.ppo import check_shares
from tiny_worlds import kept_rollouts, tiny_ppo, tiny_trunk

LORA = LoraSettings(rank=2, alpha=4)


def reward(ids: tuple[int, ...]) -> float:
    """Likes token 1."""
    return float(ids.count(1))


def trained(folder: Path, **changes: object) -> tuple[Trunk, list[dict[str, float]]]:
    trunk = tiny_trunk(lora=LORA)
    train_ppo(tiny_ppo(folder, trunk, reward, **changes))
    return trunk, read_jsonl(folder / "metrics.jsonl")


def learned(trunk: Trunk) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for role in ("policy", "value") for _, p in trunk.parameters_of(role)])


def test_the_first_step_starts_on_policy_and_at_the_reference(tmp_path: Path) -> None:
    _, [first, second] = trained(tmp_path, decoding={"max_new_tokens": 3, "temperature": 0.7})
    assert first["ratio/first_deviation"] < 1e-5
    assert first["mismatch/logps"] < 1e-5
    assert first["kl/exact"] == pytest.approx(0.0, abs=1e-6), "the sampler's states against the reference's own pass"
    assert abs(first["kl/k1"]) < 1e-5
    assert second["kl/exact"] > 0.0
    assert second["ratio/first_deviation"] < 1e-5
    assert first["ratio/max_deviation"] > 1e-3, "later minibatches of a step are off-policy"


def test_the_first_kl_is_exactly_zero_by_the_trainers_own_passes(tmp_path: Path) -> None:
    run = tiny_ppo(tmp_path, tiny_trunk(lora=LORA), reward, num_steps=1)
    run.sampler.keep_states = False  # type: ignore[attr-defined]
    train_ppo(run)
    assert read_jsonl(tmp_path / "metrics.jsonl")[0]["kl/exact"] == 0.0


@pytest.mark.parametrize("lora", [None, LORA])
def test_the_samplers_states_stand_for_a_pass_of_the_policy(lora: LoraSettings | None, tmp_path: Path) -> None:
    """What the roles say of the rollouts is the same whether the sampler has kept its states or not."""
    trunk = tiny_trunk(lora=lora)
    run = tiny_ppo(tmp_path, trunk, reward, decoding={"max_new_tokens": 3, "temperature": 0.7}, num_steps=1)
    train_ppo(run)  # policy and reference differ now
    passes: list[object] = []
    run.trunk.register_forward_pre_hook(lambda _, args, named: passes.append(named["policy_states"]), with_kwargs=True)
    with_states = collect(run, 1)
    assert with_states.states == [None] * len(with_states), "let go of"
    run.sampler.keep_states = False  # type: ignore[attr-defined]
    without = collect(run, 1)
    assert [one is not None for one in passes] == [True, False]
    assert with_states.exact_kl.sum() > 1e-4
    for name in ("trainer_logps", "ref_logps", "exact_kl", "values"):
        assert torch.allclose(getattr(with_states, name), getattr(without, name), atol=1e-5), name


@pytest.mark.parametrize("treatment", ["reward_k1", "exact"])
def test_micro_batches_change_nothing(treatment: str, tmp_path: Path) -> None:
    results = []
    for budget in (4096, 9):
        optimiser = {"learning_rate": 1e-2, "tokens_per_micro_batch": budget}
        trunk, rows = trained(tmp_path / str(budget), optimiser=optimiser, kl_treatment=treatment, entropy_coef=0.01)
        results.append((learned(trunk), rows[-1]["loss/total"], rows[0]["grad/norm"]))
    assert torch.allclose(results[0][0], results[1][0], atol=2e-4)
    assert results[0][1] == pytest.approx(results[1][1], abs=1e-4)
    assert results[0][2] == pytest.approx(results[1][2], rel=1e-4)


@pytest.mark.parametrize(("num_epochs", "num_minibatches"), [(1, 1), (3, 2), (2, 5)])
def test_the_settings_say_how_many_optimiser_steps(num_epochs: int, num_minibatches: int, tmp_path: Path) -> None:
    trunk = tiny_trunk(lora=LORA)
    run = tiny_ppo(tmp_path, trunk, reward, num_epochs=num_epochs, num_minibatches=num_minibatches, num_steps=2)
    taken = []
    step = torch.optim.AdamW.step

    def counted(self: torch.optim.AdamW, *args: object) -> object:
        taken.append(1)
        return step(self, *args)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.optim.AdamW, "step", counted)
        train_ppo(run)
    assert len(taken) == 2 * num_epochs * num_minibatches
    assert read_jsonl(tmp_path / "metrics.jsonl")[0]["num/updates"] == num_epochs * num_minibatches


def test_gradients_are_clipped(tmp_path: Path) -> None:
    seen = []
    step = torch.optim.AdamW.step

    def watched(self: torch.optim.AdamW, *args: object) -> object:
        gradients = [p.grad for group in self.param_groups for p in group["params"] if p.grad is not None]
        seen.append(float(torch.stack([g.norm() for g in gradients]).norm()))
        return step(self, *args)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.optim.AdamW, "step", watched)
        _, rows = trained(tmp_path, optimiser={"learning_rate": 1e-2, "max_grad_norm": 1e-3})
    assert max(seen) <= 1.001e-3
    assert rows[0]["grad/norm"] > 1e-3, "the norm that is logged is that before clipping"


def test_critic_warm_up_moves_the_value_role_alone(tmp_path: Path) -> None:
    before = tiny_trunk(lora=LORA)
    after, _ = trained(tmp_path, num_critic_warmup_steps=2, value_coef=1.0)
    policies, values = (
        [[p for _, p in t.parameters_of(role)] for t in (before, after)] for role in ("policy", "value")
    )
    assert all(torch.equal(a, b) for a, b in zip(*policies, strict=True))
    assert any(not torch.equal(a, b) for a, b in zip(*values, strict=True))


def test_missing_end_is_penalised_and_bootstrapped(tmp_path: Path) -> None:
    _, plain = trained(tmp_path / "a", num_steps=1)
    _, penalised = trained(tmp_path / "b", num_steps=1, missing_eos_penalty=2.0)
    _, bootstrapped = trained(tmp_path / "c", num_steps=1, bootstrap_truncated=True)
    assert plain[0]["length/eos_rate"] == 0.0
    assert penalised[0]["reward/mean"] == pytest.approx(plain[0]["reward/mean"] - 2.0)
    assert bootstrapped[0]["reward/mean"] == 0.0, "a completion that is continued by its value is not scored"


def test_a_cut_completion_is_continued_by_the_value_after_its_last_token(tmp_path: Path) -> None:
    trunk = tiny_trunk(lora=LORA)
    with torch.no_grad():
        for number, (_, parameter) in enumerate(trunk.parameters_of("value")):
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(number)))
    run = tiny_ppo(tmp_path, trunk, reward, bootstrap_truncated=True, lam=0.0, gamma=0.5, whiten_advantages=False)
    rollouts = collect(run, 0)
    rollouts.finished[::2] = rollouts.terminal[::2] = True  # as if every other one had ended itself
    found = advantages(run, rollouts, torch.zeros(len(rollouts)), kl_coef=0.0).advantages[:, -1]
    ids = torch.tensor([sequence.prompt_ids + sequence.completion_ids for sequence in rollouts.sequences])
    with torch.no_grad(), trunk.role("value"):
        states = trunk.language_model("value").model(input_ids=ids).last_hidden_state[:, -1]
        after = trunk.head("value")(states)
    assert after.abs().min() > 1e-3
    after[::2] = 0
    # lam = 0: the last delta alone, no reward, half of the value to come less the value now.
    assert torch.allclose(found, 0.5 * after - rollouts.values[:, -1], atol=1e-5)


def test_a_cut_completion_that_fills_the_context_is_continued_by_the_value_of_its_last_state(tmp_path: Path) -> None:
    """Eight learned positions, a prompt of one token and completions of seven: there is no place for a ninth token."""
    torch.manual_seed(0)
    config = GPT2Config(vocab_size=4, n_positions=8, n_embd=16, n_layer=1, n_head=2, bos_token_id=0, eos_token_id=None)
    roles: tuple[Role, ...] = ("policy", "reference", "value")
    trunk = Trunk(GPT2LMHeadModel(config), SimpleNamespace(pad_token_id=0), lora=None, roles=roles, zero_value=False)
    run = tiny_ppo(
        tmp_path, trunk, reward, bootstrap_truncated=True, lam=0.0, gamma=0.5, decoding={"max_new_tokens": 7}
    )
    rollouts = collect(run, 0)
    rewards_to_go = advantages(run, rollouts, torch.zeros(len(rollouts)), kl_coef=0.0).returns[:, -1]
    with torch.no_grad():
        for row, sequence in enumerate(rollouts.sequences):
            ids = torch.tensor([sequence.prompt_ids + sequence.completion_ids])
            last_state = trunk.models["value"](input_ids=ids).last_hidden_state[0, -1]
            after = trunk.head("value")(last_state).item()
            assert abs(after) > 1e-3
            # lam = 0: the last return is the reward, 0, and half of the value to come.
            assert rewards_to_go[row].item() == pytest.approx(0.5 * after, abs=1e-5)
    assert train_ppo(run).num_steps == 2


def test_prompts_come_in_a_new_order_each_pass_and_stay_together(tmp_path: Path) -> None:
    prompts = [(Prompt.make(text=letter), (3,)) for letter in "abcde"]
    run = tiny_ppo(tmp_path, tiny_trunk(lora=LORA), reward, num_completions_per_step=10, num_completions_per_prompt=2)
    run.prompts = prompts
    passes = [[prompt.text for prompt in collect(run, step).prompts] for step in range(3)]
    for names in passes:
        assert names[::2] == names[1::2], "the two completions of a prompt stand side by side"
        assert sorted(names[::2]) == list("abcde"), "every prompt once in a pass"
    assert len({tuple(names) for names in passes}) == 3
    seeds = {text for step in range(2) for text in collect(run, step).texts}
    assert len(seeds) > 5, "each completion has randomness of its own"


def test_it_stops_at_a_kl_limit_and_at_a_held_out_threshold(tmp_path: Path) -> None:
    trunk = tiny_trunk(lora=LORA)
    result = train_ppo(tiny_ppo(tmp_path / "kl", trunk, reward, num_steps=50, kl_coef=0.0, stop={"max_kl": 0.01}))
    assert result.num_steps < 50
    assert "KL reached" in result.stopped_because
    kls = [row["kl/exact"] for row in read_jsonl(tmp_path / "kl" / "metrics.jsonl")]
    assert kls[-1] > 0.01
    assert max(kls[:-1]) <= 0.01
    stop = {"criterion": "a:b", "threshold": 0.5, "every": 2}
    run = tiny_ppo(tmp_path / "held", tiny_trunk(lora=LORA), reward, num_steps=9, stop=stop, held_out_prompts="p")
    measured = iter([0.1, 0.6, 0.9])
    run.held_out = lambda version: (next(measured), 0.1)
    result = train_ppo(run)
    assert result.num_steps == 4
    assert "threshold 0.5" in result.stopped_because


@pytest.mark.parametrize("stop", [{"max_kl": 0.01}, {"criterion": "a:b", "threshold": 0.5, "every": 2}])
def test_a_run_that_stopped_stays_stopped_when_it_is_called_again(stop: dict[str, object], tmp_path: Path) -> None:
    def run(num_steps: int) -> RunResult:
        prompts = "p" if "criterion" in stop else None
        changes = {"num_steps": num_steps, "kl_coef": 0.0, "stop": stop, "held_out_prompts": prompts}
        again = tiny_ppo(tmp_path, tiny_trunk(lora=LORA), reward, **changes)
        again.held_out = lambda version: (0.6, 0.1)
        return train_ppo(again)

    first = run(50)
    assert first.num_steps < 50
    rows = read_jsonl(tmp_path / "metrics.jsonl")
    for num_steps in (50, 60):  # killed before the stage was done; num_steps raised
        again = run(num_steps)
        assert (again.num_steps, again.stopped_because) == (first.num_steps, first.stopped_because)
    assert read_jsonl(tmp_path / "metrics.jsonl") == rows


@pytest.mark.parametrize("treatment", ["sequence_loss", "exact"])
def test_the_terms_of_the_loss_have_the_weights_and_signs_of_the_settings(treatment: str, tmp_path: Path) -> None:
    """policy − entropy_coef · entropy + kl_coef · advantage_scale · KL, and value_coef · value error."""
    trunk = tiny_trunk(lora=LORA)
    with torch.no_grad():
        for number, (_, parameter) in enumerate(trunk.parameters_of("policy")):
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(number)))

    def run(**changes: object) -> PpoRun:
        fixed = {"kl_treatment": treatment, "num_epochs": 1, "num_minibatches": 1}
        return tiny_ppo(tmp_path, trunk, reward, **fixed, **changes)

    rollouts = collect(run(), 0)
    rows = list(range(len(rollouts)))
    zeros = torch.zeros_like(rollouts.values)
    batch = LearningBatch(zeros, rollouts.values + 2, zeros, advantage_scale=3.0)

    def loss(kl_coef: float, entropy_coef: float) -> tuple[float, dict[str, float]]:
        found, said = policy_loss(run(entropy_coef=entropy_coef), trunk, rollouts, batch, rows, 48.0, kl_coef)
        return found.item(), read_statistics([said])[0]

    plain, said = loss(0.0, 0.0)
    assert plain == pytest.approx(0, abs=1e-6), "advantages are 0"
    assert said["loss/kl"] > 0.01
    assert said["entropy/mean"] > 0.1
    assert loss(0.5, 0.0)[0] == pytest.approx(0.5 * 3 * said["loss/kl"], rel=1e-4)
    assert loss(0.0, 0.5)[0] == pytest.approx(-0.5 * said["entropy/mean"], rel=1e-4)
    # Every value is 2 below its return: half of the square is 2, at each of the 16 · 3 tokens.
    value, _ = value_loss(run(value_coef=0.25), trunk, rollouts, batch, rows, 48.0, 0.0)
    assert value.item() == pytest.approx(0.25 * 2, rel=1e-4)
    # Right by now, but 1 above the old ones: clipped at old + 0.2, which is 0.8 off; half of 0.64 is 0.32.
    right = LearningBatch(zeros, rollouts.values.clone(), zeros, advantage_scale=1.0)
    rollouts.values -= 1
    value, _ = value_loss(run(value_coef=0.25, value_clip=0.2), trunk, rollouts, right, rows, 48.0, 0.0)
    assert value.item() == pytest.approx(0.25 * 0.32, rel=1e-4)
    # On policy every ratio is 1: the loss is minus the mean of the advantages that are learned from, the whitened ones.
    mixed = LearningBatch(zeros + 2, rollouts.values, zeros + 7, advantage_scale=1.0)
    on_policy, _ = policy_loss(run(), trunk, rollouts, mixed, rows, 48.0, 0.0)
    assert on_policy.item() == pytest.approx(-2, rel=1e-4)


def test_the_adaptive_coefficient_counts_the_completions_of_a_step(tmp_path: Path) -> None:
    _, [first, second] = trained(tmp_path, kl_coef=0.1, kl_target=1.0, kl_horizon=50)
    # The first step's KL is 0, so the error is clipped to −0.2; 16 completions of a horizon of 50.
    assert first["kl/coef"] == 0.1
    assert second["kl/coef"] == pytest.approx(0.1 * (1 - 0.2 * 16 / 50))


def test_the_adaptive_coefficient_waits_while_the_policy_is_frozen(tmp_path: Path) -> None:
    """Two steps of critic warm-up, then KL 0 once more (the policy is still the reference): error −0.2, 16 of 50."""
    _, rows = trained(tmp_path, num_steps=4, num_critic_warmup_steps=2, kl_coef=0.1, kl_target=1.0, kl_horizon=50)
    assert [row["kl/coef"] for row in rows] == pytest.approx([0.1, 0.1, 0.1, 0.1 * (1 - 0.2 * 16 / 50)], abs=1e-12)


def test_the_value_role_has_a_learning_rate_of_its_own(tmp_path: Path) -> None:
    settings = {"optimiser": {"learning_rate": 1e-3}, "value_learning_rate": 5e-3}
    trunk = tiny_trunk(lora=LORA)
    groups = ppo_optimiser(trunk, tiny_ppo(tmp_path, trunk, reward, **settings).settings).param_groups
    assert [group["lr"] for group in groups] == [1e-3, 5e-3]
    for group, role in zip(groups, ("policy", "value"), strict=True):
        assert {id(p) for p in group["params"]} == {id(p) for _, p in trunk.parameters_of(role)}


def test_a_reward_that_is_not_finite_stops_the_run(tmp_path: Path) -> None:
    run = tiny_ppo(tmp_path, tiny_trunk(lora=LORA), lambda ids: float("nan"))
    with pytest.raises(PreflabError):
        train_ppo(run)
    assert not (tmp_path / "metrics.jsonl").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"decoding": {"temperature": 0}}, "temperature above 0"),
        ({"truncated_importance": 0.5}, "greater than or equal to 1"),
        ({"kl_treatment": "sequence_loss", "num_epochs": 2}, "num_epochs 1"),
        ({"num_minibatches": 65}, "num_minibatches"),
        ({"kl_target": 1.0, "kl_horizon": 63}, "kl_horizon"),
        ({"kl_target": 0.0}, "greater than 0"),
        ({"num_completions_per_prompt": 3}, "multiple"),
        ({"stop": {"threshold": 1.0}}, "criterion"),
        ({"rewards": [{"weight": 1.0}]}, "`function`, `implicit` or `judge`"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(change: dict[str, object], message: str) -> None:
    values: dict[str, object] = {"model": "m", "prompts": "p", "rewards": [{"function": "a:b"}]}
    with pytest.raises(ValueError, match=message):
        PpoSettings(**{**values, **change})


def test_every_process_needs_a_completion_in_every_minibatch() -> None:
    settings = PpoSettings(
        model="m", prompts="p", rewards=[{"function": "a:b"}], num_completions_per_step=8, num_minibatches=4
    )
    check_shares(settings, 2)
    with pytest.raises(PreflabError, match="8 for 3 processes and num_minibatches 4") as refused:
        check_shares(settings, 3)
    assert "at least 12" in refused.value.expected


def test_shuffled_rewards_teach_nothing(tmp_path: Path) -> None:
    """A reward that does not depend on the completion leaves the policy's preference for token 1 where it was."""
    generator = torch.Generator().manual_seed(0)

    def noise(ids: tuple[int, ...]) -> float:
        return float(torch.randn((), generator=generator))

    shares = {}
    for name, known in {"known": reward, "noise": noise}.items():
        changes = {
            "num_steps": 15,
            "num_completions_per_step": 128,
            "kl_coef": 0.0,
            "optimiser": {"learning_rate": 4e-3},
        }
        trunk = tiny_trunk(lora=LORA)
        train_ppo(tiny_ppo(tmp_path / name, trunk, known, **changes, num_kept_rollouts=128))
        rows = kept_rollouts(tmp_path / name)
        first, last = ([r["completion"].count("b") for r in rows if r["step"] == step] for step in (0, 14))
        shares[name] = sum(last) / len(last) - sum(first) / len(first)
    assert shares["known"] > 1.0
    assert abs(shares["noise"]) < 0.25 * shares["known"], "noise moves a policy at random, but not far"
