"""The section "The reward model": accuracy against people's agreement and against length, calibration, F scores."""

from __future__ import annotations

from typing import Any

from preflab.report.blocks import Block, Cell, Figure, Grid, Note, Section, Table, numbers
from preflab.report.charts import Bar, Line, Rule, bar_chart, line_chart
from preflab.report.feedback import HUMAN, HUMAN_HIGH, HUMAN_LOW
from preflab.report.run_folders import Page, Run
from preflab.words import (
    best_value,
    column,
    count,
    excludes_zero,
    interval_text,
    intervals,
    number,
    or_nan,
    percent,
    points,
    signed,
)

SPLITS = {"held_out": "held-out pairs", "test": "the other preferences"}
ENOUGH_PAIRS = 20
"""Fewest pairs for figures by length and of calibration; with fewer, bins would show only noise."""


def reward_section(page: Page) -> Section | None:
    """Figures of every reward model among the runs; None if there is none."""
    blocks: list[Block] = []
    for run in page.of_kind("reward"):
        report = run.json("reward_report.json")
        for split, what in SPLITS.items():
            if (report.get(split) or {}).get("accuracy"):
                blocks += _quality(page, run, report[split], what)
        blocks += _fails(page, run, report)
    return Section("reward", "The reward model", blocks) if blocks else None


def _quality(page: Page, run: Run, found: dict[str, Any], what: str) -> list[Block]:
    figures: list[Figure | None] = [_accuracy(run, found, what)]
    if found["num_pairs"] >= ENOUGH_PAIRS:
        figures += [_by_length(found, what), _calibration(found, what)]
    sources = page.files(run, "reward_report.json")
    shown = [Figure(f.title, f.chart, f.caption, f.table, sources) for f in figures if f is not None]
    return [Grid(shown)]


def _n(found: dict[str, Any]) -> str:
    return f"{count(found['num_pairs'], 'pair')} of {count(found['num_prompts'], 'prompt')}"


def _accuracy(run: Run, found: dict[str, Any], what: str) -> Figure:
    accuracy, longer = found["accuracy"], found["longer_wins"]
    bars = [
        Bar(run.name, accuracy["value"], "reward", or_nan(accuracy["low"]), or_nan(accuracy["high"]),
            best_value(accuracy, percent)),
        Bar("longer one wins", longer["value"], "reference", or_nan(longer["low"]), or_nan(longer["high"]),
            best_value(longer, percent)),
    ]  # fmt: skip
    value = accuracy["value"]
    where = "as often as people agree" if HUMAN_LOW <= value <= HUMAN_HIGH else (
        "more often than people agree" if value > HUMAN_HIGH else "less often than people agree"
    )  # fmt: skip
    if found["num_pairs"] < ENOUGH_PAIRS:
        where = f"but {count(found['num_pairs'], 'pair')} are too few to say how good it is"
    title = f"{run.name} is right on {best_value(accuracy, percent)} of {what}, {where}"
    beyond = found.get("beyond_length") or {}
    gain = f"{best_value(beyond, points)} beyond what length alone gives" if beyond else ""
    gain += " (interval excludes 0)" if excludes_zero(beyond) else " (interval includes 0)" if beyond else ""
    caption = (
        f"{_n(found)}; ties of scores count half; 95\u00a0% intervals over prompts. {gain}. "
        f"Log-loss {number(found.get('log_loss'))} (ln 2 = 0.693 is a guess at random). "
        "A reward model cannot be expected to be right more often than its labelers agree."
    )
    head = ["", "accuracy (95\u00a0% interval)", "n prompts"]
    entries = ((run.name, accuracy, percent), ("longer one wins", longer, percent), ("difference", beyond, points))
    table = [
        [Cell(name), *numbers(interval_text(entry, form), f"{entry['num']:,}" if "num" in entry else "")]
        for name, entry, form in entries
        if entry
    ]
    chart = bar_chart(bars, x="accuracy", x_range=(0, 1), rules=[HUMAN], percent=True, description=title)
    return Figure(title, chart, caption, Table(head, table))


