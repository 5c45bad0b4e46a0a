"""Run folders with kept rollouts and pairs as the stages write them, made up with known numbers, for the replay."""

from __future__ import annotations

import json
import math
import random
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow import parquet

from preflab.training.record_columns import PAIRS, ROLLOUTS
from report_runs import write_run

PER_TOKEN = ("sampler_logps", "trainer_logps", "ref_logps", "kl", "advantages", "entropy", "ratio")
WORDS = ("good", "morning", ".", "your", "invoice", "will", "be", "in", "mail", "on", "thursday", "wonderful", "\n", "")
SETTINGS = {
    "gamma": 1.0, "lam": 0.95, "kl_coef": 0.25, "kl_treatment": "reward_k1", "whiten_advantages": True,
    "num_completions_per_step": 64, "decoding": {"temperature": 1.0},
}  # fmt: skip


def rollout(step: int, row: int, tokens: list[str], **columns: Any) -> dict[str, Any]:
    """One row of a record: numbers drawn from its step and row, unless `columns` says otherwise."""
    noise = np.random.default_rng([step, row, len(tokens)])
    per = {name: noise.normal(-1.0, 0.7, len(tokens)).astype(np.float32).tolist() for name in PER_TOKEN}
    per["kl"] = np.abs(noise.normal(0, 0.2, len(tokens))).astype(np.float32).tolist()
    per["entropy"] = np.abs(noise.normal(1, 0.4, len(tokens))).astype(np.float32).tolist()
    per["ratio"] = np.exp(noise.normal(0, 0.1, len(tokens))).astype(np.float32).tolist()
    return {
        "step": step, "row": row, "seed": 7, "prompt_id": f"prompt-{row}", "prompt": f"Where is my parcel no. {row}?",
        "completion": " ".join(tokens), "completion_id": f"completion-{step}-{row}", "finish_reason": "stop",
        "reward": 0.1 * step + 0.25 * row, "reward/rm": 0.1 * step, "reward/brief": 0.25 * row, "prompt_ids": [1, 2],
        "token_ids": [WORDS.index(token) if token in WORDS else 99 for token in tokens], "tokens": tokens,
        "written": [True] * len(tokens), **per,
        "values": noise.normal(0, 1, len(tokens)).astype(np.float32).tolist(),
        "returns": noise.normal(0, 1, len(tokens)).astype(np.float32).tolist(), **columns,
    }  # fmt: skip


def write_step(folder: Path, step: int, rows: list[dict[str, Any]]) -> None:
    """One Parquet file of a record, with the types of the schema."""
    types = {name: column.type for name, column in {**PAIRS, **ROLLOUTS}.items()}

    def kind(name: str) -> pa.DataType:
        return types.get(name, pa.float32() if name.startswith("reward/") else pa.string())

    columns = {name: pa.array([row[name] for row in rows], kind(name)) for name in rows[0]}
    table = pa.table(columns).replace_schema_metadata(
        {"preflab": json.dumps({"schema": 1, "kind": "ppo", "temperature": 1.0})}
    )
    folder.mkdir(parents=True, exist_ok=True)
    parquet.write_table(table, folder / f"step-{step:06d}.parquet", compression="zstd")


def sentence(seed: int, num: int) -> list[str]:
    """Words of a completion, the last one the empty text of a stop token."""
    return [*random.Random(seed).choices(WORDS[:-1], k=num - 1), ""]


ALARMS = [
    {"step": 3, "alarm": "kl above budget", "message": "KL to the reference is 3.1", "setting": "kl_coef"},
    {"step": 5, "alarm": "length drift", "message": "15 to 24 tokens", "setting": "kl_coef or missing_eos_penalty"},
]


def ppo_run(
    runs: Path,
    name: str = "ppo",
    *,
    steps: int = 6,
    rows: dict[int, list[dict[str, Any]]] | None = None,
    alarms: list[dict[str, Any]] | None = None,
    kind: str = "ppo",
) -> Path:
    """A PPO run with four kept rollouts at each step; `rows` replaces those of a step."""
    metrics = [
        {"step": step, "reward/mean": 0.1 * step, "kl/exact": 0.5 * step, "entropy/mean": 2.0 - 0.1 * step}
        for step in range(steps)
    ]
    lines = {"metrics.jsonl": metrics, "alarms.jsonl": ALARMS if alarms is None else alarms}
    folder = write_run(runs, name, kind, seconds=9.0, summary="", settings=SETTINGS, lines=lines)
    for step in range(steps):
        usual = [rollout(step, row, sentence(10 * step + row, 8 + 4 * row)) for row in range(4)]
        write_step(folder / "rollouts", step, (rows or {}).get(step, usual))
    return folder


def pair_rows(step: int, pair: int, *, reward: bool = False) -> list[dict[str, Any]]:
    """Both sides of a kept pair. The chosen is 0.1 nats per token likelier with each step, the rejected less likely."""
    sides = []
    for side, direction in (("chosen", 1), ("rejected", -1)):
        tokens = sentence(pair + direction, 6)
        ref = [-1.0 - 0.1 * place for place in range(6)]
        row = {
            "step": step, "pair": pair, "prompt_id": f"prompt-{pair}", "prompt": f"Question {pair}?", "side": side,
            "completion": " ".join(tokens), "token_ids": list(range(6)), "tokens": tokens,
            "written": [True] * 6,
            "logps": [value + 0.1 * step * direction for value in ref], "ref_logps": ref,
            "score": 0.06 * step * direction, "margin": 0.12 * step + 0.01 * pair, "completion_id": f"c-{pair}-{side}",
        }  # fmt: skip
        sides.append({key: value for key, value in row.items() if not (reward and key.endswith("logps"))})
    return sides


def pairs_run(runs: Path, kind: str = "dpo", *, kept: bool = True) -> Path:
    """A DPO or reward run with three kept pairs at steps 0, 2 and 4."""
    metrics = [{"step": step, "loss/total": 0.69 - 0.05 * step, "score/margin": 0.1 * step} for step in range(6)]
    settings = {"beta": 0.1}
    folder = write_run(runs, kind, kind, seconds=5.0, summary="", settings=settings, lines={"metrics.jsonl": metrics})
    for step in (0, 2, 4) if kept else ():
        rows = [row for pair in range(3) for row in pair_rows(step, pair, reward=kind == "reward")]
        write_step(folder / "pairs", step, rows)
    return folder


def dialogue(step: int, row: int, **columns: Any) -> dict[str, Any]:
    """A rollout with an environment: the policy says "hello ." and "four ", the environment "what is 2 + 2 ?"; then
    it ends with "right". The rewards of the turns are 0.5 and 2."""
    tokens = ["hello", " .", "", "\n", "what", " is", " 2", " +", " 2", " ?", "\n", "four", ""]
    written = [True] * 3 + [False] * 8 + [True] * 2
    made = rollout(step, row, tokens)
    per = {
        name: [value if own else math.nan for value, own in zip(made[name], written, strict=True)]
        for name in (*PER_TOKEN, "values", "returns")
    }
    return {
        **made, **per, "written": written, "turns": ["hello .", "what is 2 + 2 ?", "four"],
        "turn_rewards": [0.0, 0.0, 0.5, *[0.0] * 9, 2.0], "last_turn": "right",
        "completion": "assistant: hello .\n\nuser: what is 2 + 2 ?\n\nassistant: four", "reward": 2.5,
        "reward/rm": 2.5, "reward/brief": 0.0, **columns,
    }  # fmt: skip
