"""Run folders as the stages leave them, made up with known numbers, for the tests of the report."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from preflab.training.record_columns import rollout_schema

VERSIONS = {"python": "3.11.9", "torch": "2.13.0", "transformers": "5.23.0", "peft": "0.21.2", "preflab": "0.1.0"}
Rows = list[dict[str, Any]]


def write_run(
    runs: Path,
    name: str,
    kind: str,
    *,
    seconds: float,
    summary: str,
    settings: dict[str, Any] | None = None,
    lines: dict[str, Rows] | None = None,
    files: dict[str, Any] | None = None,
) -> Path:
    """A run folder with its manifest, JSONL files (`lines`) and JSON files (`files`)."""
    key = f"{sum(map(ord, name)):012x}"
    folder = runs / f"{name}-{key}"
    folder.mkdir(parents=True)
    manifest = {
        "stage": name, "kind": kind, "key": key, "version": 1, "settings": {"kind": kind, **(settings or {})},
        "inputs": {}, "seed": 7, "versions": VERSIONS, "state": "done", "started": "2025-01-02T10:00:00+00:00",
        "finished": "2025-01-02T10:05:00+00:00", "seconds": seconds, "summary": summary, "figures": {},
    }  # fmt: skip
    (folder / "manifest.json").write_text(json.dumps(manifest))
    for file, rows in (lines or {}).items():
        (folder / file).write_text("".join(json.dumps(row) + "\n" for row in rows))
    for file, content in (files or {}).items():
        (folder / file).write_text(json.dumps(content))
    return folder


def ppo_rows(num: int, *, reward: float, kl: float, gold_peak: float, entropy: float, seed: int) -> Rows:
    """Metrics of a run whose reward rises to `reward` and whose held-out gold peaks at `gold_peak` of the way."""
    noise = np.random.default_rng(seed).normal(size=(num, 8))
    rows = []
    for step in range(num):
        share = (step + 1) / num
        row = {
            "reward/mean": reward * (1 - math.exp(-3 * share)) - 0.1 + 0.08 * noise[step, 0],
            "reward/std": 0.9,
            "kl/exact": kl * share**1.2 + 0.02 * abs(noise[step, 1]),
            "kl/coef": 0.05,
            "entropy/mean": 2.1 - (2.1 - entropy) * share + 0.03 * noise[step, 2],
            "length/mean": 14 + 6 * share * (kl > 10) + 0.4 * noise[step, 3],
            "length/eos_rate": 0.98,
            "loss/policy": -0.01 + 0.005 * noise[step, 4],
            "loss/value": 0.4 * math.exp(-2 * share) + 0.02 * abs(noise[step, 5]),
            "value/explained_variance": 0.7 * (1 - math.exp(-4 * share)) + 0.03 * noise[step, 6],
            "clip/policy": 0.06 + 0.02 * abs(noise[step, 7]),
            "repeat/share": 0.02 + 0.3 * share * (kl > 10),
        }
        if step % 10 == 9:
            row["score/held_out"] = 1.2 - 3 * (share - gold_peak) ** 2
        rows.append({"step": step, **{key: float(value) for key, value in row.items()}})
    return rows


def estimate(value: float, half: float, num: int = 200) -> dict[str, Any]:
    """An interval as evaluation.json has it."""
    return {"value": value, "low": value - half, "high": value + half, "num": num, "note": ""}


def figures(gold: float, rm: float, rude: float, kl: float, distinct: float) -> dict[str, Any]:
    return {
        "judge/gold": estimate(gold, 0.16),
        "fail/gold": estimate(0.04, 0.02),
        "reward/rm": estimate(rm, 0.11),
        "label/rude": estimate(rude, 0.03),
        "label/well": estimate(0.9 - rude, 0.05),
        "kl/exact": estimate(kl, 0.1 * kl),
        "length/tokens": estimate(15.2, 0.5),
        "distinct/2": estimate(distinct, 0.01),
        "entropy/token": estimate(1.6, 0.05),
    }


def evaluation() -> dict[str, Any]:
    """sft against ppo (better) and ppo_free (more reward, less gold)."""
    models = {
        "sft": figures(0.62, 0.02, 0.22, 0.0, 0.31),
        "ppo": figures(1.71, 1.24, 0.03, 3.4, 0.24),
        "ppo_free": figures(0.11, 3.91, 0.01, 41.0, 0.06),
    }
    comparisons = []
    for name in ("ppo", "ppo_free"):
        differences = {
            measure: estimate(models[name][measure]["value"] - models["sft"][measure]["value"], 0.15)
            for measure in models["sft"]
        }
        differences["length/tokens"] = estimate(0.1, 0.4)
        note = "no interval: all values are equal"
        differences["fail/gold"] = {"value": 0.0, "low": None, "high": None, "num": 200, "note": note}
        comparisons.append({"model": name, "baseline": "sft", "differences": differences})
    return {
        "schema": 1,
        "prompts": {"name": "prompts.held_out", "num": 200, "num_completions": 1},
        "baseline": "sft",
        "reference": "sft",
        "notes": ["gold: a completion marked F counts −3"],
        "judges": {"gold": {"function": "preflab.demo.gold:gold_utility", "fail_utility": -3.0}},
        "models": [{"name": name, "figures": found, "num_completions": 200} for name, found in models.items()],
        "comparisons": comparisons,
        "frontier": [
            {
                "model": name,
                "distance": estimate(math.sqrt(found["kl/exact"]["value"]), 0.1),
                "worth": {measure: found[measure] for measure in ("judge/gold", "reward/rm")},
            }
            for name, found in models.items()
        ],
        "tilted": {
            "judge": "gold", "reference": "sft", "num_prompts": 32, "num_completions": 64,
            "curve": [
                {"beta": 1.0, "value": 0.62 + 1.6 * (1 - math.exp(-d)), "kl": d * d, "effective": 30 - 10 * d}
                for d in np.linspace(0, 1.9, 20).tolist()
            ],
            "models": [{"model": "ppo", "value": 1.71, "kl": 3.4, "nats_needed": 1.3}],
        },
    }  # fmt: skip


def sample_rows(num: int = 40) -> Rows:
    """What three models wrote."""
    texts = {
        "sft": "it arrives on friday .",
        "ppo": "hello , thank you for asking ! your parcel arrives on friday . have a nice day .",
        "ppo_free": "what a wonderful question ! " * 6,
    }
    return [
        {
            "prompt_id": f"prompt-{index:024x}",
            "prompt": f"Q: where is my parcel number {index} ?",
            "completions": {
                model: [
                    {
                        "id": f"completion-{index * 3 + place:024x}", "text": text, "finish_reason": "stop",
                        "scores": {
                            "judge/gold": [0.5, 1.5 + 0.01 * index, None][place], "reward/rm": [0.0, 1.2, 3.9][place]
                        },
                        "label": ["curt", "well", "well"][place], "kl": [0.0, 3.2, 40.0][place],
                    }
                ]
                for place, (model, text) in enumerate(texts.items())
            },
        }
        for index in range(num)
    ]  # fmt: skip


def rollout_rows() -> Rows:
    tokens = ["hello", " ,", " your", " parcel", " is", " here", " ."]
    return [
        {
            "step": step, "prompt_id": "prompt-1", "prompt": "Q: where is it ?", "completion": "".join(tokens),
            "finish_reason": "stop", "reward": 0.1 * step, "kl": [0.4, 0.1, 0.0, 0.02, 0.3, 0.0, 0.1],
            "values": [0.1] * 7, "tokens": tokens,
        }
        for step in (1, 30, 60)
    ]  # fmt: skip


def write_rollouts(folder: Path, rows: Rows) -> None:
    """Write rollouts into a run's folder as PPO does; columns that the rows do not have are null."""
    schema = rollout_schema([], ["ppo"]).with_metadata({"preflab": json.dumps({"schema": 1, "kind": "ppo"})})
    (folder / "rollouts").mkdir(exist_ok=True)
    for row in rows:
        table = pa.Table.from_pylist([row], schema)
        pq.write_table(table, folder / "rollouts" / f"step-{row['step']:06d}.parquet")


