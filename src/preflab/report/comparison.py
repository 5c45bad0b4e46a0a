"""The section "Before and after": figures of every model on the same prompts, and their differences with intervals."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from preflab.report.blocks import Block, Cell, Figure, Fold, Grid, Section, Table, numbers
from preflab.report.charts import Bar, bar_chart
from preflab.report.measures import (
    figure_texts,
    is_share,
    measure_name,
    measure_order,
    measure_title,
    measured,
    primary_of,
    quantity,
)
from preflab.report.run_folders import Page, Run
from preflab.report.seeds import over_seeds_blocks, verdict_entries
from preflab.words import count, difference_text, interval_text, is_found, listed, number, or_nan, p_text

DRAWN = ("judge/", "probability/", "spread/", "above/", "rouge/1", "rouge/l", "reward/", "label/", "distinct/2")
"""Measures, or beginnings of their names, that are drawn as bars."""
PARTS = ("/precision", "/recall")
"""Ends of the names of measures that are listed in a table of their own."""
NO_ZERO = " Dots instead of bars: this score has no natural zero, only differences have a meaning."


def comparison_section(page: Page) -> Section | None:
    """Tables and figures of every evaluation among the runs; None if there is none."""
    blocks: list[Block] = []
    for run in page.of_kind("evaluate"):
        evaluation = run.evaluation
        if evaluation.get("models"):
            blocks += _evaluation(page, run, evaluation)
    return Section("comparison", "Before and after", blocks) if blocks else None


def _evaluation(page: Page, run: Run, found: dict[str, Any]) -> list[Block]:
    figures = [figure for prefix in DRAWN for figure in _bars(page, run, found, prefix)]
    blocks: list[Block] = [*over_seeds_blocks(page, run, found), _summary(page, run, found)]
    if parts := _precision_and_recall(page, run, found):
        blocks.append(Fold("Precision and recall of ROUGE", [parts]))
    if figures:
        blocks.append(Grid(figures))
    blocks += [_differences(page, run, found, entry) for entry in found.get("comparisons", [])]
    return blocks


def _summary(page: Page, run: Run, found: dict[str, Any]) -> Table:
    rows = []
    for name, texts in figure_texts(found).items():
        role = quantity(name).role if name.startswith("judge/") else ""
        if not name.endswith(PARTS):
            rows.append([Cell(measure_name(name), role=role), *numbers(*texts.values())])
    prompts = found.get("prompts", {})
    caption = (
        f"Mean and 95\u00a0% interval over {count(prompts.get('num', 0), 'prompt')} ({prompts.get('name', '')}), "
        f"{count(prompts.get('num_completions', 1), 'completion')} each, equal seeds per prompt for every model. "
        f"KL is measured to {found.get('reference')}."
        + _classes(found)
        + "".join(f" {note}." for note in found.get("notes", []))
    )
    head = ["measure", *(model["name"] for model in found["models"])]
    return Table(head, rows, "", caption, page.files(run, "evaluation.json", "samples.jsonl"))


def _classes(found: dict[str, Any]) -> str:
    """A sentence about the class and the threshold of each classifier."""
    return "".join(
        f" {name}: probability of the class {one['class_label']} by {one['model']}, "
        f"threshold {number(one['threshold'])}."
        for name, one in found.get("classifiers", {}).items()
    )


def _precision_and_recall(page: Page, run: Run, found: dict[str, Any]) -> Table | None:
    texts = {name: each for name, each in figure_texts(found).items() if name.endswith(PARTS)}
    rows = [[Cell(measure_name(name)), *numbers(*each.values())] for name, each in texts.items()]
    head = ["measure", *(model["name"] for model in found["models"])]
    caption = "Precision: share of the completion’s words that the reference has; recall: the reverse."
    return Table(head, rows, "", caption, page.files(run, "evaluation.json")) if rows else None


def _bars(page: Page, run: Run, found: dict[str, Any], prefix: str) -> list[Figure]:
    """One figure per measure, with one bar per model."""
    figures = []
    for name in [name for name in measured(found) if name.startswith(prefix) and not name.endswith(PARTS)]:
        entries = [(model["name"], model["figures"][name]) for model in found["models"] if name in model["figures"]]
        known = [(model, entry) for model, entry in entries if entry["value"] is not None]
        if known:
            figures.append(_bar_figure(page, run, found, name, known))
    return figures


def _bar_figure(
    page: Page, run: Run, found: dict[str, Any], name: str, entries: Sequence[tuple[str, dict[str, Any]]]
) -> Figure:
    kind, title = quantity(name), _title(name, found)
    texts = figure_texts(found)[name]
    bars = [
        Bar(
            model,
            entry["value"],
            page.role(model),
            or_nan(entry["low"]),
            or_nan(entry["high"]),
            texts[model].partition(" (")[0],
        )
        for model, entry in entries
    ]
    what = measure_name(name) + (", share of completions" if is_share(name) else "")
    rows = [[Cell(model), *numbers(texts[model], f"{entry['num']:,}")] for model, entry in entries]
    num = max(entry["num"] for _, entry in entries)
    return Figure(
        title,
        bar_chart(bars, x=what, dots=not kind.from_zero, description=title, percent=is_share(name)),
        f"Means with 95\u00a0% intervals over prompts, n = {num:,}." + ("" if kind.from_zero else NO_ZERO),
        Table(["model", "value (95\u00a0% interval)", "n"], rows),
        page.files(run, "samples.jsonl"),
    )


def _title(name: str, found: dict[str, Any]) -> str:
    parts = []
    for entry in verdict_entries(found):
        difference = entry["differences"].get(name)
        if difference:
            who = entry["model"] + (f" over {len(entry['seeds'])} seeds" if "seeds" in entry else "")
            parts.append(f"{difference_text(difference, quantity(name).difference)} for {who}")
    what = measure_title(name).partition(",")[0]
    return f"{what}: {listed(parts)}" if parts else what


def _differences(page: Page, run: Run, found: dict[str, Any], entry: dict[str, Any]) -> Fold:
    rows = []
    primary = primary_of(found, entry["differences"])
    for name in sorted(entry["differences"], key=lambda name: (name != primary, measure_order(name))):
        difference = entry["differences"][name]
        role = "gold" if name.startswith("judge/") and is_found(difference) else ""
        form = quantity(name).difference
        rows.append([
            Cell(measure_name(name) + (", primary" if name == primary else "")),
            *numbers(interval_text(difference, form), f"{difference['num']:,}", p_text(difference.get("p")),
                     p_text(difference.get("p_holm"))),
            Cell(difference_text(difference, form), role=role),
        ])  # fmt: skip
    head = ["measure", "difference (95\u00a0% interval)", "n prompts", "p", "p, corrected", "in words"]
    caption = (
        "The primary measure is tested on its own, with several models once for each, corrected. The p-values of the "
        "others are corrected together (Holm 1979): at most 5\u00a0% of comparisons find something among them where "
        "nothing is. Paired over prompts: each prompt is its own control. “Could have seen”: the true difference that "
        "80\u00a0% of such evaluations would detect."
    )
    table = Table(head, rows, "", caption, page.files(run, "evaluation.json"))
    return Fold(f"All differences, {entry['model']} minus {entry['baseline']}", [table])
