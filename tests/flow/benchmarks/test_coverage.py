"""The printed intervals cover: the grid of `coverage_of_intervals.py` with fewer repeats, against its page."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

PAGE = "docs/experiments/intervals.md"
REPEATS = 750
FAR = 4.0
"""Standard deviations allowed: a chance of 3 in 100,000 for each of the 190 cells, 0.6 % for all of them."""


@pytest.fixture(scope="module")
def coverage(repository: Path) -> ModuleType:
    sys.path.insert(0, str(repository / "benchmarks"))
    try:
        import coverage_of_intervals  # type: ignore[import-not-found]
    finally:
        sys.path.remove(str(repository / "benchmarks"))
    return coverage_of_intervals


def tolerance(share: float, num: float) -> float:
    """Four standard deviations of the share of `num` independent repeats."""
    return FAR * float(np.sqrt(share * (1 - share) / num))


@pytest.mark.slow
def test_every_printed_interval_covers_or_is_listed(repository: Path, coverage: ModuleType) -> None:
    text = (repository / PAGE).read_text(encoding="utf-8")
    listed = dict(re.findall(r"^- (.*): ([\d.]+)\u00a0%$", text.partition("<!-- below: begin -->")[2], re.MULTILINE))
    wrong = []
    for cell in coverage.cells(REPEATS, seed=1):
        name = f"{cell.kind}, {cell.world}, n = {cell.num}"
        assert f"| {cell.kind} | {cell.world} |" in text, f"{name}: write the page anew"
        if not cell.prints:
            continue
        least = float(listed[name]) / 100 if name in listed else coverage.LEAST
        if cell.covered < least - tolerance(least, REPEATS * cell.printed):
            wrong.append(f"{name}: {cell.covered:.3f} of {cell.printed:.2f}")
    assert not wrong


@pytest.mark.slow
def test_the_primary_verdict_is_as_promised(coverage: ModuleType) -> None:
    """5 % of 1,000 with 2.3 standard deviations of 0.7 points, and 80 % of 500 less one of 1.8 points."""
    generator = np.random.default_rng(3)
    for num in coverage.SIZES:
        assert coverage.found(generator, 1000, num, 1.0) <= 0.066
    assert coverage.found(generator, 500, coverage.promised_size(), 0.7) >= 0.78


@pytest.mark.slow
def test_seeds_without_a_difference_are_found_in_5_of_100(coverage: ModuleType) -> None:
    for between in (0.0, 0.2):
        alone, both = coverage.seeds(np.random.default_rng(5), 500, between)
        assert both <= 0.05 + tolerance(0.05, 500)
        assert alone > both
    assert coverage.seeds(np.random.default_rng(6), 500, 0.0)[0] > 0.18


@pytest.mark.slow
def test_a_family_of_null_measures_finds_nothing_in_95_of_100(coverage: ModuleType) -> None:
    plain, adjusted = coverage.family(np.random.default_rng(4), 500, 10)
    assert adjusted <= 0.05 + tolerance(0.05, 500)
    # Ten independent tests at 5 % would find something in 1 − 0.95¹⁰ = 40 %; tied scores make them careful.
    assert plain > 0.25
