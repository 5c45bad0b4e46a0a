"""SFT with 8-bit optimiser states and on a base in NF4: as far as float32 learns, and the same after a restart."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import Accelerator

from preflab.conversations.renderer import Renderer
from preflab.models import bitsandbytes_import
from preflab.models.tiny import build_model, build_tokenizer
from preflab.models.trunk import Trunk
from preflab.policy.sft import Demonstration, encode_demonstrations, train_sft
from preflab.records import Completion, Prompt
from preflab.settings.learning import LoraSettings, OptimiserSettings, RunSettings, SftSettings
from preflab.training.state import RunState
from preflab.training.too_long import LongRows

pytestmark = pytest.mark.skipif(
    not bitsandbytes_import.is_installed(), reason="needs bitsandbytes: pip install 'preflab[bitsandbytes]'"
)
WORDS = "one two three four five six"
ROWS = [("one two", "three"), ("two three four", "five six"), ("four", "two two two"), ("six five", "one")]
NUM_STEPS = 40
LORA = LoraSettings(rank=64, alpha=16)
"""Tensors of 64 · 64 weights and more, whose states take 8 bits."""
NF4 = LORA.model_copy(update={"base": "nf4"})


def trunk(lora: LoraSettings | None) -> Trunk:
    """A model whose linear layers have 4,096 weights and more."""
    tokenizer = build_tokenizer([WORDS], context=12)
    model = build_model(tokenizer, num_layers=2, hidden_size=64, num_heads=2, context=12, seed=0)
    return Trunk(model, tokenizer, lora=lora, roles=("policy",), seed=1)


def train(made: Trunk, folder: Path, num_steps: int, states: Any) -> list[float]:
    """The losses of all steps."""
    demonstrations = []
    for line, (text, completion) in enumerate(ROWS, 1):
        prompt = Prompt.make(text, source=f"demos.jsonl, line {line}")
        demonstrations.append(Demonstration(prompt, Completion.make(prompt.id, completion, "demonstration")))
    sequences = encode_demonstrations(Renderer(made.tokenizer), demonstrations, LongRows(12, "refuse"))
    optimiser = OptimiserSettings(learning_rate=1e-3 if made.lora is None else 3e-3, states=states, schedule="constant")
    run = RunSettings(save_every=3)
    settings = SftSettings(model="-", data="-", num_sequences_per_step=4, optimiser=optimiser, run=run)
    metrics = train_sft(made, sequences, settings, num_steps=num_steps, folder=folder, seed=3,
                        accelerator=Accelerator(cpu=True))  # fmt: skip
    return [row["loss/nll"] for row in metrics]


@pytest.mark.parametrize(
    ("exact", "small", "states"),
    [
        (None, None, "8bit"),
        (LORA, NF4, "float32"),
        (LORA, NF4, "8bit"),
    ],
    ids=["full, 8 bit", "nf4", "nf4, 8 bit"],
)
def test_learns_as_far_as_float32(
    exact: LoraSettings | None, small: LoraSettings | None, states: str, tmp_path: Path
) -> None:
    """The loss starts near ln 10 = 2.3 of the 10 tokens and falls by more than 1 nat; the two runs end within a tenth
    of that fall of each other. (Adapters fall less than all weights: the random head and embeddings are frozen.)"""
    expected = train(trunk(exact), tmp_path / "exact", NUM_STEPS, "float32")
    found = train(trunk(small), tmp_path / "small", NUM_STEPS, states)
    assert expected[0] == pytest.approx(2.3, abs=0.1)
    assert expected[-1] < expected[0] - 1
    assert found[0] == pytest.approx(expected[0], abs=0.02), "the untrained model, in NF4 nearly the same"
    assert abs(found[-1] - expected[-1]) < 0.1 * (expected[0] - expected[-1])
    assert found != expected


@pytest.mark.parametrize("lora", [None, NF4], ids=["full", "nf4"])
def test_resumed_run_is_the_unbroken_one(
    lora: LoraSettings | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first run saves after its step 3 of 6 and goes on; the second one starts from that checkpoint."""
    unbroken = trunk(lora)
    monkeypatch.setattr(RunState, "save", _saving_at(3, RunState.save))
    train(unbroken, tmp_path, 6, "8bit")
    assert [path.name for path in (tmp_path / "checkpoint").iterdir()] == ["step-000003"]
    resumed = trunk(lora)
    train(resumed, tmp_path, 6, "8bit")
    learned = {name: p for name, p in unbroken.named_parameters() if p.requires_grad}
    assert learned
    for name, parameter in resumed.named_parameters():
        assert name not in learned or torch.equal(parameter, learned[name]), name


def _saving_at(step: int, save: Any) -> Any:
    def saved(state: RunState, folder: Path) -> None:
        if state.step == step:
            save(state, folder)

    return saved
