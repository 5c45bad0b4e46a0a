"""Peak memory of PPO with LoRA and four roles beside that of SFT with LoRA: the same model, the same batch.

    python benchmarks/memory.py

Whole processes are measured, interpreter and libraries included, on a Llama with random weights that is large enough
for the weights to dominate (the default: 341 million parameters, 1.3 GiB in fp32).
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from running import Job, alternate, table, write_json

HERE = Path(__file__).resolve().parent
LIMIT = 1.25


def main() -> None:
    """Runs both, prints a table, writes JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=1, help="peaks hardly vary, so once will do")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path, default=HERE / "results" / "memory.json")
    args, more = parser.parse_known_args()
    command = (sys.executable, str(HERE / "jobs" / "memory_step.py"))
    jobs = [
        Job(stage, (*command, stage, "--threads", str(args.threads), *more), "parameters") for stage in ("sft", "ppo")
    ]
    outcomes = alternate(jobs, args.rounds, {"OMP_NUM_THREADS": str(args.threads)})
    sft, ppo = outcomes["sft"], outcomes["ppo"]
    weights = sft.results[0]["weights_mib"]
    rows = [[name, f"{outcome.peak_mib:.0f}"] for name, outcome in outcomes.items()]
    print(table(("stage", "peak MiB"), [["weights alone (fp32)", f"{weights}"], *rows]))
    ratio = ppo.peak_mib / sft.peak_mib
    print(f"\nPPO with four roles takes {ratio:.2f} × the memory of SFT (wanted: at most {LIMIT})")
    peaks = {name: outcome.peaks_mib for name, outcome in outcomes.items()}
    write_json(args.out, {"parameters": sft.figure, "weights_mib": weights, "peaks_mib": peaks, "ratio": ratio})
    print(f"written: {args.out}")


if __name__ == "__main__":
    main()
