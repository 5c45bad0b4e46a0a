"""T5 and BART through every stage, from folders on disk; what comes out opens with `AutoModelForSeq2SeqLM`."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

from pool_checks import check_pool
from preflab.cli import app
from preflab.errors import PreflabError
from preflab.files import read_json, write_json
from preflab.models.export import export_reward
from preflab.models.families import token_logits
from preflab.models.kinds import family_of
from preflab.models.language_model import open_language_model
from preflab.models.loading import load_causal_lm, load_tokenizer
from preflab.rewards.score import load_reward_model
from preflab.training.batches import TokenSequence
from tiny_encoder_decoders import save_encoder_decoder

THINGS = ("parcel", "ticket", "refund", "letter")
SUMMARIES = [f"the {thing} is late ." for thing in THINGS]
PROMPTS = [f"summarize: where is my {thing} {n} ? please wait until today ." for n in range(6) for thing in THINGS]
RECIPE = """
recipe: 1
data: {demos: {path: demos.jsonl}, prompts: {path: prompts.jsonl}, pairs: {path: pairs.jsonl}}
stages:
  sft: {kind: sft, model: ./model, data: demos, num_epochs: 3, lora: null, optimiser: {learning_rate: 5.0e-3}}
  answers: {kind: sample, model: sft, prompts: prompts, num_completions: 2, max_new_tokens: 6}
  rm: {kind: reward, model: sft, preferences: pairs, num_epochs: 1, lora: {rank: 2}}
  whole: {kind: reward, model: sft, preferences: pairs, num_epochs: 1, lora: null}
  ppo:
    {kind: ppo, model: sft, prompts: prompts, rewards: [{model: rm}], num_steps: 2, num_completions_per_step: 8,
     lora: {rank: 2, where: decoder}, decoding: {max_new_tokens: 6}}
  all_weights:
    {kind: ppo, model: sft, prompts: prompts, rewards: [{model: whole}], num_steps: 1, num_completions_per_step: 8,
     lora: null, decoding: {max_new_tokens: 6}}
  grpo:
    {kind: grpo, model: sft, prompts: prompts, rewards: [{model: rm}], num_steps: 2, num_prompts_per_step: 2,
     num_completions_per_prompt: 4, lora: {rank: 2}, decoding: {max_new_tokens: 6}}
  online:
    {kind: online_dpo, model: sft, prompts: prompts, rewards: [{model: rm}], num_steps: 1, num_prompts_per_step: 2,
     lora: {rank: 2}, decoding: {max_new_tokens: 6}}
  dpo: {kind: dpo, model: sft, preferences: pairs, num_epochs: 1, lora: {rank: 2}, watch: {num_samples: 0}, held_out: 0}
  best: {kind: best_of_n, model: sft, prompts: prompts, rewards: [{model: rm}], num_completions: 2, max_new_tokens: 6}
  learned: {kind: sft, model: sft, data: best, num_epochs: 1, lora: {rank: 2}}
  eval: {kind: evaluate, models: [sft, ppo, dpo], prompts: prompts, decoding: {max_new_tokens: 6}}
  simulator: {kind: simulate, policies: [ppo, grpo, dpo], prompts: prompts, num_prompts: 3, num_completions: 2}
  report: {kind: report, of: [rm, ppo, eval]}
"""


def write_rows(file: Path, rows: list[dict[str, Any]]) -> None:
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def preflab(*arguments: str) -> str:
    """Run a command of the command line; its output."""
    result = CliRunner().invoke(app, list(arguments))
    assert result.exit_code == 0, result.output
    return result.output


@pytest.fixture(scope="module", params=["t5 1.1", "bart"])
def run_folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the recipe has run on a tiny model."""
    folder = tmp_path_factory.mktemp("run")
    save_encoder_decoder(request.param, folder / "model", [*PROMPTS, *SUMMARIES, "wait , says a rude clerk ."])
    demos = [{"prompt": prompt, "completion": SUMMARIES[n % 4]} for n, prompt in enumerate(PROMPTS)]
    write_rows(folder / "demos.jsonl", demos)
    write_rows(folder / "prompts.jsonl", [{"prompt": prompt} for prompt in PROMPTS[:8]])
    pairs = [
        {"prompt": row["prompt"], "chosen": row["completion"], "rejected": "wait , says a rude clerk ."}
        for row in demos[:12]
    ]
    write_rows(folder / "pairs.jsonl", pairs)
    (folder / "recipe.yaml").write_text(RECIPE, encoding="utf-8")
    preflab("run", str(folder / "recipe.yaml"))
    return folder


