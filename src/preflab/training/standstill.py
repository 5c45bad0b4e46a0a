"""Detects runs that learned almost nothing: the policy hardly changed, or the loss hardly fell."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean, variance
from typing import Any

from preflab.words import signed, three_digits

STILL = 0.05
"""Largest |log π/π_ref| of a policy that hardly moved, nats per completion. With beta 0.1, the loss of a pair with
log-ratios +0.05 and −0.05 has fallen by 0.1 · 0.1 / 2 = 0.005, which is less than 1 % of ln 2."""

NEARLY_STILL = 0.25
"""Largest |log π/π_ref| of a policy that hardly moved if the loss did not fall either. Completions of some hundred
tokens exceed `STILL` with a thousandth of a nat per token, while the loss still reads 0.69 → 0.69."""

FALLEN = 0.02
"""Smallest fall of a loss that counts, as a share of its starting value; 0.693 · 0.98 = 0.679 reads 0.68."""

STILL_KL = 0.01
"""Largest KL to the reference, nats per completion, of an on-policy run that hardly moved. By Pinsker's inequality, no
event's probability has then changed by more than √(0.01 / 2) = 0.07."""

NUM_LAST = 3
"""Number of last steps that are averaged."""

HARDLY_MOVED = "hardly moved"
LOSSES = ("loss/total", "loss/nll")

Rows = Sequence[Mapping[str, Any]]


def hardly_moved(rows: Rows, num_steps: int | None) -> tuple[str, str] | None:
    """(message, setting to change) if the policy is still close to its reference at the last of `num_steps`.

    Metrics of a training step are measured before its update, those of held-out groups after the last update. A run of
    `NUM_LAST` steps or fewer is therefore judged only by its held-out groups.
    """
    if rows[-1]["step"] + 1 != num_steps:
        return None
    sides = ("chosen", "rejected")
    trained = [(side, _latest(rows, f"logratio/{side}")) for side in sides]
    held_out = [(side, rows[-1].get(f"held_out/logratio_{side}")) for side in sides]
    known = [(side, value) for side, value in (*trained, *held_out) if value is not None]
    if not known:
        return _no_kl(rows)
    largest = max(abs(value) for _, value in known)
    if largest > NEARLY_STILL or (largest > STILL and not _loss_stayed(rows)):
        return None
    listed = ", ".join(f"{side} {signed(value, 3)}" for side, value in dict(known).items())
    return (
        f"the policy hardly moved: {listed} nats of log π/π_ref at the end",
        "raise optimiser.learning_rate, or num_epochs",
    )


def _no_kl(rows: Rows) -> tuple[str, str] | None:
    """The same for an on-policy run, judged by the mean KL of the last steps."""
    kl = _latest(rows, "kl/exact")
    if kl is None or "reward/mean" not in rows[-1] or kl > STILL_KL:
        return None
    return (
        f"the policy hardly moved: KL {three_digits(max(kl, 0.0))} nats at the end",
        "raise optimiser.learning_rate, or num_steps",
    )


def _loss_stayed(rows: Rows) -> bool:
    first, last = rows[0].get("loss/total"), _latest(rows, "loss/total")
    return first is not None and last is not None and last > (1 - FALLEN) * first > 0


def _latest(rows: Rows, name: str) -> float | None:
    """Mean of a metric over the last `NUM_LAST` steps; None if the run has no more steps, or none of them has it."""
    values = [row[name] for row in rows[-NUM_LAST:] if name in row] if len(rows) > NUM_LAST else []
    return sum(values) / len(values) if values else None


def said_of_alarms(alarms: Rows, last: Mapping[str, Any]) -> str:
    """Text for a stage's summary if the "hardly moved" alarm fired at its last step; otherwise ""."""
    standing = [each for each in alarms if each["alarm"] == HARDLY_MOVED and each["step"] == last["step"]]
    return "".join(f"; {each['message']}; {each['setting']}" for each in standing)


def said_of_loss(rows: Rows) -> str:
    """Text for the summary of a stage without a KL if its loss hardly fell or rose; otherwise "".

    The means of the first and the last third of the steps are compared. The loss fell, or rose, if the means differ by
    1 % or more, and by one standard error of the difference or more. With one step the result is "", because its loss
    is measured before the only update.
    """
    losses = [float(next(row[name] for name in LOSSES if name in row)) for row in rows if any(n in row for n in LOSSES)]
    part = max(1, len(losses) // 3)
    if len(losses) < 2:
        return ""
    early, late = losses[:part], losses[-part:]
    error = ((variance(early) + variance(late)) / part) ** 0.5 if part > 1 else 0.0
    first, last = fmean(early), fmean(late)
    if first - last >= max(0.01 * abs(first), error):
        return ""
    means = f"{three_digits(first)} → {three_digits(last)}"
    if last - first >= max(0.01 * abs(first), error):
        return f"; the loss rose ({means}): raise the number of steps, or lower optimiser.learning_rate"
    return f"; the loss hardly fell ({means}): raise optimiser.learning_rate, or the number of steps"
