"""A recipe with `device.packing`: every stage that learns packs its sequences, and learns what it learns padded."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from preflab import pipeline
from preflab.models import packing
from preflab.models.tiny import build_model, build_tokenizer
from preflab.recipe import load_recipe
from preflab.training.batches import TokenSequence
from preflab.training.unpadded_rows import UnpaddedRows

TEXTS = ["where is my parcel", "is my parcel late", "where is it", "is it late where", "my parcel", "late is it"]
RECIPE = """
recipe: 1
device: {packing: CHOICE}
data:
  prompts: {path: prompts.jsonl}
  demos: {path: demos.jsonl}
  pairs: {path: pairs.jsonl}
  texts: {path: texts.jsonl}
stages:
  tiny: {kind: tiny, text: texts, num_steps: 2, num_layers: 1, hidden_size: 16, num_heads: 2, context: 32}
  sft: {kind: sft, model: base, data: demos, num_epochs: 1, lora: {rank: 2}, optimiser: {learning_rate: 1.0e-3}}
  rm: {kind: reward, model: base, preferences: pairs, held_out: 0.3, num_epochs: 1, lora: {rank: 2}}
  dpo:
    {kind: dpo, model: base, preferences: pairs, held_out: 0.3, share_prompts: false, lora: null,
     watch: {num_samples: 0}}
  grpo:
    kind: grpo
    model: base
    prompts: prompts
    rewards: [{model: rm}]
    num_steps: 1
    num_prompts_per_step: 2
    num_completions_per_prompt: 2
    decoding: {max_new_tokens: 6}
    lora: {rank: 2}
  drawn: {kind: sample, model: base, prompts: prompts, num_completions: 2, max_new_tokens: 6}
  ilql:
    {kind: ilql, model: base, completions: drawn, rewards: [{model: rm}], prompts: prompts, num_epochs: 1,
     max_new_tokens: 6, lora: {rank: 2}}
"""
LEARNING = ("tiny", "sft", "rm", "dpo", "grpo", "ilql")


def run_in(folder: Path, choice: str) -> dict[str, Path]:
    """Stage → its folder, after a run of the recipe."""
    tokenizer = build_tokenizer(TEXTS, context=32)
    model = build_model(tokenizer, num_layers=1, hidden_size=16, num_heads=2, context=32, seed=0)
    model.save_pretrained(folder / "base")
    tokenizer.save_pretrained(folder / "base")
    rows = {
        "prompts": [{"prompt": text} for text in TEXTS],
        "demos": [{"prompt": text, "completion": " is it late" + " late" * (len(text) % 3)} for text in TEXTS],
        "pairs": [{"prompt": text, "chosen": " late is it late", "rejected": " my parcel"} for text in TEXTS],
        "texts": [{"text": text} for text in TEXTS],
    }
    for name, content in rows.items():
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in content), encoding="utf-8")
    (folder / "recipe.yaml").write_text(RECIPE.replace("CHOICE", choice), encoding="utf-8")
    lines = pipeline.run(load_recipe(folder / "recipe.yaml"))
    assert {line.name: line.state for line in lines if line.state != "done"} == {}
    return {line.name: line.folder for line in lines}


def tensors(folder: Path) -> dict[str, torch.Tensor]:
    """Name → tensor, of all files in a folder."""
    return {
        f"{file.relative_to(folder)}/{name}": tensor
        for file in sorted(folder.rglob("*.safetensors"))
        if "checkpoint" not in file.parts
        for name, tensor in load_file(file).items()
    }


def test_stages_that_learn_pack_and_learn_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "auto").mkdir()
    (tmp_path / "on").mkdir()
    batches: list[int] = []
    join = packing.join_unpadded

    def counted(sequences: Sequence[TokenSequence]) -> UnpaddedRows:
        batches.append(len(sequences))
        return join(sequences)

    monkeypatch.setattr(packing, "join_unpadded", counted)
    padded = run_in(tmp_path / "auto", "auto")
    assert batches == [], "on a CPU"
    packed = run_in(tmp_path / "on", "on")
    assert len(batches) > 6 * 2, "more than the two trials of each stage's model"
    for name in LEARNING:
        expected, found = tensors(padded[name]), tensors(packed[name])
        assert expected.keys() == found.keys() != set(), name
        for key, tensor in expected.items():
            torch.testing.assert_close(found[key], tensor, atol=1e-5, rtol=1e-4, msg=f"{name}: {key}")
