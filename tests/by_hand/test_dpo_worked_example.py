"""The worked example of docs/algorithms/dpo.md: its sums are right, and the code gives the same."""

from __future__ import annotations

import json
from math import exp, log
from pathlib import Path
from typing import Any

import pytest
import torch

from preflab.maths import dpo
from preflab.policy.dpo_groups import Weights
from preflab.policy.dpo_losses import Learned, implicit_reward, loss_of
from preflab.policy.dpo_statistics import figures, statistics
from preflab.settings.dpo import DpoSettings
from preflab.settings.preference_losses import LOSSES

DATA: dict[str, Any] = json.loads((Path(__file__).parent / "data" / "dpo_worked_example.json").read_text())
GIVEN = DATA["settings"]


def settings_of(kind: str) -> dict[str, Any]:
    """The settings that the page names for a loss; SimPO has its own beta and margin."""
    settings = {name: GIVEN.get(f"{kind}_{name}", GIVEN.get(name)) for name in LOSSES[kind]().hyperparameters}
    return {"kind": kind} | {name: value for name, value in settings.items() if value is not None}


def number(text: str) -> float:
    """A number, or a sum written with ln, of this test's own data file."""
    return float(eval(text, {"__builtins__": {}}, {"ln": log}))


def total(side: dict[str, list[str]], of: str) -> float:
    return sum(number(text) for text in side[of])


def side(name: str) -> dpo.Side:
    rows = [pair[name] for pair in DATA["pairs"]]
    columns = ([total(row, of) for row in rows] for of in ("logps", "ref_logps"))
    return dpo.Side(*(torch.tensor(column) for column in columns), torch.tensor([float(len(r["logps"])) for r in rows]))


def learned() -> Learned:
    ones = torch.ones(2)
    none = dpo.Side(torch.zeros(0), torch.zeros(0), torch.ones(0))
    verdicts = dpo.Verdicts(none, torch.zeros(0), torch.zeros(0))
    return Learned(dpo.Pairs(side("chosen"), side("rejected"), ones, ones), verdicts, Weights(2.0, 0.0), 0.0)


def test_the_sums_on_the_page_are_right() -> None:
    """Log-ratios from the tokens, and the losses of DPO's kin from them, with σ and the odds written out."""
    for pair, (chosen, rejected) in zip(DATA["pairs"], DATA["log_ratios"], strict=True):
        for name, expected in (("chosen", chosen), ("rejected", rejected)):
            assert total(pair[name], "logps") - total(pair[name], "ref_logps") == pytest.approx(number(expected))
    for index, (chosen, rejected) in enumerate(DATA["log_ratios"]):
        h = number(chosen) - number(rejected)
        right, wrong = log(1 + exp(-0.5 * h)), log(1 + exp(0.5 * h))
        pair = DATA["pairs"][index]
        means = [total(pair[name], "logps") / len(pair[name]["logps"]) for name in ("chosen", "rejected")]
        odds = [exp(mean) / (1 - exp(mean)) for mean in means]
        expected = {
            "dpo": right,
            "cdpo": 0.9 * right + 0.1 * wrong,
            "robust": (0.9 * right - 0.1 * wrong) / 0.8,
            "ipo": (h - 2) ** 2,
            "hinge": max(0.0, 1 - 0.5 * h),
            "simpo": log(1 + exp(-2 * (means[0] - means[1]))),
            "orpo": -means[0] + log(1 + odds[1] / odds[0]),
            "nll": -means[0],
        }
        for name, value in expected.items():
            assert number(DATA["losses"][name][index]) == pytest.approx(value), (name, index)
    assert sum(map(number, DATA["losses"]["dpo"])) / 2 == pytest.approx(DATA["dpo_loss"], abs=1e-6)


@pytest.mark.parametrize("kind", DATA["losses"])
def test_the_code_gives_the_same(kind: str) -> None:
    (settings,) = DpoSettings(model="-", preferences="-", losses=[settings_of(kind)]).losses
    expected = sum(map(number, DATA["losses"][kind])) / 2
    assert loss_of(settings, learned()).item() == pytest.approx(expected, abs=1e-5)


def test_the_figures_of_the_step() -> None:
    reward = implicit_reward(DpoSettings(model="-", preferences="-", losses=[settings_of("dpo")]).losses)
    found = figures(statistics(learned(), reward))
    # One pair of two is right; the margins β h = ln 3 and −ln 3 cancel, and so do the log-ratios.
    assert found["accuracy/implicit"] == DATA["accuracy"]
    assert found["implicit/margin"] == pytest.approx(0, abs=1e-6)
    assert found["logratio/chosen"] == pytest.approx(0, abs=1e-6)


def test_the_page_shows_the_data_file(repository: Path) -> None:
    page = (repository / "docs" / "algorithms" / "dpo.md").read_text(encoding="utf-8")
    for pair in DATA["pairs"]:
        for name in ("chosen", "rejected"):
            for of in ("logps", "ref_logps"):
                assert ", ".join(pair[name][of]) in page
    for name, losses in DATA["losses"].items():
        assert f"| `{name}` | {losses[0]} | {losses[1]} |" in page, name
    assert str(DATA["dpo_loss"]) in page
