"""Training seeds in the report: the verdict over seeds, each seed beside it, and which seed's samples are shown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from preflab.report.blocks import Block, Cell, Figure, Fold, Grid, Table, numbers
from preflab.report.charts import Bar, Rule, bar_chart
from preflab.report.courses import span_text
from preflab.report.measures import OF_CLASSIFIERS, is_share, measure_name, measure_order, primary_of, quantity
from preflab.report.run_folders import MOST_LABELS, Page, Run
from preflab.seeds import split_seed
from preflab.words import count, difference_text, interval_text, intervals, listed, or_nan, p_text

Evaluation = Mapping[str, Any]
Entry = Mapping[str, Any]
"""A comparison with the baseline, of one model or over the seeds of a stage."""
DRAWN = ("judge/", "reward/", *(f"{part}/" for part in OF_CLASSIFIERS))
"""Beginnings of the names of measures that are drawn per seed, beside the primary one and ROUGE-L."""


def verdict_entries(evaluation: Evaluation) -> list[dict[str, Any]]:
    """The comparisons that the verdict is about: of a stage with several seeds the one over seeds, in their place."""
    over = {name: entry for entry in evaluation.get("seeds", []) for name in entry["seeds"]}
    entries: dict[str, dict[str, Any]] = {}
    for entry in evaluation.get("comparisons", []):
        whole = over.get(entry["model"], entry)
        entries.setdefault(whole["model"], whole)
    return list(entries.values())


def over_seeds_text(entry: Entry) -> str:
    """` over 3 training seeds`; "" for a single model."""
    return f" over {len(entry['seeds'])} training seeds" if "seeds" in entry else ""


def found_on_text(entry: Entry, measure: str) -> str:
    """`; found on 2 of the seeds alone`, also in the other direction; "" for a single model."""
    if "seeds" not in entry:
        return ""
    difference, num = entry["differences"][measure], len(entry["seeds"])
    up, down = difference["num_higher"], difference["num_lower"]
    same, other = (up, down) if (difference["value"] or 0) > 0 else (down, up)
    text = f"; found on {same} of {num} seeds alone"
    return text + (f", on {other} in the other direction" if other else "")


def seed_sentence(entry: Entry, evaluation: Evaluation, measure: str) -> str:
    """`ppo by seed, over prompts: 0.51 (0.20 to 0.81) for seed 0, … for seed 1.`; "" for one model or many."""
    if not 0 < len(entry.get("seeds", [])) <= MOST_LABELS:
        return ""
    differences = [_of_model(evaluation, name)[measure] for name in entry["seeds"]]
    texts = intervals(differences, quantity(measure).difference)
    each = [f"{text} for seed {split_seed(name)[1]}" for name, text in zip(entry["seeds"], texts, strict=True)]
    return f"{entry['model']} by seed, over prompts: {listed(each)}."


def seeds_span(entry: Entry, evaluation: Evaluation, measure: str) -> str:
    """The smallest and the largest value of the measure among the seeds; "" for a single model or without values."""
    figures = [one["figures"].get(measure, {}) for one in evaluation["models"] if one["name"] in entry.get("seeds", [])]
    values = [figure["value"] for figure in figures if figure.get("value") is not None]
    return span_text(values) if values else ""


def _of_model(evaluation: Evaluation, name: str) -> Mapping[str, Any]:
    """The differences of one model."""
    found: Mapping[str, Any] = next(
        entry["differences"] for entry in evaluation["comparisons"] if entry["model"] == name
    )
    return found


def over_seeds_blocks(page: Page, run: Run, evaluation: Evaluation) -> list[Block]:
    """Per stage with several seeds: figures of each seed's difference, and a table of all measures over the seeds."""
    blocks: list[Block] = []
    for entry in evaluation.get("seeds", []):
        primary = primary_of(evaluation, entry["differences"])
        names = sorted(entry["differences"], key=lambda name: (name != primary, measure_order(name)))
        drawn = [name for name in names if name == primary or name.startswith(DRAWN) or name == "rouge/l"]
        figures = [
            _figure(page, run, evaluation, entry, name)
            for name in drawn
            if entry["differences"][name]["value"] is not None
        ]
        blocks += [Grid(figures)] if figures else []
        blocks.append(Fold(_fold_title(entry), [_table(page, run, entry, names, primary)]))
    return blocks


