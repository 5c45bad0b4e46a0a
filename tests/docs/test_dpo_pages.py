"""The pages of DPO and its relatives: headings, steps, metrics, settings, files and fixed points they name."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from docs.test_ppo_page import HEADINGS, section
from preflab.settings.dpo import DpoSettings
from preflab.settings.preference_losses import LOSSES
from preflab.training.metrics import GLOSSARY

PAGE = re.compile(r"\(([\w-]+)\.md\)")
SHORT = list(dict.fromkeys(page for loss in LOSSES.values() for page in PAGE.findall(loss.row.ends_at)))
"""The pages that rows lead to."""


@pytest.fixture(scope="module")
def pages(repository: Path) -> dict[str, str]:
    folder = repository / "docs" / "algorithms"
    return {name: (folder / f"{name}.md").read_text(encoding="utf-8") for name in ["dpo", *SHORT]}


def test_headings(pages: dict[str, str]) -> None:
    assert re.findall(r"^## (.*)$", pages["dpo"], re.MULTILINE) == [
        f"{n}. {name}" for n, name in enumerate(HEADINGS, 1)
    ]


def test_steps_are_those_of_the_loop(pages: dict[str, str], repository: Path) -> None:
    code = (repository / "src" / "preflab" / "policy" / "dpo.py").read_text(encoding="utf-8")
    on_page = re.findall(r"^(\d)\. \*\*(\w+)\*\*", section(pages["dpo"], "Pseudocode"), re.MULTILINE)
    in_code = re.findall(r"^ +# (\d) (\w+)", code, re.MULTILINE)
    in_docstring = re.findall(r"^    (\d) (\w+)  ", code, re.MULTILINE)
    assert on_page == in_code == in_docstring


def test_every_loss_has_a_row(pages: dict[str, str]) -> None:
    rows = re.findall(r"^\| `(\w+)` \|", section(pages["dpo"], "Variants"), re.MULTILINE)
    assert rows == list(LOSSES)
    assert set(SHORT) >= {"robust-dpo", "kto"}


def test_metrics_and_settings_exist(pages: dict[str, str]) -> None:
    names = set(re.findall(r"`([a-z_]+/[a-z_0-9]+)`", section(pages["dpo"], "Metrics")))
    assert {"accuracy/implicit", "logratio/chosen", "held_out/accuracy", "kl/exact"} <= names
    assert names <= GLOSSARY.keys()
    rows = re.findall(r"^\| `(\w+)` \|", section(pages["dpo"], "Quick facts"), re.MULTILINE)
    assert rows
    assert set(rows) <= DpoSettings.model_fields.keys()


@pytest.mark.parametrize("name", ["dpo", *SHORT])
def test_files_named_exist_and_a_fixed_point_is_stated(name: str, pages: dict[str, str], repository: Path) -> None:
    files = re.findall(r"`((?:src|tests|docs)/[\w./]+\.\w+)`", pages[name])
    assert files
    assert [file for file in files if not (repository / file).exists()] == []
    assert re.search(r"\*\*Fixed points?\.\*\*", pages[name])
