"""What a recipe reaches, seed by seed: the demo's promises and those of the stories recipe, held or not.

    python benchmarks/seeds.py demo --seeds 0 1 2
    python benchmarks/seeds.py stories --seeds 0 1 2      # needs ../shared; run recipes/stories/prompts.py once before

Whole recipes are run through the command line, one after the other, each in a workspace of its own below --out; a
finished one is not run again.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from running import table

REPOSITORY = Path(__file__).resolve().parents[1]
Figures = dict[str, dict[str, Any]]


def main() -> None:
    """Runs every seed, prints a row for each, exits with 1 where a promise is broken."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("demo", "stories"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--out", type=Path, default=REPOSITORY / "runs" / "seeds")
    args = parser.parse_args()
    run, row, head = (run_demo, demo_row, DEMO) if args.what == "demo" else (run_stories, stories_row, STORIES)
    rows, held = [], True
    for seed in args.seeds:
        folder = (args.out / args.what / str(seed)).resolve()
        began = time.monotonic()
        run(folder, seed)
        seconds = time.monotonic() - began
        [found] = sorted(folder.glob("runs/eval-*/evaluation.json"))[-1:]
        cells, holds = row(json.loads(found.read_text(encoding="utf-8")))
        rows.append([str(seed), *cells, f"{seconds:.0f}", "yes" if holds else "NO"])
        held &= holds
    print(table(("seed", *head, "s", "holds"), rows))
    sys.exit(0 if held else 1)


def preflab(arguments: list[str], folder: Path) -> None:
    """The command line in a process of its own, single-threaded."""
    command = [sys.executable, "-m", "preflab", *arguments]
    subprocess.run(command, cwd=folder, env=os.environ | {"OMP_NUM_THREADS": "1"}, check=True)


def run_demo(folder: Path, seed: int) -> None:
    """`preflab demo`: the seed changes the data and every stage."""
    preflab(["demo", "--folder", str(folder), "--seed", str(seed)], REPOSITORY)


def run_stories(folder: Path, seed: int) -> None:
    """recipes/stories.yaml with a seed."""
    options = ["--workspace", str(folder), "--set", f"seed={seed}"]
    preflab(["run", "../stories.yaml", *options], REPOSITORY / "recipes" / "stories")


DEMO = ("gold", "rude", "KL", "no KL: reward", "no KL: gold")


def demo_row(evaluation: dict[str, Any]) -> tuple[list[str], bool]:
    """Gold above the start's, rude answers down by three quarters, KL within 3; without penalty: hacked."""
    sft, ppo, hacked = (model["figures"] for model in evaluation["models"])
    gains = {comparison["model"]: comparison["differences"] for comparison in evaluation["comparisons"]}
    gold, lost = gains["ppo"]["judge/gold"], gains["ppo_no_kl"]["judge/gold"]
    holds = (
        gold["low"] > 0
        and value(ppo, "label/rude") <= 0.25 * value(sft, "label/rude")
        and value(ppo, "kl/exact") <= 3.0
        and value(hacked, "reward/rm") > value(ppo, "reward/rm")
        and (lost["high"] < 0 or value(hacked, "distinct/2") < 0.5 * value(sft, "distinct/2"))
    )
    return [
        interval(gold),
        f"{value(sft, 'label/rude'):.0%} → {value(ppo, 'label/rude'):.0%}",
        f"{value(ppo, 'kl/exact'):.2f}",
        f"{value(ppo, 'reward/rm'):.2f} → {value(hacked, 'reward/rm'):.2f}",
        interval(lost),
    ], holds


STORIES = ("happiness", "KL", "distinct-2 kept")


def stories_row(evaluation: dict[str, Any]) -> tuple[list[str], bool]:
    """At least 0.85 at no more than 5 nats, with 70 % of distinct-2."""
    before, after = (model["figures"] for model in evaluation["models"])
    kept = value(after, "distinct/2") / value(before, "distinct/2")
    happiness, kl = value(after, "judge/happiness"), value(after, "kl/exact")
    cells = [f"{value(before, 'judge/happiness'):.3f} → {happiness:.3f}", f"{kl:.2f}", f"{kept:.0%}"]
    return cells, happiness >= 0.85 and kl <= 5.0 and kept >= 0.7


def value(figures: Figures, name: str) -> float:
    """One figure's value."""
    return float(figures[name]["value"])


def interval(figure: dict[str, Any]) -> str:
    """`+1.09 (+0.84 to +1.33)`."""
    return f"{figure['value']:+.2f} ({figure['low']:+.2f} to {figure['high']:+.2f})"


if __name__ == "__main__":
    main()
