"""Supervised fine-tuning on a tiny model: what is learned, what is refused, and that a restart changes nothing."""

from __future__ import annotations

import json
import time
from math import log
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from transformers import AutoModelForCausalLM

from paper_trunk import PaperAccelerator
from preflab.conversations.renderer import Renderer
from preflab.errors import PreflabError
from preflab.models.merge import merged_language_model
from preflab.models.tiny import build_model, build_tokenizer
from preflab.models.trunk import Trunk
from preflab.policy import sft
from preflab.policy.sft import Demonstration, accumulate, encode_demonstrations, train_sft
from preflab.records import Completion, Prompt
from preflab.settings.learning import LoraSettings, OptimiserSettings, RunSettings, SftSettings
from preflab.training.batches import TokenSequence
from preflab.training.state import RunState
from preflab.training.too_long import LongRows

WORDS = "one two three four five six"
ROWS = [("one two", "three"), ("two three four", "five six"), ("four", "two two two"), ("six five", "one")]


def trunk(lora: LoraSettings | None = None) -> Trunk:
    tokenizer = build_tokenizer([WORDS], context=12)
    model = build_model(tokenizer, num_layers=2, hidden_size=32, num_heads=2, context=12, seed=0)
    return Trunk(model, tokenizer, lora=lora, roles=("policy",), seed=1)


def sequences(tokenizer: Any) -> list[TokenSequence]:
    rows = [demonstration(prompt, completion, i) for i, (prompt, completion) in enumerate(ROWS, 1)]
    return encode_demonstrations(Renderer(tokenizer), rows, LongRows(12, "refuse"))


def demonstration(prompt: str, completion: str, line: int) -> Demonstration:
    asked = Prompt.make(prompt, source=f"demos.jsonl, line {line}")
    return Demonstration(asked, Completion.make(asked.id, completion, "demonstration"))


def settings(**changes: Any) -> SftSettings:
    optimiser = OptimiserSettings(learning_rate=1e-2, **changes.pop("optimiser", {}))
    return SftSettings(model="-", data="-", num_sequences_per_step=3, optimiser=optimiser, **changes)


def train(made: Trunk, folder: Path, num_steps: int, chosen: SftSettings | None = None) -> list[dict[str, Any]]:
    return train_sft(
        made,
        sequences(made.tokenizer),
        chosen or settings(),
        num_steps=num_steps,
        folder=folder,
        seed=3,
        accelerator=Accelerator(cpu=True),
    )


def gradients(made: Trunk, tokens_per_micro_batch: int) -> tuple[float, list[torch.Tensor]]:
    made.zero_grad()
    accelerator = Accelerator(cpu=True)
    loss = accumulate(
        made, sequences(made.tokenizer), tokens_per_micro_batch, collate=made.collate, accelerator=accelerator
    )
    return loss, [p.grad.clone() for _, p in made.parameters_of("policy")]


def test_the_end_token_closes_every_completion_and_is_learned() -> None:
    made = trunk()
    for sequence, (_, completion) in zip(sequences(made.tokenizer), ROWS, strict=True):
        assert sequence.prompt_ids[0] == made.tokenizer.bos_token_id
        assert sequence.completion_ids[-1] == made.tokenizer.eos_token_id
        assert len(sequence.completion_ids) == len(completion.split()) + 1
        assert sequence.policy_tokens is None


def test_the_loss_is_a_mean_over_completion_tokens_of_the_whole_step() -> None:
    made = trunk()
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.zero_()
    # With all weights zero every token of the vocabulary is equally likely: ln V, whatever the lengths.
    loss, _ = gradients(made, 10_000)
    assert loss == pytest.approx(log(len(made.tokenizer)), abs=1e-5)


def test_the_loss_counts_each_completion_token_once() -> None:
    # The oracle: the model's own logits, one sequence at a time, no padding, no chunks.
    made = trunk()
    total, count = 0.0, 0
    for sequence in sequences(made.tokenizer):
        ids = torch.tensor([sequence.prompt_ids + sequence.completion_ids])
        logps = made.model(input_ids=ids).logits[0].log_softmax(-1)
        for t in range(len(sequence.prompt_ids), len(sequence)):
            total -= float(logps[t - 1, ids[0, t]].detach())
            count += 1
    assert gradients(made, 10_000)[0] == pytest.approx(total / count, abs=1e-5)


@pytest.mark.parametrize("budget", [10_000, 13, 1])
def test_gradients_of_two_processes_average_to_that_of_one(budget: int) -> None:
    """Micro-batches in turn; where they do not divide evenly, one is repeated and counts nothing."""
    made = trunk()
    whole_loss, whole = gradients(made, budget)
    losses, halves = [], []
    for index in (0, 1):
        made.zero_grad()
        accelerator = PaperAccelerator(index)
        losses.append(
            accumulate(made, sequences(made.tokenizer), budget, collate=made.collate, accelerator=accelerator)
        )
        halves.append([p.grad.clone() for _, p in made.parameters_of("policy")])
    assert sum(losses) / 2 == pytest.approx(whole_loss, abs=1e-6), "each process is taken for both"
    for one, first, second in zip(whole, *halves, strict=True):
        torch.testing.assert_close((first + second) / 2, one, atol=1e-6, rtol=1e-5)


