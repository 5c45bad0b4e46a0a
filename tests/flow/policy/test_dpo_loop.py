"""DPO's loop on a tiny model: what it learns, what micro-batches may not change, and that a restart changes nothing."""

from __future__ import annotations

import functools
import math
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import Accelerator

from paper_trunk import PaperAccelerator
from preflab.files import read_jsonl
from preflab.models.trunk import Trunk
from preflab.policy.dpo import DpoRun, accumulate, ask_reference, reference_point, train_dpo
from preflab.policy.dpo_groups import Group, LabelledPair, Verdict, group_batches, only_used, with_mismatched
from preflab.policy.dpo_logps import ReferenceCache
from preflab.sampling.engine import TransformersEngine
from preflab.settings.dpo import DpoSettings
from preflab.settings.learning import LoraSettings
from preflab.settings.preference_losses import LOSSES
from preflab.training.alarms import chosen_becomes_unlikely
from preflab.training.batches import TokenSequence
from preflab.training.metrics import is_time
from preflab.training.state import RunState
from preflab.training.tensor_files import read_tensors, write_tensors
from tiny_worlds import tiny_llama, tiny_trunk

LORA = LoraSettings(rank=2, alpha=4)
EVERY_LOSS: list[dict[str, Any]] = [
    {"kind": "dpo", "margin": 0.1, "length_normalised": True},
    *({"kind": kind} for kind in LOSSES),
]


def group(number: int, texts: list[tuple[int, ...]]) -> Group:
    """A prompt of its own with completions of which token 1 is liked: more of it wins; an empty margin is no pair."""
    ones = [ids.count(1) / len(ids) for ids in texts]
    pairs = [(i, j) for i in range(len(texts)) for j in range(len(texts)) if ones[i] > ones[j]]
    return Group(
        f"prompt {number}",
        tuple(TokenSequence((3, number % 3), ids) for ids in texts),
        tuple(LabelledPair(i, j, 1.0, 1 / len(pairs)) for i, j in pairs),
        tuple(Verdict(i, float(one > 0.4), 1.0) for i, one in enumerate(ones)),
    )


def groups() -> list[Group]:
    return [
        group(0, [(1, 1, 0), (0, 2)]),
        group(1, [(1, 0), (2, 2, 2, 0), (1,)]),
        group(2, [(2, 1, 1, 1), (0, 0)]),
        group(3, [(0, 1), (2, 0, 0)]),
        group(4, [(2,), (1, 2), (1, 1, 1), (0, 0, 0, 0)]),
    ]


def dpo_run(
    folder: Path, trunk: Trunk, *, data: list[Group] | None = None, num_steps: int = 6, **changes: Any
) -> DpoRun:
    """A run on the groups, the last one held out; `changes` are settings."""
    values: dict[str, Any] = {
        "num_groups_per_step": 3,
        "lora": None if trunk.lora is None else trunk.lora.model_dump(),
        "optimiser": {"learning_rate": 1e-2},
        "watch": {"every": 2, "num_samples": 4, "decoding": {"max_new_tokens": 3}},
        "run": {"save_every": 1},
    }
    settings = DpoSettings(model="tiny", preferences="groups", **{**values, **changes})
    found = data if data is not None else groups()
    if settings.learns_verdicts:
        found = with_mismatched(found)
    else:
        found = [only_used(replace(each, verdicts=())) for each in found]
    if not settings.learns_pairs:
        found = [replace(each, pairs=()) for each in found]
    engine = TransformersEngine(
        trunk.language_model("policy"), pad_id=0, stop_token_ids=(), role=functools.partial(trunk.role, "policy")
    )
    return DpoRun(
        trunk=trunk,
        settings=settings,
        groups=found[:-1],
        held_out=found[-1:],
        num_steps=num_steps,
        cache=ReferenceCache(folder / "cache", "weights", "float32"),
        folder=folder,
        seed=3,
        sampler=engine,
        sample_prompts=[(3,), (3, 1)],
        longest_row=16,
        accelerator=Accelerator(cpu=True),
    )


def policy_and_reference(lora: LoraSettings | None) -> Trunk:
    return tiny_trunk(("policy", "reference"), lora=lora, vocab_size=5)


