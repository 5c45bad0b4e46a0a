"""Times preflab's PPO step and sampling beside TRL's and transformers', in one alternating run.

    python benchmarks/peers.py --root DIR            all comparisons; DIR is what the peers' setup.sh made
    python benchmarks/peers.py --root DIR --only sample --rounds 5

Each job is a process of its own, on the same model (rand15m: 15 M parameters, random weights, 32,000 tokens), the same
prompts and the same number of threads. Ratios are ratios of medians over the rounds. Read benchmarks/README.md before
quoting a number: a machine that does something else at the same time gives other ones.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
from dataclasses import dataclass
from pathlib import Path

from running import Job, Outcome, alternate, table, write_json

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parent


@dataclass(frozen=True)
class Comparison:
    """Our job beside another; `more_is_better` for rates, not for seconds."""

    name: str
    ours: str
    other: str
    more_is_better: bool = False


COMPARISONS = (
    Comparison("PPO step, full, against TRL 1.12", "ppo-full", "trl-ppo"),
    Comparison("PPO step, LoRA, against our full one", "ppo-lora", "ppo-full"),
    Comparison("sampling, against transformers generate", "sample", "generate", more_is_better=True),
)


def arguments() -> argparse.Namespace:
    """The command line."""
    shared = Path(os.environ.get("PREFLAB_SHARED") or REPOSITORY.parent / "shared")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peers", type=Path, default=shared / "peers", help="folder of the peers' scripts")
    parser.add_argument("--root", type=Path, required=True, help="what setup.sh made: trl112, trl116, rand15m")
    parser.add_argument("--rounds", type=int, default=3, help="times each job is run")
    parser.add_argument("--steps", type=int, default=5, help="PPO steps per run; the median of the gaps is taken")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--only", choices=("ppo", "sample"), help="only these jobs")
    parser.add_argument("--out", type=Path, default=HERE / "results" / "peers.json")
    parsed = parser.parse_args()
    for needed in (parsed.peers / "trl_ppo.py", parsed.root / "rand15m" / "config.json"):
        if not needed.exists():
            sys.exit(f"error: {needed} is missing\n       run the peers' setup.sh DIR first, and give --root DIR")
    return parsed


def jobs(args: argparse.Namespace) -> list[Job]:
    """The processes of a round, ours and theirs in turn."""
    common = ("--root", str(args.root), "--threads", str(args.threads))
    steps = ("--steps", str(args.steps))

    def ours(name: str, *more: str) -> tuple[str, ...]:
        return (sys.executable, str(HERE / "jobs" / name), "--peers", str(args.peers), *common, *more)

    def theirs(environment: str, name: str, *more: str) -> tuple[str, ...]:
        return (str(args.root / environment / "bin" / "python"), str(args.peers / name), *common, *more)

    ppo = [
        Job("ppo-full", ours("ppo_step.py", *steps), "s_per_step"),
        Job("trl-ppo", theirs("trl112", "trl_ppo.py", *steps), "s_per_step"),
        Job("ppo-lora", ours("ppo_step.py", "--lora", *steps), "s_per_step"),
    ]
    sample = [
        Job("sample", ours("sample.py"), "tokens_per_s"),
        Job("generate", theirs("trl116", "hf_generate.py"), "tokens_per_s"),
    ]
    return {"ppo": ppo, "sample": sample, None: ppo + sample}[args.only]


def speed_ratio(comparison: Comparison, outcomes: dict[str, Outcome]) -> float:
    """How many times as fast ours is."""
    ours, other = outcomes[comparison.ours].figure, outcomes[comparison.other].figure
    return ours / other if comparison.more_is_better else other / ours


def main() -> None:
    """Runs, prints two tables, writes JSON."""
    args = arguments()
    threads = str(args.threads)
    outcomes = alternate(jobs(args), args.rounds, {"OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads})
    rows = [
        [o.job.name, o.job.figure, f"{o.figure:.4g}", f"{min(o.figures):.4g}–{max(o.figures):.4g}", f"{o.peak_mib:.0f}"]
        for o in outcomes.values()
    ]
    print(table(("job", "figure", "median", "range", "peak MiB"), rows) + "\n")
    done = [c for c in COMPARISONS if c.ours in outcomes and c.other in outcomes]
    compared = {
        c.name: {
            "times_as_fast": speed_ratio(c, outcomes),
            "share_of_memory": outcomes[c.ours].peak_mib / outcomes[c.other].peak_mib,
        }
        for c in done
    }
    rows = [[name, f"{r['times_as_fast']:.2f} ×", f"{r['share_of_memory']:.2f}"] for name, r in compared.items()]
    print(table(("comparison", "times as fast", "share of its memory"), rows))
    write_json(
        args.out,
        {
            "machine": {"processor": platform.processor() or platform.machine(), "cores": os.cpu_count()},
            "threads": args.threads,
            "rounds": args.rounds,
            "jobs": {
                name: {"figure": o.job.figure, "figures": o.figures, "peaks_mib": o.peaks_mib, "results": o.results}
                for name, o in outcomes.items()
            },
            "comparisons": compared,
        },
    )
    print(f"\nwritten: {args.out}")


if __name__ == "__main__":
    main()
