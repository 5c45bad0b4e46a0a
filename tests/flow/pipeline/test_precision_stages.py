"""A recipe in bfloat16, from SFT to the evaluation: what is written is float32, and later stages find the same base."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from preflab import pipeline
from preflab.cli import run_command
from preflab.files import read_json, read_jsonl
from preflab.models.tiny import build_model, build_tokenizer
from preflab.recipe import load_recipe

TEXTS = ["where is my parcel", "is my parcel late", "where is it", "is it late where", "my parcel", "late is it"]
RECIPE = """
recipe: 1
device: {precision: bfloat16}
data: {prompts: {path: prompts.jsonl}, demos: {path: demos.jsonl}, pairs: {path: pairs.jsonl}}
stages:
  sft: {kind: sft, model: base, data: demos, num_epochs: 2, lora: {rank: 2}, optimiser: {learning_rate: 1.0e-3}}
  rm: {kind: reward, model: sft, preferences: pairs, held_out: 0.3, num_epochs: 3, lora: {rank: 2}}
  ppo:
    kind: ppo
    model: sft
    prompts: prompts
    rewards: [{model: rm}]
    num_steps: 2
    num_completions_per_step: 8
    decoding: {max_new_tokens: 6}
    lora: {rank: 2}
  full:
    kind: ppo
    model: sft
    prompts: prompts
    rewards: [{model: rm}]
    num_steps: 2
    num_completions_per_step: 8
    decoding: {max_new_tokens: 6}
    lora: null
  dpo: {kind: dpo, model: sft, preferences: pairs, held_out: 0.3, lora: null, watch: {num_samples: 0}}
  implicit:
    kind: grpo
    model: sft
    prompts: prompts
    rewards: [{implicit: dpo}]
    num_steps: 1
    num_prompts_per_step: 2
    num_completions_per_prompt: 2
    decoding: {max_new_tokens: 6}
    lora: {rank: 2}
  eval:
    {kind: evaluate, models: [sft, ppo, full], prompts: prompts, rewards: [rm], decoding: {max_new_tokens: 6}}
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model, its data and the recipe."""
    made = tmp_path_factory.mktemp("precision")
    tokenizer = build_tokenizer(TEXTS, context=32)
    build_model(tokenizer, num_layers=1, hidden_size=16, num_heads=2, context=32, seed=0).save_pretrained(made / "base")
    tokenizer.save_pretrained(made / "base")
    rows = {
        "prompts": [{"prompt": text} for text in TEXTS],
        "demos": [{"prompt": text, "completion": " is it late"} for text in TEXTS],
        "pairs": [{"prompt": text, "chosen": " late is it", "rejected": " my parcel"} for text in TEXTS],
    }
    for name, content in rows.items():
        (made / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in content), encoding="utf-8")
    (made / "recipe.yaml").write_text(RECIPE, encoding="utf-8")
    return made


@pytest.fixture(scope="module")
def lines(folder: Path) -> dict[str, pipeline.Line]:
    """The recipe, run once."""
    return {line.name: line for line in pipeline.run(load_recipe(folder / "recipe.yaml"))}


def dtypes(place: Path) -> set[torch.dtype]:
    """Of all tensors in a folder."""
    files = list(place.rglob("*.safetensors"))
    assert files
    return {tensor.dtype for file in files for tensor in load_file(file).values() if tensor.is_floating_point()}


def test_whatever_learned_is_written_in_float32(lines: dict[str, pipeline.Line]) -> None:
    assert {line.state for line in lines.values()} == {"done"}
    for name in ("sft", "rm", "ppo", "full", "dpo", "implicit"):
        assert dtypes(lines[name].folder) == {torch.float32}, name
    assert read_json(lines["sft"].folder / "model" / "config.json")["dtype"] == "float32"


def test_adapters_find_the_base_they_were_made_for(lines: dict[str, pipeline.Line]) -> None:
    """The reward adapter joins the policy's trunk, and starts the value; a trunk of its own serves full fine-tuning."""
    manifests = {name: read_json(line.folder / "manifest.json") for name, line in lines.items()}
    assert manifests["ppo"]["figures"]["value_started_from"] == "reward model"
    assert manifests["full"]["figures"]["value_started_from"] == "reward model"
    base = read_json(lines["rm"].folder / "reward" / "reward_model.json")["weights_hash"]
    assert read_json(lines["ppo"].folder / "policy" / "role.json")["base"] == base
    assert {manifest["precision"] for manifest in manifests.values()} == {"bfloat16"}


@pytest.mark.parametrize("name", ["ppo", "full", "implicit"])
def test_policies_start_at_their_reference_without_alarms(name: str, lines: dict[str, pipeline.Line]) -> None:
    first = read_jsonl(lines[name].folder / "metrics.jsonl")[0]
    assert first["kl/exact"] == first["kl/k1"] == first["ratio/first_deviation"] == 0
    assert 0 < first["mismatch/logps_mean"] < 0.05
    alarms = {alarm["alarm"] for alarm in read_jsonl(lines[name].folder / "alarms.jsonl")}
    assert not alarms & {"first ratio is not 1", "sampler holds other weights"}


def test_dpo_starts_at_its_reference(lines: dict[str, pipeline.Line]) -> None:
    """Full fine-tuning asks the policy itself before its first step: every log-ratio is near 0, the loss near ln 2."""
    first = read_jsonl(lines["dpo"].folder / "metrics.jsonl")[0]
    assert first["loss/total"] == pytest.approx(0.6931, abs=2e-3)
    assert first["logratio/chosen"] == pytest.approx(0, abs=0.05)


def test_what_the_reference_said_is_kept_apart_by_how_it_was_computed(
    folder: Path, lines: dict[str, pipeline.Line]
) -> None:
    """Float32 weights under autocast and a base in bfloat16 round differently: neither may pass for the other."""
    cache = folder / "runs" / ".reference"
    before = len(list(cache.iterdir()))
    pipeline.run(load_recipe(folder / "recipe.yaml", ["stages.dpo.lora={rank: 2}"]), until=["dpo"])
    assert len(list(cache.iterdir())) == before + 1


def test_auto_is_said_and_is_float32_here(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        pipeline.run(load_recipe(folder / "recipe.yaml", ["device.precision=auto"]), until=["sft"])
    assert "device.precision: auto uses float32 on this machine" in caplog.messages
    lines = {
        line.name: line for line in pipeline.show(load_recipe(folder / "recipe.yaml", ["device.precision=float32"]))
    }
    assert lines["sft"].state == "done", "auto has the key of what it is on this machine"


def test_check_and_chat_take_a_precision(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    assert run_command(["check", "base", "--precision", "bfloat16", "--recipe", "none.yaml"]) == 0
    said = capsys.readouterr()
    assert "nats per token, mean" in said.out
    assert "--dtype" not in said.err
    assert run_command(["check", "base", "--dtype", "bfloat16", "--recipe", "none.yaml"]) == 0
    assert "--dtype is now called --precision; it is read as --precision" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        run_command(["check", "base", "--dtype", "bfloat16", "--precision", "float32", "--recipe", "none.yaml"])
    assert "--dtype bfloat16 and --precision float32" in capsys.readouterr().err
    talk = ["chat", "base", "--prompt", "where", "--max-new-tokens", "3", "--recipe", "none.yaml"]
    assert run_command([*talk, "--precision", "auto"]) == 0
    assert run_command([*talk, "--precision", "bfloat16"]) == 0
    with pytest.raises(SystemExit):
        run_command([*talk, "--precision", "half"])
    assert "unknown precision: half" in capsys.readouterr().err
