"""The section "Rounds": labels, reward model and policy of each round, side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from preflab.report.blocks import Cell, Link, Section, Table, numbers
from preflab.report.measures import figure_texts, measure_title
from preflab.report.run_folders import Page, Run
from preflab.words import intervals, percent, three_digits

Round = dict[str, Run]
"""Kind (`preferences`, `reward`, `policy`) → the last run of this kind in the round."""
LEARNED = ("preferences", "reward")
OTHERS = ("sample", "judge", "evaluate", "report", "tiny", "sft")
"""Kinds that make neither preferences, nor a reward model, nor an optimised policy."""


def rounds_section(page: Page) -> Section | None:
    """A table with one column per round; None if there was only one round."""
    rounds = rounds_of(page)
    if len(rounds) < 2:
        return None
    names = [f"round {number}" for number in rounds]
    rows = [[Cell(what), *numbers(*cells)] for what, cells in _rows(page, rounds) if any(cells)]
    caption = (
        "Each round’s completions come from the policy of the round before. Each reward model has its own scale: "
        "compare rewards during training only within a column. The rows below them were measured on the same held-out "
        "prompts."
    )
    table = Table(["", *names], rows, "Results of each round", caption, _sources(page, rounds))
    return Section("rounds", "Rounds", [table])


def rounds_of(page: Page) -> dict[int, Round]:
    """Number of the round → its runs: `ppo@2` belongs to round 2, a name without `@` to round 1."""
    rounds: dict[int, Round] = {}
    for run in page.everything:
        kind = run.kind if run.kind in LEARNED else "policy"
        if run.kind not in OTHERS:
            rounds.setdefault(int(run.name.partition("@")[2] or 1), {})[kind] = run
    return dict(sorted(rounds.items()))


def _rows(page: Page, rounds: Mapping[int, Round]) -> list[tuple[str, list[str]]]:
    """(row title, one text per round); the text is empty if a round lacks the stage."""
    each = list(rounds.values())
    shares = [_labels(one).get("agreement") for one in each]
    texts = {
        "judgments": [_count(_labels(one), "num_judgments") for one in each],
        "labelers": [f"{len(_labels(one).get('labelers', [])):,}" if _labels(one) else "" for one in each],
        "two labelers agree": _where_known(intervals(shares, percent), shares),
        "preferences": [_count(_pairs(one), "num_preferences") for one in each],
        "pairs to learn from": [_count(_pairs(one), "num_resolved") for one in each],
        "pairs left unresolved": [_count(_pairs(one), "num_unresolved") for one in each],
        "reward model right on held-out pairs": _accuracies(each),
        "reward while training": [_course(one, "reward/mean") for one in each],
        "KL to the reference, nats": [_course(one, "kl/exact") for one in each],
    }
    return [*texts.items(), *_measured(page, rounds)]


def _where_known(texts: Sequence[str], found: Sequence[Any]) -> list[str]:
    """The texts, with "" for a round that has no value."""
    return [text if one else "" for text, one in zip(texts, found, strict=True)]


def _labels(one: Round) -> dict[str, Any]:
    return one["preferences"].json("agreement.json") if "preferences" in one else {}


def _pairs(one: Round) -> dict[str, Any]:
    pairs: dict[str, Any] = _labels(one).get("pairs", {})
    return pairs


def _count(found: Mapping[str, Any], name: str) -> str:
    return f"{found[name]:,}" if name in found else ""


def _accuracies(rounds: Sequence[Round]) -> list[str]:
    reports = [one["reward"].json("reward_report.json") if "reward" in one else {} for one in rounds]
    accuracies = [(report.get("held_out") or {}).get("accuracy") for report in reports]
    return _where_known(intervals(accuracies, percent), accuracies)


def _course(one: Round, metric: str) -> str:
    """`first → last` value of a metric of the round's policy; "" if it was not logged."""
    values = one["policy"].series(metric)[1] if "policy" in one else []
    return f"{three_digits(values[0])} → {three_digits(values[-1])}" if values else ""


def _measured(page: Page, rounds: Mapping[int, Round]) -> list[tuple[str, list[str]]]:
    """Rows with judge and reward scores of each round's policy, from the evaluations of the report."""
    policies = [one["policy"].name if "policy" in one else "" for one in rounds.values()]
    rows = []
    for run in page.of_kind("evaluate"):
        texts = figure_texts(run.evaluation) if run.evaluation.get("models") else {}
        for measure in (name for name in texts if name.startswith(("judge/", "reward/"))):
            by_policy = {name.removesuffix("@1"): text for name, text in texts[measure].items()}
            cells = [by_policy.get(policy, "") for policy in policies]
            rows.append((f"{measure_title(measure)}, {run.name}", cells))
    return rows


def _sources(page: Page, rounds: Mapping[int, Round]) -> list[Link]:
    made = [run for one in rounds.values() for run in one.values() if run.kind in ("preferences", "reward")]
    return [link for run in made for link in page.files(run, "agreement.json", "reward_report.json")]
