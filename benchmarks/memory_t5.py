"""Peak memory of PPO on a T5 of the shape of t5-small: LoRA with four roles on one base, beside four full copies.

    python benchmarks/memory_t5.py

Whole processes are measured; what a process takes that only imports the same libraries is subtracted. It also says how
many prompts the encoder read in all steps: with adapters on the decoder alone, each prompt once.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from running import Job, alternate, table, write_json

HERE = Path(__file__).resolve().parent
LIMIT = 0.5


def main() -> None:
    """Runs the four jobs, prints a table, writes JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=1, help="peaks hardly vary, so once will do")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path, default=HERE / "results" / "memory_t5.json")
    args, more = parser.parse_known_args()
    command = (sys.executable, str(HERE / "jobs" / "memory_step.py"))
    size = ("--t5", "--rows", "16", "--prompt-tokens", "192", "--new-tokens", "32", "--threads", str(args.threads))
    stages = {
        "imports": ("imports",),
        "LoRA on the decoder": ("ppo", "--where", "decoder"),
        "LoRA everywhere": ("ppo",),
        "four copies": ("ppo_copies",),
    }
    jobs = [Job(name, (*command, *stage, *size, *more), "parameters") for name, stage in stages.items()]
    outcomes = alternate(jobs, args.rounds, {"OMP_NUM_THREADS": str(args.threads)})
    base = outcomes.pop("imports").peak_mib
    above = {name: outcome.peak_mib - base for name, outcome in outcomes.items()}
    read = {name: outcome.results[0]["prompts_read"] for name, outcome in outcomes.items()}
    copies = above["four copies"]
    rows = [[name, f"{mib:.0f}", f"{mib / copies:.2f}", f"{read[name]}"] for name, mib in above.items()]
    print(f"imports alone: {base:.0f} MiB")
    print(table(("PPO", "peak MiB above imports", "share of four copies", "prompts read by an encoder"), rows))
    print(f"\nwanted: at most {LIMIT} of four copies")
    write_json(args.out, {"imports_mib": base, "above_mib": above, "prompts_read": read})
    print(f"written: {args.out}")


if __name__ == "__main__":
    main()
