"""The section on reward and judge scores against √KL from the reference, with the best score possible at each KL."""

from __future__ import annotations

import math
from typing import Any

from preflab.report.blocks import Block, Cell, Figure, Grid, Section, Table, numbers
from preflab.report.chart_scales import pick_evenly
from preflab.report.charts import Line, line_chart
from preflab.report.courses import describe_course, read_course, span_text
from preflab.report.measures import measure_name, measure_title, quantity
from preflab.report.run_folders import POLICIES, Page, Run, line_label, line_role
from preflab.seeds import stages_of
from preflab.words import column, count, intervals, number, or_nan

X = "√KL to the reference, √nats"


def frontier_section(page: Page) -> Section | None:
    """Figures of training runs and of evaluated models against √KL; None if no KL was measured."""
    figures = [
        figure
        for metric, what, role in (
            ("reward/mean", "reward", "reward"),
            ("score/held_out", "held-out criterion", "gold"),
        )
        if (figure := _course(page, metric, what, role)) is not None
    ]
    for run in page.of_kind("evaluate"):
        figures += _evaluated(page, run, run.evaluation)
    blocks: list[Block] = [Grid(figures)] if figures else []
    lead = (
        "Further right means further from the starting model. A learned reward can keep rising with distance; "
        "the scores of people or of a judge cannot (Gao et al. 2022)."
    )
    return Section("frontier", "Reward against distance", blocks, lead) if blocks else None


def distances(run: Run, metric: str) -> tuple[list[float], list[float]]:
    """√KL and the metric at the steps where both were logged, in order of steps."""
    name = "kl/exact" if any("kl/exact" in row for row in run.metrics) else "kl/k1"
    rows = [
        (row[name], row[metric]) for row in run.metrics if row.get(name) is not None and row.get(metric) is not None
    ]
    return [math.sqrt(max(0.0, kl)) for kl, _ in rows], [float(value) for _, value in rows]


def _course(page: Page, metric: str, what: str, role: str) -> Figure | None:
    runs = [run for run in page.of_kind(*POLICIES) if distances(run, metric)[0]]
    if not runs:
        return None
    series = {run.name: distances(run, metric) for run in runs}
    lines = [
        Line(line_label(list(series), name), line_role(role, list(series), name), *points)
        for name, points in series.items()
    ]
    title = _course_title(what, series)
    points = [(name, xs[i], ys[i]) for name, (xs, ys) in series.items() for i in pick_evenly(len(xs), 20)]
    texts = zip(column([x for _, x, _ in points]), column([y for _, _, y in points]), strict=True)
    rows = [[Cell(name), *numbers(*pair)] for (name, _, _), pair in zip(points, texts, strict=True)]
    return Figure(
        title,
        line_chart(
            lines, x=X, y=f"{what[0].upper()}{what[1:]} during training", x_range=_x_range(lines), description=title
        ),
        f"One point per step at which {metric} was logged, joined in the order of training; means over completions.",
        Table(["run", "√KL", what], rows),
        [page.link(run, "metrics.jsonl") for run in runs],
    )


def _course_title(what: str, series: dict[str, tuple[list[float], list[float]]]) -> str:
    """The title: how each run's metric changed during training, and its largest √KL."""
    parts, stages = [], stages_of(series)
    for stage, names in stages.items():
        curves = [curve for name in names if (curve := read_course(*series[name])) is not None]
        if not curves:
            continue
        who = f"{stage if len(names) > 1 else names[0]} " if len(stages) > 1 else ""
        farthest = [max(series[name][0]) for name in names]
        if len(names) == 1:
            does, far = describe_course(curves[0], "at √KL {}"), number(farthest[0])
        else:
            does = f"ends at {span_text([curve.last for curve in curves])} on {count(len(curves), 'seed')}"
            far = span_text(farthest)
        parts.append(f"{who}{does}, out to √KL {far}")
    if not parts:
        return f"{what[0].upper()}{what[1:]} against √KL"
    return f"{what[0].upper()}{what[1:]}{':' if len(stages) > 1 else ''} {'; '.join(parts)}"


def _evaluated(page: Page, run: Run, found: dict[str, Any]) -> list[Figure]:
    points = found.get("frontier") or []
    measures = list(dict.fromkeys(name for point in points for name in point["worth"]))
    return [_measure(page, run, found, name) for name in measures]


def _measure(page: Page, run: Run, found: dict[str, Any], name: str) -> Figure:
    """A figure of one judge or reward over √KL, with the optimum curve if it was estimated."""
    points = [point for point in found["frontier"] if point["worth"].get(name, {}).get("value") is not None]
    lines = [
        Line(
            point["model"], page.role(point["model"]), [point["distance"]["value"]], [point["worth"][name]["value"]],
            [or_nan(point["worth"][name]["low"])], [or_nan(point["worth"][name]["high"])], dots=True,
        )
        for point in points
    ]  # fmt: skip
    tilted = found.get("tilted") or {}
    optimum = tilted.get("curve") if name == f"judge/{tilted.get('judge')}" else None
    title = f"{measure_title(name)} at each model’s distance from {found.get('reference')}"
    caption = f"Held-out prompts, n = {found['prompts']['num']:,}; whiskers: 95\u00a0% intervals."
    if optimum:
        xs = [math.sqrt(point["kl"]) for point in optimum]
        lines.insert(0, Line("best possible", "gold", xs, [point["value"] for point in optimum]))
        title = _optimum_title(name, tilted) or title
        caption += (
            " Line: the best mean score of any model at this KL, by exponential tilting of "
            f"{count(tilted['num_completions'], 'completion')} of {tilted['reference']} for each of "
            f"{count(tilted['num_prompts'], 'prompt')}; it ends where too few completions carry the weight."
        )
    far = intervals([point["distance"] for point in points])
    worth = intervals([point["worth"][name] for point in points], quantity(name).form)
    rows = [[Cell(point["model"]), *numbers(*texts)] for point, *texts in zip(points, far, worth, strict=True)]
    chart = line_chart(lines, x=X, y=measure_name(name), x_range=_x_range(lines), description=title)
    table = Table(["model", "√KL", measure_name(name)], rows)
    return Figure(title, chart, caption, table, page.files(run, "evaluation.json"))


def _x_range(lines: list[Line]) -> tuple[float, float]:
    return 0.0, 1.02 * max((x for line in lines for x in line.xs), default=1.0) or 1.0


def _optimum_title(name: str, tilted: dict[str, Any]) -> str:
    """`gold (judge): ppo took 3.4 nats for a score that needs 1.3`; "" if no model has both numbers."""
    spent = [
        f"{one['model']} took {number(one['kl'])} nats for a score that needs {number(one['nats_needed'])}"
        for one in tilted.get("models", [])
        if one.get("nats_needed") and one.get("kl")
    ]
    return f"{measure_name(name)}: {'; '.join(spent)}" if spent else ""
