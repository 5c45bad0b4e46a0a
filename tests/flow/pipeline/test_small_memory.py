"""Recipes with 4-bit bases and 8-bit optimiser states: every stage that learns, and the stages that read it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch

from preflab import pipeline
from preflab.errors import PreflabError
from preflab.files import read_json, read_jsonl
from preflab.models import bitsandbytes_import
from preflab.models.export import export_policy
from preflab.models.families import token_logits
from preflab.models.four_bit import quantised_layers
from preflab.models.kinds import family_of
from preflab.models.language_model import open_language_model
from preflab.models.loading import load_causal_lm
from preflab.models.role_files import load_role
from preflab.models.tiny import build_model, build_tokenizer
from preflab.recipe import load_recipe
from preflab.rewards.implicit import load_implicit
from preflab.rewards.score import load_reward_model
from preflab.settings.learning import LoraSettings
from preflab.settings.recipe import STAGE_SETTINGS
from preflab.training.batches import TokenSequence

needs_package = pytest.mark.skipif(
    not bitsandbytes_import.is_installed(), reason="needs bitsandbytes: pip install 'preflab[bitsandbytes]'"
)

TEXTS = ["where is my parcel", "is my parcel late", "where is it", "is it late where", "my parcel", "late is it"]
REWARD = "def likes_late(prompt, completion):\n    return float(completion.count('late'))\n"
RECIPE = """
recipe: 1
data: {prompts: {path: prompts.jsonl}, demos: {path: demos.jsonl}, pairs: {path: pairs.jsonl},
       rated: {path: ratings.jsonl}}
stages:
  sft: {kind: sft, model: base, data: demos, num_epochs: 2, lora: &nf4 {rank: 2, base: nf4},
        optimiser: &eight {states: 8bit, learning_rate: 1.0e-3}}
  rm: {kind: reward, model: sft, preferences: pairs, held_out: 0.3, num_epochs: 3, lora: *nf4, optimiser: *eight}
  rating: {kind: rating, model: sft, preferences: rated, held_out: 0.3, num_epochs: 1, lora: *nf4, optimiser: *eight}
  ppo: &policy {kind: ppo, model: sft, prompts: prompts, rewards: [{model: rm}], num_steps: 2,
    num_completions_per_step: 8, decoding: {max_new_tokens: 6}, lora: *nf4, optimiser: *eight}
  plain: {kind: ppo, model: sft, prompts: prompts, rewards: [{model: rm}], num_steps: 1,
    num_completions_per_step: 8, decoding: {max_new_tokens: 6}, lora: {rank: 2}}
  dpo: {kind: dpo, model: sft, preferences: pairs, held_out: 0.3, lora: *nf4, optimiser: *eight,
    watch: {num_samples: 0}}
  grpo: {kind: grpo, model: sft, prompts: prompts, rewards: [{implicit: dpo}], num_steps: 1, num_prompts_per_step: 2,
    num_completions_per_prompt: 2, decoding: {max_new_tokens: 6}, lora: *nf4, optimiser: *eight}
  online: {kind: online_dpo, model: sft, prompts: prompts, rewards: [{model: rm}], num_steps: 1,
    num_prompts_per_step: 2, decoding: {max_new_tokens: 6}, lora: *nf4, optimiser: *eight}
  answers: {kind: sample, model: sft, prompts: prompts, num_completions: 4, max_new_tokens: 6}
  ilql: {kind: ilql, model: sft, completions: answers, rewards: [{function: "some_rewards:likes_late"}],
    prompts: prompts, num_completions: 2, max_new_tokens: 6, num_epochs: 1, lora: *nf4, optimiser: *eight}
  eval: {kind: evaluate, models: [sft, ppo], prompts: prompts, rewards: [rm], decoding: {max_new_tokens: 6}}
"""
QUANTISED = ("sft", "rm", "rating", "ppo", "dpo", "grpo", "online", "ilql")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model, its data, a reward function and the recipe."""
    made = tmp_path_factory.mktemp("small")
    tokenizer = build_tokenizer(TEXTS, context=32)
    build_model(tokenizer, num_layers=1, hidden_size=64, num_heads=2, context=32, seed=0).save_pretrained(made / "base")
    tokenizer.save_pretrained(made / "base")
    rows = {
        "prompts": [{"prompt": text} for text in TEXTS],
        "demos": [{"prompt": text, "completion": " is it late"} for text in TEXTS],
        "pairs": [{"prompt": text, "chosen": " late is it", "rejected": " my parcel"} for text in TEXTS],
        "ratings": [
            {"prompt": text, "completion": answer, "ratings": {"warmth": rating}}
            for text in TEXTS
            for answer, rating in ((" late is it", 5), (" my parcel", 1))
        ],
    }
    for name, content in rows.items():
        (made / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in content), encoding="utf-8")
    (made / "some_rewards.py").write_text(REWARD, encoding="utf-8")
    (made / "recipe.yaml").write_text(RECIPE, encoding="utf-8")
    return made


