"""Charts: a logarithmic axis with a place for everything, bars for what has a zero and dots for what has none."""

from __future__ import annotations

import re

import pytest

from preflab.report.chart_scales import Scale, log_range
from preflab.report.charts import Bar, Line, Rule, bar_chart, line_chart
from preflab.report.measures import QUANTITIES, quantity


def test_a_logarithmic_scale_gives_each_decade_the_same_room() -> None:
    scale = Scale(0.01, 1000, 0, 500, log=True)
    assert [scale(value) for value in (0.01, 0.1, 1, 10, 100, 1000)] == pytest.approx([0, 100, 200, 300, 400, 500])
    assert scale(3) == pytest.approx(200 + 100 * 0.4771, abs=0.01)  # log₁₀ 3
    assert [scale.text(tick) for tick in scale.ticks] == ["0.01", "0.1", "1", "10", "100", "1,000"]


def test_zero_and_negative_numbers_lie_on_the_lower_edge_which_says_so() -> None:
    scale = Scale(0.01, 1000, 0, 500, log=True, below=True)
    assert [scale(value) for value in (0.0, -2.0, 0.001, 0.01)] == [0, 0, 0, 0]
    assert scale.text(scale.ticks[0]) == "≤\u00a00.01"
    assert scale.text(scale.ticks[1]) == "0.1"


@pytest.mark.parametrize(
    ("values", "ends"),
    [
        ([0.0, -1.0, 0.02, 400.0], (0.01, 1000.0)),
        ([3.0, 400.0], (1.0, 1000.0)),
        ([10.0, 100.0], (10.0, 100.0)),
        ([7.0], (1.0, 10.0)),
        ([10.0], (1.0, 10.0)),
        ([1e-12, 400.0], (0.001, 1000.0)),  # six decades, the highest kept
        ([0.0, -1.0], (0.1, 1.0)),
        ([float("nan"), 5.0], (1.0, 10.0)),
    ],
)
def test_the_range_of_a_logarithmic_axis(values: list[float], ends: tuple[float, float]) -> None:
    assert log_range(values) == pytest.approx(ends)


def test_a_logarithmic_chart_says_so_and_draws_the_budget() -> None:
    line = Line("", "policy", [0, 1, 2, 3], [0.0, 0.5, 40.0, 400.0])
    svg = str(line_chart([line], x="step", y="KL, nats", rules=[Rule(3.0, "budget 3 nats", "alarm")], log=True))
    assert ">KL, nats, logarithmic</text>" in svg
    assert ">budget 3 nats</text>" in svg
    assert re.findall(r'class="tick end"[^>]*>([^<]+)<', svg) == ["≤\u00a00.1", "1", "10", "100", "1,000"]
    drawn = re.search(r'<path class="line policy" d="M([^"]+)"', svg)
    assert drawn is not None
    heights = [float(point.split(",")[1]) for point in drawn[1].split("L")]
    assert heights == sorted(heights, reverse=True)
    rule = re.search(r'<line class="rule alarm"[^>]*y1="([\d.]+)"', svg)
    assert rule is not None
    assert heights[2] < float(rule[1]) < heights[1]  # 40 above the budget of 3 on the paper, 0.5 below it
    assert "nan" not in svg


def test_bars_begin_at_zero_and_dots_do_not_need_it() -> None:
    bars = [Bar("a", 101.0, "gold", 100.5, 101.5), Bar("b", 102.0, "policy", 101.4, 102.6)]
    with_zero, without = (str(bar_chart(bars, x="score", dots=dots)) for dots in (False, True))
    assert with_zero.count("<rect") == 2
    assert ">0</text>" in with_zero
    assert "<rect" not in without
    assert without.count("<circle") == 2
    assert without.count('class="whisker') == 2
    assert ">0</text>" not in without


def test_scores_have_no_zero_and_shares_counts_and_kl_have_one() -> None:
    for name in ("judge/gold", "reward/rm", "reward/mean", "score/held_out"):
        assert not quantity(name).from_zero, name
    for name in ("fail/gold", "label/rude", "kl/exact", "length/tokens", "distinct/2", "repeat/share"):
        assert quantity(name).from_zero, name
    assert not quantity("something/new").from_zero, "of what nobody knows a zero is not claimed"


def test_every_quantity_stands_once_in_the_table() -> None:
    names = [each.name for each in QUANTITIES]
    assert len(set(names)) == len(names)
    assert {each.budget for each in QUANTITIES} == {"", "kl_budget"}