def ppo_run(runs: Path, name: str = "ppo", *, free: bool = False, alarms: Rows | None = None) -> Path:
    """A PPO run with its penalty, or without (`free`)."""
    rows = (
        ppo_rows(60, reward=4.2, kl=42, gold_peak=0.3, entropy=0.5, seed=2)
        if free
        else ppo_rows(60, reward=1.5, kl=3.6, gold_peak=1.0, entropy=1.5, seed=1)
    )
    settings = {
        "kl_coef": 0.0 if free else 0.05, "kl_budget": 8.0, "num_steps": 60, "num_completions_per_step": 64,
        "model": "sft", "rewards": [{"model": "rm"}],
    }  # fmt: skip
    lines = {"metrics.jsonl": rows}
    if alarms:
        lines["alarms.jsonl"] = alarms
    summary = f"reward −0.10 → {rows[-1]['reward/mean']:.2f}, KL {rows[-1]['kl/exact']:.1f}"
    folder = write_run(runs, name, "ppo", seconds=92.4, summary=summary, settings=settings, lines=lines)
    write_rollouts(folder, rollout_rows())
    return folder


ALARMS: Rows = [
    {"step": 13, "alarm": "kl above budget", "setting": "kl_coef",
     "message": "KL to the reference is 8.21 nats per completion, the budget is 8"},
    {"step": 29, "alarm": "reward up, held-out down", "setting": "kl_coef, or label the new completions",
     "message": "held-out criterion fell from 1.200 to 0.412 while the reward rose from 1.010 to 2.880: the policy is "
     "exploiting the reward"},
    {"step": 41, "alarm": "repeated n-grams", "setting": "kl_coef",
     "message": "24\u00a0% of a completion's 3-grams repeat earlier ones, 2\u00a0% at the start"},
]  # fmt: skip


