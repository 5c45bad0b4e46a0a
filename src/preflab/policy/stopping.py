"""Ends an on-policy run before its last step when a held-out criterion or the KL reaches its limit."""

from __future__ import annotations

from typing import Protocol

from preflab.settings.stopping import StopSettings


class WithStop(Protocol):
    """Settings of a loop that may end before its last step."""

    @property
    def stop(self) -> StopSettings: ...


def measures_held_out(settings: WithStop, num_done: int) -> bool:
    """Whether the held-out criterion is due after this many steps."""
    return settings.stop.criterion is not None and num_done % settings.stop.every == 0


def held_out_values(mean: float, error: float | None) -> dict[str, float]:
    """Metrics of one measurement of the held-out criterion; without a standard error its key is omitted."""
    return {"score/held_out": mean} | ({} if error is None else {"score/held_out_error": error})


def stopped_before(settings: WithStop, rows: list[dict[str, float]], num_done: int) -> str | None:
    """Why the run had stopped at this checkpoint, so that a restart does not continue it; None if it had not."""
    last = next((row for row in rows if row["step"] == num_done - 1), None)
    return stop_reason(settings, last) if last else None


def stop_reason(settings: WithStop, values: dict[str, float]) -> str | None:
    """A sentence about the limit that a step's metrics have reached; None if they reached none."""
    stop, held_out = settings.stop, values.get("score/held_out")
    if stop.threshold is not None and held_out is not None and held_out >= stop.threshold:
        return f"the held-out criterion reached {held_out:.3f} (threshold {stop.threshold:g})"
    if stop.max_kl is not None and values["kl/exact"] > stop.max_kl:
        return f"KL reached {values['kl/exact']:.2f} nats per completion (limit {stop.max_kl:g})"
    return None
