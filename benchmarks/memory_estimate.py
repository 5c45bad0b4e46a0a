"""The peak memory that `preflab check --memory` predicts, beside the peak of the process that then runs the stage.

    python benchmarks/memory_estimate.py
    python benchmarks/memory_estimate.py --only 512x8 --stage sft-lora,ppo-full

Five Llamas with random weights are made on the spot, named by hidden size × layers. Every kind of stage runs on each
of them with LoRA and with all weights, as `preflab run` in a process of its own, for two or more optimiser steps in
float32 with one micro-batch of all rows. Prompts have 16 tokens, completions 48 and an end. Measured is the peak of the
resident memory of the whole process. Four other cases run if they are named with `--only`: the 512×8 Llama in bfloat16,
one with more tokens, an encoder–decoder (T5) and a mixture of experts (Qwen 3).
"""

from __future__ import annotations

import argparse
import json
import os
import random
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from subprocess import DEVNULL, PIPE, run
from typing import Any

from running import table, write_json

HERE = Path(__file__).resolve().parent
CONTEXT, WORDS, PROMPT, NEW = 1024, 8000, 16, 48


@dataclass(frozen=True)
class Size:
    """A Llama and the rows of its optimiser steps."""

    hidden: int
    layers: int
    states: int
    """Heads of keys and values."""
    tied: bool
    rows: int
    """Rows per optimiser step; fewer for larger models, so that a step takes seconds."""
    family: str = "llama"
    """`llama`, `t5` or `qwen3_moe`."""
    precision: str = "float32"
    """`device.precision`."""


SIZES = {
    "256x4": Size(256, 4, 4, True, 24),
    "384x6": Size(384, 6, 6, False, 16),
    "512x8": Size(512, 8, 8, True, 10),
    "640x10": Size(640, 10, 5, True, 8),
    "768x12": Size(768, 12, 12, True, 6),
}
"""Name → size; the largest has 92 million parameters, 350 MiB in float32."""
OTHERS = {
    "512x8-bfloat16": Size(512, 8, 8, True, 10, precision="bfloat16"),
    "1024x4-long": Size(1024, 4, 16, True, 64),
    "t5-384x6": Size(384, 6, 6, True, 16, family="t5"),
    "moe-256x4": Size(256, 4, 4, True, 24, family="qwen3_moe"),
}
"""Run by name only: half precision, a large micro-batch, an encoder–decoder, eight experts of which two work."""
EXPERTS, ACTIVE = 8, 2
WAYS = {"lora": True, "full": False}
BOTH_WAYS = ("reward", "sft", "dpo", "ppo", "grpo", "online_dpo", "ilql")
STAGES = (
    "reward-lora",  # first: the on-policy stages learn from it
    "sample",  # before ilql, which learns from its completions
    *(f"{kind}-{way}" for kind in BOTH_WAYS for way in WAYS if (kind, way) != ("reward", "lora")),
    "classifier",
    "sft-lora-checkpointed",
    "sft-full-checkpointed",
    "ppo-lora-checkpointed",
)

LAUNCH = """
import os, subprocess, sys
process = subprocess.Popen(sys.argv[1:], stdout=subprocess.DEVNULL)
_, status, usage = os.wait4(process.pid, 0)
print(usage.ru_maxrss / 1024)
sys.exit(os.waitstatus_to_exitcode(status))
"""
"""Linux counts what a process held before `exec` as well, a copy of its parent. This script has loaded torch and made a
model, so that a small process starts the stage."""


