"""What must not change a step on groups of completions, and what it must start from."""

from __future__ import annotations

import json
import math
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from preflab.errors import PreflabError
from preflab.files import read_jsonl
from preflab.models.trunk import Trunk
from preflab.policy.completion_groups import with_rows
from preflab.policy.grpo import advantages, collect, resample, score, train_grpo
from preflab.policy.on_policy_run import RunResult
from preflab.policy.online_dpo import label, train_online_dpo
from preflab.policy.variants import VARIANTS
from preflab.records import Prompt
from preflab.settings.grpo import GrpoSettings
from preflab.settings.learning import LoraSettings
from preflab.settings.online_dpo import OnlineDpoSettings
from preflab.stages.grpo import check_shares
from preflab.training.protocols import Scores
from tiny_groups import tiny_grpo, tiny_online_dpo
from tiny_worlds import all_sequences, sequence_logps, tiny_trunk

LORA = LoraSettings(rank=2, alpha=4)


def reward(ids: tuple[int, ...]) -> float:
    """Likes token 1."""
    return float(ids.count(1))


def trained(folder: Path, **changes: object) -> tuple[Trunk, list[dict[str, float]]]:
    trunk = tiny_trunk(("policy", "reference"), lora=LORA)
    train_grpo(tiny_grpo(folder, trunk, reward, **changes))
    return trunk, read_jsonl(folder / "metrics.jsonl")


def trained_online(folder: Path, **changes: object) -> tuple[Trunk, list[dict[str, float]]]:
    trunk = tiny_trunk(("policy", "reference"), lora=LORA)
    train_online_dpo(tiny_online_dpo(folder, trunk, reward, **changes))
    return trunk, read_jsonl(folder / "metrics.jsonl")


def learned(trunk: Trunk) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for _, p in trunk.parameters_of("policy")])


@pytest.mark.parametrize("train", [trained, trained_online])
def test_the_first_step_starts_on_policy_and_at_the_reference(train: Callable[..., object], tmp_path: Path) -> None:
    changes = {"num_epochs": 2, "num_minibatches": 2, "decoding": {"max_new_tokens": 3, "temperature": 0.7}}
    _, [first, second] = train(tmp_path, **changes)  # type: ignore[misc]
    assert first["ratio/first_deviation"] < 1e-5
    assert first["mismatch/logps"] < 1e-5
    assert first["kl/exact"] == pytest.approx(0.0, abs=1e-6), "the sampler's states against the reference's own pass"
    assert abs(first["kl/k1"]) < 1e-5
    assert second["kl/exact"] > 0.0
    assert second["ratio/first_deviation"] < 1e-5
    assert first["ratio/max_deviation"] > 1e-3, "later minibatches of a step are off-policy"
    assert not any(name.startswith("value/") for name in first)


@pytest.mark.parametrize("algorithm", VARIANTS)
@pytest.mark.parametrize("treatment", ["exact", "token_k3"])
def test_micro_batches_change_nothing(algorithm: str, treatment: str, tmp_path: Path) -> None:
    results = []
    for budget in (4096, 9):
        optimiser = {"learning_rate": 1e-2, "tokens_per_micro_batch": budget}
        trunk, rows = trained(
            tmp_path / str(budget), optimiser=optimiser, kl_treatment=treatment, algorithm=algorithm, num_minibatches=2
        )
        results.append((learned(trunk), rows[-1]["loss/total"], rows[0]["grad/norm"]))
    assert torch.allclose(results[0][0], results[1][0], atol=2e-4)
    assert results[0][1] == pytest.approx(results[1][1], abs=1e-4)
    assert results[0][2] == pytest.approx(results[1][2], rel=1e-4)


def test_micro_batches_change_nothing_in_online_dpo(tmp_path: Path) -> None:
    changes = {"num_completions_per_prompt": 3}
    results = []
    for budget in (4096, 9):
        optimiser = {"learning_rate": 1e-2, "tokens_per_micro_batch": budget}
        trunk, rows = trained_online(tmp_path / str(budget), optimiser=optimiser, **changes)
        results.append((learned(trunk), rows[-1]["loss/total"], rows[0]["loss/dpo"]))
    assert torch.allclose(results[0][0], results[1][0], atol=2e-4)
    assert results[0][1] == pytest.approx(results[1][1], abs=1e-4)
    # At the reference every log-ratio is 0: ln 2 whatever the labels.
    assert results[0][2] == pytest.approx(math.log(2), abs=1e-6)


