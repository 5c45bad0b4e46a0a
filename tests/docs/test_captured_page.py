"""The table of captured decoding has every architecture, and says what is found when one is tried again."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import pytest

from architecture_table import ARCHITECTURES
from architecture_trials import tiers
from docs_scripts import docs_script

QUICK = ("llama", "falcon", "gpt_neo", "cpmant")
"""One of each kind of cell."""


@pytest.fixture(scope="module")
def script(repository: Path) -> ModuleType:
    """docs/captured.py as a module."""
    return docs_script(repository, "captured")


@pytest.fixture(scope="module")
def rows(script: ModuleType) -> dict[str, tuple[str, ...]]:
    """Architecture → its row."""
    page = script.PAGE.read_text(encoding="utf-8")
    assert page.startswith(script.HEAD), "docs/captured.py was changed: run it"
    lines = [tuple(line.strip("| ").split(" | ")) for line in page[len(script.HEAD) :].splitlines()]
    return {line[0]: line for line in lines if len(line) == 3 and line[0] not in ("architecture", "---")}


def test_every_architecture_is_in_the_table_and_no_other(rows: dict[str, tuple[str, ...]]) -> None:
    assert set(rows) == set(ARCHITECTURES)


def test_most_policies_are_captured(rows: dict[str, tuple[str, ...]], script: ModuleType) -> None:
    said = [row[2] for row in rows.values() if row[2] != "–"]
    assert sum(cell == "yes" for cell in said) >= 0.85 * len(said)
    assert all(cell in ("yes", "no fixed buffers") or cell.startswith("no: ") for cell in said)
    assert script.table(list(rows.values())) in script.PAGE.read_text(encoding="utf-8"), "the counts are of these rows"


@pytest.mark.parametrize("name", tiers(QUICK, tuple(ARCHITECTURES)))
def test_a_row_is_found_again(name: str, rows: dict[str, tuple[str, ...]], script: ModuleType, tmp_path: Path) -> None:
    assert script.try_out(name, tmp_path) == rows[name]
