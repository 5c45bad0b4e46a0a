"""Checks the parts of an answer's JSON: lists, whole numbers, ranks, marks. Errors name the field."""

from __future__ import annotations

from typing import Any

from preflab.ways.base import Json, Ranks, Rules, WrongAnswer

FAIL = "F"


def check_list(name: str, value: Any, num: int) -> list[Any]:
    """Check that a value is a list with one entry per completion."""
    if not isinstance(value, list | tuple) or len(value) != num:
        raise WrongAnswer(f"{name}: {value!r:.80}", f"a list with one entry for each of the {num} completions")
    return list(value)


def check_number(name: str, value: Any, low: int, high: int, also: str = "") -> int:
    """Check that a value is a whole number from `low` to `high`; `also` names other values that are allowed."""
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise WrongAnswer(f"{name}: {value!r:.80}", f"a whole number from {low} to {high}{also}")
    return value


def check_ranks(rules: Rules, num: int, json: Json) -> Ranks:
    """Check the field `ranks`: whole numbers from 1 to the number of completions, or "F"."""
    ranks: list[int | None] = []
    for i, rank in enumerate(check_list("ranks", json.get("ranks"), num)):
        if rank == FAIL:
            refuse_fail(rules, f"ranks[{i}]")
        ranks.append(None if rank == FAIL else check_number(f"ranks[{i}]", rank, 1, num, f' or "{FAIL}"'))
    return tuple(ranks)


def check_failed(rules: Rules, num: int, json: Json) -> tuple[bool, ...]:
    """Check the field `failed`, which may be left out; returns () if nothing is marked."""
    failed = json.get("failed")
    if failed is None or failed == []:
        return ()
    marks = check_list("failed", failed, num)
    for i, mark in enumerate(marks):
        if not isinstance(mark, bool):
            raise WrongAnswer(f"failed[{i}]: {mark!r:.80}", "true or false")
        if mark:
            refuse_fail(rules, f"failed[{i}]")
    return tuple(marks) if any(marks) else ()


def refuse_fail(rules: Rules, where: str) -> None:
    """Refuse a mark F in a campaign that does not allow it."""
    if not rules.allow_fail:
        raise WrongAnswer(f"{where}: marked F", "no F: this campaign does not allow the fail mark")