SCRIPT = """
import json, sys
from pathlib import Path
import torch
torch.set_num_threads(1)
from tiny_groups import tiny_grpo, tiny_online_dpo
from tiny_worlds import tiny_trunk
from preflab.policy.grpo import train_grpo
from preflab.policy.online_dpo import train_online_dpo
from preflab.settings.learning import LoraSettings
from preflab.training.processes import make_accelerator
folder, what = Path(sys.argv[1]), sys.argv[2]
trunk = tiny_trunk(("policy", "reference"), lora=LoraSettings(rank=2, alpha=4))
make, train = (tiny_online_dpo, train_online_dpo) if what == "online" else (tiny_grpo, train_grpo)
changes = {"labels": "drawn"} if what == "online" else {"algorithm": what, "kl_treatment": "exact"}
run = make(folder, trunk, lambda ids: float(ids.count(1)), num_steps=2, num_prompts_per_step=5,
           optimiser={"learning_rate": 1e-2, "tokens_per_micro_batch": 25}, **changes)
run.accelerator = make_accelerator(cpu=True)
train(run)
if run.accelerator.is_main_process:
    learned = [p.flatten().tolist() for _, p in trunk.parameters_of("policy")]
    (folder / "learned.json").write_text(json.dumps([x for part in learned for x in part]))
run.accelerator.end_training()
"""


def start(folder: Path, num_processes: int, what: str) -> list[float]:
    """Run the script on some processes; what was learned."""
    folder.mkdir()
    with socket.socket() as opened:
        opened.bind(("127.0.0.1", 0))
        port = str(opened.getsockname()[1])
    path = os.pathsep.join([str(Path(__file__).parents[1]), *sys.path])
    shared = {**os.environ, "PYTHONPATH": path, "ACCELERATE_USE_CPU": "true", "MASTER_ADDR": "127.0.0.1"}
    several = [
        {"MASTER_PORT": port, "WORLD_SIZE": "2", "RANK": str(rank), "LOCAL_RANK": str(rank)} for rank in range(2)
    ]
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", SCRIPT, str(folder), what],
            env=shared | (several[rank] if num_processes > 1 else {}),
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(num_processes)
    ]
    for process in processes:
        _, errors = process.communicate(timeout=180)
        assert process.returncode == 0, errors[-3000:]
    return json.loads((folder / "learned.json").read_text())


@pytest.mark.slow
@pytest.mark.parametrize("what", ["grpo", "rloo", "online"])
def test_two_processes_learn_what_one_learns(what: str, tmp_path: Path) -> None:
    """Five groups of four: one process has three, the other two; a group is never torn."""
    one, two = start(tmp_path / "one", 1, what), start(tmp_path / "two", 2, what)
    assert two == pytest.approx(one, abs=5e-4)
    rows = [read_jsonl(tmp_path / name / "metrics.jsonl") for name in ("one", "two")]
    for first, second in zip(*rows, strict=True):
        for name in ("reward/mean", "kl/exact", "group/no_spread", "group/std", "advantage/std", "loss/total"):
            assert second[name] == pytest.approx(first[name], abs=1e-4), name


def test_completions_of_a_prompt_stand_together_and_differ(tmp_path: Path) -> None:
    run = tiny_grpo(tmp_path, tiny_trunk(("policy", "reference"), lora=LORA), reward, num_prompts_per_step=5)
    run.prompts = [(Prompt.make(text=letter), (3,)) for letter in "abcde"]
    passes = [[prompt.text for prompt in collect(run, step).prompts] for step in range(3)]
    for names in passes:
        assert [names[i : i + 4] for i in range(0, 20, 4)] == [[name] * 4 for name in names[::4]]
        assert sorted(names[::4]) == list("abcde"), "every prompt once in a pass"
    assert len({tuple(names) for names in passes}) == 3
    assert len(set(collect(run, 0).texts)) > 5, "each completion has randomness of its own"


