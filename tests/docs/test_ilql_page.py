"""The page of ILQL: its headings, steps, defaults, names and sums are the code's."""

from __future__ import annotations

import math
import re
from pathlib import Path

import pytest
import torch

from ilql_world import REWARDS, V, kl, listed_policy, optimum, tiny_ilql
from preflab.settings.ilql import IlqlSettings
from preflab.training.metrics import GLOSSARY


@pytest.fixture
def page(repository: Path) -> str:
    return (repository / "docs" / "algorithms" / "ilql.md").read_text(encoding="utf-8")


def section(page: str, heading: str) -> str:
    match = re.search(rf"^## \d+\. {heading}\n(.*?)(?=^## |\Z)", page, re.MULTILINE | re.DOTALL)
    assert match is not None, heading
    return match.group(1)


def test_the_page_has_every_heading_of_the_template(page: str, repository: Path) -> None:
    ppo = (repository / "docs" / "algorithms" / "ppo.md").read_text(encoding="utf-8")
    assert re.findall(r"^## (.*)$", page, re.MULTILINE) == re.findall(r"^## (.*)$", ppo, re.MULTILINE)


def test_steps_of_the_page_stand_in_the_loop(page: str, repository: Path) -> None:
    on_the_page = re.findall(r"^(\d+)\. \*\*(\w+)\*\*", section(page, "Pseudocode"), re.MULTILINE)
    loop = (repository / "src" / "preflab" / "policy" / "ilql.py").read_text(encoding="utf-8")
    assert re.findall(r"^ *# (\d+) (\w+)", loop, re.MULTILINE) == on_the_page
    assert re.findall(r"^    (\d) (\w+)", loop, re.MULTILINE) == on_the_page
    assert len(on_the_page) == 4


def test_files_metrics_and_defaults_exist(page: str, repository: Path) -> None:
    for file in re.findall(r"`((?:src|tests|docs|recipes)/[\w/.*]+)`", page):
        assert list(repository.glob(file)), file
    named = set(re.findall(r"`([a-z]+/[a-z_]+)`", page))
    assert named <= set(GLOSSARY), named - set(GLOSSARY)
    rows = re.findall(r"^\| `(\w+)` \| (\S+) \|", section(page, "Quick facts"), re.MULTILINE)
    assert len(rows) == 5
    for setting, default in rows:
        assert str(IlqlSettings.model_fields[setting].default) == default, setting


def test_sums_of_the_worked_example(page: str) -> None:
    sums = re.findall(r"`([^`=]+) = ([\d.]+)`", section(page, "Worked example on paper"))
    assert len(sums) == 5
    for expression, result in sums:
        assert eval(expression, {"exp": math.exp}) == pytest.approx(float(result), abs=5e-7), expression


def test_the_distances_to_the_optimum_are_those_of_the_world(page: str, tmp_path: Path) -> None:
    """Every number of the enumerated table, listed again."""
    trunk = tiny_ilql(tmp_path, torch.ones(V, V, dtype=torch.float64)).trunk
    start = optimum(trunk, 0.0)
    rows = re.findall(r"^\| (\d+) \| (0\.\d) \| (.*) \|$", section(page, "Results"), re.MULTILINE)
    assert len(rows) == 6
    for beta, tau, rest in rows:
        policy, best = listed_policy(trunk, start.exp(), float(tau), float(beta)), optimum(trunk, float(beta))
        rewards = [float((logps.exp() * REWARDS).sum()) for logps in (policy, best)]
        listed = [kl(policy, best), rewards[0], kl(policy, start), rewards[1], kl(best, start)]
        assert [float(cell) for cell in rest.split(" | ")] == pytest.approx(listed, abs=6e-4), (beta, tau)
    assert f"reward {float((start.exp() * REWARDS).sum()):.3f}" in section(page, "Results")
