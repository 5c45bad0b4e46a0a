"""The table of models has every architecture that is tried and says of each what was found.

The table is written by `make models`, which takes long; what it measures is tested by itself elsewhere.
"""

from __future__ import annotations

import re
from pathlib import Path
from types import ModuleType

import pytest

from architecture_table import ARCHITECTURES, GROUPS
from architecture_trials import AGREE, ROUNDS
from architectures import architecture, small_config
from docs_scripts import docs_script
from preflab.models.kinds import UNSUPPORTED

REFUSED = "refused: "


@pytest.fixture(scope="module")
def script(repository: Path) -> ModuleType:
    """docs/models.py as a module."""
    return docs_script(repository, "models")


@pytest.fixture(scope="module")
def rows(repository: Path, script: ModuleType) -> dict[str, dict[str, str]]:
    """Architecture → its cells by column."""
    page = (repository / "docs" / "reference" / "models.md").read_text(encoding="utf-8")
    assert page.startswith(script.HEAD), "docs/models.py was changed: run `make models`"
    lines = [line.strip("| ").split(" | ") for line in page.splitlines() if line.startswith("| ")]
    lines = [line for line in lines if len(line) == len(script.COLUMNS)]
    cells = [dict(zip(script.COLUMNS, line, strict=True)) for line in lines]
    return {row["architecture"]: row for row in cells if row["architecture"] not in ("architecture", "---")}


def test_every_architecture_is_in_the_table_and_no_other(rows: dict[str, dict[str, str]]) -> None:
    assert list(rows) == [name for names in GROUPS.values() for name in names]
    assert set(rows) == set(ARCHITECTURES)


def test_every_row_is_complete_or_a_refusal(rows: dict[str, dict[str, str]]) -> None:
    for name, row in rows.items():
        if row["check"].startswith(REFUSED):
            assert len(row["check"]) > 30, name
        else:
            assert all(row.values()), name
            assert row["check"] == "holds", name
            assert not row["policy"].startswith(REFUSED), name
            assert not row["reward"].startswith(REFUSED), name


def test_sampler_and_trainer_agree_with_the_plain_forward(rows: dict[str, dict[str, str]]) -> None:
    for name, row in rows.items():
        if not row["check"].startswith(REFUSED):
            assert max(map(float, row["agreement"].split(", "))) <= ROUNDS.get(name, AGREE), name
            assert re.fullmatch(r"[\d.]+ → [\d.]+", row["trains"]), f"{name}: the loss did not fall"


def test_refused_architectures_cannot_generate_text(rows: dict[str, dict[str, str]]) -> None:
    refused = {name for name, row in rows.items() if row["check"].startswith(REFUSED)}
    titles = ("Decoders", "Mixtures of experts", "Recurrent and hybrid", "Encoder–decoders")
    languages = {name for title in titles for name in GROUPS[title]}
    assert refused & languages == {"cpmant", *UNSUPPORTED}  # cpmant is a prefix model
    assert set(GROUPS["No language models"]) <= refused


def test_every_architecture_of_the_table_can_be_made() -> None:
    from transformers import CONFIG_MAPPING

    for name in ARCHITECTURES:
        row = architecture(name)
        assert small_config(CONFIG_MAPPING[row.model_type], row.changes).model_type == row.model_type
