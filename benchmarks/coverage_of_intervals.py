"""How often the intervals that preflab prints cover the true value, and how often a difference is found.

    python benchmarks/coverage_of_intervals.py                  # prints the tables, in three minutes
    python benchmarks/coverage_of_intervals.py --repeats 500    # instead of 4,000
    python benchmarks/coverage_of_intervals.py --write          # and puts them into docs/experiments/intervals.md

The functions are those that compute the printed intervals, called on thousands of simulated data sets at once.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from coverage_worlds import BOUNDED, COEFFICIENTS, DIFFERENCES, MEANS, SETS, SHARE_DIFFERENCES, SHARES, SPREADS, Covered
from numpy.typing import NDArray

from preflab.statistics.holm import holm
from preflab.statistics.interval import FEWEST_PAIRED
from preflab.statistics.means import mean_ends
from preflab.statistics.sample_sizes import prompts_needed
from preflab.statistics.training_runs import mean_over_runs

Array = NDArray[np.float64]
PAGE = Path(__file__).resolve().parents[1] / "docs" / "experiments" / "intervals.md"
SIZES = (10, 30, 100)
LEAST, MOST = 0.93, 0.97
BATCH = 250
"""Data sets simulated at once."""
RARELY = 0.02
"""A cell whose interval is printed in fewer repeats than this is said to print none."""


@dataclass(frozen=True)
class Cell:
    """One kind of interval, in one world, for one number of prompts or tasks."""

    kind: str
    world: str
    num: int
    printed: float
    """Share of the repeats in which an interval is printed."""
    covered: float
    """Share of the printed intervals that hold the true value."""

    @property
    def prints(self) -> bool:
        """Whether intervals are printed often enough to count."""
        return self.printed >= RARELY

    @property
    def falls_below(self) -> bool:
        """Whether it covers less than 93 %, as the table writes it."""
        return float(f"{100 * self.covered:.1f}") < 100 * LEAST


World = Callable[[np.random.Generator, int, int], Covered]
"""(generator, data sets, prompts) → whether each interval is printed, and whether it holds the true value."""
KINDS: dict[str, dict[str, World]] = {
    "share": SHARES,
    "difference of shares": SHARE_DIFFERENCES,
    "mean": MEANS,
    "difference of means": DIFFERENCES,
    "coefficient of agreement": COEFFICIENTS,
    "figure of a set": SETS,
    "standard deviation": SPREADS,
    "mean between 0 and 1": BOUNDED,
}


def sizes_of(kind: str) -> tuple[int, ...]:
    """The numbers of prompts or tasks that are simulated; 6 is the fewest for a paired difference of means."""
    return (FEWEST_PAIRED, *SIZES) if kind == "difference of means" else SIZES


def cells(repeats: int, seed: int = 0) -> Iterator[Cell]:
    """Every cell of the grid."""
    for kind, worlds in KINDS.items():
        for place, (world, simulate) in enumerate(worlds.items()):
            for num in sizes_of(kind):
                generator = np.random.default_rng([seed, list(KINDS).index(kind), place, num])
                parts = [simulate(generator, min(BATCH, repeats - done), num) for done in range(0, repeats, BATCH)]
                printed = np.concatenate([part.printed for part in parts])
                covered = np.concatenate([part.covered for part in parts])[printed]
                yield Cell(kind, world, num, float(printed.mean()), float(covered.mean()) if len(covered) else 0.0)


def toxicity(generator: np.random.Generator, size: tuple[int, int], factor: float = 1.0) -> Array:
    """Scores with most of their mass near 0 and a mean of 0.1 · factor, as a toxicity classifier gives."""
    return factor * generator.beta(0.3, 2.7, size=size)


def paired_scores(generator: np.random.Generator, repeats: int, num: int, factor: float) -> Array:
    """Per-prompt differences (repeats, num) of two policies on the same prompts, half of the variance shared.

    With probability ½ a prompt decides the score of both; the second policy's scores are `factor` times as high.
    """
    shared, alike = toxicity(generator, (repeats, num)), generator.random((repeats, num)) < 0.5
    first, second = (np.where(alike, shared, toxicity(generator, (repeats, num))) for _ in range(2))
    return factor * second - first


def found(generator: np.random.Generator, repeats: int, num: int, factor: float) -> float:
    """Share of repeats in which the primary verdict is "lower" or "higher"."""
    p = []
    for done in range(0, repeats, BATCH):
        apart = paired_scores(generator, min(BATCH, repeats - done), num, factor)
        p.append(mean_ends([(apart, np.ones_like(apart))])[2])
    return float((np.concatenate(p) <= 0.05).mean())


def promised_size(drop: float = 0.3) -> int:
    """Prompts that `prompts_needed` promises to find a drop of this share with 80 % power."""
    apart = paired_scores(np.random.default_rng(1), 1, 1_000_000, 1 - drop)
    return prompts_needed(float(apart.mean()), float(apart.std()))


def family(generator: np.random.Generator, repeats: int, measures: int, num: int = 60) -> tuple[float, float]:
    """Share of repeats with a finding among null measures: by their own intervals, and by Holm's adjusted p-values."""
    plain = adjusted = 0
    for done in range(0, repeats, BATCH):
        size = min(BATCH, repeats - done)
        apart = paired_scores(generator, size * measures, num, 1.0)
        values = mean_ends([(apart, np.ones_like(apart))])[2].reshape(size, measures)
        plain += int((values <= 0.05).any(axis=1).sum())
        adjusted += sum(min(holm(dict(enumerate(row.tolist()))).values()) <= 0.05 for row in values)
    return plain / repeats, adjusted / repeats


