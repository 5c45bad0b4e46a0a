"""Rounds side by side (R24): what people said, what the reward model learned of it, what the policy became."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from preflab.report.blocks import Cell, Link, Section, Table, numbers
from preflab.report.measures import measure_form, measure_title
from preflab.report.runs import Page, Run
from preflab.report.words import interval_text, number, percent

Round = dict[str, Run]
"""What a round made, by kind: `preferences`, `reward`, `policy`; the last one of each kind."""
LEARNED = ("preferences", "reward")
OTHERS = ("sample", "judge", "evaluate", "report", "tiny", "sft")
"""Kinds that make neither preferences, nor a reward model, nor a policy that was optimised."""


def rounds_section(page: Page) -> Section | None:
    """One column per round; None when the recipe went through only once."""
    rounds = rounds_of(page)
    if len(rounds) < 2:
        return None
    names = [f"round {number}" for number in rounds]
    rows = [[Cell(what), *numbers(*cells)] for what, cells in _rows(page, rounds) if any(cells)]
    caption = (
        "Each round’s completions come from the policy of the round before, and each reward model has a scale of its "
        "own: rewards during training are compared within a column alone. What was measured on the same held-out "
        "prompts stands below them."
    )
    table = Table(["", *names], rows, "What each round brought", caption, _sources(page, rounds))
    return Section("rounds", "Rounds", [table])


def rounds_of(page: Page) -> dict[int, Round]:
    """Number of the round → what it made; plain names are those of round 1."""
    found: dict[int, Round] = {}
    for run in page.everything:
        kind = run.kind if run.kind in LEARNED else "policy"
        if run.kind not in OTHERS:
            found.setdefault(int(run.name.partition("@")[2] or 1), {})[kind] = run
    return dict(sorted(found.items()))


def _rows(page: Page, rounds: Mapping[int, Round]) -> list[tuple[str, list[str]]]:
    """(what, one text per round), empty texts where a round has none."""
    rows: list[tuple[str, Callable[[Round], str]]] = [
        ("judgments", lambda one: _count(_labels(one), "num_judgments")),
        ("labelers", lambda one: str(len(_labels(one).get("labelers", []))) if _labels(one) else ""),
        (
            "two labelers agree",
            lambda one: interval_text(_labels(one).get("agreement"), percent) if _labels(one) else "",
        ),
        ("preferences", lambda one: _count(_pairs(one), "num_preferences")),
        ("pairs to learn from", lambda one: _count(_pairs(one), "num_resolved")),
        ("pairs left unresolved", lambda one: _count(_pairs(one), "num_unresolved")),
        ("reward model right on held-out pairs", _accuracy),
        ("reward while training", lambda one: _course(one, "reward/mean")),
        ("KL to the reference, nats", lambda one: _course(one, "kl/exact")),
    ]
    measured = _measured(page, rounds)
    return [(what, [cell(one) for one in rounds.values()]) for what, cell in rows] + measured


def _labels(one: Round) -> dict[str, Any]:
    return one["preferences"].json("agreement.json") if "preferences" in one else {}


def _pairs(one: Round) -> dict[str, Any]:
    pairs: dict[str, Any] = _labels(one).get("pairs", {})
    return pairs


def _count(found: Mapping[str, Any], name: str) -> str:
    return f"{found[name]:,}" if name in found else ""


def _accuracy(one: Round) -> str:
    report = one["reward"].json("reward_report.json") if "reward" in one else {}
    return interval_text((report.get("held_out") or {}).get("accuracy"), percent) if report.get("held_out") else ""


def _course(one: Round, metric: str) -> str:
    """A metric's first and last value."""
    values = one["policy"].series(metric)[1] if "policy" in one else []
    return f"{number(values[0])} → {number(values[-1])}" if values else ""


def _measured(page: Page, rounds: Mapping[int, Round]) -> list[tuple[str, list[str]]]:
    """Judges and rewards of each round's policy on the same held-out prompts, where a stage evaluated them."""
    policies = [one["policy"].name if "policy" in one else "" for one in rounds.values()]
    rows = []
    for run in page.of_kind("evaluate"):
        figures = {entry["name"].removesuffix("@1"): entry["figures"] for entry in run.evaluation.get("models", [])}
        names = dict.fromkeys(name for found in figures.values() for name in found)
        for measure in (name for name in names if name.startswith(("judge/", "reward/"))):
            cells = [interval_text(figures.get(policy, {}).get(measure), measure_form(measure))
                     if policy in figures else "" for policy in policies]  # fmt: skip
            rows.append((f"{measure_title(measure)}, {run.name}", cells))
    return rows


def _sources(page: Page, rounds: Mapping[int, Round]) -> list[Link]:
    made = [run for one in rounds.values() for run in one.values() if run.kind in ("preferences", "reward")]
    return [link for run in made for link in page.files(run, "agreement.json", "reward_report.json")]