def without_times(folder: Path) -> list[dict[str, float]]:
    return [{k: v for k, v in row.items() if not is_time(k)} for row in read_jsonl(folder / "metrics.jsonl")]


def gradient(
    tmp_path: Path, losses: list[dict[str, Any]], budget: int, longest_row: int | None = None
) -> tuple[dict[str, float], torch.Tensor]:
    """Metrics and gradient of one step over all groups, away from the reference."""
    trunk = policy_and_reference(None)
    run = dpo_run(tmp_path, trunk, losses=losses, optimiser={"tokens_per_micro_batch": budget})
    run.longest_row = longest_row
    known, _ = ask_reference(run)
    with torch.no_grad():
        torch.manual_seed(1)
        for _, parameter in trunk.parameters_of("policy"):
            parameter.add_(0.05 * torch.randn_like(parameter))
    metrics = accumulate(run, trunk, known, reference_point(run, known))
    return metrics, torch.cat([p.grad.flatten() for _, p in trunk.parameters_of("policy")])


@pytest.mark.parametrize("loss", EVERY_LOSS, ids=lambda loss: "-".join(map(str, loss.values())))
def test_micro_batches_change_nothing(loss: dict[str, Any], tmp_path: Path) -> None:
    """In one piece, group by group, with groups that are themselves cut into slices, with shared rows and without."""
    metrics, whole = gradient(tmp_path, [loss], 10_000)
    assert whole.abs().max() > 1e-5
    for budget, longest_row in ((20, None), (7, None), (10_000, 16), (20, 9), (7, 7)):
        others, parts = gradient(tmp_path, [loss], budget, longest_row)
        torch.testing.assert_close(parts, whole, atol=1e-6, rtol=1e-4)
        assert others == pytest.approx(metrics, abs=1e-5)


@pytest.mark.parametrize(("longest_row", "num_passes"), [(16, 1), (None, 4)])
def test_a_group_whose_shared_row_fits_is_gone_through_once(
    longest_row: int | None, num_passes: int, tmp_path: Path
) -> None:
    """Completions of 1, 2, 3 and 4 tokens after 2: 12 in one row; with a row each 24, so two slices, each twice."""
    trunk = policy_and_reference(None)
    run = dpo_run(tmp_path, trunk, data=[groups()[4]] * 2, optimiser={"tokens_per_micro_batch": 16})
    run.longest_row = longest_row
    known, _ = ask_reference(run)
    seen: list[int] = []
    handle = trunk.register_forward_hook(lambda *_: seen.append(1))
    accumulate(run, trunk, known, 0.0)
    handle.remove()
    assert len(seen) == num_passes


def test_the_gradient_is_that_of_the_plain_formula(tmp_path: Path) -> None:
    """The oracle: the model's own logits, one completion at a time, −log σ(β h) written out."""
    metrics, found = gradient(tmp_path, [{"kind": "dpo", "beta": 0.3}], 10_000)
    trunk, start = policy_and_reference(None), tiny_llama(5)
    with torch.no_grad():
        start.lm_head.weight.mul_(8.0)
        torch.manual_seed(1)
        for _, parameter in trunk.parameters_of("policy"):
            parameter.add_(0.05 * torch.randn_like(parameter))
    policy = trunk.language_model("policy")

    def logp(model: Any, sequence: TokenSequence) -> torch.Tensor:
        ids = torch.tensor([sequence.prompt_ids + sequence.completion_ids])
        logps = model(input_ids=ids).logits[0].log_softmax(-1)
        num = len(sequence.prompt_ids)
        return sum(logps[t - 1, ids[0, t]] for t in range(num, len(sequence)))

    total, weight = torch.zeros(()), 0.0
    for each in groups()[:-1]:
        ratios = [logp(policy, s) - logp(start, s).detach() for s in each.sequences]
        for pair in each.pairs:
            h = ratios[pair.first] - ratios[pair.second]
            total = total + pair.weight * torch.log1p(torch.exp(-0.3 * h))
            weight += pair.weight
    expected = torch.autograd.grad(total / weight, [p for _, p in trunk.parameters_of("policy")])
    assert metrics["loss/total"] == pytest.approx(total.item() / weight, abs=1e-5)
    torch.testing.assert_close(found, torch.cat([g.flatten() for g in expected]), atol=1e-5, rtol=1e-3)


