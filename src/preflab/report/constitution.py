"""The section "Critique, revision and AI judges": revised answers by principle, and readings of the AI judges."""

from __future__ import annotations

from collections import Counter
from typing import Any

from preflab.files import read_jsonl
from preflab.report.blocks import Block, Cell, Fold, Note, Sample, Section, Table, Written, numbers
from preflab.report.chart_scales import pick_evenly
from preflab.report.run_folders import Page, Run
from preflab.report.samples import LONGEST
from preflab.words import column, count, interval_text, number, percent

OPEN_REVISIONS = 3
"""Number of revised answers shown at once; the others are folded."""
ASKED = {
    "likelihood": "a local model, by likelihood",
    "likelihood in a turn": "a local model, by likelihood in its turn",
    "likelihood in a turn, thinking closed": "a local model, by likelihood in its turn, thinking closed",
    "endpoint": "an endpoint:",
}


def constitution_section(page: Page) -> Section | None:
    """Revisions and AI judgments of the reported stages; None if there are none."""
    blocks: list[Block] = []
    for run in page.of_kind("revise"):
        blocks += _revisions(page, run)
    blocks += [_judge(page, run) for run in page.of_kind("ai_judge") if run.json("ai_judge.json")]
    lead = "A model judged these texts, not people: by the principles of a constitution or by a given question."
    return Section("principles", "Critique, revision and AI judges", blocks, lead) if blocks else None


def _revisions(page: Page, run: Run) -> list[Block]:
    rows = [row for row in read_jsonl(run.folder / "revisions.jsonl") if row["steps"]]
    if not rows:
        return []
    samples = [_revised(rows[i]) for i in pick_evenly(len(rows), page.num_samples)]
    selection = (
        f"{len(samples)} of {count(len(rows), 'answer')} with their revisions, evenly spaced; not picked by hand."
    )
    blocks: list[Block] = [_principles(page, run, rows)]
    if samples:
        blocks += [Note(selection, sources=page.files(run, "revisions.jsonl")), *samples[:OPEN_REVISIONS]]
    more = samples[OPEN_REVISIONS:]
    if more:
        blocks.append(Fold(f"{count(len(more), 'more revised answer')}", more))
    return blocks


def _principles(page: Page, run: Run, rows: list[dict[str, Any]]) -> Table:
    """A table of the principles: how often each was drawn, and how often its revision changed the text."""
    drawn: Counter[str] = Counter()
    changed: Counter[str] = Counter()
    empty = 0
    for row in rows:
        before = row["answer"]
        for step in row["steps"]:
            drawn[step["principle"]] += 1
            changed[step["principle"]] += step["revision"].strip() != before.strip()
            empty += not step["revision"].strip()
            before = step["revision"]
    whole = sum(row["steps"][-1]["revision"].strip() != row["answer"].strip() for row in rows)
    shares = column([changed[name] / num for name, num in drawn.most_common()], percent)
    cells = [
        [Cell(name), *numbers(f"{num:,}", f"{changed[name]:,}", share)]
        for (name, num), share in zip(drawn.most_common(), shares, strict=True)
    ]
    caption = (
        f"{count(len(rows[0]['steps']), 'round')} for each of {count(len(rows), 'prompt')}; a principle is drawn "
        "by weight in every round. Changed: the revision differs from the text before it, for better or worse. "
        f"Empty revisions: {empty}."
    )
    title = f"{run.name}: {percent(round(whole / len(rows), 3))} of the answers were changed"
    return Table(["principle", "drawn", "changed", "share"], cells, title, caption, page.files(run, "revisions.jsonl"))


def _revised(row: dict[str, Any]) -> Sample:
    """An answer with its critiques and revisions, from left to right."""
    written = [Written("answer", "reference", row["answer"][:LONGEST])]
    for turn, step in enumerate(row["steps"], 1):
        place = f" {turn}" if len(row["steps"]) > 1 else ""
        written.append(Written(f"critique{place}: {step['principle']}", "reference", step["critique"][:LONGEST]))
        written.append(Written(f"revision{place}", "policy", step["revision"][:LONGEST]))
    return Sample(f"revised-{row['prompt_id']}", row["prompt"], written)


def _judge(page: Page, run: Run) -> Table:
    """A table of an AI judge's readings: tasks, unreadable answers, ties, agreement with people, cost."""
    readings = run.json("ai_judge.json")
    judge, usage, people = readings.get("judge") or {}, readings.get("usage") or {}, readings.get("people") or {}
    rows = [
        ("asked", " ".join(filter(None, [ASKED.get(judge.get("asked", ""), ""), str(judge.get("model") or "")]))),
        ("hash of the wording", str(judge.get("question_version", "–"))),
        ("tasks judged", f"{number(readings['num_judged'])} of {number(readings['num_tasks'])}"),
        ("tasks without a readable verdict", number(readings["num_unread"])),
        ("pairs called equal", percent(readings.get("ties"))),
    ]
    if people:
        rows.append((f"agrees with {people['stage']}", interval_text(people["agreement"], percent)))
        rows.append(("pairs that both decided", number(people["num_both"])))
    for name, line in (people.get("calibration") or {}).items():
        rows.append((f"correlation with people, {name}", number(line.get("correlation"))))
    if usage:
        tokens = f"{number(usage['prompt_tokens'])} read, {number(usage['completion_tokens'])} written"
        rows += [("calls", f"{number(usage['num_calls'])}, {number(usage['num_retries'])} of them retries"),
                 ("tokens", tokens), ("cost", number(usage["cost"]) if usage["cost"] else "not counted")]  # fmt: skip
    caption = "Every pair is asked in both orders; a verdict that depends on the order counts as a tie." + (
        "" if people else " Agreement with people is unknown: no person judged the same completions."
    )
    cells = [[Cell(name), *numbers(value)] for name, value in rows]
    return Table(["what", "how much"], cells, f"{run.name}: the AI judge", caption,
                 page.files(run, "ai_judge.json"))  # fmt: skip
