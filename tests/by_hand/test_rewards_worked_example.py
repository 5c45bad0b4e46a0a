"""The worked example of docs/algorithms/reward-model.md: its sums are right, and the code gives the same."""

from __future__ import annotations

import json
from math import log
from pathlib import Path
from typing import Any

import pytest
import torch

from preflab.rewards.rankings import LabelledPair, Ranking
from preflab.rewards.train import Denominators, pair_statistics, ranking_loss, step_figures
from preflab.training.batches import TokenSequence

DATA: dict[str, Any] = json.loads((Path(__file__).parent / "data" / "reward_worked_example.json").read_text())


def number(text: str | float) -> float:
    """A number, or a sum written with ln, of this test's own data file."""
    return float(eval(str(text), {"__builtins__": {}}, {"ln": log}))


def rankings() -> list[Ranking]:
    return [
        Ranking(
            prompt_id=str(index),
            sequences=(TokenSequence((1,), (2,)),) * len(row["scores"]),
            pairs=tuple(LabelledPair(i, j, label, number(weight)) for i, j, label, weight in row["pairs"]),
            ranks=(1,) * len(row["scores"]),
            lengths=(1,) * len(row["scores"]),
        )
        for index, row in enumerate(DATA["rankings"])
    ]


def test_the_sums_on_the_page_are_right() -> None:
    differences = [number(text) for text in DATA["differences"]]
    pairs = [(row["scores"], pair) for row in DATA["rankings"] for pair in row["pairs"]]
    for difference, probability, loss, (scores, (i, j, label, _)) in zip(
        differences, DATA["probabilities"], DATA["pair_losses"], pairs, strict=True
    ):
        assert difference == pytest.approx(number(scores[i]) - number(scores[j]))
        assert probability == pytest.approx(1 / (1 + 2.718281828459045**-difference))
        assert number(loss) == pytest.approx(-label * log(probability) - (1 - label) * log(1 - probability))
    assert number(DATA["loss"]) == pytest.approx(DATA["loss_value"], abs=1e-6)


def test_the_code_gives_the_same() -> None:
    made = rankings()
    scores = torch.tensor([number(score) for row in DATA["rankings"] for score in row["scores"]])
    loss = ranking_loss(scores, made, Denominators.of(made))
    assert loss.item() == pytest.approx(DATA["loss_value"], abs=1e-6)
    figures = step_figures(torch.cat([loss.double()[None], pair_statistics(scores, made)]))
    assert figures["accuracy/train"] == DATA["accuracy"]
    assert figures["loss/bradley_terry"] == pytest.approx(DATA["loss_value"], abs=1e-6)


def test_the_page_shows_the_data_file(repository: Path) -> None:
    page = (repository / "docs" / "algorithms" / "reward-model.md").read_text(encoding="utf-8")
    shown = [*DATA["differences"], *map(str, DATA["probabilities"]), *DATA["pair_losses"], DATA["loss"]]
    missing = [text for text in [*shown, str(DATA["loss_value"])] if text not in page]
    assert not missing