def main() -> None:
    """Run every case, print a table, write JSON after each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", help="sizes, separated by commas", default=",".join(SIZES))
    parser.add_argument("--stage", help="stages, separated by commas", default=",".join(STAGES))
    parser.add_argument("--out", type=Path, default=HERE / "results" / "memory_estimate.json")
    args = parser.parse_args()
    results: dict[str, dict[str, float]] = {}
    for name in args.only.split(","):
        with tempfile.TemporaryDirectory() as folder:
            place = Path(folder)
            write_case((SIZES | OTHERS)[name], place)
            for stage in STAGES:
                if stage in args.stage.split(",") or stage in ("reward-lora", "sample"):
                    expected, measured = predicted_mib(place, stage), peak_mib(place, stage)
                    results[f"{name} {stage}"] = {"predicted_mib": expected, "measured_mib": measured}
                    print(row(name, stage, expected, measured), file=sys.stderr, flush=True)
                    write_json(args.out, results)
    rows = [row(*case.split(" "), one["predicted_mib"], one["measured_mib"]) for case, one in results.items()]
    print(table(("model", "stage", "predicted MiB", "measured MiB", "ratio"), rows))
    print(f"written: {args.out}")


def row(size: str, stage: str, expected: float, measured: float) -> list[str]:
    """A line of the table."""
    return [size, stage, f"{expected:,.0f}", f"{measured:,.0f}", f"{expected / measured:.2f}"]


def predicted_mib(place: Path, stage: str) -> float:
    """What `preflab check --memory` says of a stage on a CPU."""
    from preflab.memory.arithmetic import MIB, estimate
    from preflab.memory.load import Lengths, load_of
    from preflab.memory.model_sizes import ModelSizes
    from preflab.recipe import load_recipe

    loaded = load_recipe(place / "recipe.yaml")
    half = loaded.device.precision != "float32"
    load = load_of(loaded.kind(stage), loaded.stages[stage], Lengths(PROMPT, NEW + 1), half=half)
    return estimate(ModelSizes.read(place / "model"), load).total / MIB


def peak_mib(place: Path, stage: str) -> float:
    """Peak resident memory of `preflab run --only STAGE` in MiB."""
    environment = os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "CUDA_VISIBLE_DEVICES": ""}
    command = [sys.executable, "-m", "preflab", "run", "--only", stage]
    small = [sys.executable, "-c", LAUNCH, *command]
    launched = run(small, cwd=place, env=environment, stdout=PIPE, stderr=DEVNULL, text=True, check=False)
    if launched.returncode:
        sys.exit(f"error: {command} in {place}: exit code {launched.returncode}")
    return float(launched.stdout)


def write_case(size: Size, place: Path) -> None:
    """Model, data and recipe."""
    import torch

    from preflab.models.tiny import build_tokenizer

    torch.manual_seed(0)
    tokenizer = build_tokenizer([" ".join(f"w{i}" for i in range(WORDS))], context=CONTEXT)
    for saved in (model_of(size, len(tokenizer)), tokenizer):
        saved.save_pretrained(place / "model")
    write_data(size, place)
    (place / "recipe.yaml").write_text(json.dumps(recipe(size)), encoding="utf-8")


def model_of(size: Size, vocabulary: int) -> Any:
    """A model with random weights."""
    import transformers

    heads, width = size.hidden // 64, size.hidden * 11 // 4
    shared: dict[str, Any] = {
        "vocab_size": vocabulary, "tie_word_embeddings": size.tied, "pad_token_id": 0, "bos_token_id": 1,
        "eos_token_id": 2,
    }  # fmt: skip
    if size.family == "t5":
        config: Any = transformers.T5Config(
            d_model=size.hidden, d_ff=width, num_layers=size.layers, num_heads=heads, d_kv=64, dropout_rate=0.0,
            feed_forward_proj="gated-gelu", decoder_start_token_id=0, **shared,
        )  # fmt: skip
        return transformers.T5ForConditionalGeneration(config)
    shared |= {
        "hidden_size": size.hidden, "intermediate_size": width, "num_hidden_layers": size.layers,
        "num_attention_heads": heads, "num_key_value_heads": size.states, "max_position_embeddings": CONTEXT,
    }  # fmt: skip
    if size.family == "qwen3_moe":
        config = transformers.Qwen3MoeConfig(
            num_experts=EXPERTS, num_experts_per_tok=ACTIVE, moe_intermediate_size=width // ACTIVE, head_dim=64,
            **shared,
        )  # fmt: skip
        return transformers.Qwen3MoeForCausalLM(config)
    return transformers.LlamaForCausalLM(transformers.LlamaConfig(**shared))


def write_data(size: Size, place: Path) -> None:
    """Pairs, demonstrations, prompts and labelled texts of random words."""
    draw = random.Random(0)

    def words(num: int) -> str:
        return " ".join(f"w{draw.randrange(WORDS)}" for _ in range(num))

    num = 2 * size.rows + 2
    rows = [{"prompt": words(PROMPT - 1), "chosen": words(NEW), "rejected": words(NEW)} for _ in range(num)]
    texts = [{"text": f"{one['prompt']} {one['chosen']}", "label": "ab"[n % 2]} for n, one in enumerate(rows)]
    lines(place / "pairs.jsonl", rows)
    lines(place / "demos.jsonl", [{"prompt": one["prompt"], "completion": one["chosen"]} for one in rows])
    lines(place / "prompts.jsonl", [{"prompt": one["prompt"]} for one in rows])
    lines(place / "texts.jsonl", texts)


def lines(path: Path, rows: list[dict[str, str]]) -> None:
    """JSON lines."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def recipe(size: Size) -> dict[str, object]:
    """All stages; JSON is YAML."""
    decoding = {"max_new_tokens": NEW}
    budget = {"tokens_per_micro_batch": size.rows * (PROMPT + NEW + 1)}
    stages: dict[str, dict[str, object]] = {
        "sample": {
            "kind": "sample", "model": "./model", "prompts": "prompts", "num_completions": 1,
            "max_batch_rows": size.rows, **decoding,
        },
        "classifier": {
            "kind": "classifier", "labels": "texts", "model": "./model", "context": 96, "num_epochs": 1,
            "num_texts_per_step": size.rows, "optimiser": budget,
        },
    }  # fmt: skip
    for way, lora in WAYS.items():
        for suffix, checkpointing in (("", False), ("-checkpointed", True)):
            shared = {
                "model": "./model",
                "lora": {"rank": 16} if lora else None,
                "optimiser": budget | {"gradient_checkpointing": checkpointing},
            }
            stages |= {f"{kind}-{way}{suffix}": one for kind, one in learning(size, shared).items()}
    data = {name: {"path": f"{name}.jsonl"} for name in ("demos", "pairs", "prompts", "texts")}
    device = {"threads": 1, "precision": size.precision}
    return {"recipe": 1, "device": device, "data": data, "stages": stages}