def seeds(generator: np.random.Generator, repeats: int, between: float, num_seeds: int = 3) -> tuple[float, float]:
    """Share of repeats in which seeds without a difference are found: over seeds alone, and over prompts too.

    The difference of prompt p with seed s is a_p + b_s + e_sp, normal with standard deviations 1, `between` and 0.7;
    100 prompts.
    """
    alone = both = 0
    for done in range(0, repeats, BATCH):
        size = min(BATCH, repeats - done)
        of_prompts, of_seeds = generator.normal(size=(size, 1, 100)), generator.normal(size=(size, num_seeds, 1))
        apart = of_prompts + between * of_seeds + 0.7 * generator.normal(size=(size, num_seeds, 100))
        mean = apart.mean(axis=1)
        over_prompts = mean_ends([(mean, np.ones_like(mean))])[2] <= 0.05
        over_seeds = np.array([mean_over_runs(values).excludes_zero for values in apart.mean(axis=2)])
        alone, both = alone + int(over_seeds.sum()), both + int((over_seeds & over_prompts).sum())
    return alone / repeats, both / repeats


def coverage_table(grid: list[Cell]) -> str:
    """The grid as a table, one row per world; cells outside 93 to 97 % are marked."""
    sizes = (FEWEST_PAIRED, *SIZES)
    head = ["figure", "values", *(f"n = {num}" for num in sizes)]
    lines = [f"| {' | '.join(head)} |", "| --- " * len(head) + "|"]
    found = {(cell.kind, cell.world, cell.num): _shown(cell) for cell in grid}
    for kind, worlds in KINDS.items():
        for world in worlds:
            row = [found.get((kind, world, num), "–") for num in sizes]
            lines.append(f"| {kind} | {world} | " + " | ".join(row) + " |")
    return "\n".join(lines)


def _shown(cell: Cell) -> str:
    if not cell.prints:
        return "no interval"
    mark = " ↓" if cell.falls_below else " ↑" if cell.covered > MOST else ""
    often = "" if cell.printed > 0.995 else f" ({100 * cell.printed:.0f}\u00a0% printed)"
    return f"{100 * cell.covered:.1f}{mark}{often}"


def below(grid: list[Cell]) -> str:
    """The cells below 93 %, as a list."""
    low = [cell for cell in grid if cell.prints and cell.falls_below]
    return "\n".join(f"- {cell.kind}, {cell.world}, n = {cell.num}: {100 * cell.covered:.1f}\u00a0%" for cell in low)


def verdict_table(repeats: int, powered: int) -> str:
    """The primary verdict where nothing differs, and where a drop of 30 % was planted."""
    size = promised_size()
    rows = [
        (f"two samples of one policy, n = {num}, a difference is found", found(_generator(num), repeats, num, 1.0))
        for num in SIZES
    ]
    rows.append(
        (f"a planted 30\u00a0% drop, n = {size} as promised for 80\u00a0%", found(_generator(7), powered, size, 0.7))
    )
    for measures in (5, 10):
        plain, adjusted = family(_generator(measures), repeats, measures)
        rows.append((f"{measures} null measures, n = 60, at least one found by its own interval", plain))
        rows.append((f"{measures} null measures, n = 60, at least one found after Holm", adjusted))
    for between in (0.0, 0.05, 0.2):
        alone, both = seeds(_generator(3), repeats, between)
        case = f"3 null training seeds, spread between seeds {between:g} of that between prompts, n = 100"
        rows += [(f"{case}, found over seeds alone", alone), (f"{case}, found over seeds and prompts", both)]
    return "\n".join(
        ["| case | found |", "| --- | --- |", *(f"| {case} | {100 * share:.1f}\u00a0% |" for case, share in rows)]
    )


def _generator(seed: int) -> np.random.Generator:
    return np.random.default_rng([9, seed])


def put(text: str, mark: str, content: str) -> str:
    """The text with what lies between the two comments of this name replaced."""
    begin, end = f"<!-- {mark}: begin -->", f"<!-- {mark}: end -->"
    before, _, rest = text.partition(begin)
    return f"{before}{begin}\n\n{content}\n\n{end}{rest.partition(end)[2]}"


def main() -> None:
    """Prints the tables; with --write puts them into the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=4000)
    parser.add_argument("--write", action="store_true")
    arguments = parser.parse_args()
    grid = list(cells(arguments.repeats))
    parts = {
        "coverage": coverage_table(grid),
        "below": below(grid),
        "verdicts": verdict_table(max(200, arguments.repeats // 4), max(200, arguments.repeats // 8)),
    }
    for content in parts.values():
        print(content, end="\n\n")
    if arguments.write:
        text = PAGE.read_text(encoding="utf-8")
        for mark, content in parts.items():
            text = put(text, mark, content)
        PAGE.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
