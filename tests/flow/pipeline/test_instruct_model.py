"""A small instruct model with Gemma's turns and data as published: the way of a new user, to the merged model.

The evaluation decodes greedily, so plain transformers has to write its samples again, letter for letter.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from chat_world import share_kind, write_messages, write_model, write_pairs
from pool_checks import check_pool
from preflab.pipeline import run
from preflab.recipe import load_recipe

pytestmark = pytest.mark.slow

RECIPE = """
recipe: 1
seed: 0
data:
  demonstrations: {path: messages.jsonl}
  pairs: {path: pairs.jsonl, held_out: 0.2}
stages:
  sft: {kind: sft, model: ./model, data: demonstrations, num_epochs: 1, optimiser: {learning_rate: 1.0e-3}}
  rm: {kind: reward, model: sft, preferences: pairs, num_epochs: 3, optimiser: {learning_rate: 1.0e-3}}
  ppo:
    kind: ppo
    model: sft
    prompts: pairs.train
    rewards: [{model: rm}]
    num_steps: 20
    num_completions_per_step: 64
    decoding: {max_new_tokens: 24}
    optimiser: {learning_rate: 1.0e-3}
  dpo: {kind: dpo, model: sft, preferences: pairs.train, num_epochs: 4, optimiser: {learning_rate: 3.0e-4}}
  eval:
    kind: evaluate
    models: [sft, ppo, dpo]
    prompts: pairs.held_out
    rewards: [rm]
    decoding: {max_new_tokens: 24, top_k: 1}
  simulator: {kind: simulate, policies: [ppo, dpo], prompts: pairs.held_out, num_prompts: 4, num_completions: 3}
  report: {kind: report, of: [sft, rm, ppo, dpo, eval]}
"""
MODELS = ("sft", "ppo", "dpo")


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Stage → its folder, after the whole recipe has run."""
    place = tmp_path_factory.mktemp("newcomer")
    write_model(place / "model")
    write_messages(place / "messages.jsonl")
    write_pairs(place / "pairs.jsonl")
    (place / "recipe.yaml").write_text(RECIPE, encoding="utf-8")
    return {line.name: line.folder for line in run(load_recipe(place / "recipe.yaml"), workspace=place / "workspace")}


@pytest.fixture(scope="module")
def samples(folders: dict[str, Path]) -> list[dict[str, Any]]:
    """What the evaluation shows: a prompt and each model's completion."""
    return [json.loads(line) for line in (folders["eval"] / "samples.jsonl").read_text().splitlines()]


def test_pool_of_conversations_has_the_log_probabilities_they_were_sampled_with(folders: dict[str, Path]) -> None:
    pool = check_pool(folders["simulator"] / "pool.parquet", folders["simulator"].parents[1])
    assert pool.names == ("sft", "ppo", "dpo")
    assert "<end_of_turn>" not in "".join(pool.completions)


def written(folder: Path, questions: list[str]) -> Iterator[tuple[str, bool]]:
    """What plain transformers writes with the merged model and its template; whether it ended the turn itself."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model, tokenizer = AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    for question in questions:
        turns = [{"role": "user", "content": question}]
        asked = tokenizer.apply_chat_template(turns, add_generation_prompt=True, return_tensors="pt", return_dict=True)
        ids = model.generate(**asked, max_new_tokens=24, do_sample=False)[0, asked["input_ids"].shape[1] :]
        ended = ids[-1].item() == tokenizer.convert_tokens_to_ids("<end_of_turn>")
        yield tokenizer.decode(ids, skip_special_tokens=True), ended


@pytest.mark.parametrize("name", MODELS)
def test_plain_transformers_writes_what_the_evaluation_shows(
    name: str, folders: dict[str, Path], samples: list[dict[str, Any]]
) -> None:
    shown = {sample["prompt"]: sample["completions"][name][0] for sample in samples}
    questions = [question.removeprefix("user: ") for question in shown]
    found = list(written(folders[name] / "model", questions))
    assert [text for text, _ in found] == [completion["text"] for completion in shown.values()]
    assert [ended for _, ended in found] == [completion["finish_reason"] == "stop" for completion in shown.values()]
    assert all(ended for _, ended in found)


@pytest.mark.parametrize("name", ["ppo", "dpo"])
def test_the_answers_are_kinder(name: str, samples: list[dict[str, Any]]) -> None:
    shares = [[share_kind(sample["completions"][each][0]["text"]) for sample in samples] for each in ("sft", name)]
    before, after = (sum(each) / len(each) for each in shares)
    assert after >= before + 0.1


def test_the_reward_model_tells_kind_from_unkind(folders: dict[str, Path]) -> None:
    report = json.loads((folders["rm"] / "reward_report.json").read_text())
    assert report["held_out"]["accuracy"]["value"] >= 0.8


def test_the_report_shows_every_stage(folders: dict[str, Path]) -> None:
    page = next(folders["report"].rglob("*.html")).read_text(encoding="utf-8")
    for word in ("sft", "rm", "ppo", "dpo", "reward/rm"):
        assert word in page
