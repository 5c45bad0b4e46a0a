"""One line of the table of `preflab check`, and the line of a number that may not exceed a bound."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class CheckRow:
    """One line of the table."""

    name: str
    holds: bool
    measured: str
    allowed: str
    advice: str = ""
    """Advice for a row that fails; a remark for a row that holds."""


def measured_row(name: str, measured: float, allowed: float, unit: str, advice: str) -> CheckRow:
    """The row of a number that holds up to `allowed`; the advice is given where it does not."""
    holds = measured <= allowed
    return CheckRow(
        name, holds, f"{measured:.1e} {unit}".strip(), f"{allowed:.0e}" if allowed else "0", "" if holds else advice
    )
