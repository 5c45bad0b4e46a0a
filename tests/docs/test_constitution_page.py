"""The page of Constitutional AI and the two how-tos: their sums, names, settings and examples are the code's."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from preflab.demo.critiques import FOUND
from preflab.settings.ai import AiJudgeSettings, JudgeSource
from preflab.settings.constitution import ReviseSettings
from preflab.settings.recipe import STAGE_SETTINGS

HOW_TO = ("constitution", "ai-judges")


@pytest.fixture(scope="module")
def page(repository: Path) -> str:
    return (repository / "docs" / "algorithms" / "constitutional-ai.md").read_text(encoding="utf-8")


def test_settings_of_the_page_have_these_defaults(page: str) -> None:
    rows = re.findall(r"^\| `(\w+)` \| (\S+|preflab's own) \|", page, re.MULTILINE)
    fields = {**ReviseSettings.model_fields, **AiJudgeSettings.model_fields, **JudgeSource.model_fields}
    assert len(rows) == 5
    for name, default in rows:
        wanted = "preflab's own" if name == "constitution" else str(fields[name].default).lower()
        assert default == wanted, name


def test_files_named_exist(page: str, repository: Path) -> None:
    files = re.findall(r"`((?:src|tests|recipes)/[\w./]+\.\w+)`", page)
    assert len(files) >= 8
    assert [file for file in files if not (repository / file).exists()] == []


def test_sums_on_the_page_are_right(page: str) -> None:
    sums = re.findall(r"`([^`=]+) = (-?[\d.]+)`", page)
    assert len(sums) >= 4
    for left, right in sums:
        assert re.fullmatch(r"[\d.+\-*/() ]+", left), left
        assert eval(left, {"__builtins__": {}}) == pytest.approx(float(right)), left


@pytest.mark.parametrize("name", HOW_TO)
def test_stages_of_the_how_tos_are_settings_that_exist(name: str, repository: Path) -> None:
    text = (repository / "docs" / "how-to" / f"{name}.md").read_text(encoding="utf-8")
    blocks = [yaml.safe_load(_first_of_each(block)) for block in re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)]
    stages = [stage for block in blocks for stage in block.values() if isinstance(stage, dict) and "kind" in stage]
    assert len(stages) >= 4
    for stage in stages:
        STAGE_SETTINGS[stage["kind"]].model_validate(stage)


def _first_of_each(block: str) -> str:
    """The block with a number at each further stage of one name: the page shows two ways of writing it."""
    seen: dict[str, int] = {}
    lines = []
    for line in block.splitlines():
        name = re.match(r"(\w+):", line)
        if name:
            seen[name[1]] = seen.get(name[1], 0) + 1
            line = line.replace(":", f"{seen[name[1]]}:", 1) if seen[name[1]] > 1 else line
        lines.append(line)
    return "\n".join(lines)


def test_the_small_constitution_names_what_the_grammar_knows(repository: Path) -> None:
    from preflab.constitution.principles import read_constitution

    found = read_constitution(repository / "recipes" / "constitution" / "shop.yaml")
    assert {principle.name: principle.weight for principle in found.principles} == dict(
        zip(FOUND, (2, 2, 1), strict=True)
    )
