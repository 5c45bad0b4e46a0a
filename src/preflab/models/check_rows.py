"""Rows of the table of `preflab check`, and a function that builds one from a number and its upper bound."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class CheckRow:
    """One row of the table."""

    name: str
    holds: bool
    measured: str
    allowed: str
    advice: str = ""
    """Advice for a row that fails; a remark for a row that holds."""


def measured_row(name: str, measured: float, allowed: float, unit: str, advice: str) -> CheckRow:
    """A row that holds if `measured` is at most `allowed`; the advice is given only if it does not hold."""
    holds = measured <= allowed
    return CheckRow(
        name, holds, f"{measured:.1e} {unit}".strip(), f"{allowed:.0e}" if allowed else "0", "" if holds else advice
    )