def sft_run(runs: Path) -> Path:
    rows = [{"step": step, "loss/nll": 2.4 * math.exp(-step / 40) + 0.9} for step in range(1, 121)]
    return write_run(runs, "sft", "sft", seconds=41.2, summary="loss 3.28 → 1.02", lines={"metrics.jsonl": rows})


def evaluate_run(runs: Path, samples: Rows | None = None) -> Path:
    return write_run(
        runs, "eval", "evaluate", seconds=31.0,
        summary="ppo scores 1.09 higher than sft on gold (judge), 95\u00a0% interval 0.94 to 1.24",
        files={"evaluation.json": evaluation()}, lines={"samples.jsonl": sample_rows() if samples is None else samples},
    )  # fmt: skip


def share(value: float, half: float, num: float = 900) -> dict[str, Any]:
    """An agreement share as agreement.json has it."""
    return {"value": value, "low": value - half, "high": value + half, "num": num, "num_tasks": 120}


def feedback_runs(runs: Path) -> list[Path]:
    """Completions, judgments by a simulated panel with a careless and a reversed labeler, and preferences."""
    people = [
        ("amber", 0.86, 1.0, "in line", "regular"),
        ("birch", 0.84, 0.92, "in line", "regular"),
        ("cedar", 0.81, 0.8, "in line", "regular"),
        ("dune", 0.52, 0.04, "careless?", "careless"),
        ("ebb", 0.2, 0.0, "reversed?", "reversed"),
    ]
    labelers = [
        {
            "id": f"labeler-{index:024x}", "name": name, "kind": "simulated", "num_tasks": 72, "num_votes": 380,
            "reliability": accuracy, "weight": weight, "standing": standing,
            "agreement_with_others": share(accuracy - 0.05, 0.06), "ties": share(0.14, 0.03),
            "fails": share(0.05, 0.02), "truth": {"habit": habit},
        }
        for index, (name, accuracy, weight, standing, habit) in enumerate(people)
    ]  # fmt: skip
    agreement = {
        "simulated": True, "consensus": "one_coin_em", "fail_share": 0.5, "num_judgments": 360, "num_tasks": 120,
        "agreement": share(0.66, 0.03), "ties": share(0.15, 0.02), "fails": share(0.06, 0.01), "labelers": labelers,
        "pairs": {
            "num_preferences": 120, "num_resolved": 640, "num_unresolved": 31, "num_failed_completions": 22,
            "num_without_pairs": 2, "num_decided": 4, "num_tied": 40, "num_implied": 9,
        },
        "coefficients": {
            "tau_b": {"value": 0.41, "low": 0.36, "high": 0.46, "num_tasks": 120, "note": ""},
            "fail_alpha": {
                "value": None, "low": None, "high": None, "num_tasks": 120, "note": "undefined: no variation",
            },
        },
    }  # fmt: skip
    return [
        write_run(runs, "answers", "sample", seconds=22.0, summary="120 prompts × 4 completions"),
        write_run(
            runs, "labels", "judge", seconds=3.1, settings={"labelers": "panel"},
            summary="360 judgments by 5 simulated labelers (1 careless, 1 reversed)",
        ),
        write_run(
            runs, "prefs", "preferences", seconds=1.2,
            summary="120 rankings → 640 pairs, labelers agree on 66\u00a0% (63 to 69\u00a0%)",
            files={"agreement.json": agreement},
        ),
    ]  # fmt: skip