def stage_folder(run_folder: Path, name: str) -> Path:
    """The folder of a stage."""
    return next(folder for folder in (run_folder / "runs").iterdir() if folder.name.rpartition("-")[0] == name)


def test_pool_of_several_policies_has_the_log_probabilities_they_sampled_with(run_folder: Path) -> None:
    pool = check_pool(stage_folder(run_folder, "simulator") / "pool.parquet", run_folder)
    assert pool.names == ("sft", "ppo", "grpo", "dpo")
    assert len(pool) == 3 * 4 * 2


@pytest.mark.parametrize("name", ["sft", "ppo", "all_weights", "grpo", "online", "dpo", "learned"])
def test_trained_policies_open_with_transformers_and_write_what_they_learned(run_folder: Path, name: str) -> None:
    from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

    folder = stage_folder(run_folder, name) / "model"
    model = AutoModelForSeq2SeqLM.from_pretrained(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    rows = [TokenSequence(tuple(tokenizer(PROMPTS[0])["input_ids"]), (9, 10, 11))]
    ours = load_causal_lm(folder, dtype="float32")
    with torch.no_grad():
        logits = token_logits(family_of(ours), ours, rows)
        start = family_of(ours).start
        theirs = model(
            input_ids=torch.tensor([rows[0].prompt_ids]), decoder_input_ids=torch.tensor([[*start, 9, 10]])
        ).logits[0, len(start) - 1 :]
    assert torch.allclose(logits, theirs, atol=1e-5)
    assert model.generation_config.num_beams in (None, 1)
    output = model.generate(**tokenizer(PROMPTS[0], return_tensors="pt"), max_new_tokens=4, do_sample=False)
    assert output[0, : len(start)].tolist() == list(start)


@pytest.mark.parametrize("name", ["rm", "whole"])
def test_reward_models_are_saved_loaded_and_exported_with_the_same_scores(
    run_folder: Path, name: str, tmp_path: Path
) -> None:
    trunk, encoder = load_reward_model(stage_folder(run_folder, name) / "reward")
    assert encoder.apart
    again, _ = load_reward_model(stage_folder(run_folder, name) / "reward")
    rows = [TokenSequence((5, 6, 1), (4, 3, 1)), TokenSequence((5, 6, 1), (7, 1))]
    with torch.no_grad():
        scores = [one(one.collate(rows), ("reward",))["reward"].rewards for one in (trunk, again)]
    assert torch.equal(scores[0], scores[1])
    assert scores[0][0] != scores[0][1]
    assert export_reward(trunk, tmp_path / "exported") < 1e-4
    config = json.loads((tmp_path / "exported" / "config.json").read_text(encoding="utf-8"))
    assert config["architectures"] == ["PairClassifier"]
    assert config["preflab_decoder_start"] == list(trunk.family.start)
    assert (tmp_path / "exported" / "pair_classifier.py").is_file()


def test_a_loaded_reward_model_has_the_embedding_and_not_the_head_of_its_base(run_folder: Path) -> None:
    """T5's configuration says that the two are tied, while the checkpoint holds two matrices."""
    trunk, _ = load_reward_model(stage_folder(run_folder, "whole") / "reward")
    base = load_causal_lm(stage_folder(run_folder, "sft") / "model", dtype="float32")
    embedding = trunk.model.get_input_embeddings().weight
    assert (embedding - base.get_input_embeddings().weight).abs().mean() < 0.01
    assert trunk.model.get_output_embeddings() is None


def test_checks_hold_and_chat_answers(run_folder: Path) -> None:
    folder = stage_folder(run_folder, "ppo") / "model"
    assert "WRONG" not in preflab("check", str(folder))
    assert load_tokenizer(folder).eos_token_id == 1
    result = CliRunner().invoke(app, ["chat", str(folder), "--max-new-tokens", "4"], input=f"{PROMPTS[0]}\n\n")
    assert result.exit_code == 0, result.output


def test_a_prompt_longer_than_the_encoder_is_refused_by_its_line(run_folder: Path, tmp_path: Path) -> None:
    write_rows(tmp_path / "long.jsonl", [{"prompt": "where"}, {"prompt": "where is my parcel ? " * 40}])
    text = (
        "recipe: 1\ndata: {long: {path: long.jsonl}}\nstages:\n"
        f"  answers: {{kind: sample, model: {stage_folder(run_folder, 'sft') / 'model'}, prompts: long,"
        " num_completions: 1, max_new_tokens: 6}\n"
    )
    (tmp_path / "recipe.yaml").write_text(text, encoding="utf-8")
    result = CliRunner().invoke(app, ["run", str(tmp_path / "recipe.yaml")])
    assert result.exit_code != 0
    assert "long.jsonl, line 2: a prompt of" in str(result.exception)
    assert "64 tokens in the prompt" in str(result.exception)


def test_models_whose_decoders_start_otherwise_are_evaluated_without_kl(run_folder: Path, tmp_path: Path) -> None:
    """Each is evaluated from its own start token; the same weights would otherwise have a KL of 0."""
    base = stage_folder(run_folder, "sft") / "model"
    other = shutil.copytree(base, tmp_path / "other")
    generation = read_json(other / "generation_config.json")
    write_json(other / "generation_config.json", {**generation, "decoder_start_token_id": 5})
    write_rows(tmp_path / "prompts.jsonl", [{"prompt": prompt} for prompt in PROMPTS[:2]])
    text = (
        "recipe: 1\ndata: {prompts: {path: prompts.jsonl}}\nstages:\n"
        f"  eval: {{kind: evaluate, models: [{base}, {other}], prompts: prompts, decoding: {{max_new_tokens: 6}}}}\n"
    )
    (tmp_path / "recipe.yaml").write_text(text, encoding="utf-8")
    preflab("run", str(tmp_path / "recipe.yaml"))
    notes = read_json(stage_folder(tmp_path, "eval") / "evaluation.json")["notes"]
    assert [note for note in notes if "no KL" in note and "start token" in note and str(other) in note]


def test_a_reference_with_another_vocabulary_is_refused(tmp_path: Path) -> None:
    """Both start with the same token, and the ids of one are other words to the other."""
    texts = ["where is my parcel ?", "the parcel is late ."] * 4
    first = save_encoder_decoder("bart", tmp_path / "first", texts)
    second = save_encoder_decoder("bart", tmp_path / "second", ["wir suchen das paket ."] * 8)
    opened = open_language_model(first, dtype="float32")
    with pytest.raises(PreflabError, match="a reference with another vocabulary"):
        opened.another(second)
    assert opened.another(first).tokenizer is opened.tokenizer


def test_constitution_and_ai_judge_with_a_t5(tmp_path: Path) -> None:
    """Critiques and questions are longer prompts; the judge's verdict is read from likelihoods of the decoder."""
    folder = save_encoder_decoder("t5 1.1", tmp_path / "model", [*PROMPTS, *SUMMARIES, "A B C D E good answer"])
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    (folder / "config.json").write_text(json.dumps(config | {"n_positions": 2048}), encoding="utf-8")
    write_rows(tmp_path / "prompts.jsonl", [{"prompt": prompt} for prompt in PROMPTS[:3]])
    text = """
recipe: 1
data: {prompts: {path: prompts.jsonl}}
stages:
  answers: {kind: sample, model: ./model, prompts: prompts, num_completions: 2, max_new_tokens: 4}
  revised: {kind: revise, model: ./model, prompts: prompts, max_new_tokens: 4}
  labels: {kind: ai_judge, completions: answers, judge: {model: ./model}}
"""
    (tmp_path / "recipe.yaml").write_text(text, encoding="utf-8")
    output = preflab("run", str(tmp_path / "recipe.yaml"))
    assert "3 of 3 answers revised" in output
    assert "3 tasks judged by an AI" in output