@pytest.mark.parametrize("budget", [10_000, 20, 7])
def test_gradients_of_two_processes_average_to_that_of_one(budget: int, tmp_path: Path) -> None:
    """Groups stay whole there; where micro-batches do not divide evenly, one is repeated and counts nothing."""
    trunk = policy_and_reference(None)
    run = dpo_run(tmp_path, trunk, losses=[{"kind": "dpo"}], optimiser={"tokens_per_micro_batch": budget})
    known, _ = ask_reference(run)
    with torch.no_grad():
        torch.manual_seed(1)
        for _, parameter in trunk.parameters_of("policy"):
            parameter.add_(0.05 * torch.randn_like(parameter))
    metrics, found = [], []
    for accelerator in (Accelerator(cpu=True), PaperAccelerator(0), PaperAccelerator(1)):
        run.accelerator = accelerator
        trunk.zero_grad()
        metrics.append(accumulate(run, trunk, known, 0.0))
        found.append(torch.cat([p.grad.flatten() for _, p in trunk.parameters_of("policy")]))
    torch.testing.assert_close((found[1] + found[2]) / 2, found[0], atol=1e-6, rtol=1e-4)
    whole, first, second = (values["loss/total"] for values in metrics)
    assert (first + second) / 2 == pytest.approx(whole, abs=1e-6), "each process is taken for both"


