"""The section "Probes": sycophancy, refusal of harmless prompts, bias between groups, misinformation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from preflab.files import read_jsonl
from preflab.report.blocks import Block, Cell, Figure, Fold, Grid, Sample, Section, Table, Written, numbers
from preflab.report.chart_scales import pick_evenly
from preflab.report.charts import Bar, bar_chart
from preflab.report.names import short_names, shorten_names
from preflab.report.probe_groups import bias_blocks, misinformation_blocks
from preflab.report.run_folders import Page, Run
from preflab.report.samples import LONGEST
from preflab.words import (
    Form,
    count,
    difference_text,
    intervals,
    number,
    or_nan,
    percent,
)

MEASURES: dict[str, str] = {
    "right": "right, asked plainly",
    "right_told": "right, told the wrong opinion",
    "swayed": "gives way to the wrong opinion",
    "shift": "shift towards the wrong answer, nats (below 0)",
    "refused/safe": "refuses a harmless prompt",
    "refused/unsafe": "refuses an unsafe prompt",
    "repeated": "repeats a myth",
    "corrected": "corrects a myth",
}
PARTS = ("sycophancy", "refusal", "misinformation", "bias")
BARS = {
    "sycophancy": ("swayed",),
    "refusal": ("refused/safe", "refused/unsafe"),
    "misinformation": ("repeated", "corrected"),
}
"""Part of the probe → its measures that are drawn as bars."""


def probes_section(page: Page) -> Section | None:
    """Figures and samples of every probe among the runs; None if there is none."""
    blocks = [block for run in page.of_kind("probe") for block in _probe(page, run)]
    return Section("probes", "Probes", blocks) if blocks else None


def _probe(page: Page, run: Run) -> list[Block]:
    raw = run.json("probe.json")
    parts = [raw[name] for name in PARTS if raw.get(name)]
    short = short_names([model["name"] for part in parts[:1] for model in part["models"]])
    probe = shorten_names(raw, short)
    figures = [
        figure
        for part, measures in BARS.items()
        if probe.get(part)
        for measure in measures
        if (figure := _bars(page, run, probe[part], measure)) is not None
    ]
    blocks: list[Block] = [Grid(figures)] if figures else []
    if probe.get("sycophancy"):
        blocks.append(_sycophancy(page, run, probe["sycophancy"], probe["baseline"]))
    if samples := _refusals(page, run, short):
        blocks.append(Fold("Completions of the contrast prompts", samples))
    if probe.get("misinformation"):
        blocks += misinformation_blocks(page, run, probe["misinformation"], probe["baseline"], short)
    if probe.get("bias"):
        blocks += bias_blocks(page, run, probe["bias"], probe["baseline"], short)
    return blocks


def _bars(page: Page, run: Run, part: dict[str, Any], measure: str) -> Figure | None:
    """A figure of one share, with one bar per model."""
    entries = [(model["name"], model["figures"][measure]) for model in part["models"]]
    known = [(name, entry) for name, entry in entries if entry["value"] is not None]
    if not known:
        return None
    texts = intervals([entry for _, entry in known], percent)
    values = {name: text.partition(" (")[0] for (name, _), text in zip(known, texts, strict=True)}
    bars = [
        Bar(name, entry["value"], page.role(name), or_nan(entry["low"]), or_nan(entry["high"]), values[name])
        for name, entry in known
    ]
    title = _title(MEASURES[measure], values)
    rows = [[Cell(name), *numbers(text, f"{entry['num']:,}")] for (name, entry), text in zip(known, texts, strict=True)]
    return Figure(
        title,
        bar_chart(bars, x=f"{MEASURES[measure]}, share", x_range=(0, 1), percent=True, description=title),
        f"Shares with 95\u00a0% intervals, data {part['data']}, n = {max(entry['num'] for _, entry in known):,}.",
        Table(["model", "share (95\u00a0% interval)", "n"], rows),
        page.files(run, "probe.json", *(["refusals.jsonl"] if measure.startswith("refused/") else [])),
    )


def _title(what: str, values: Mapping[str, str]) -> str:
    first, *_, last = [*values, ""] if len(values) == 1 else values
    title = f"{first} {what}: {values[first]}"
    return f"{title}; {last}: {values[last]}" if last else title


def _sycophancy(page: Page, run: Run, part: dict[str, Any], baseline: str) -> Table:
    forms: dict[str, Form] = {"right": percent, "right_told": percent, "swayed": percent, "shift": number}
    by_model = [model["figures"] for model in part["models"]]
    written = {name: intervals([figures[name] for figures in by_model], form) for name, form in forms.items()}
    rows = []
    for place, model in enumerate(part["models"]):
        shares = [texts[place] for texts in written.values()]
        difference = difference_text(model["difference"]) if model["difference"] else "–"
        rows.append([Cell(model["name"]), *numbers(*shares), Cell(difference)])
    head = ["model", *(MEASURES[name] for name in forms), f"shift against {baseline}, nats"]
    caption = (
        f"{count(part['num'], 'question')} ({part['data']}), each asked plainly and by somebody who states the wrong "
        "opinion; the answer is the one, right or wrong, with the higher likelihood. 95\u00a0% intervals over "
        "questions."
    )
    if part.get("thinking_closed"):
        caption += (
            f" The templates of {', '.join(part['thinking_closed'])} open thinking; it is closed before the answer."
        )
    return Table(head, rows, f"{run.name}: with and without a wrong opinion", caption, page.files(run, "probe.json"))


def _refusals(page: Page, run: Run, short: dict[str, str]) -> list[Sample]:
    rows = read_jsonl(run.folder / "refusals.jsonl")
    return [_contrast(page, index, rows[index], short) for index in pick_evenly(len(rows), page.num_samples)]


def _contrast(page: Page, index: int, row: dict[str, Any], short: dict[str, str]) -> Sample:
    written = []
    for model, one in row["completions"].items():
        name = short.get(model, model)
        facts = [f"{row['label']} prompt", "refuses" if one["refused"] else "does not refuse"]
        written.append(Written(name, page.role(name), one["text"][:LONGEST], facts))
    return Sample(f"contrast-{index}", row["prompt"], written)
