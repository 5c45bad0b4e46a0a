"""The section "Try it": links to the simulators among the runs."""

from __future__ import annotations

from preflab.report.blocks import Note, Section
from preflab.report.run_folders import Page, Run

PAGE = "simulator.html"


def simulator_section(page: Page) -> Section | None:
    """One note per stage `simulate`, with a link to its page; None if there is none."""
    runs = [run for run in page.of_kind("simulate") if (run.folder / PAGE).is_file()]
    if not runs:
        return None
    lead = "Move the KL penalty and the reward yourself, and see which of the sampled completions each would bring."
    return Section("simulator", "Try it", [_note(page, run) for run in runs], lead=lead)


def _note(page: Page, run: Run) -> Note:
    return Note(f"{run.name}: {run.manifest.get('summary', '')}.", sources=[page.link(run, PAGE, "open the simulator")])
