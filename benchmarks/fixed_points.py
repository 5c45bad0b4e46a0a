"""Which algorithm with which KL treatment ends on π* ∝ π_ref · exp(reward / kl_coef), and where the others end.

    python benchmarks/fixed_points.py            # prints the tables
    python benchmarks/fixed_points.py --write    # and puts them into docs/experiments/fixed-points.md

First table: worlds in which every completion and every group can be listed; a table of logits follows the exact
expected gradient of the package's own functions to the end. Second table: the loops themselves, with their sampler and
their optimiser, on a tiny transformer whose sixteen completions can be listed.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPOSITORY / "tests"))

from enumerated.group_world import GroupWorld, online_dpo_gradient  # noqa: E402
from enumerated.world import World  # noqa: E402

PAGE = REPOSITORY / "docs" / "experiments" / "fixed-points.md"
KL_COEF, NUM = 0.5, 4
WORLDS = {"equal lengths": World(3, 2), "unequal lengths": World(2, 3, end_token=0, seed=2)}
ALGORITHMS = ("rloo", "dr_grpo", "grpo", "dapo", "gspo")
TREATMENTS = ("reward_k1", "sequence_loss", "exact", "token_k3")


def distance(world: World, gradient: Callable[[Tensor], Tensor], target: Tensor) -> float:
    """KL(π ‖ target) where descent on a gradient field ends, nats."""
    return abs(world.distance(world.descend(gradient, num_steps=600, learning_rate=0.2), target))


def enumerated_rows() -> list[list[str]]:
    """Algorithm, KL treatment, and the distance from π* in each world."""
    torch.set_default_dtype(torch.float64)
    rows = []
    for algorithm in ALGORITHMS:
        for treatment in TREATMENTS:
            found = [enumerated(world, algorithm, treatment) for world in WORLDS.values()]
            rows.append([f"`{algorithm}`", f"`{treatment}`", *(f"{one:.3f}" for one in found)])
    for labels in ("soft", "hard"):
        found = [online(world, labels) for world in WORLDS.values()]
        rows.append(["`online_dpo`", f"{labels} labels", *(f"{one:.3f}" for one in found)])
    return rows


def enumerated(world: World, algorithm: str, treatment: str) -> float:
    """Distance from π* of one row of the table in one world."""
    groups = GroupWorld(world, NUM)
    return distance(
        world, lambda logits: groups.gradient(logits, algorithm, treatment, KL_COEF), world.optimum(KL_COEF)
    )


def online(world: World, labels: str) -> float:
    """Distance from π* of Online DPO with soft labels, or with the higher reward as the certain winner."""
    differences = world.scores.unsqueeze(1) - world.scores.unsqueeze(0)
    wanted = torch.sigmoid(differences) if labels == "soft" else (differences.sign() + 1) / 2
    return distance(world, lambda logits: online_dpo_gradient(world, logits, KL_COEF, wanted), world.optimum(KL_COEF))


def loop_rows() -> list[list[str]]:
    """Algorithm, KL treatment, completions per prompt, kl_coef, distance from its own fixed point and from π*."""
    from enumerated.test_group_optimum import CASES, ended, online_ended

    torch.set_default_dtype(torch.float32)
    rows = []
    for algorithm, treatment, num, kl_coef in CASES:
        with tempfile.TemporaryDirectory() as folder:
            own, optimum = ended(Path(folder), algorithm, treatment, num, kl_coef, 200)
        rows.append([f"`{algorithm}`", f"`{treatment}`", str(num), f"{kl_coef:g}", f"{own:.4f}", f"{optimum:.4f}"])
    for labels in ("soft", "drawn"):
        with tempfile.TemporaryDirectory() as folder:
            own = online_ended(Path(folder), labels, 200)
        rows.append(["`online_dpo`", f"{labels} labels", "2", f"{KL_COEF:g}", f"{own:.4f}", f"{own:.4f}"])
    return rows


TABLES: dict[str, tuple[tuple[str, ...], Callable[[], list[list[str]]]]] = {
    "enumerated": (("algorithm", "KL treatment or labels", *WORLDS), enumerated_rows),
    "loops": (
        ("algorithm", "KL treatment or labels", "K", "kl_coef or beta", "to its own fixed point", "to π*"),
        loop_rows,
    ),
}


def main() -> None:
    """Prints the tables; with --write the page holds them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=TABLES, help="one of the two tables")
    parser.add_argument("--write", action="store_true")
    args = parser.parse_args()
    torch.set_num_threads(1)
    for name, (head, rows) in TABLES.items():
        if args.only in (None, name):
            text = table(head, rows())
            print(f"{name}\n{text}\n", flush=True)
            if args.write:
                replace(name, text)


def table(head: tuple[str, ...], rows: list[list[str]]) -> str:
    """A Markdown table."""
    return "\n".join("| " + " | ".join(line) + " |" for line in (head, ["---"] * len(head), *rows))


def replace(name: str, text: str) -> None:
    """Put a table between the marks of its name in the page."""
    page = PAGE.read_text(encoding="utf-8")
    begin, end = f"<!-- {name} -->\n", f"<!-- end of {name} -->"
    before, after = page.partition(begin)[0], page.partition(end)[2]
    PAGE.write_text(f"{before}{begin}\n{text.strip()}\n\n{end}{after}", encoding="utf-8")


if __name__ == "__main__":
    main()
