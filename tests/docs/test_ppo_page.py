"""docs/algorithms/ppo.md: its example is the data file's, its sums are right, its names exist."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any, get_args

import pytest

from enumerated.test_maths_kl import WRONG
from preflab.maths import kl
from preflab.settings.ppo import PpoSettings
from preflab.training.metrics import GLOSSARY

HEADINGS = [
    "In one breath",
    "Quick facts",
    "Objective",
    "What the formula does",
    "Pseudocode",
    "Worked example on paper",
    "Try it",
    "Variants",
    "Metrics",
    "Implementation details",
    "Results",
    "How it fails",
    "Read next",
]


@pytest.fixture(scope="module")
def page(repository: Path) -> str:
    return (repository / "docs" / "algorithms" / "ppo.md").read_text(encoding="utf-8")


def section(page: str, heading: str) -> str:
    """The text under `## N. heading`."""
    match = re.search(rf"^## \d+\. {heading}\n(.*?)(?=^## |\Z)", page, re.MULTILINE | re.DOTALL)
    assert match is not None, heading
    return match.group(1)


def numbered_rows(text: str) -> dict[str, list[float]]:
    """Table rows that start with a name in code: name → the numbers of the row."""
    rows = {}
    for name, rest in re.findall(r"^\| `(\w+)` \|(.*)\|$", text, re.MULTILINE):
        cells = [cell.strip() for cell in rest.split("|")]
        rows[name] = [float(cell) for cell in cells if re.fullmatch(r"-?[\d.]+", cell)]
    return rows


def flat(value: Any) -> list[float]:
    """A number, a list or a list of lists as one list."""
    return [number for part in value for number in flat(part)] if isinstance(value, list) else [float(value)]


@pytest.fixture(scope="module")
def example(repository: Path) -> dict[str, Any]:
    text = (repository / "tests" / "by_hand" / "data" / "ppo_worked_example.json").read_text(encoding="utf-8")
    return dict(json.loads(text))


def test_headings(page: str) -> None:
    assert re.findall(r"^## (.*)$", page, re.MULTILINE) == [f"{n}. {name}" for n, name in enumerate(HEADINGS, 1)]


def test_worked_example_is_that_of_the_data_file(page: str, example: dict[str, Any]) -> None:
    expected: dict[str, list[float]] = {}
    for part in ("rollout", "expected", "update", "expected_update"):
        expected |= {name: flat(value) for name, value in example[part].items()}
    assert numbered_rows(section(page, "Worked example on paper")) == expected


def test_worked_example_names_the_settings_of_the_data_file(page: str, example: dict[str, Any]) -> None:
    found = section(page, "Worked example on paper")
    sentence = re.search(r"^Settings here: .*$", found, re.MULTILINE)
    assert sentence is not None
    settings = example["settings"]
    for name in ("kl_coef", "gamma", "lam", "value_clip", "value_coef"):
        assert f"`{name}` {settings[name]:g}" in sentence.group(0)
    assert settings["clip_low"] == settings["clip_high"] == settings["value_clip"]
    assert settings["entropy_coef"] == 0


def test_sums_on_the_page_are_right(page: str, example: dict[str, Any]) -> None:
    sums = re.findall(r"`([^`=]+) = (-?[\d.]+)`", section(page, "Worked example on paper"))
    assert len(sums) >= 15
    known = {number for part in example.values() if isinstance(part, dict) for x in part.values() for number in flat(x)}
    for left, right in sums:
        assert re.fullmatch(r"(?:ln\(|[\d.+\-*/() ])+", left), left
        found = eval(left, {"__builtins__": {}, "ln": math.log})
        assert found == pytest.approx(float(right), abs=1e-6), left
        assert float(right) in known, right


def test_defaults_are_those_of_the_settings(page: str) -> None:
    rows = numbered_rows(section(page, "Quick facts"))
    assert len(rows) >= 9
    for name, numbers in rows.items():
        assert numbers == [PpoSettings.model_fields[name].default], name


def test_metrics_on_the_page_are_in_the_glossary(page: str) -> None:
    named = set(re.findall(r"`([a-z]+/[a-z_]+)`", page))
    assert len(named) >= 15
    assert named <= set(GLOSSARY), named - set(GLOSSARY)


def test_files_on_the_page_exist(page: str, repository: Path) -> None:
    named = set(re.findall(r"`((?:src|tests|docs)/[\w/.*]+)`", page))
    assert len(named) >= 6
    for name in named:
        assert list(repository.glob(name)), name


def test_treatments_are_those_of_the_setting(page: str) -> None:
    rows = re.findall(r"^\| \([abc]\) `(\w+)` \| ([^|]*) \|", section(page, "Variants"), re.MULTILINE)
    assert {treatment for treatment, _ in rows} == set(get_args(PpoSettings.model_fields["kl_treatment"].annotation))
    functions = [name for _, cell in rows for name in re.findall(r"`(\w+)`", cell)]
    assert len(functions) == 4
    assert set(functions) <= set(vars(kl))


def test_distances_on_the_page_are_those_the_tests_expect(page: str) -> None:
    found = re.findall(r"^\| [^|]* \| (0\.\d{3}) \|$", section(page, "Variants"), re.MULTILINE)
    assert sorted({float(number) for number in found}) == sorted({0.0, *(distance for _, distance in WRONG.values())})


def test_steps_of_the_page_stand_in_the_loop(page: str, repository: Path) -> None:
    on_the_page = re.findall(r"^(\d+)\. \*\*(\w+)\*\*", section(page, "Pseudocode"), re.MULTILINE)
    loop = (repository / "src" / "preflab" / "policy" / "ppo.py").read_text(encoding="utf-8")
    assert re.findall(r"^ *# (\d+) (\w+)", loop, re.MULTILINE) == on_the_page
    assert [name for _, name in on_the_page] == ["collect", "score", "advantages", "update", "log"]
