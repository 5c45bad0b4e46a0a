"""Stages that write: they stop at a turn's end that no configuration names, and say which prompts are too long."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from chat_templates import BY_NAME, byte_tokenizer
from preflab.errors import PreflabError
from preflab.files import read_json
from preflab.models.tiny import build_model
from preflab.pipeline import Line, run
from preflab.recipe import load_recipe
from preflab.sampling.engine import TransformersEngine

CONTEXT = 48
RECIPE = """
recipe: 1
data: {prompts: {path: prompts.jsonl}}
stages:
  sample: {kind: sample, model: ./model, prompts: prompts, num_completions: 2, max_new_tokens: 8}
  best_of_n:
    {kind: best_of_n, model: ./model, prompts: prompts, num_completions: 2, max_new_tokens: 8,
     rewards: &rewards [{function: "length_reward:length"}]}
  ppo:
    {kind: ppo, model: ./model, prompts: prompts, rewards: *rewards, num_steps: 1, num_completions_per_step: 4,
     num_minibatches: 1, num_epochs: 1, decoding: {max_new_tokens: 8}, lora: {rank: 2}}
  grpo:
    {kind: grpo, model: ./model, prompts: prompts, rewards: *rewards, num_steps: 1, num_prompts_per_step: 2,
     num_completions_per_prompt: 2, decoding: {max_new_tokens: 8}, lora: {rank: 2}}
  online_dpo:
    {kind: online_dpo, model: ./model, prompts: prompts, rewards: *rewards, num_steps: 1, num_prompts_per_step: 2,
     decoding: {max_new_tokens: 8}, lora: {rank: 2}}
"""
STAGES = ("sample", "best_of_n", "ppo", "grpo", "online_dpo")


def asked(words: str) -> dict[str, Any]:
    return {"prompt": [{"role": "user", "content": words}]}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A recipe with a model whose configuration lacks the token that ends turns; two of four prompts have no room."""
    monkeypatch.chdir(tmp_path)
    tokenizer = byte_tokenizer(BY_NAME["phi, nothing configured"])
    build_model(tokenizer, num_layers=1, hidden_size=16, num_heads=2, context=CONTEXT, seed=0).save_pretrained("model")
    tokenizer.save_pretrained("model")
    rows = [asked("hi"), asked("x" * 60), asked("day?"), asked("y" * 36)]
    (tmp_path / "prompts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    reward = "def length(prompt, completion):\n    return float(len(completion))\n"
    (tmp_path / "length_reward.py").write_text(reward)
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    return tmp_path


def line_of(name: str, *changes: str) -> Line:
    recipe = load_recipe("recipe.yaml", [f"stages.{name}.{change}" for change in changes])
    (line,) = run(recipe, only=[name])
    return line


@pytest.mark.parametrize("name", STAGES)
def test_a_stage_stops_at_the_turns_end_and_counts_what_is_too_long(
    name: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stops: list[tuple[int, ...]] = []
    own = TransformersEngine.__init__

    def noted(self: TransformersEngine, *arguments: Any, **named: Any) -> None:
        own(self, *arguments, **named)
        stops.append(self.stop_token_ids)

    monkeypatch.setattr(TransformersEngine, "__init__", noted)
    with pytest.raises(PreflabError, match=r"line 2: a prompt of 66 tokens and max_new_tokens 8 .and 1 more row: .*4"):
        line_of(name)
    line = line_of(name, "too_long=leave_out")
    end = byte_tokenizer(BY_NAME["phi, nothing configured"]).convert_tokens_to_ids("<|end|>")
    assert stops
    assert all(end in found for found in stops)
    assert read_json(line.folder / "manifest.json")["figures"]["num_too_long"] == 2
    assert "2 prompts without room for 8 tokens left out: " in line.summary
    assert "prompts.jsonl, line 2" in line.summary


@pytest.mark.parametrize(("too_long", "num"), [("leave_out", 2), ("cut_prompt", 4)])
def test_samples_are_those_of_the_prompts_that_fit(too_long: str, num: int, folder: Path) -> None:
    line = line_of("sample", f"too_long={too_long}")
    assert len(read_json(line.folder / "completions.json")) == 2 * num


def test_nothing_is_left_where_every_prompt_is_too_long(folder: Path) -> None:
    (folder / "prompts.jsonl").write_text(json.dumps(asked("x" * 60)) + "\n")
    with pytest.raises(PreflabError, match="no row fits: .*line 1 has 74 tokens, at most 48 tokens fit"):
        line_of("sample", "too_long=leave_out")
