"""The section "The classifiers": how often each is right on texts that it was not trained on."""

from __future__ import annotations

from typing import Any

from preflab.report.blocks import Cell, Section, Table, numbers
from preflab.report.run_folders import Page, Run
from preflab.words import count, intervals, listed, percent, whole_percent

REPORT = "classifier_report.json"
PARTS = {"held_out": "held-out texts", "test": "further labels"}


def classifiers_section(page: Page) -> Section | None:
    """A table of the trained classifiers among the runs; None if there is none."""
    runs = page.of_kind("classifier")
    if not runs:
        return None
    rows = [row for run in runs for row in _rows(run)]
    links = [link for run in runs for link in page.files(run, REPORT)]
    caption = (
        "Share of texts whose likeliest class is the label; 95\u00a0% intervals over texts. No classifier can agree "
        "with more labels than are right. A classifier that judges what another one rewarded should be right about as "
        "often, and have learned from other labels."
    )
    table = Table(
        ("classifier", "texts learned", "measured on", "right", "commonest class"), rows, caption=caption, sources=links
    )
    return Section("classifiers", "The classifiers", [table])


def _rows(run: Run) -> list[list[Cell]]:
    report = run.json(REPORT)
    learned = sum(report.get("counts", {}).values())
    measured = [(what, report[part]) for part, what in PARTS.items() if report.get(part)]
    if not measured:
        return [[_name(run, report), *numbers(f"{learned:,}"), Cell("nothing"), *numbers("–", "–")]]
    right = intervals([quality["accuracy"] for _, quality in measured], percent)
    return [
        [
            _name(run, report),
            *numbers(f"{learned:,}"),
            Cell(count(quality["num"], what.removesuffix("s"), what)),
            *numbers(text, whole_percent(quality["most_frequent"])),
        ]
        for (what, quality), text in zip(measured, right, strict=True)
    ]


def _name(run: Run, report: dict[str, Any]) -> Cell:
    return Cell(f"{run.name} ({report.get('architecture')}: {listed(report.get('classes', []))})")
