"""Principles at work: what critiques and revisions made of answers, and what the AI judges said."""

from __future__ import annotations

from collections import Counter
from typing import Any

from preflab.files import read_jsonl
from preflab.report.blocks import Block, Cell, Fold, Note, Sample, Section, Table, Written, numbers
from preflab.report.runs import Page, Run
from preflab.report.samples import LONGEST
from preflab.report.scales import thinned
from preflab.words import column, count, interval_text, number, percent

OPEN_REVISIONS = 3
"""Revised answers in sight; the others open with a click."""
ASKED = {
    "likelihood": "a local model, by likelihood",
    "likelihood in a turn": "a local model, by likelihood in its turn",
    "likelihood in a turn, thinking closed": "a local model, by likelihood in its turn, thinking closed",
    "endpoint": "an endpoint:",
}


def constitution_section(page: Page) -> Section | None:
    """Revisions and AI judgments of the reported stages; None where there are none."""
    blocks: list[Block] = []
    for run in page.of_kind("revise"):
        blocks += _revisions(page, run)
    blocks += [_judge(page, run) for run in page.of_kind("ai_judge") if run.json("ai_judge.json")]
    lead = "Nobody judged these texts: a model did, by the principles of a constitution or by the question put to it."
    return Section("principles", "Critique, revision and AI judges", blocks, lead) if blocks else None


def _revisions(page: Page, run: Run) -> list[Block]:
    rows = [row for row in read_jsonl(run.folder / "revisions.jsonl") if row["steps"]]
    if not rows:
        return []
    samples = [_revised(rows[i]) for i in thinned(len(rows), page.num_samples)]
    said = (
        f"{len(samples)} of {count(len(rows), 'answer')} with what became of them, evenly spaced; not picked by hand."
    )
    blocks: list[Block] = [_principles(page, run, rows)]
    if samples:
        blocks += [Note(said, sources=page.files(run, "revisions.jsonl")), *samples[:OPEN_REVISIONS]]
    more = samples[OPEN_REVISIONS:]
    if more:
        blocks.append(Fold(f"{count(len(more), 'more revised answer')}", more))
    return blocks


def _principles(page: Page, run: Run, rows: list[dict[str, Any]]) -> Table:
    """Which principles were drawn, and how often a text was another one afterwards."""
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
        "by weight in every round. Changed: the text after the revision is another one, for better or worse. "
        f"Empty revisions: {empty}."
    )
    title = f"{run.name}: {percent(round(whole / len(rows), 3))} of the answers ended as another text"
    return Table(["principle", "drawn", "changed", "share"], cells, title, caption, page.files(run, "revisions.jsonl"))


def _revised(row: dict[str, Any]) -> Sample:
    """An answer, each critique of it, each revision, from left to right."""
    written = [Written("answer", "reference", row["answer"][:LONGEST])]
    for turn, step in enumerate(row["steps"], 1):
        place = f" {turn}" if len(row["steps"]) > 1 else ""
        written.append(Written(f"critique{place}: {step['principle']}", "reference", step["critique"][:LONGEST]))
        written.append(Written(f"revision{place}", "policy", step["revision"][:LONGEST]))
    return Sample(f"revised-{row['prompt_id']}", row["prompt"], written)


def _judge(page: Page, run: Run) -> Table:
    """How much an AI judged, how often it could not decide, whether people agree with it, and what it cost."""
    readings = run.json("ai_judge.json")
    judge, usage, people = readings.get("judge") or {}, readings.get("usage") or {}, readings.get("people") or {}
    rows = [
        ("asked", " ".join(filter(None, [ASKED.get(judge.get("asked", ""), ""), str(judge.get("model") or "")]))),
        ("wording, by its hash", str(judge.get("question_version", "–"))),
        ("tasks judged", f"{number(readings['num_judged'])} of {number(readings['num_tasks'])}"),
        ("tasks that could not be read", number(readings["num_unread"])),
        ("pairs called equal", percent(readings.get("ties"))),
    ]
    if people:
        rows.append((f"agrees with {people['stage']}", interval_text(people["agreement"], percent)))
        rows.append(("pairs that both decided", number(people["num_both"])))
    for name, line in (people.get("calibration") or {}).items():
        rows.append((f"correlation with people, {name}", number(line.get("correlation"))))
    if usage:
        tokens = f"{number(usage['prompt_tokens'])} read, {number(usage['completion_tokens'])} written"
        rows += [("calls", f"{number(usage['num_calls'])}, {number(usage['num_retries'])} of them again"),
                 ("tokens", tokens), ("cost", number(usage["cost"]) if usage["cost"] else "not counted")]  # fmt: skip
    caption = "Every pair is asked about in both orders; a verdict that depends on the order counts as a tie." + (
        "" if people else " How far people would agree is not known: nobody judged the same completions."
    )
    cells = [[Cell(name), *numbers(value)] for name, value in rows]
    return Table(["what", "how much"], cells, f"{run.name}: what the AI judge said", caption,
                 page.files(run, "ai_judge.json"))  # fmt: skip
