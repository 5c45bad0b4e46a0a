"""The memory that `preflab init` expects of a stage, beside the peak of the process that then runs it.

    python benchmarks/memory_estimate.py
    python benchmarks/memory_estimate.py --only 512x8-sft-lora-4096

Llamas with random weights and 32,000 tokens are made on the spot; each stage runs as `preflab run` in a process of its
own, on 32 prompts of 16 tokens with completions of 48 (240 where the micro-batch is 4,096). Measured is the peak of the
whole process.
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
from subprocess import DEVNULL, Popen

from running import table, write_json

HERE = Path(__file__).resolve().parent
CONTEXT, WORDS, PROMPT, ROWS, PER_STEP = 1024, 500, 16, 32, 16


@dataclass(frozen=True)
class Case:
    """One stage on one model."""

    hidden: int
    layers: int
    stage: str
    lora: bool
    tokens: int
    """tokens_per_micro_batch."""

    @property
    def name(self) -> str:
        """Size, stage, what learns, tokens."""
        return f"{self.hidden}x{self.layers}-{self.stage}-{'lora' if self.lora else 'full'}-{self.tokens}"

    @property
    def new_tokens(self) -> int:
        """Tokens of a completion."""
        return 240 if self.tokens > 2048 else 48

    @property
    def tokens_at_once(self) -> int:
        """Tokens of the largest micro-batch there is: a step's rows, or the budget."""
        rows = 2 * PER_STEP if self.stage in ("reward", "dpo", "ppo") else PER_STEP
        return min(self.tokens, rows * (PROMPT + self.new_tokens + 1))


CASES = (
    Case(256, 4, "sft", True, 2048),
    Case(512, 8, "sft", True, 512),
    Case(512, 8, "sft", True, 2048),
    Case(512, 8, "sft", True, 4096),
    Case(512, 8, "sft", False, 2048),
    Case(512, 8, "reward", True, 2048),
    Case(512, 8, "dpo", True, 2048),
    Case(512, 8, "ppo", True, 1024),
    Case(512, 8, "ppo", True, 2048),
    Case(768, 12, "sft", True, 2048),
)


def main() -> None:
    """Runs every case, prints a table, writes JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", help="the name of one case")
    parser.add_argument("--out", type=Path, default=HERE / "results" / "memory_estimate.json")
    args = parser.parse_args()
    rows, results = [], {}
    for case in CASES:
        if args.only in (None, case.name):
            expected, measured = measure(case)
            results[case.name] = {"expected_mib": expected, "measured_mib": measured}
            rows.append([case.name, f"{expected:.0f}", f"{measured:.0f}", f"{100 * (expected / measured - 1):+.0f} %"])
            print(rows[-1], file=sys.stderr, flush=True)
    print(table(("stage", "expected MiB", "measured MiB", "off by"), rows))
    write_json(args.out, results)
    print(f"written: {args.out}")


def measure(case: Case) -> tuple[float, float]:
    """(expected, measured) MiB."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        write_case(case, place)
        if case.stage == "ppo":
            peak(place, "--until", "reward")
        return expected_mib(case, place / "model"), peak(place, "--only", case.stage)


def expected_mib(case: Case, model: Path) -> float:
    """What `preflab init` would say of the stage."""
    from preflab.starter.memory import Load, estimate
    from preflab.starter.model_look import look_at_model

    draws = {"dpo": 3, "ppo": 2 * PER_STEP}.get(case.stage, 0)
    roles = 2 if case.stage == "ppo" else 1
    load = Load(
        case.stage, roles, 0, case.lora, False, case.tokens_at_once, rows=draws, row_tokens=PROMPT + case.new_tokens
    )
    return estimate(look_at_model(str(model)), load).total / 2**20


def peak(place: Path, *words: str) -> float:
    """Peak resident memory of `preflab run` in MiB."""
    environment = os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "CUDA_VISIBLE_DEVICES": ""}
    command = [sys.executable, "-m", "preflab", "run", *words]
    process = Popen(command, cwd=place, env=environment, stdout=DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"error: {command} in {place}: exit code {process.returncode}")
    return usage.ru_maxrss / 1024


def write_case(case: Case, place: Path) -> None:
    """Model, data and recipe."""
    from transformers import LlamaConfig, LlamaForCausalLM

    from preflab.models.tiny import build_tokenizer

    tokenizer = build_tokenizer([" ".join(f"w{i}" for i in range(WORDS))], context=CONTEXT)
    config = LlamaConfig(
        vocab_size=32_000, hidden_size=case.hidden, intermediate_size=case.hidden * 11 // 4,
        num_hidden_layers=case.layers, num_attention_heads=case.hidden // 64, num_key_value_heads=case.hidden // 64,
        max_position_embeddings=CONTEXT, tie_word_embeddings=True, pad_token_id=0, bos_token_id=1, eos_token_id=2,
    )  # fmt: skip
    for saved in (LlamaForCausalLM(config), tokenizer):
        saved.save_pretrained(place / "model")
    draw = random.Random(0)

    def words(num: int) -> str:
        return " ".join(f"w{draw.randrange(WORDS)}" for _ in range(num))

    new = case.new_tokens
    rows = [{"prompt": words(PROMPT - 1), "chosen": words(new), "rejected": words(new)} for _ in range(ROWS)]
    lines(place / "pairs.jsonl", rows)
    lines(place / "demos.jsonl", [{"prompt": row["prompt"], "completion": row["chosen"]} for row in rows])
    lines(place / "prompts.jsonl", [{"prompt": row["prompt"]} for row in rows])
    (place / "recipe.yaml").write_text(json.dumps(recipe(case)), encoding="utf-8")


def lines(path: Path, rows: list[dict[str, str]]) -> None:
    """JSON lines."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def recipe(case: Case) -> dict[str, object]:
    """Two optimiser steps of the stage; JSON is YAML."""
    shared = {
        "model": "./model",
        "lora": {"rank": 16} if case.lora else None,
        "optimiser": {"tokens_per_micro_batch": case.tokens},
    }
    decoding = {"max_new_tokens": case.new_tokens}
    reward = {"kind": "reward", "preferences": "pairs", "num_rankings_per_step": PER_STEP, **shared}
    ppo = {
        "kind": "ppo", "prompts": "prompts", "rewards": [{"model": "reward"}], "num_steps": 2, "num_epochs": 1,
        "num_completions_per_step": 2 * PER_STEP, "decoding": decoding, **shared,
    }  # fmt: skip
    stages = {
        "sft": {"kind": "sft", "data": "demos", "num_epochs": 1, "num_sequences_per_step": PER_STEP, **shared},
        "reward": reward,
        "dpo": {
            "kind": "dpo", "preferences": "pairs", "num_groups_per_step": PER_STEP,
            "watch": {"num_samples": 3, "decoding": decoding}, **shared,
        },
        "ppo": ppo,
    }  # fmt: skip
    chosen = {case.stage: stages[case.stage]} | ({"reward": reward} if case.stage == "ppo" else {})
    data = {name: {"path": f"{name}.jsonl"} for name in ("demos", "pairs", "prompts")}
    return {"recipe": 1, "device": {"threads": 1}, "data": data, "stages": chosen}


if __name__ == "__main__":
    main()
