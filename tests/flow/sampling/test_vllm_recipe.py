"""A recipe with `device: {engine: vllm}`: every stage that samples does so by the server at the recipe's address."""

from __future__ import annotations

import json
from pathlib import Path

import torch
import yaml

from preflab.cli import run_command
from preflab.files import read_jsonl
from preflab.models.tiny import build_model, build_tokenizer
from vllm_stand_in import serving

LORA = {"rank": 2, "alpha": 4}


def test_recipe_samples_by_the_server(tmp_path: Path) -> None:
    words = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j"]
    tokenizer = build_tokenizer([" ".join(words)], context=64)
    torch.manual_seed(0)
    model = build_model(tokenizer, num_layers=1, hidden_size=16, num_heads=2, context=64, seed=0)
    model.save_pretrained(tmp_path / "model")
    tokenizer.save_pretrained(tmp_path / "model")
    rows = [{"prompt": f"{one} {other}"} for one in words for other in words]
    (tmp_path / "few.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    (tmp_path / "ones.py").write_text("def count(prompt, completion):\n    return float(completion.count('a'))\n")
    with serving(tmp_path / "model") as address:
        common = {"model": str(tmp_path / "model"), "prompts": "few"}
        decoding = {"max_new_tokens": 4}
        recipe = {
            "recipe": 1,
            "device": {"engine": "vllm", "vllm": {"url": f"{address}/recipe"}},
            "data": {"few": {"path": "few.jsonl"}},
            "stages": {
                "answers": {"kind": "sample", **common, "num_completions": 2, **decoding},
                "grpo": {
                    "kind": "grpo", **common, "rewards": [{"function": "ones:count"}], "num_steps": 2, "lora": LORA,
                    "num_prompts_per_step": 2, "num_completions_per_prompt": 2, "decoding": decoding,
                },
            },
        }  # fmt: skip
        (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe), encoding="utf-8")
        assert run_command(["run", str(tmp_path / "recipe.yaml")]) == 0
    (folder,) = (tmp_path / "runs").glob("grpo-*")
    metrics = read_jsonl(folder / "metrics.jsonl")
    assert all(row["mismatch/logps_mean"] < 1e-4 for row in metrics)
    assert all(row["ratio/first_deviation"] == 0 for row in metrics)