@pytest.mark.parametrize("algorithm", VARIANTS)
def test_advantages_compare_a_completion_with_its_own_group(algorithm: str, tmp_path: Path) -> None:
    """The second group scores ten times as high and has the same spread: the same advantages."""
    trunk = tiny_trunk(("policy", "reference"), lora=LORA)
    run = tiny_grpo(tmp_path, trunk, reward, algorithm=algorithm, num_prompts_per_step=2)
    rollouts = collect(run, 0)
    scores = torch.tensor([1.0, 2.0, 3.0, 6.0, 11.0, 12.0, 13.0, 16.0])
    gained = advantages(run, rollouts, scores, kl_coef=0.0)
    assert gained.shape == rollouts.completion_mask.shape
    torch.testing.assert_close(gained[:4], gained[4:])
    assert (gained[:, 0] == gained[:, -1]).all(), "one advantage per completion"
    assert gained[0, 0] < gained[1, 0] < 0 < gained[3, 0]
    expected = {"dr_grpo": 3.0, "rloo": 4.0}.get(algorithm, 3 / math.sqrt(14 / 3))  # 6 − 3; 6 − 2; over √(4+1+0+9)/3
    assert gained[3, 0].item() == pytest.approx(expected, rel=1e-3)


def test_kl_in_the_reward_and_exact_kl_of_later_positions(tmp_path: Path) -> None:
    trunk = tiny_trunk(("policy", "reference"), lora=LORA)
    run = tiny_grpo(tmp_path, trunk, reward, algorithm="rloo", num_prompts_per_step=1, num_completions_per_prompt=2)
    rollouts = collect(run, 0)
    rollouts.old_logps, rollouts.ref_logps = torch.tensor([[-1.0, -1, -1], [-2, -2, -2]]), torch.full((2, 3), -2.0)
    # Completion 0 is 3 nats likelier than under the reference: rewards 1 − 0.1 · 3 and 1; against each other ∓0.3.
    gained = advantages(run, rollouts, torch.ones(2), kl_coef=0.1)
    torch.testing.assert_close(gained, torch.tensor([[-0.3] * 3, [0.3] * 3]))
    run.settings = run.settings.model_copy(update={"kl_treatment": "exact"})
    rollouts.exact_kl = torch.tensor([[9.0, 1, 2], [9.0, 0, 4]])
    # Still to come after each place: 3, 2, 0 and 4, 4, 0; the first is better by 0.1, 0.2, 0.
    gained = advantages(run, rollouts, torch.ones(2), kl_coef=0.1)
    torch.testing.assert_close(gained, torch.tensor([[0.1, 0.2, 0], [-0.1, -0.2, 0]]), atol=1e-6, rtol=0)


def test_groups_of_equal_rewards_are_counted_and_drawn_again(tmp_path: Path) -> None:
    """Only prompt `b` can differ, so that groups of `a` are replaced until the limit is reached."""

    class OnlyB:
        def score(self, items: list[object]) -> Scores:
            total = torch.tensor([float(item.text.count("b")) * (item.prompt.text == "b") for item in items])  # type: ignore[attr-defined]
            return Scores(total, {"known": total})

    trunk = tiny_trunk(("policy", "reference"), lora=LORA)
    runs = [
        tiny_grpo(tmp_path / str(num), trunk, reward, kl_coef=0.0, num_resamples=num, num_prompts_per_step=8)
        for num in (0, 1, 20)
    ]
    left, drawn = [], []
    for run in runs:
        run.prompts, run.scorer = [(Prompt.make(text=letter), (3,)) for letter in "ab"], OnlyB()  # type: ignore[assignment]
        rollouts = collect(run, 0)
        scores, terms = score(run, rollouts)
        replaced, scores, terms, num = resample(run, 0, rollouts, scores, terms)
        again = OnlyB().score([SimpleItem(p, t) for p, t in zip(replaced.prompts, replaced.texts, strict=True)])
        assert torch.equal(scores, again.total), "scores stay with their completions"
        assert torch.equal(terms["known"], scores)
        left.append(sum(group.max() == group.min() for group in scores.view(-1, 4)))
        drawn.append(num)
    assert left[0] >= 4, "the four groups of prompt a"
    assert left[0] > left[1] > left[2] == 0
    assert drawn[0] == 0
    assert drawn[1] == left[0]
    assert drawn[2] > drawn[1]
    train_grpo(runs[0])
    assert read_jsonl(runs[0].folder / "metrics.jsonl")[0]["group/no_spread"] == left[0] / 8


class SimpleItem:
    """As much of a ScoringItem as the scorer above reads."""

    def __init__(self, prompt: Prompt, text: str) -> None:
        self.prompt, self.text = prompt, text


