"""Happiness bought per nat, by every way of learning: recipes/frontier.yaml seed by seed, a table and a plot.

    python recipes/stories/prompts.py ../shared/data/tinystories/stories.txt    # once
    python benchmarks/frontier.py --seeds 0 1 2

A finished seed is not run again. Intervals are over seeds (Student's t), since a recipe is judged by its seeds and not
by its prompts (R20); the curves are means over the seeds of training rollouts, step by step.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

from running import table
from scipy.stats import t as student

REPOSITORY = Path(__file__).resolve().parents[1]
METHODS = {"ppo": 1.0, "grpo": 1.0, "rloo": 1.0, "online_dpo": 10.0, "dpo": 1.0}
"""Method → what its reward was multiplied with in training."""
ROLES = {"ppo": "policy", "grpo": "reward", "rloo": "gold", "online_dpo": "alarm", "dpo": "policy second"}


def main() -> None:
    """Runs what is missing, prints the table, writes the plot and the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--out", type=Path, default=REPOSITORY / "runs" / "frontier")
    parser.add_argument("--plot", type=Path, default=REPOSITORY / "docs" / "experiments" / "frontier.svg")
    args = parser.parse_args()
    for seed in args.seeds:
        run(args.out / str(seed), seed)
    found = {seed: evaluation(args.out / str(seed)) for seed in args.seeds}
    print(ends_table(found))
    args.plot.write_text(plot(args.out, found), encoding="utf-8")
    print(f"plot: {args.plot}")


def run(folder: Path, seed: int) -> None:
    """The recipe with a seed, single-threaded; done stages are skipped."""
    options = ["--workspace", str(folder.resolve()), "--set", f"seed={seed}"]
    command = [sys.executable, "-m", "preflab", "run", "../frontier.yaml", *options]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    subprocess.run(command, cwd=REPOSITORY / "recipes" / "stories", env=environment, check=True)


def newest(folder: Path, pattern: str) -> Path:
    """The newest file below `runs/` of that pattern."""
    files = sorted(folder.glob(f"runs/{pattern}"), key=lambda file: file.stat().st_mtime)
    if not files:
        sys.exit(f"error: {folder}: no runs/{pattern}\n       run this seed first")
    return files[-1]


def evaluation(folder: Path) -> dict[str, Any]:
    """What the stage eval left."""
    return json.loads(newest(folder, "eval-*/evaluation.json").read_text(encoding="utf-8"))


def over_seeds(values: list[float]) -> str:
    """Mean and 95 % interval of a mean over seeds."""
    mean = statistics.mean(values)
    if len(values) < 2:
        return f"{mean:.3f}"
    half = float(student.ppf(0.975, len(values) - 1)) * statistics.stdev(values) / math.sqrt(len(values))
    return f"{mean:.3f} ± {half:.3f}"


def figures(found: dict[str, Any], method: str) -> dict[str, float]:
    """Measure → value of one model of an evaluation; the first model is the start."""
    names = [model["name"] for model in found["models"]]
    model = found["models"][0 if method == "start" else names.index(method)]
    return {measure: interval["value"] for measure, interval in model["figures"].items()}


def ends_table(found: dict[int, dict[str, Any]]) -> str:
    """One row per method: where it ended on held-out prompts, and what the optimum needs for as much."""
    rows = []
    for method in ("start", *METHODS):
        ends = [figures(one, method) for one in found.values()]
        needed = [nats_needed(one, method) for one in found.values()]
        rows.append(
            [
                method,
                over_seeds([end["judge/happiness"] for end in ends]),
                over_seeds([end.get("kl/exact", 0.0) for end in ends]),
                over_seeds([need for need in needed if need is not None]) if any(needed) else "–",
                over_seeds([end["distinct/2"] for end in ends]),
            ]
        )
    head = ("method", "happiness", "KL, nats", "nats the optimum needs", "distinct-2")
    return table(head, rows)


def nats_needed(found: dict[str, Any], method: str) -> float | None:
    """KL at which the tilted optimum is as happy as the method is on all held-out prompts; None: beyond its reach."""
    value, curve = figures(found, method)["judge/happiness"], found["tilted"]["curve"]
    reached = [point for point in curve if point["value"] >= value]
    return min(point["kl"] for point in reached) if reached else None


def course(folder: Path, method: str) -> tuple[list[float], list[float]]:
    """(√KL, happiness) of the training rollouts, step by step."""
    rows = [json.loads(line) for line in newest(folder, f"{method}-*/metrics.jsonl").read_text().splitlines()]
    kept = [row for row in rows if "kl/exact" in row and "reward/mean" in row]
    return [math.sqrt(max(0.0, r["kl/exact"])) for r in kept], [r["reward/mean"] / METHODS[method] for r in kept]


def plot(out: Path, found: dict[int, dict[str, Any]]) -> str:
    """Courses of the methods that sample, end points of all, best-of-n at its bound, the tilted optimum: one SVG."""
    from preflab.report.charts import Line, line_chart

    lines = []
    for method in METHODS:
        courses = [course(out / str(seed), method) for seed in found]
        if all(xs for xs, _ in courses):
            num = min(len(xs) for xs, _ in courses)
            xs = [statistics.mean(c[0][i] for c in courses) for i in range(num)]
            ys = [statistics.mean(c[1][i] for c in courses) for i in range(num)]
            outward = next((i for i, x in enumerate(xs) if x > 0.9 * xs[-1]), num) + 1  # then it stays about there
            lines.append(Line(method, ROLES[method], xs[:outward], ys[:outward]))
        ends = [figures(one, method) for one in found.values()]
        xs, ys = [math.sqrt(end["kl/exact"]) for end in ends], [end["judge/happiness"] for end in ends]
        lines.append(Line("" if lines and lines[-1].label == method else method, ROLES[method], xs, ys, dots=True))
    worth = [json.loads(newest(out / str(seed), "best-*/worth.json").read_text())["best_of"] for seed in found]
    xs = [math.sqrt(row["kl_bound"]) for row in worth[0]]
    ys = [statistics.mean(rows[i]["reward"] for rows in worth) for i in range(len(worth[0]))]
    lines.append(Line("best of n", "reference", xs, ys))
    curve = next(iter(found.values()))["tilted"]["curve"]
    lines.append(Line("optimum", "ink", [math.sqrt(p["kl"]) for p in curve], [p["value"] for p in curve]))
    description = "Happiness of stories against the square root of KL to the start, for six ways of learning"
    svg = str(line_chart(lines, x="√KL to the start, √nats", y="Happiness (VADER)", description=description))
    style = (REPOSITORY / "src" / "preflab" / "look.css").read_text(encoding="utf-8")
    opening, _, rest = svg.partition(">")
    style += "svg { background: var(--paper); }"
    return f'{opening} xmlns="http://www.w3.org/2000/svg"><style>{style}</style>{rest}\n'


if __name__ == "__main__":
    main()