def quality(accuracy: float, longer: float) -> dict[str, Any]:
    """Figures of a reward model on some pairs."""
    return {
        "num_prompts": 24, "num_pairs": 130, "accuracy": estimate(accuracy, 0.06, 24),
        "longer_wins": estimate(longer, 0.07, 24), "beyond_length": estimate(accuracy - longer, 0.08, 24),
        "log_loss": 0.55,
        "calibration": [
            {"predicted": p, "observed": estimate(p - 0.06, 0.09, 20), "num": 26} for p in (0.53, 0.6, 0.69, 0.8, 0.93)
        ],
        "by_length": [
            {"from": float(low), "to": float(low + 15), "accuracy": estimate(0.6 + 0.004 * low, 0.08, 20), "num": 26}
            for low in (-44, -20, -4, 12, 30)
        ],
    }  # fmt: skip


def reward_run(runs: Path) -> Path:
    """A reward model that is right on 74 % of the held-out pairs."""
    report = {
        "model": "sft", "base": "model-0123", "pooling": "last", "gain": 1.2, "offset": -0.3,
        "reference": {"num": 480, "mean": 0.2, "std": 0.8, "of": "prefs"},
        "data": {"train": {"snapshot": "snapshot-0123456789abcdef01234567"}, "test": None},
        "train": quality(0.8, 0.61), "held_out": quality(0.74, 0.58), "test": None,
        "fails": {"num": 22, "mean": -0.4, "num_others": 458, "mean_others": 0.1, "share_below": 0.68},
        "by_rank": [{"rank": rank, "mean": 0.9 - 0.5 * place, "num": 120 - place}
                    for place, rank in enumerate((1, 2, 3, 4, None))],
    }  # fmt: skip
    rows = [
        {"step": step, "loss/bradley_terry": 0.69 - 0.002 * step, "accuracy/train": 0.5 + 0.003 * step}
        for step in range(90)
    ]
    return write_run(
        runs, "rm", "reward", seconds=18.4,
        summary="right on 74\u00a0% (68 to 80\u00a0%) of 130 held-out pairs; the longer one wins 58\u00a0%",
        files={"reward_report.json": report}, lines={"metrics.jsonl": rows},
    )  # fmt: skip
