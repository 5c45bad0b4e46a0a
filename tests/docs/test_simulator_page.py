"""The page about the simulator quotes the figures of docs/simulator.html, recomputed here from the data within it."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from preflab.errors import PreflabError
from preflab.explain.simulator_page import data_of_page
from preflab.explain.weights import Draws, Point, measure, optimum


@pytest.fixture(scope="module")
def data(repository: Path) -> dict[str, Any]:
    return data_of_page((repository / "docs" / "simulator.html").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def text(repository: Path) -> str:
    return " ".join((repository / "docs" / "learn" / "simulator.md").read_text(encoding="utf-8").split())


def point(data: dict[str, Any], beta: float, flaw: np.ndarray | None = None) -> Point:
    """What the best policy at β writes, for the reward of the page and a flaw that is added to it."""
    samples = data["samples"]
    draws = Draws(np.array(samples["prompt"]), np.array(samples["policy"]), np.array(samples["logps"]))
    reward = sum(
        term["weight"] * np.array(scores) for term, scores in zip(data["terms"], samples["terms"], strict=True)
    )
    reward = reward + (0 if flaw is None else flaw)
    gold = np.array([data["criteria"][0]["fail"] if v is None else v for v in samples["criteria"][0]], dtype=float)
    return measure(draws, optimum(reward, beta), {"reward": reward, "gold": gold})


def test_its_size_and_its_pool(data: dict[str, Any], text: str) -> None:
    assert len(data["samples"]["text"]) == 3_200
    assert len(data["prompts"]) == 16
    assert "3,200 completions that five real models wrote for 16 prompts" in text
    assert [policy["kl_coef"] for policy in data["policy_info"]] == [None, 0.25, 0.1, 0.03, 0.0]
    assert data["simulated"]


def test_figures_of_the_reference_and_of_the_best_penalty(data: dict[str, Any], text: str) -> None:
    reference, best = point(data, math.inf), point(data, 0.422)
    assert f"learned reward is {reference.means['reward'].value:.2f}".replace("-", "−") in text
    assert f"and gold {reference.means['gold'].value:.2f}" in text
    assert f"learned reward {best.means['reward'].value:.2f}, gold {best.means['gold'].value:.2f}" in text
    assert f"best at KL {best.kl.value:.2f}" in text
    assert not best.doubts
    assert round(reference.effective, -1) == 930
    assert best.means["gold"].value > max(point(data, beta).means["gold"].value for beta in (0.3, 0.6, 1.0))


def test_gold_is_worse_where_the_page_says_that_the_lines_part(data: dict[str, Any], text: str) -> None:
    best, there = point(data, 0.422).means["gold"], point(data, 0.211)
    assert f"from KL {there.kl.value:.2f} on" in text
    assert best.value - there.means["gold"].value > 1.96 * math.hypot(best.error, there.means["gold"].error)
    assert not there.doubts


def test_the_run_without_a_penalty(data: dict[str, Any], text: str) -> None:
    (run,) = [run for run in data["runs"] if run["kl_coef"] == 0]
    figures = f"{run['reward']['value']:.2f} and gold {run['criteria'][0]['value']:.2f}".replace("-", "−")
    assert f"ended at KL {run['kl']['value']:.0f}, learned reward {figures}" in text


def test_the_run_with_the_largest_penalty_goes_less_far_than_the_best_policy(data: dict[str, Any], text: str) -> None:
    (run,) = [run for run in data["runs"] if run["kl_coef"] == 0.25]
    best = point(data, 0.25).kl.value
    assert f"to KL {run['kl']['value']:.2f}, where the best policy at β 0.25 is at {best:.2f}" in text
    assert run["kl"]["high"] < best


def test_the_lines_are_grey_from_the_last_sure_point_on(data: dict[str, Any], text: str) -> None:
    sure, unsure = point(data, 0.211), point(data, 0.178)
    assert not sure.doubts
    assert unsure.doubts
    assert f"grey and dashed from KL {sure.kl.value:.1f} on" in text


def test_the_reference_writes_rude_answers(data: dict[str, Any]) -> None:
    rows = [i for i, policy in enumerate(data["samples"]["policy"]) if policy == 0]
    assert any(data["samples"]["text"][i] == "what a stupid question." for i in rows)


def test_a_page_without_data_is_refused() -> None:
    with pytest.raises(PreflabError, match="a page without data"):
        data_of_page("<html></html>")
