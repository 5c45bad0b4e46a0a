"""Stage keys, seeds and splits recomputed by hand from SHA-256, so that they cannot drift between versions."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from preflab.pipeline.content_hashes import ContentHashes
from preflab.pipeline.keys import key_content, stage_key
from preflab.pipeline.planning import plan
from preflab.pipeline.runs import FreshCounts
from preflab.recipe import load_recipe
from preflab.settings.learning import LoraSettings, OptimiserSettings
from preflab.stages import stage_module
from preflab.stages.common.data import split_share

RECIPE = """
recipe: 1
seed: 3
data:
  prompts: {path: prompts.jsonl, held_out: 0.25}
stages:
  answers: {kind: sample, model: mine, prompts: prompts.train, num_completions: 2}
"""


def sha(content: Any) -> str:
    """The first 24 hex digits of SHA-256 over JSON with sorted keys and no spaces."""
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:24]


@pytest.fixture
def recipe(tmp_path: Path) -> Any:
    """A recipe with a model folder and a file of prompts."""
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "config.json").write_bytes(b"{}")
    (tmp_path / "prompts.jsonl").write_bytes(b'{"prompt": "Hi"}\n')
    (tmp_path / "recipe.yaml").write_text(RECIPE, encoding="utf-8")
    return load_recipe(tmp_path / "recipe.yaml")


def test_the_key_of_a_stage(recipe: Any, tmp_path: Path) -> None:
    found = stage_key(recipe, "answers", ContentHashes(tmp_path / "runs"), inputs={}, version=5)
    data = hashlib.sha256(b'{"prompt": "Hi"}\n').hexdigest()
    model = sha([["config.json", hashlib.sha256(b"{}").hexdigest()]])
    settings = {
        "kind": "sample",
        "model": None,  # read by content, so that a moved folder is not another one
        "prompts": None,
        "num_completions": 2,
        "max_prompts": None,
        "temperature": 1.0,
        "top_k": 0,
        "top_p": 1.0,
        "min_p": 0.0,
        "max_new_tokens": 48,
        "stop_strings": [],
        "stop_token_ids": [],
        "max_batch_rows": 64,
    }
    reading = {"format": None, "skip_bad": False, "columns": {}, "held_out": 0.25}
    assert found == sha(
        {
            "settings": settings,
            "read": {"model": model, "prompts": [data, reading, "train", 3]},
            "inputs": {},
            "seed": int(hashlib.sha256(b"3/answers").hexdigest()[:8], 16) >> 1,
            "version": 5,
            "dtype": "float32",
        }
    )


def test_precision_is_in_the_key_under_its_old_name(recipe: Any, tmp_path: Path) -> None:
    """What was done in float32 stays done, and what frozen models wrote in bfloat16; what learned there does not."""
    text = RECIPE + "  tuned: {kind: sft, model: mine, data: prompts.train}\n"
    (tmp_path / "recipe.yaml").write_text(text, encoding="utf-8")

    def keys(*overrides: str) -> dict[str, str]:
        loaded = load_recipe(tmp_path / "recipe.yaml", overrides)
        return {name: step.key for name, step in plan(loaded, tmp_path / "runs").items()}

    def by_hand(name: str, **precision: str) -> str:
        loaded = load_recipe(tmp_path / "recipe.yaml")
        settings = key_content(loaded.stages[name])
        for field in ("seed", "run"):
            settings.pop(field, None)
        data = hashlib.sha256(b'{"prompt": "Hi"}\n').hexdigest()
        reading = {"format": None, "skip_bad": False, "columns": {}, "held_out": 0.25}
        model = sha([["config.json", hashlib.sha256(b"{}").hexdigest()]])
        place = "prompts" if name == "answers" else "data"
        return sha(
            {
                "settings": {**settings, "model": None, place: None},
                "read": {"model": model, place: [data, reading, "train", 3]},
                "inputs": {},
                "seed": loaded.stage_seed(name),
                "version": stage_module(loaded.kind(name)).VERSION,
                **precision,
            }
        )

    float32 = {name: by_hand(name, dtype="float32") for name in ("answers", "tuned")}
    assert keys() == keys("device.precision=auto") == keys("device.dtype=float32") == float32
    assert keys("device.precision=bfloat16") == {
        "answers": by_hand("answers", dtype="bfloat16"),
        "tuned": by_hand("tuned", dtype="bfloat16", learning_weights="float32"),
    }


def test_groups_of_settings_enter_the_key_as_before_they_grew() -> None:
    """A setting added later is in the key only if it is set; otherwise every finished stage would be stale.

    `where` was in every key before groups were read like stages, so it has to stay there.
    """
    lora = {"rank": 16, "alpha": 32.0, "target_modules": "all-linear", "where": "all"}
    assert key_content(LoraSettings()) == lora
    assert key_content(LoraSettings(base="nf4")) == {**lora, "base": "nf4"}
    assert key_content(OptimiserSettings()) == {
        "learning_rate": 1e-4,
        "schedule": "linear",
        "warmup_share": 0.0,
        "weight_decay": 0.0,
        "adam_eps": 1e-5,
        "adam_beta1": 0.9,
        "adam_beta2": 0.999,
        "max_grad_norm": 1.0,
        "tokens_per_micro_batch": 4096,
        "gradient_checkpointing": False,
    }


def test_the_folder_is_named_by_stage_and_key(recipe: Any, tmp_path: Path) -> None:
    step = plan(recipe, tmp_path / "runs")["answers"]
    assert step.folder == tmp_path / "runs" / f"answers-{step.key[:12]}"
    assert step.output_key == step.key  # nothing of a sample stage is resumable


def test_a_stage_asked_for_anew_has_the_key_of_its_count(recipe: Any, tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    first = plan(recipe, runs)["answers"].key
    for number in (1, 2):
        counts = FreshCounts(runs, ["answers"])
        assert plan(recipe, runs, counts)["answers"].key == sha([first, number])
        counts.save()
        assert plan(recipe, runs)["answers"].key == sha([first, number])


def test_where_a_prompt_falls() -> None:
    share = int(hashlib.sha256(b'"Hi"').hexdigest()[:12], 16) / 2**48
    assert split_share({"prompt": "Hi"}) == share
    assert split_share({"prompt": "Hi", "completion": "Ho", "topic": "x"}) == share
    assert split_share({"prompt": [{"role": "user", "content": "Hi"}]}) == share
    assert split_share({"prompt": [{"content": "Hi", "role": "user", "name": "Jo"}]}) == share
    later = [{"role": "assistant", "content": "Ho"}, {"role": "user", "content": "More?"}]
    assert split_share({"messages": [{"role": "user", "content": "Hi"}, *later]}) == share
    system = {"role": "system", "content": "Be kind."}
    assert split_share({"messages": [system, {"role": "user", "content": "Hi"}, *later]}) == share


def test_where_a_conversation_that_the_user_does_not_begin_falls() -> None:
    turns = b'[{"content": "Yes?", "role": "assistant"}, {"content": "Hi", "role": "user"}]'
    share = int(hashlib.sha256(turns).hexdigest()[:12], 16) / 2**48
    greeted = [{"role": "assistant", "content": "Yes?"}, {"role": "user", "content": "Hi"}]
    system = {"role": "system", "content": "Be kind."}
    assert split_share({"prompt": greeted}) == share
    assert split_share({"prompt": [system, *greeted]}) == share
    assert split_share({"prompt": [system]}) != split_share({"prompt": [{**system, "content": "Be brief."}]})


def test_a_tenth_is_about_a_tenth() -> None:
    shares = [split_share({"prompt": str(number)}) for number in range(10_000)]
    held_out = sum(share < 0.1 for share in shares)
    assert abs(held_out - 1000) < 4 * (10_000 * 0.1 * 0.9) ** 0.5  # four standard deviations of a binomial count
