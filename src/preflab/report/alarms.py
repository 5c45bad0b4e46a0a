"""The section "Alarms": alarms that fired, with the setting to change."""

from __future__ import annotations

from typing import Any

from preflab.report.blocks import Block, Note, Section
from preflab.report.run_folders import POLICIES, Page, Run
from preflab.words import count, listed

WATCHED = (*POLICIES, "dpo")
"""Kinds of stages whose training can raise alarms; "no alarm fired" is written for these only."""


def alarms_section(page: Page) -> Section | None:
    """One note per alarm and run, or a note that none fired; None if no run of the report can raise alarms."""
    watched = [run for run in page.of_kind(*WATCHED) if run.metrics]
    if not watched:
        return None
    notes: list[Block] = [note for run in watched for note in _notes(page, run)]
    if notes:
        return Section("alarms", "Alarms", notes)
    names = listed([run.name for run in watched])
    return Section("alarms", "Alarms", [Note(f"No alarm fired in {names}.")])


def _notes(page: Page, run: Run) -> list[Note]:
    fired: dict[str, list[dict[str, Any]]] = {}
    for row in run.alarms:
        fired.setdefault(str(row.get("alarm", "alarm")), []).append(row)
    notes = []
    for name, rows in fired.items():
        first, last = rows[0], rows[-1]
        when = f"at step {first.get('step')}"
        if len(rows) > 1:
            when = f"first at step {first.get('step')}, last at step {last.get('step')}, {count(len(rows), 'time')}"
        change = f" Change: {first['setting']}." if first.get("setting") else ""
        message = str(last.get("message", "")).rstrip(".")
        notes.append(
            Note(f"{message}.{change}", "alarm", f"{run.name}: {name}, {when}", page.files(run, "alarms.jsonl"))
        )
    return notes
