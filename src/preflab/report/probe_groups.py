"""The parts of the section "Probes" about swapped groups (bias) and about myths (misinformation)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from preflab.files import read_jsonl
from preflab.report.blocks import Block, Cell, Figure, Fold, Grid, Sample, Table, Written, numbers
from preflab.report.chart_scales import pick_evenly
from preflab.report.charts import Bar, Rule, bar_chart
from preflab.report.measures import measure_name, measure_order, quantity
from preflab.report.run_folders import Page, Run
from preflab.report.samples import LONGEST
from preflab.words import (
    count,
    difference_text,
    interval_text,
    intervals,
    is_found,
    number,
    or_nan,
    percent,
    points,
)

VERDICTS = ("repeated", "hedged", "corrected", "unclear")
SHOWN_GROUPS = 3
"""Most groups of one row whose completions are shown."""


def bias_blocks(page: Page, run: Run, part: Mapping[str, Any], baseline: str, short: Mapping[str, str]) -> list[Block]:
    """Charts, tables and samples of the differences between swapped groups."""
    measures = sorted(
        {name for model in part["models"] for one in model["contrasts"] for name in one["figures"]}, key=measure_order
    )
    models = part["models"] if len(part["models"]) == 1 else [part["models"][0], part["models"][-1]]
    leading = [measures[0], *(["logp"] if "logp" in measures[1:] else [])] if measures else []
    charts = [chart for name in leading for model in models if (chart := _chart(page, run, part, model, name))]
    tables: list[Block] = [_differences(page, run, part, name, baseline) for name in measures]
    blocks: list[Block] = [Grid(charts)] if charts else []
    blocks += tables[:1]
    blocks += [Fold("Differences between groups by other measures", tables[1:])] if tables[1:] else []
    samples = [_swapped(page, i, row, short) for i, row in _picked(page, run, "bias.jsonl")]
    return [*blocks, Fold("Completions of the swapped prompts", samples)] if samples else blocks


def _picked(page: Page, run: Run, name: str) -> list[tuple[int, dict[str, Any]]]:
    rows = read_jsonl(run.folder / name) if (run.folder / name).is_file() else []
    return [(index, rows[index]) for index in pick_evenly(len(rows), page.num_samples)]


def _known(model: Mapping[str, Any], measure: str) -> list[tuple[Mapping[str, Any], dict[str, Any]]]:
    entries = [(one, one["figures"].get(measure)) for one in model["contrasts"]]
    return [(one, entry) for one, entry in entries if entry and entry["value"] is not None]


def _group_name(one: Mapping[str, Any]) -> str:
    """`woman`, or `Doctor: woman` where the kind of swap names a word."""
    word = one["about"].removeprefix("the word ").partition(" after")[0] if one["about"].startswith("the word ") else ""
    return f"{word}: {one['group']}" if word else str(one["group"])


def _chart(page: Page, run: Run, part: Mapping[str, Any], model: Mapping[str, Any], measure: str) -> Figure | None:
    known = _known(model, measure)
    if not known:
        return None
    form, role = quantity(measure).difference, page.role(model["name"])
    bars = [
        Bar(_group_name(one), entry["value"], role, or_nan(entry["low"]), or_nan(entry["high"]), text)
        for (one, entry), text in zip(known, [_value(entry, form) for _, entry in known], strict=True)
    ]
    num_found = sum(is_found(entry) for _, entry in known)
    what = measure_name(measure).partition(",")[0]
    title = f"{model['name']}: {num_found} of {count(len(known), 'difference')} between groups found, {what}"
    num = max(entry["num"] for _, entry in known)
    return Figure(
        title,
        bar_chart(
            bars, x=f"difference in {measure_name(measure)}", dots=True, rules=[Rule(0.0, "equal")], description=title
        ),
        f"A group minus the first group of its kind, in the same templates; 95\u00a0% intervals over at most "
        f"{count(num, 'template')} ({part['data']}).",
        sources=page.files(run, "probe.json", "bias.jsonl"),
    )


def _value(entry: Mapping[str, Any], form: Any) -> str:
    return interval_text(entry, form).partition(" (")[0]


def _differences(page: Page, run: Run, part: Mapping[str, Any], measure: str, baseline: str) -> Table:
    form = quantity(measure).difference
    first = part["models"][0]
    rows = []
    for place, one in enumerate(first["contrasts"]):
        entries = [model["contrasts"][place]["figures"].get(measure) for model in part["models"]]
        if not any(entries):
            continue
        changes = [model["contrasts"][place]["changes"].get(measure) for model in part["models"][1:]]
        words = [Cell(difference_text(change, form) if change else "–") for change in changes]
        rows.append([Cell(one["about"]), Cell(f"{one['group']} − {one['baseline_group']}"),
                     *numbers(*intervals(entries, form)), *words])  # fmt: skip
    head = ["what is swapped", "groups", *(model["name"] for model in part["models"])]
    head += [f"{model['name']} against {baseline}" for model in part["models"][1:]]
    caption = (
        f"Mean over {count(part['num'], 'row')} in {count(part['num_templates'], 'template')} ({part['data']}), paired "
        "within each row; intervals over templates. One interval in twenty excludes 0 by chance, and a difference may "
        "be right: read the completions." + "".join(f" {note}." for note in part.get("notes", []))
    )
    title = f"{run.name}: difference between swapped groups, {measure_name(measure)}"
    return Table(head, rows, title, caption, page.files(run, "probe.json"))


def _swapped(page: Page, index: int, row: Mapping[str, Any], short: Mapping[str, str]) -> Sample:
    written = []
    for model, by_group in row["completions"].items():
        name = short.get(model, model)
        for group, one in list(by_group.items())[:SHOWN_GROUPS]:
            facts = [f"{measure_name(m)} {number(v, 2)}" for m, v in one["scores"].items() if v is not None]
            written.append(Written(f"{name}, {group}", page.role(name), one["text"][:LONGEST], facts))
    return Sample(f"swap-{index}", row["template"], written)


def misinformation_blocks(
    page: Page, run: Run, part: Mapping[str, Any], baseline: str, short: Mapping[str, str]
) -> list[Block]:
    """The table of verdicts, and samples of the answers."""
    by_model = [model["figures"] for model in part["models"]]
    written = {name: intervals([figures[name] for figures in by_model], percent) for name in VERDICTS}
    rows = []
    for place, model in enumerate(part["models"]):
        changed = [model["changes"].get(name) for name in ("repeated", "corrected")]
        words = [Cell(difference_text(change, points) if change else "–") for change in changed]
        rows.append([Cell(model["name"]), *numbers(*(texts[place] for texts in written.values())), *words])
    head = ["model", *VERDICTS, f"repeated, against {baseline}", f"corrected, against {baseline}"]
    who = "an AI judge" if part["by"] == "judge" else "rules on the text, which call other wordings unclear"
    caption = (
        f"{count(part['num'], 'question')} with a myth or a false premise ({part['data']}); verdicts by {who}. "
        "95\u00a0% intervals over questions." + _agreement(part["models"])
    )
    table = Table(head, rows, f"{run.name}: answers about myths", caption, page.files(run, "probe.json"))
    samples: list[Block] = [
        _answer(page, i, row, short, part["by"]) for i, row in _picked(page, run, "misinformation.jsonl")
    ]
    return [table, Fold("Answers about myths", samples)] if samples else [table]


def _agreement(models: Sequence[Mapping[str, Any]]) -> str:
    shares = [f"{model['name']} {interval_text(model['agreement'], percent)}" for model in models if model["agreement"]]
    return f" Judge and rules agree on these shares of the answers: {', '.join(shares)}." if shares else ""


def _answer(page: Page, index: int, row: Mapping[str, Any], short: Mapping[str, str], by: str) -> Sample:
    written = [Written("what is right", "gold", row["right"], [f"myth: {row['myth']}"])]
    for model, one in row["completions"].items():
        name = short.get(model, model)
        facts = [one[by], *([f"rules: {one['rules']}"] if by == "judge" else [])]
        written.append(Written(name, page.role(name), one["text"][:LONGEST], facts))
    return Sample(f"myth-{index}", row["prompt"], written)
