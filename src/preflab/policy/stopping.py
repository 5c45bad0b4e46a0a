"""When an on-policy run ends before its last step: by a held-out criterion, or by the KL."""

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
    """The metrics of one measurement of the held-out criterion; without a standard error there is no key for it."""
    return {"score/held_out": mean} | ({} if error is None else {"score/held_out_error": error})


def stopped_before(settings: WithStop, rows: list[dict[str, float]], num_done: int) -> str | None:
    """Why the run that left this checkpoint had stopped, so that it stays stopped when it is called again."""
    last = next((row for row in rows if row["step"] == num_done - 1), None)
    return stop_reason(settings, last) if last else None


def stop_reason(settings: WithStop, values: dict[str, float]) -> str | None:
    """Which limit a step's metrics have reached, in words; None: none."""
    stop, held_out = settings.stop, values.get("score/held_out")
    if stop.threshold is not None and held_out is not None and held_out >= stop.threshold:
        return f"the held-out criterion reached {held_out:.3f} (threshold {stop.threshold:g})"
    if stop.max_kl is not None and values["kl/exact"] > stop.max_kl:
        return f"KL reached {values['kl/exact']:.2f} nats per completion (limit {stop.max_kl:g})"
    return None
