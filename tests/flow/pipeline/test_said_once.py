"""What a run says about a model with options of learning is said once, although every stage loads the model again."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest
import torch
from transformers import MistralConfig, MistralForCausalLM, OpenAIGPTConfig, OpenAIGPTLMHeadModel

from preflab import pipeline
from preflab.models.tiny import build_tokenizer
from preflab.recipe import load_recipe

TEXTS = ["where is my parcel", "is my parcel late", "where is it", "is it late where", "my parcel", "late is it"]
RECIPE = """
recipe: 1
device: {packing: "on"}
data: {prompts: {path: prompts.jsonl}, pairs: {path: pairs.jsonl}}
stages:
  dpo: {kind: dpo, model: windowed, preferences: pairs, held_out: 0, lora: {rank: 2}, watch: {num_samples: 0},
        num_kept_pairs: 0}
  online: {kind: online_dpo, model: windowed, prompts: prompts, rewards: [{function: "late_rewards:late"}],
    num_steps: 1, num_prompts_per_step: 2, decoding: {max_new_tokens: 4}, lora: {rank: 2}}
  old: {kind: online_dpo, model: older, prompts: prompts, rewards: [{function: "late_rewards:late"}], num_steps: 1,
    num_prompts_per_step: 2, decoding: {max_new_tokens: 4}, lora: {rank: 2}, optimiser: {gradient_checkpointing: true}}
  old_dpo: {kind: dpo, model: older, preferences: pairs, held_out: 0, lora: {rank: 2}, watch: {num_samples: 0},
    num_kept_pairs: 0, share_prompts: false, optimiser: {gradient_checkpointing: true}}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two models, their data and the recipe."""
    tokenizer = build_tokenizer(TEXTS, context=32)
    size = {"vocab_size": len(tokenizer), "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
    torch.manual_seed(0)
    windowed = MistralConfig(
        hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2, num_key_value_heads=2,
        sliding_window=4, max_position_embeddings=32, **size,
    )  # fmt: skip
    MistralForCausalLM(windowed).save_pretrained(tmp_path / "windowed")
    older = OpenAIGPTConfig(n_embd=16, n_layer=1, n_head=2, n_positions=32, **size)
    OpenAIGPTLMHeadModel(older).save_pretrained(tmp_path / "older")
    for name in ("windowed", "older"):
        tokenizer.save_pretrained(tmp_path / name)
    rows = {
        "prompts": [{"prompt": text} for text in TEXTS],
        "pairs": [{"prompt": text, "chosen": " late is it", "rejected": " my parcel"} for text in TEXTS],
    }
    for name, content in rows.items():
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in content), encoding="utf-8")
    (tmp_path / "late_rewards.py").write_text("def late(prompt, completion):\n    return float(len(completion))\n")
    (tmp_path / "recipe.yaml").write_text(RECIPE, encoding="utf-8")
    return tmp_path


def test_each_limit_of_a_model_is_a_warning_once(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        lines = pipeline.run(load_recipe(folder / "recipe.yaml"))
    assert {line.state for line in lines} == {"done"}
    said = [record.getMessage() for record in caplog.records if record.name.startswith("preflab.")]
    limits = sorted(text for text in said if "shared" in text or "padding" in text or "checkpointing" in text)
    assert [text.partition(" (")[0].partition(": it has no")[0] for text in limits] == [
        "MistralForCausalLM: prompts are not shared between completions: its configuration sets sliding_window = 4",
        "OpenAIGPTLMHeadModel: gradient_checkpointing has no effect, activations are stored",
        "OpenAIGPTLMHeadModel: learning passes keep their padding: it cannot read packed rows",
        "OpenAIGPTLMHeadModel: prompts are not shared between completions: it does not accept rows with several "
        "completions",
    ]