def test_course_of_a_run_by_its_metrics(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The rate falls by a fifth of its peak a step; checkpoints after every second step and the last."""
    saved: list[int] = []
    versions: list[int] = []
    monkeypatch.setattr(RunState, "save", lambda state, folder: saved.append(state.step))
    monkeypatch.setattr(TransformersEngine, "sync", lambda engine, version: versions.append(version))
    logged: list[int | None] = []
    checkpointed: list[Trunk] = []
    monkeypatch.setattr(Accelerator, "log", lambda self, values, step=None, **_: logged.append(step))
    monkeypatch.setattr(Trunk, "enable_gradient_checkpointing", lambda self: checkpointed.append(self))
    optimiser = {"learning_rate": 1e-2, "schedule": "linear", "warmup_share": 0.0}
    run = dpo_run(tmp_path, policy_and_reference(LORA), num_steps=5, optimiser=optimiser, run={"save_every": 2})
    started = time.perf_counter()
    result = train_dpo(run)
    rows = read_jsonl(tmp_path / "metrics.jsonl")
    assert 0 < sum(row["time/step"] for row in rows) <= time.perf_counter() - started
    assert [row["learning_rate"] for row in rows] == pytest.approx([1e-2, 8e-3, 6e-3, 4e-3, 2e-3])
    assert saved == versions == [2, 4, 5]
    assert (logged, checkpointed) == ([0, 1, 2, 3, 4], [])
    optimiser = {"gradient_checkpointing": True, "learning_rate": 1e-12}
    still = train_dpo(dpo_run(tmp_path / "still", policy_and_reference(LORA), num_steps=4, optimiser=optimiser))
    assert len(checkpointed) == 1
    assert [(alarm.step, alarm.alarm) for alarm in still.alarms] == [(3, "hardly moved")]
    assert result.num_steps == 5
    assert [row["step"] for row in rows if "held_out/loss" in row] == [1, 3, 4]
    for row in rows:
        assert row["tokens/s"] == pytest.approx(row["num/tokens"] / row["time/step"])
    assert sum(row["num/tokens"] for row in rows[:2]) == sum(group.num_tokens for group in run.groups)


def test_losses_add_up_by_their_weights(tmp_path: Path) -> None:
    terms = [{"kind": "dpo", "weight": 0.5}, {"kind": "nll", "weight": 2.0}, {"kind": "kto", "weight": 1.5}]
    metrics, mixed = gradient(tmp_path, terms, 10_000)
    alone = [gradient(tmp_path, [{**term, "weight": 1.0}], 10_000)[1] for term in terms]
    torch.testing.assert_close(mixed, 0.5 * alone[0] + 2.0 * alone[1] + 1.5 * alone[2], atol=1e-6, rtol=1e-4)
    expected = 0.5 * metrics["loss/dpo"] + 2.0 * metrics["loss/nll"] + 1.5 * metrics["loss/kto"]
    assert metrics["loss/total"] == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("lora", [None, LORA])
def test_it_starts_at_the_reference(lora: LoraSettings | None, tmp_path: Path) -> None:
    """Before the first update every log-ratio is 0: the loss is ln 2, and half of the pairs are right."""
    train_dpo(dpo_run(tmp_path, policy_and_reference(lora), num_steps=1))
    (row,) = read_jsonl(tmp_path / "metrics.jsonl")
    assert row["loss/dpo"] == pytest.approx(math.log(2), abs=1e-5)
    assert row["logratio/chosen"] == pytest.approx(0, abs=1e-5)
    assert row["implicit/margin"] == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize("loss", EVERY_LOSS, ids=lambda loss: "-".join(map(str, loss.values())))
def test_every_loss_teaches_the_order(loss: dict[str, Any], tmp_path: Path) -> None:
    run = dpo_run(tmp_path, policy_and_reference(None), losses=[loss], num_steps=40, optimiser={"learning_rate": 3e-3})
    train_dpo(run)
    rows = read_jsonl(tmp_path / "metrics.jsonl")
    assert rows[-1]["logratio/chosen"] > rows[-1]["logratio/rejected"] + 0.3
    assert rows[-1]["accuracy/implicit"] > 0.8
    assert rows[-1]["kl/exact"] > 0.01
    looked_at = [row["step"] for row in rows if "held_out/logratio_chosen" in row and "kl/exact" in row]
    assert looked_at == list(range(1, 40, 2)), "held-out groups and samples after every second step"


@pytest.mark.parametrize("losses", [[{"kind": "dpo"}], [{"kind": "dpo"}, {"kind": "kto"}]], ids=["dpo", "mixed"])
@pytest.mark.parametrize("lora", [None, LORA], ids=["full", "adapters"])
def test_n_restart_n_is_2n(lora: LoraSettings | None, losses: list[dict[str, Any]], tmp_path: Path) -> None:
    whole, interrupted, resumed = (policy_and_reference(lora) for _ in range(3))
    train_dpo(dpo_run(tmp_path / "whole", whole, losses=losses))

    class Killed(Exception):
        pass

    class Dying(Accelerator):
        """Dies in the fifth step: the checkpoint is that of the fourth."""

        def log(self, values: dict[str, Any], step: int | None = None, **_: Any) -> None:
            if step == 4:
                raise Killed

    cut = dpo_run(tmp_path / "cut", interrupted, losses=losses, run={"save_every": 2})
    cut.accelerator = Dying(cpu=True)
    with pytest.raises(Killed):
        train_dpo(cut)
    train_dpo(dpo_run(tmp_path / "cut", resumed, losses=losses, run={"save_every": 2}))
    for name, tensor in whole.state_dict().items():
        assert torch.equal(tensor, resumed.state_dict()[name]), name
    assert without_times(tmp_path / "whole") == without_times(tmp_path / "cut")


def test_the_reference_is_asked_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A second run on the same weights and tokens reads the cache; other tokens or weights have their own."""
    first = dpo_run(tmp_path, policy_and_reference(LORA))
    known, _ = ask_reference(first)
    monkeypatch.setattr("preflab.policy.dpo_logps.all_logps", lambda *_: pytest.fail("asked again"))
    again, _ = ask_reference(dpo_run(tmp_path, policy_and_reference(LORA)))
    assert [g.ref_logps for g in again] == [g.ref_logps for g in known]
    sequences = [s for g in first.groups for s in g.sequences]
    paths = {
        ReferenceCache(tmp_path, weights, dtype).path(found)
        for weights, dtype in (("a", "float32"), ("b", "float32"), ("a", "bfloat16"))
        for found in (sequences, sequences[1:], [replace(sequences[0], prompt_ids=(3,)), *sequences[1:]])
    }
    assert len(paths) == 9


@pytest.mark.parametrize("damage", ["no tensors", "cut short", "another length", "no number"])
def test_a_damaged_cache_is_made_again(tmp_path: Path, damage: str, caplog: pytest.LogCaptureFixture) -> None:
    run = dpo_run(tmp_path, policy_and_reference(LORA))
    known, _ = ask_reference(run)
    (file,) = (tmp_path / "cache").rglob("*.safetensors")
    whole = file.read_bytes()
    if damage in ("no tensors", "cut short"):
        file.write_bytes(b"not tensors" if damage == "no tensors" else whole[:-3])
    else:
        kept = read_tensors(file)["logps"]
        write_tensors(file, {"logps": kept[1:] if damage == "another length" else kept / 0})
    again, _ = ask_reference(run)
    assert [g.ref_logps for g in again] == [g.ref_logps for g in known]
    assert file.read_bytes() == whole
    assert "is damaged; the reference's log-probabilities are computed again" in caplog.text


def test_full_fine_tuning_without_samples_keeps_no_reference(tmp_path: Path) -> None:
    trunk = tiny_trunk(("policy",), lora=None, vocab_size=5)
    watch = {"every": 2, "num_samples": 0}
    run = dpo_run(tmp_path / "one", trunk, watch=watch)
    run.sample_prompts = ()
    train_dpo(run)
    both = dpo_run(tmp_path / "two", policy_and_reference(None), watch=watch)
    both.sample_prompts = ()
    train_dpo(both)
    assert without_times(tmp_path / "one") == without_times(tmp_path / "two")
    assert "kl/exact" not in without_times(tmp_path / "one")[-1]


def test_soft_labels_of_one_half_teach_nothing(tmp_path: Path) -> None:
    even = [replace(g, pairs=tuple(p._replace(label=0.5) for p in g.pairs)) for g in groups()]
    run = dpo_run(tmp_path, policy_and_reference(None), data=even)
    known, _ = ask_reference(run)
    metrics = accumulate(run, run.trunk, known, 0.0)
    assert all(float(p.grad.abs().max()) < 1e-6 for _, p in run.trunk.parameters_of("policy"))
    assert "accuracy/implicit" not in metrics


def test_a_step_without_pairs_or_without_verdicts_counts_only_what_it_has(tmp_path: Path) -> None:
    every = enumerate(groups())
    mixed = [replace(each, pairs=()) if number % 2 else replace(each, verdicts=()) for number, each in every]
    losses = [{"kind": "dpo"}, {"kind": "kto"}]
    run = dpo_run(tmp_path, policy_and_reference(None), data=mixed, num_groups_per_step=1, losses=losses, num_steps=4)
    train_dpo(run)
    for row in read_jsonl(tmp_path / "metrics.jsonl"):
        assert (row["loss/dpo"] == 0.0) != (row["loss/kto"] == 0.0)
        assert row["loss/total"] == pytest.approx(row["loss/dpo"] + row["loss/kto"])


def test_a_falling_chosen_completion_is_an_alarm() -> None:
    rows = [{"step": n, "logratio/chosen": value} for n, value in enumerate((0.0, -0.5, -1.0, -1.0))]
    assert chosen_becomes_unlikely(rows[:3]) is None  # the mean of three is −0.5, above −ln 2
    found = chosen_becomes_unlikely(rows)  # −2.5 / 3
    assert found is not None
    assert "−0.833 nats" in found[0]
    assert "nll" in found[1]
    assert chosen_becomes_unlikely([{"step": n} for n in range(5)]) is None


def test_whole_groups_share_a_micro_batch() -> None:
    # Longest 5, 6, 6, 5, 6 tokens with 2, 3, 2, 2, 4 completions; 30 tokens hold 5 rows of 6.
    batches = group_batches(groups(), 30)
    assert sorted(i for batch in batches for i in batch) == [0, 1, 2, 3, 4]
    for batch in batches:
        rows = sum(len(groups()[i].sequences) for i in batch)
        longest = max(len(s) for i in batch for s in groups()[i].sequences)
        assert rows * longest <= 30 or len(batch) == 1


def test_mismatched_completions_come_from_another_prompt() -> None:
    found = with_mismatched(groups())
    for own, other, made in zip(groups(), [*groups()[1:], groups()[0]], found, strict=True):
        assert len(made.mismatched) == len(own.verdicts)
        for sequence in made.mismatched:
            assert sequence.prompt_ids == own.sequences[0].prompt_ids
            assert sequence.completion_ids in [s.completion_ids for s in other.sequences]
