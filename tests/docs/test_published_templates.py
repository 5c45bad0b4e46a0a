"""The table of published chat templates: how its tool reads a template that it has not seen."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import pytest

from chat_templates import BY_NAME
from docs_scripts import docs_script


@pytest.fixture(scope="module")
def script(repository: Path) -> ModuleType:
    """docs/published_templates.py as a module."""
    return docs_script(repository, "published_templates")


@pytest.mark.parametrize("name", ["chatml", "llama3", "gemma", "phi"])
def test_marks_and_the_end_are_found_in_the_template(script: ModuleType, tmp_path: Path, name: str) -> None:
    known = BY_NAME[name]
    assert known.template is not None
    (tmp_path / "some.jinja").write_text(known.template, encoding="utf-8")
    found = script.family(tmp_path / "some.jinja")
    assert found.eos == known.end
    written = {mark for mark in known.special if mark in known.template}
    assert written <= set(found.special)


def test_a_template_that_refuses_everything_has_a_row(script: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "some.jinja").write_text("{{ raise_exception('needs tools') }}", encoding="utf-8")
    row = script.cells(script.family(tmp_path / "some.jinja"))
    assert len(row) == len(script.COLUMNS)
    assert row[3] == "refused: needs tools"


def test_the_page_has_a_row_of_every_column(script: ModuleType) -> None:
    lines = [line for line in script.PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("| ")]
    assert len(lines) > 50
    assert {line.replace("\\|", "").count("|") for line in lines} == {len(script.COLUMNS) + 1}