@pytest.fixture(scope="module")
def lines(folder: Path) -> dict[str, pipeline.Line]:
    """The recipe, run once."""
    return {line.name: line for line in pipeline.run(load_recipe(folder / "recipe.yaml"))}


def test_recipe_has_every_kind_of_stage_that_takes_adapters() -> None:
    recipe = [line for line in RECIPE.splitlines() if "kind:" in line]
    kinds = {line.split("kind: ")[1].split(",")[0] for line in recipe}
    assert {kind for kind, settings in STAGE_SETTINGS.items() if "lora" in settings.model_fields} <= kinds


@needs_package
def test_every_stage_learns_on_a_quantised_base(lines: dict[str, pipeline.Line]) -> None:
    assert {line.state for line in lines.values()} == {"done"}
    for name in QUANTISED:
        cards = list(lines[name].folder.rglob("role.json"))
        assert {read_json(card)["lora"]["base"] for card in cards} <= {"nf4"}, name
    assert len(list(lines["ppo"].folder.rglob("role.json"))) == 2


@needs_package
@pytest.mark.parametrize("name", ["ppo", "grpo", "online"])
def test_policies_start_at_their_quantised_reference(name: str, lines: dict[str, pipeline.Line]) -> None:
    first = read_jsonl(lines[name].folder / "metrics.jsonl")[0]
    assert abs(first["kl/exact"]) < 1e-6, "the rounding of float32; NF4 itself is worth 0.01 nats and more"


@needs_package
def test_reward_adapter_joins_only_a_base_that_is_stored_alike(lines: dict[str, pipeline.Line]) -> None:
    """The value starts from the reward model if both are adapters on one trunk."""
    started = {
        name: read_json(lines[name].folder / "manifest.json")["figures"]["value_started_from"]
        for name in ("ppo", "plain")
    }
    assert started["ppo"] == "reward model"
    assert started["plain"] != "reward model"


@needs_package
def test_loaded_reward_model_is_quantised_again(lines: dict[str, pipeline.Line]) -> None:
    trunk, _ = load_reward_model(lines["rm"].folder / "reward")
    assert len(quantised_layers(trunk.model)) == 7


@needs_package
def test_implicit_reward_reads_the_reference_of_training(lines: dict[str, pipeline.Line]) -> None:
    card = read_json(lines["dpo"].folder / "model" / "implicit_reward.json")
    assert card["reference_storage"] == "nf4"
    scorer = load_implicit(lines["dpo"].folder / "model", "dpo")
    assert quantised_layers(scorer.trunk.models["reference"])
    assert not quantised_layers(scorer.trunk.models["policy"])


@needs_package
def test_exported_adapter_is_the_merged_model_of_the_stage(lines: dict[str, pipeline.Line], tmp_path: Path) -> None:
    """`preflab export` of the adapter gives the stage's model. Without role.json the adapter is any adapter of peft's,
    which goes onto the base as it is: another model."""
    base, adapter = lines["sft"].folder / "model", lines["ppo"].folder / "policy"
    shutil.copytree(adapter, tmp_path / "of_peft")
    (tmp_path / "of_peft" / "role.json").unlink()
    export_policy(base, adapter, tmp_path / "exported")
    export_policy(base, tmp_path / "of_peft", tmp_path / "other")
    rows = [TokenSequence((3,), (4, 5, 6))]
    logits = []
    for place in (tmp_path / "exported", lines["ppo"].folder / "model", tmp_path / "other"):
        model = load_causal_lm(place, dtype="float32")
        with torch.no_grad():
            logits.append(token_logits(family_of(model), model, rows, 0))
    assert torch.equal(logits[0], logits[1])
    assert (logits[0] - logits[2]).abs().max() > 0.01


@needs_package
def test_adapter_for_another_storage_is_refused(lines: dict[str, pipeline.Line]) -> None:
    opened = open_language_model(lines["sft"].folder / "model", dtype="float32")
    trunk = opened.trunk(("policy",), lora=LoraSettings(rank=2))
    with pytest.raises(PreflabError, match=r"trained on a base with lora\.base: nf4"):
        load_role(trunk, "policy", lines["ppo"].folder / "policy")


@pytest.mark.parametrize("override", ["stages.sft.lora={base: nf4}", "stages.sft.optimiser={states: 8bit}"])
def test_missing_package_stops_before_any_stage(override: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bitsandbytes_import, "is_installed", lambda: False)
    plain = ["stages.sft.lora=null", "stages.sft.optimiser={}", "seed=7"]
    recipe = load_recipe(folder / "recipe.yaml", [*plain, override])
    with pytest.raises(PreflabError, match=r"stages\.sft\..* needs the package bitsandbytes") as refused:
        pipeline.run(recipe, until=["sft"])
    assert "pip install 'preflab[bitsandbytes]'" in refused.value.do