def _calibration(found: dict[str, Any], what: str) -> Figure | None:
    bins = [entry for entry in found.get("calibration", []) if entry["observed"].get("value") is not None]
    if not bins:
        return None
    xs, ys = [entry["predicted"] for entry in bins], [entry["observed"]["value"] for entry in bins]
    gap = sum((x - y) * entry["num"] for x, y, entry in zip(xs, ys, bins, strict=True)) / sum(b["num"] for b in bins)
    if abs(gap) < 0.03:
        title = "On average its confidence matches its accuracy"
    else:
        how = "It is overconfident" if gap > 0 else "It is underconfident"
        title = f"{how}: {points(round(abs(gap), 2))} off on average"
    low = [or_nan(entry["observed"]["low"]) for entry in bins]
    high = [or_nan(entry["observed"]["high"]) for entry in bins]
    line = Line("", "reward", xs, ys, low, high, dots=True)
    floor = min(0.5, *(value for value in (*ys, *low) if value == value))
    chart = line_chart([line], x="confidence σ(|score difference|)", y="share right", diagonal="calibrated",
                       x_range=(0.5, 1.0), y_range=(0.2 * (floor // 0.2), 1.0), description=title)  # fmt: skip
    caption = (
        f"{what[0].upper()}{what[1:]} in bins of equal size by confidence, raw scores, {_n(found)}; "
        "whiskers: 95\u00a0% over prompts."
    )
    head = ["confidence", "right (95\u00a0% interval)", "pairs"]
    confidence = column([b["predicted"] for b in bins], percent)
    right = intervals([b["observed"] for b in bins], percent)
    rows = [numbers(*texts, f"{b['num']:,}") for *texts, b in zip(confidence, right, bins, strict=True)]
    return Figure(title, chart, caption, Table(head, rows))


def _by_length(found: dict[str, Any], what: str) -> Figure | None:
    bins = [entry for entry in found.get("by_length", []) if entry["accuracy"].get("value") is not None]
    if not bins:
        return None
    labels = [f"{signed(entry['from'], 0)} to {signed(entry['to'], 0)}" for entry in bins]
    texts = intervals([entry["accuracy"] for entry in bins], percent)
    values = [text.partition(" (")[0] for text in texts]
    bars = [
        Bar(label, b["accuracy"]["value"], "reward", or_nan(b["accuracy"]["low"]), or_nan(b["accuracy"]["high"]),
            value)
        for label, b, value in zip(labels, bins, values, strict=True)
    ]  # fmt: skip
    first, last = values[0], values[-1]
    shorter, longer = (
        ("much shorter", "much longer") if bins[0]["to"] < 0 < bins[-1]["from"] else ("shortest", "longest")
    )
    title = f"Right on {first} where the chosen one is {shorter}, {last} where it is {longer}"
    caption = (
        f"{what[0].upper()}{what[1:]} by length of chosen minus rejected, characters. A model that only counts "
        "characters is wrong where the chosen one is shorter and right where it is longer."
    )
    chart = bar_chart(bars, x="accuracy", x_range=(0, 1), rules=[Rule(0.5, "chance")], percent=True, description=title)
    head = ["chosen − rejected, characters", "accuracy (95\u00a0% interval)", "pairs"]
    rows = [[Cell(label), *numbers(text, f"{b['num']:,}")] for label, text, b in zip(labels, texts, bins, strict=True)]
    return Figure(title, chart, caption, Table(head, rows))


def _fails(page: Page, run: Run, report: dict[str, Any]) -> list[Block]:
    """The model's scores of completions marked F compared with the others, and its mean score by consensus rank."""
    blocks: list[Block] = []
    fails = report.get("fails")
    if fails:
        below = fails.get("share_below")
        mean, others = column([fails["mean"], fails.get("mean_others")])
        title = f"F completions score {mean} on average, the others {others}"
        text = f"{count(fails['num'], 'F completion')} and {count(fails['num_others'], 'other')}, normalised scores."
        if below is not None:
            text += f" Within a prompt the F completion scores lower in {percent(below)} of the cases."
        text += " A reward model that was never trained on gibberish cannot recognise it."
        blocks.append(Note(text, "" if (below or 0) > 0.8 else "reward", title, page.files(run, "reward_report.json")))
    ranks = report.get("by_rank") or []
    if ranks:
        means = column([entry["mean"] for entry in ranks])
        rows = [
            [Cell("F" if entry["rank"] is None else str(entry["rank"])), *numbers(mean, f"{entry['num']:,}")]
            for entry, mean in zip(ranks, means, strict=True)
        ]
        blocks.append(Table(["consensus rank", "mean score", "completions"], rows, "Scores by consensus rank"))
    return blocks