def _fold_title(entry: Entry) -> str:
    return f"All differences over {len(entry['seeds'])} training seeds, {entry['model']} minus {entry['baseline']}"


def _figure(page: Page, run: Run, evaluation: Evaluation, entry: Entry, measure: str) -> Figure:
    """One dot with its interval per seed, and their mean with the interval over seeds."""
    form, whole = quantity(measure).difference, entry["differences"][measure]
    each = [(f"seed {split_seed(name)[1]}", _of_model(evaluation, name)[measure]) for name in entry["seeds"]]
    shown = [
        *((label, figure, "policy") for label, figure in each),
        ("mean, over prompts", {**whole["over_prompts"], "value": whole["value"]}, "policy"),
        ("mean, over seeds", whole, "gold"),
    ]
    texts = intervals([figure for _, figure, _ in shown], form)
    bars = [
        Bar(label, figure["value"], role, or_nan(figure["low"]), or_nan(figure["high"]), text.partition(" (")[0])
        for (label, figure, role), text in zip(shown, texts, strict=True)
    ]
    title = (
        f"{measure_name(measure)}: {difference_text(whole, form)} for {entry['model']}{over_seeds_text(entry)}"
        f"{found_on_text(entry, measure)}"
    )
    what = f"{entry['model']} minus {entry['baseline']}" + (", percentage points" if is_share(measure) else "")
    rows = [
        [Cell(label), *numbers(text, f"{figure['num']:,}"), Cell("seeds" if figure is whole else "prompts")]
        for (label, figure, _), text in zip(shown, texts, strict=True)
    ]
    return Figure(
        title,
        bar_chart(bars, x=what, dots=True, rules=[Rule(0.0, "no difference")], percent=is_share(measure),
                  description=title),
        "Whiskers: 95\u00a0% intervals. Blue ones cover other prompts, for these seeds; the green one covers other "
        "training seeds, on these prompts (Student’s t). It is found if both intervals of the mean exclude 0.",
        Table(["", "difference (95\u00a0% interval)", "n", "of"], rows),
        page.files(run, "evaluation.json"),
    )  # fmt: skip


def _table(page: Page, run: Run, entry: Entry, names: Sequence[str], primary: str | None) -> Table:
    rows, num = [], len(entry["seeds"])
    for name in names:
        figure, form = entry["differences"][name], quantity(name).difference
        found = f"{figure['num_higher']} higher, {figure['num_lower']} lower"
        rows.append([
            Cell(measure_name(name) + (", primary" if name == primary else "")),
            *numbers(interval_text(figure, form), found, p_text(figure.get("p")), p_text(figure.get("p_holm"))),
            Cell(difference_text(figure, form)),
        ])  # fmt: skip
    head = ["measure", "difference (95\u00a0% interval)", f"found on, of {num} seeds", "p", "p, corrected", "in words"]
    seeds = listed([str(split_seed(name)[1]) for name in entry["seeds"]])
    caption = (
        f"Means over {count(num, 'training seed')} ({seeds}) of the differences paired over prompts, with Student’s t "
        f"over seeds ({count(num - 1, 'degree')} of freedom); p is the larger of that over seeds and that of the mean "
        "over prompts. “Found on”: seeds whose own interval over prompts excludes 0."
    )
    return Table(head, rows, "", caption, page.files(run, "evaluation.json"))


def shown_seeds(evaluation: Evaluation) -> dict[str, str]:
    """Stage with several seeds → the seed whose samples are shown: the median by the primary measure."""
    shown = {}
    for entry in evaluation.get("seeds", []):
        primary, names = primary_of(evaluation, entry["differences"]), list(entry["seeds"])
        if primary:
            names.sort(key=lambda name: or_nan(_of_model(evaluation, name)[primary]["value"]))
        shown[entry["model"]] = names[(len(names) - 1) // 2]
    return shown