def test_course_of_a_run_by_its_metrics(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The rate falls by a fifth of its peak a step; checkpoints after every second one; tokens by seconds."""
    saved: list[int] = []
    monkeypatch.setattr(RunState, "save", lambda state, folder: saved.append(state.step))
    logged: list[int | None] = []
    checkpointed: list[Trunk] = []
    monkeypatch.setattr(Accelerator, "log", lambda self, values, step=None, **_: logged.append(step))
    monkeypatch.setattr(Trunk, "enable_gradient_checkpointing", lambda self: checkpointed.append(self))
    chosen = settings(optimiser={"schedule": "linear", "warmup_share": 0.0}, run=RunSettings(save_every=2))
    started = time.perf_counter()
    rows = train(trunk(), tmp_path, 5, chosen)
    assert 0 < sum(row["time/step"] for row in rows) <= time.perf_counter() - started
    assert (logged, checkpointed) == ([0, 1, 2, 3, 4], [])
    train(trunk(), tmp_path / "other", 1, settings(optimiser={"gradient_checkpointing": True}))
    assert len(checkpointed) == 1
    assert [row["learning_rate"] for row in rows] == pytest.approx([1e-2, 8e-3, 6e-3, 4e-3, 2e-3])
    assert saved == [2, 4]
    for row in rows:
        assert row["tokens/s"] == pytest.approx(row["num/tokens"] / row["time/step"])


def test_micro_batches_change_nothing() -> None:
    made = trunk()
    whole_loss, whole = gradients(made, 10_000)
    for budget in (1, 13):
        loss, parts = gradients(made, budget)
        assert loss == pytest.approx(whole_loss, abs=1e-6)
        for one, other in zip(whole, parts, strict=True):
            torch.testing.assert_close(one, other, atol=1e-6, rtol=1e-5)


def test_it_learns_the_demonstrations(tmp_path: Path) -> None:
    rows = train(trunk(), tmp_path, 80)
    assert rows[0]["loss/nll"] > 1.5
    assert rows[-1]["loss/nll"] < 0.1
    # linear decay: the first step at the peak, the last one at 1/80 of it
    assert rows[0]["learning_rate"] == pytest.approx(1e-2)
    assert rows[-1]["learning_rate"] == pytest.approx(1e-2 / 80)


@pytest.mark.parametrize("lora", [None, LoraSettings(rank=2)])
def test_a_restart_in_the_middle_changes_no_bit(tmp_path: Path, lora: LoraSettings | None) -> None:
    chosen = settings(run=RunSettings(save_every=4))
    through, interrupted, resumed = trunk(lora), trunk(lora), trunk(lora)
    whole = train(through, tmp_path / "whole", 8, chosen)

    class Killed(Exception):
        pass

    def die(step: int, limit: int = 6) -> None:
        if step == limit:
            raise Killed

    # Killed after 6 of 8 steps: the checkpoint is that of step 4, and the rows of steps 4 and 5 are done again.
    original = Accelerator.log
    Accelerator.log = lambda self, values, step=None, **kwargs: die(step)  # type: ignore[method-assign]
    try:
        with pytest.raises(Killed):
            train(interrupted, tmp_path / "parts", 8, chosen)
    finally:
        Accelerator.log = original  # type: ignore[method-assign]
    rows = train(resumed, tmp_path / "parts", 8, chosen)
    for (_, one), (_, other) in zip(through.parameters_of("policy"), resumed.parameters_of("policy"), strict=True):
        assert torch.equal(one, other)
    timeless = [[{k: v for k, v in r.items() if k not in ("time/step", "tokens/s")} for r in x] for x in (whole, rows)]
    assert timeless[0] == timeless[1]


def test_adapters_are_merged_into_a_plain_model(tmp_path: Path) -> None:
    made = trunk(LoraSettings(rank=2))
    train(made, tmp_path, 10)
    merged_language_model(made, "policy").save_pretrained(tmp_path / "model")
    plain = AutoModelForCausalLM.from_pretrained(tmp_path / "model", dtype=torch.float32)
    ids = torch.tensor([[1, 5, 6, 7]])
    with made.role("policy"):
        adapted = made.model(input_ids=ids).logits
    torch.testing.assert_close(plain(input_ids=ids).logits, adapted, atol=1e-5, rtol=1e-5)
    with made.role("reference"):
        assert not torch.allclose(made.model(input_ids=ids).logits, adapted, atol=1e-3)


def test_rows_beyond_the_context_are_refused_all_at_once() -> None:
    made = trunk()
    rows = [demonstration("one", "two", 1), *(demonstration("one", "two " * 20, i) for i in (7, 9))]
    # <s> one + 20 × two + </s> = 23
    with pytest.raises(PreflabError, match="line 7: prompt and completion are 23 tokens .and 1 more row: .*line 9"):
        encode_demonstrations(Renderer(made.tokenizer), rows, LongRows(12, "refuse"))
    with pytest.raises(PreflabError, match="line 1: empty completion"):
        encode_demonstrations(Renderer(made.tokenizer), [demonstration("one", " ", 1)], LongRows(12, "refuse"))


def test_metrics_are_json_lines(tmp_path: Path) -> None:
    train(trunk(), tmp_path, 2)
    rows = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [0, 1]
    # 3 of the 4 demonstrations first, then the one that is left; each epoch takes every completion token once
    assert sum(row["num/tokens"] for row in rows) == sum(len(c.split()) + 1 for _, c in ROWS)


def test_steps_take_rows_by_their_number_and_the_seed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[int, ...]] = []

    def noted(*numbers: int) -> list[int]:
        asked.append(numbers)
        return [0, 1]

    monkeypatch.setattr(sft, "rows_of_step", noted)
    made = trunk()
    rows = sequences(made.tokenizer)
    accelerator = Accelerator(cpu=True)
    train_sft(made, rows, settings(), num_steps=2, folder=tmp_path, seed=7, accelerator=accelerator)
    assert asked == [(0, len(rows), 3, 7), (1, len(rows), 3, 7)]
