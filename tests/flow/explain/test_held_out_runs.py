"""Runs of the demo's world, each held out once: the pool of the others tells what the run itself does, or is unsure."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from preflab import pipeline
from preflab.demo.data import write_demo_data
from preflab.explain.pool import Pool, read_pool
from preflab.explain.weights import Point, measure, policy_target
from preflab.files import read_json
from preflab.recipe import load_recipe

pytestmark = pytest.mark.slow
KL_COEFS = {"ppo_a": 1.0, "ppo_b": 0.6, "ppo_c": 0.35, "ppo_d": 0.2, "ppo_e": 0.1}
NUM_PROMPTS = 40
PPO: dict[str, Any] = {
    "kind": "ppo", "model": "sft", "prompts": "prompts.train", "rewards": [{"model": "rm"}], "num_steps": 14,
    "num_completions_per_step": 48, "num_epochs": 1, "num_minibatches": 4, "decoding": {"max_new_tokens": 32},
    "optimiser": {"tokens_per_micro_batch": 1024, "learning_rate": 3e-3, "warmup_share": 0.1},
}  # fmt: skip


def recipe_of(demo: dict[str, Any]) -> dict[str, Any]:
    """The demo's recipe, smaller, with five runs, an evaluation and a pool."""
    stages = {name: demo["stages"][name] for name in ("base", "sft", "answers", "labels", "prefs", "rm")}
    stages["base"]["num_steps"] = 240
    stages["answers"] |= {"max_prompts": 160, "max_new_tokens": 32}
    stages |= {name: {**PPO, "kl_coef": kl_coef} for name, kl_coef in KL_COEFS.items()}
    common = {"prompts": "prompts.held_out", "judges": {"gold": "preflab.demo.gold:gold_utility"}}
    stages["eval"] = {
        "kind": "evaluate", **common, "models": ["sft", *KL_COEFS], "rewards": ["rm"], "max_prompts": NUM_PROMPTS,
        "num_completions": 8, "decoding": {"max_new_tokens": 32},
    }  # fmt: skip
    stages["sim"] = {
        "kind": "simulate", **common, "policies": [*KL_COEFS], "num_prompts": NUM_PROMPTS, "num_completions": 24,
    }  # fmt: skip
    return {**demo, "stages": stages}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Name of a stage → its folder."""
    folder = tmp_path_factory.mktemp("held-out-runs")
    write_demo_data(folder, 0, num_texts=4000, num_demonstrations=1200, num_prompts=400)
    demo = yaml.safe_load((Path(pipeline.__file__).parents[1] / "demo" / "recipe.yaml").read_text(encoding="utf-8"))
    (folder / "recipe.yaml").write_text(json.dumps(recipe_of(demo)), encoding="utf-8")
    return {line.name: line.folder for line in pipeline.run(load_recipe(folder / "recipe.yaml"))}


def held_out(pool: Pool, number: int) -> Point:
    """What the others' samples say of run `number`."""
    rest = pool.policies != number
    draws = pool.draws.rows(rest)
    quantities = {"reward": pool.reward[rest], "gold": pool.criterion(0)[rest]}
    return measure(draws, policy_target(draws, pool.logps[number, rest]), quantities)


def test_other_runs_tell_what_a_held_out_run_does_or_are_unsure(finished: dict[str, Path]) -> None:
    pool = read_pool(finished["sim"] / "pool.parquet")
    evaluated = {one["name"]: one["figures"] for one in read_json(finished["eval"] / "evaluation.json")["models"]}
    sure, far = 0, []
    for number, name in list(enumerate(pool.names))[1:]:
        point, own = held_out(pool, number), evaluated[name]
        sure += not point.unsure
        for measure_name, estimate, doubts in (
            ("reward/rm", point.means["reward"], point.doubts),
            ("judge/gold", point.means["gold"], point.doubts),
            ("kl/exact", point.kl, point.doubts + point.kl_doubts),
        ):
            interval = own[measure_name]
            if not doubts and not interval["low"] <= estimate.value <= interval["high"]:
                far.append((name, measure_name, estimate, interval))
    assert not far
    assert sure >= 2
    # The runs differ by more than these intervals, so that the test is one.
    rewards = [evaluated[name]["reward/rm"]["value"] for name in KL_COEFS]
    assert np.ptp(rewards) > 0.3, rewards
