"""Stages on a model with LongRoPE whose rows cross the limit: one length per stage, for every model in it."""

from __future__ import annotations

import json
from math import log, sqrt
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, Phi3Config

from preflab.cli import run_command
from preflab.models.facts import weights_hash
from preflab.models.loading import load_causal_lm, load_tokenizer
from preflab.models.tiny import build_tokenizer
from preflab.store.workspace import Workspace

LIMIT, MOST = 10, 32
SHORT, LONG = [1.0, 1.1, 1.3, 1.5], [4.0, 6.0, 8.0, 10.0]
WORDS = ["where is my parcel ?", "is it late ?", "it is here .", "my parcel is late .", "where is it ?", "late ?"]
FUNCTIONS = """
def good(prompt, completion):
    return float(completion.count("late"))
"""
RECIPE = """
recipe: 1
data: {prompts: {path: prompts.jsonl}, demos: {path: demos.jsonl}}
labelers: {panel: {utility: "long_rewards:good", num: 3}}
stages:
  sft: {kind: sft, model: ./model, data: demos, num_epochs: 1, num_sequences_per_step: 2}
  answers: {kind: sample, model: ./model, prompts: prompts, num_completions: 3, max_new_tokens: 6}
  labels: {kind: judge, completions: answers, labelers: panel, overlap: 3}
  prefs: {kind: preferences, judgments: labels}
  rm: {kind: reward, model: ./model, preferences: prefs, held_out: 0.3, lora: {rank: 2}}
  dpo: {kind: dpo, model: ./model, preferences: prefs, num_epochs: 1, held_out: 0.3, lora: {rank: 2},
        watch: {num_samples: 2, decoding: {max_new_tokens: 6}}}
  best: {kind: best_of_n, model: ./model, prompts: prompts, rewards: [{model: rm}], num_completions: 2,
         max_new_tokens: 6}
  ppo:
    kind: ppo
    model: ./model
    prompts: prompts
    rewards: [{model: rm}, {implicit: dpo}, {judge: {model: ./model}, criteria: {fluency: 1.0}}]
    num_steps: 2
    num_completions_per_step: 8
    num_epochs: 1
    decoding: {max_new_tokens: 6}
    lora: {rank: 2}
  verdicts: {kind: ai_judge, completions: answers, way: ranking, judge: {model: ./model}}
  eval:
    {kind: evaluate, models: [./model, ppo], prompts: prompts, judges: {good: "long_rewards:good"}, rewards: [rm],
     decoding: {max_new_tokens: 6}}
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    tokenizer = build_tokenizer(WORDS + ["assistant answer score : 1 2 3 4 5 a b"], context=MOST)
    torch.manual_seed(0)
    config = Phi3Config(
        vocab_size=len(tokenizer), hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=4 * MOST, original_max_position_embeddings=LIMIT,
        initializer_range=0.3, sliding_window=None, pad_token_id=0, bos_token_id=1, eos_token_id=2,
        rope_parameters={
            "rope_type": "longrope", "rope_theta": 10_000.0, "short_factor": SHORT, "long_factor": LONG,
            "original_max_position_embeddings": LIMIT,
        },
    )  # fmt: skip
    AutoModelForCausalLM.from_config(config, dtype=torch.float32).save_pretrained(tmp_path / "model")
    tokenizer.save_pretrained(tmp_path / "model")
    (tmp_path / "recipe.yaml").write_text(RECIPE, encoding="utf-8")
    (tmp_path / "long_rewards.py").write_text(FUNCTIONS, encoding="utf-8")
    rows: list[dict[str, Any]] = [{"prompt": words} for words in WORDS]
    (tmp_path / "prompts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    demos = [{**row, "completion": "it is here ."} for row in rows]
    (tmp_path / "demos.jsonl").write_text("".join(json.dumps(row) + "\n" for row in demos), encoding="utf-8")
    return tmp_path


def figures(here: Path) -> dict[str, Any]:
    """Stage → the figure `longest_row` of its manifest."""
    manifests = [json.loads(path.read_text(encoding="utf-8")) for path in here.glob("runs/*/manifest.json")]
    return {one["stage"]: one["figures"].get("longest_row") for one in manifests}


def by_hand(model: Any, longest: int) -> None:
    """Cosine and sine by the formulas, for rows of one length."""
    factors, scale = LONG if longest > LIMIT else SHORT, sqrt(1 + log(4 * MOST / LIMIT) / log(LIMIT))
    turns = [10_000.0 ** (-2 * i / 8) / factors[i] for i in range(4)]

    def forward(x: torch.Tensor, position_ids: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        angles = position_ids[..., None].float() * torch.tensor([*turns, *turns])
        return scale * angles.cos(), scale * angles.sin()

    model.model.rotary_emb.forward = forward


@pytest.mark.slow
def test_every_stage_fixes_one_length(
    here: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    """The longest prompt has 6 tokens (<s> and five), so with 6 more 12 are the longest row of sampling stages."""
    assert run_command(["run"]) == 0, capsys.readouterr().err
    assert "LongRoPE is fixed for rows of up to 12 tokens, beyond its limit of 10" in caplog.text
    assert figures(here) == {
        "sft": 11,  # 6, four words and </s>
        "answers": 12,
        "labels": None,
        "prefs": None,
        "rm": 12,
        "dpo": 12,
        "best": 12,
        "ppo": 12,
        "verdicts": None,
        "eval": None,
    }
    model, tokenizer = load_causal_lm(here / "model", dtype="float32"), load_tokenizer(here / "model")
    by_hand(model, 12)
    with Workspace.open(here) as workspace:
        prompts = {prompt.id: prompt.text for prompt in workspace.prompts()}
        written = [c for c in workspace.completions() if c.model == weights_hash(here / "model")]
    assert len(written) >= 3 * 6 + 2 * 6 + 6  # of answers, best and eval
    for completion in written:
        ids = tuple(tokenizer(prompts[completion.prompt_id]).input_ids)
        with torch.no_grad():
            log_p = model(input_ids=torch.tensor([ids + completion.token_ids])).logits[0, len(ids) - 1 : -1]
        logps = log_p.log_softmax(-1).gather(1, torch.tensor(completion.token_ids)[:, None])[:, 0]
        assert (logps - torch.tensor(completion.logps)).abs().max() < 1e-5