def learning(size: Size, shared: dict[str, object]) -> dict[str, dict[str, object]]:
    """Kind → a stage of that kind."""
    decoding, rows = {"max_new_tokens": NEW}, size.rows
    rewards = {"rewards": [{"model": "reward-lora"}], "prompts": "prompts"}
    sampling = {**shared, **rewards, "num_steps": 2, "num_epochs": 1, "decoding": decoding}
    return {
        "sft": {"kind": "sft", "data": "demos", "num_epochs": 1, "num_sequences_per_step": rows, **shared},
        "reward": {"kind": "reward", "preferences": "pairs", "num_rankings_per_step": rows // 2, **shared},
        "dpo": {
            "kind": "dpo", "preferences": "pairs", "num_groups_per_step": rows // 2,
            "watch": {"num_samples": 3, "decoding": decoding}, **shared,
        },
        "ppo": {"kind": "ppo", "num_completions_per_step": rows, **sampling},
        "grpo": {"kind": "grpo", "num_prompts_per_step": rows // 4, "num_completions_per_prompt": 4, **sampling},
        "online_dpo": {
            "kind": "online_dpo", "num_prompts_per_step": rows // 2, "num_completions_per_prompt": 2, **sampling,
        },
        "ilql": {
            "kind": "ilql", "completions": "sample", "num_epochs": 1, "num_completions_per_step": rows, **rewards,
            "max_batch_rows": rows, **decoding, **shared,
        },
    }  # fmt: skip


if __name__ == "__main__":
    main()