def test_replaced_rows_keep_their_widths(tmp_path: Path) -> None:
    trunk = tiny_trunk(("policy", "reference"), lora=LORA)
    short, long = (
        collect(tiny_grpo(tmp_path, trunk, reward, num_prompts_per_step=1, **chosen), 0)
        for chosen in (
            {"decoding": {"max_new_tokens": 2}},
            {"decoding": {"max_new_tokens": 5}, "num_completions_per_prompt": 2},
        )
    )
    merged = with_rows(short, [1, 3], long)
    assert merged.completion_mask.sum(1).tolist() == [2, 5, 2, 5]
    for row in range(4):
        source, place = (long, row // 2) if row % 2 else (short, row)
        width = source.completion_mask.shape[1]
        assert merged.texts[row] == source.texts[place]
        assert torch.equal(merged.ref_logps[row, :width], source.ref_logps[place])
        assert not merged.completion_mask[row, width:].any()


def test_labels_of_pairs(tmp_path: Path) -> None:
    trunk = tiny_trunk(("policy", "reference"), lora=LORA)
    run = tiny_online_dpo(tmp_path, trunk, reward, num_completions_per_prompt=3, num_prompts_per_step=2000)
    scores = torch.tensor([0.0, math.log(3), 0.0]).repeat(2000)
    # Pairs (0, 1), (0, 2), (1, 2): σ(−ln 3) = 1/4, 1/2, 3/4.
    soft = label(run, scores, 0)
    torch.testing.assert_close(soft, torch.tensor([0.25, 0.5, 0.75]).repeat(2000, 1))
    run.settings = run.settings.model_copy(update={"labels": "drawn"})
    drawn = label(run, scores, 0)
    assert set(drawn.flatten().tolist()) == {0.0, 1.0}
    torch.testing.assert_close(drawn.mean(0), torch.tensor([0.25, 0.5, 0.75]), atol=0.04, rtol=0)
    assert torch.equal(drawn, label(run, scores, 0))
    assert not torch.equal(drawn, label(run, scores, 1))


def test_a_reward_of_chance_teaches_nothing(tmp_path: Path) -> None:
    """The expected number of token 1, counted out, rises with a reward for it and hardly moves with one of chance."""
    generator = torch.Generator().manual_seed(0)
    sequences = all_sequences(num_tokens=3)
    counts = torch.tensor([float(sequence.completion_ids.count(1)) for sequence in sequences])

    def gain(folder: Path, of: Callable[[tuple[int, ...]], float]) -> float:
        trunk = tiny_trunk(("policy", "reference"))
        chosen = {"num_steps": 8, "num_prompts_per_step": 16, "kl_coef": 0.0, "algorithm": "rloo"}
        train_grpo(tiny_grpo(folder, trunk, of, **chosen))
        before, after = (sequence_logps(trunk, role, sequences).exp() @ counts for role in ("reference", "policy"))
        return float(after - before)

    known = gain(tmp_path / "known", reward)
    assert known > 0.5
    assert abs(gain(tmp_path / "noise", lambda ids: float(torch.randn((), generator=generator)))) < 0.5 * known


@pytest.mark.parametrize("stop", [{"max_kl": 0.01}, {"criterion": "a:b", "threshold": 0.5, "every": 2}])
def test_it_stops_and_stays_stopped(stop: dict[str, object], tmp_path: Path) -> None:
    def run(num_steps: int) -> RunResult:
        prompts = "p" if "criterion" in stop else None
        changes = {"num_steps": num_steps, "kl_coef": 0.0, "stop": stop, "held_out_prompts": prompts}
        again = tiny_grpo(tmp_path, tiny_trunk(("policy", "reference"), lora=LORA), reward, **changes)
        again.held_out = lambda version: (0.6, 0.1)
        return train_grpo(again)

    first = run(50)
    assert first.num_steps < 50
    assert "KL reached" in first.stopped_because or "threshold 0.5" in first.stopped_because
    rows = read_jsonl(tmp_path / "metrics.jsonl")
    again = run(60)
    assert (again.num_steps, again.stopped_because) == (first.num_steps, first.stopped_because)
    assert read_jsonl(tmp_path / "metrics.jsonl") == rows


def test_alarms_name_the_setting_of_the_algorithm(tmp_path: Path) -> None:
    trunk = tiny_trunk(("policy", "reference"), lora=LORA)
    run = tiny_grpo(tmp_path / "a", trunk, lambda ids: 1.0, num_steps=4, kl_budget=1e-9, kl_coef=0.0)
    run.sampler.keep_states = False  # type: ignore[attr-defined]  # by the trainer's own passes the KL is exactly 0
    result = train_grpo(run)
    assert [alarm.alarm for alarm in result.alarms] == ["groups without spread", "hardly moved"]
    trunk = tiny_trunk(("policy", "reference"), lora=LORA)
    online = train_online_dpo(tiny_online_dpo(tmp_path / "b", trunk, reward, num_steps=2, kl_budget=1e-9))
    assert [(alarm.alarm, alarm.setting) for alarm in online.alarms] == [("kl above budget", "beta")]


class Scoring:
    """Gives what it was made with, whatever is asked."""

    def __init__(self, total: torch.Tensor) -> None:
        self.total = total

    def score(self, items: object) -> Scores:
        return Scores(self.total, {})


@pytest.mark.parametrize(
    ("total", "message"),
    [
        (torch.full((16,), math.nan), "16 of 16 rewards are not finite; the first is nan"),
        (torch.tensor([0.0, math.inf] + [0.0] * 14), "completion 1"),
        (torch.zeros(15), "for 16 completions"),
        (torch.zeros(16, 1), "for 16 completions"),
    ],
)
@pytest.mark.parametrize("make", [tiny_grpo, tiny_online_dpo])
def test_rewards_that_cannot_be_stop_the_run(
    make: Callable[..., object], total: torch.Tensor, message: str, tmp_path: Path
) -> None:
    run = make(tmp_path, tiny_trunk(("policy", "reference"), lora=LORA), reward)
    run.scorer = Scoring(total)  # type: ignore[attr-defined]
    with pytest.raises(PreflabError, match=message):
        (train_grpo if make is tiny_grpo else train_online_dpo)(run)  # type: ignore[operator]
    assert not (tmp_path / "metrics.jsonl").exists()


@pytest.mark.parametrize(
    ("settings", "change", "message"),
    [
        (GrpoSettings, {"num_completions_per_prompt": 1}, "at least 2"),
        (OnlineDpoSettings, {"num_completions_per_prompt": 1}, "at least 2"),
        (GrpoSettings, {"decoding": {"temperature": 0}}, "temperature above 0"),
        (OnlineDpoSettings, {"decoding": {"top_k": 5}}, "full distribution"),
        (OnlineDpoSettings, {"decoding": {"temperature": 0}}, "full distribution"),
        (GrpoSettings, {"kl_treatment": "sequence_loss", "num_epochs": 2}, "num_epochs 1"),
        (GrpoSettings, {"kl_treatment": "exact_in_reward"}, "sequence_loss"),
        (GrpoSettings, {"num_minibatches": 65}, "num_minibatches"),
        (OnlineDpoSettings, {"num_minibatches": 33}, "pairs stay together"),
        (GrpoSettings, {"num_resamples": 1}, "num_resamples needs kl_coef 0"),
        (GrpoSettings, {"kl_target": 1.0, "kl_horizon": 63}, "kl_horizon"),
        (GrpoSettings, {"algorithm": "ppo"}, "dr_grpo"),
        (OnlineDpoSettings, {"labels": "hard"}, "collapses"),
        (OnlineDpoSettings, {"stop": {"threshold": 1.0}}, "criterion"),
        (GrpoSettings, {"stop": {"criterion": "a:b"}}, "held_out_prompts"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(
    settings: type[GrpoSettings] | type[OnlineDpoSettings], change: dict[str, object], message: str
) -> None:
    values: dict[str, object] = {"model": "m", "prompts": "p", "rewards": [{"function": "a:b"}]}
    with pytest.raises(ValueError, match=message):
        settings.model_validate({**values, **change})


def test_every_process_needs_a_group_in_every_minibatch() -> None:
    settings = GrpoSettings(
        model="m", prompts="p", rewards=[{"function": "a:b"}], num_prompts_per_step=8, num_minibatches=4
    )
    check_shares(settings, 2)
    with pytest.raises(PreflabError, match="8 for 3 processes and num_minibatches 4") as refused:
        check_shares(settings, 3)
    assert "at least 12" in refused.value.expected
