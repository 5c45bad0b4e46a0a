"""Alarms: signs of reward hacking and of broken set-ups in the metrics, each with the setting to change.

Each rule is a function of the metrics so far, one row per step. It fires once, at the first step that meets its
condition.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from preflab.files import append_jsonl, keep_rows, read_jsonl
from preflab.training.standstill import HARDLY_MOVED, hardly_moved
from preflab.words import number, percent

NUM_FIRST = 3
"""Number of steps averaged: the first ones, for the starting value of a metric, or the latest ones."""

TURNS = "reward/environment/num_turns"
"""Metric of runs with an environment: mean turns of the policy per episode."""

Rows = list[dict[str, Any]]


@dataclass(frozen=True)
class Alarm:
    """Something in the run that a person should look at."""

    step: int
    alarm: str
    message: str
    setting: str
    """The setting to change."""


@dataclass(frozen=True)
class Rounding:
    """Limits up to which rounding explains the difference between two computations of the same number."""

    ratio: float = 1e-2
    """Largest |π/π_old − 1| before any update."""
    mismatch: float = 1e-3
    """Mean |log-probability of the sampler − of the trainer|, nats per token."""

    @classmethod
    def of(cls, *, half: bool, exact: bool) -> Rounding:
        """The limits of a precision.

        Args:
            half: whether the trainer computes in 16 bits.
            exact: whether sampler and trainer do the same computation in float32 (`Sampler.exact`).
        """
        return cls(ratio=0.5 if half else cls.ratio, mismatch=cls.mismatch if exact else 0.1)


class Alarms:
    """The rules of a run and the file of fired alarms, which is cut back to the checkpoint on resuming."""

    def __init__(
        self,
        path: Path,
        *,
        kl_budget: float | None,
        step: int = 0,
        kl_setting: str = "kl_coef",
        rounding: Rounding | None = None,
        num_steps: int | None = None,
    ) -> None:
        rounding = rounding or Rounding()
        self.path, self.kl_setting = path, kl_setting
        keep_rows(path, step)
        self.rules: dict[str, Callable[[Rows], tuple[str, str] | None]] = {
            "kl above budget": lambda rows: kl_above_budget(rows, kl_budget),
            "entropy collapse": entropy_collapse,
            "length drift": length_drift,
            "repeated n-grams": repeated_ngrams,
            "reward up, held-out down": reward_up_held_out_down,
            "first ratio is not 1": lambda rows: first_ratio(rows, rounding.ratio),
            "sampler holds other weights": lambda rows: stale_sampler(rows, rounding.mismatch),
            "chosen becomes unlikely": chosen_becomes_unlikely,
            "groups without spread": groups_without_spread,
            HARDLY_MOVED: lambda rows: hardly_moved(rows, num_steps),
        }

    def check(self, rows: Rows) -> list[Alarm]:
        """Append to the file, and return, the alarms that fire at the last row; each kind fires once per run."""
        fired = {row["alarm"] for row in read_jsonl(self.path)}
        new = []
        for name, rule in self.rules.items():
            reason = rule(rows) if name not in fired else None
            if reason:
                message, setting = reason
                new.append(Alarm(rows[-1]["step"], name, message, setting.replace("kl_coef", self.kl_setting)))
                append_jsonl(self.path, asdict(new[-1]))
        return new


def kl_above_budget(rows: Rows, kl_budget: float | None) -> tuple[str, str] | None:
    """Fires if the mean KL per completion is above the budget."""
    kl = rows[-1].get("kl/exact")
    if kl_budget is None or kl is None or kl <= kl_budget:
        return None
    return f"KL to the reference is {number(kl)} nats per completion, the budget is {number(kl_budget)}", "kl_coef"


def entropy_collapse(rows: Rows) -> tuple[str, str] | None:
    """Fires if the next-token entropy is below 30 % of its starting value."""
    first, now = _first(rows, "entropy/mean"), rows[-1].get("entropy/mean")
    if first is None or now is None or now >= 0.3 * first:
        return None
    sentence = f"entropy fell from {number(first)} to {number(now)} nats per token"
    return f"{sentence}: the policy always writes nearly the same text", "kl_coef"


def length_drift(rows: Rows) -> tuple[str, str] | None:
    """Fires if the mean length is above 1.5 times or below half of its starting value.

    Of episodes it is the length of a turn: how many turns there are is up to the environment too.
    """
    lengths = [{"length": row["length/mean"] / row.get(TURNS, 1.0)} for row in rows if "length/mean" in row]
    first = _first(lengths, "length")
    if first is None or "length/mean" not in rows[-1] or 0.5 * first <= lengths[-1]["length"] <= 1.5 * first:
        return None
    what = "turn" if TURNS in rows[-1] else "completion"
    return (
        f"the mean {what} length went from {number(first)} to {number(lengths[-1]['length'])} tokens",
        "kl_coef or missing_eos_penalty",
    )


def repeated_ngrams(rows: Rows) -> tuple[str, str] | None:
    """Fires if over a fifth of a completion's 3-grams repeat earlier ones, and over twice the starting share."""
    first, now = _first(rows, "repeat/share"), rows[-1].get("repeat/share")
    if first is None or now is None or now <= max(0.2, 2 * first):
        return None
    return f"{percent(now)} of a completion's 3-grams repeat earlier ones, {percent(first)} at the start", "kl_coef"


def reward_up_held_out_down(rows: Rows) -> tuple[str, str] | None:
    """Fires if the held-out criterion is over two standard errors below its best and the reward is higher than then.

    The error is that of the difference, √(error_best² + error_now²), as if the two measurements were independent. They
    share prompts and seeds, so this error is too large, and the rule fires too rarely rather than too often.
    """
    now = rows[-1]
    seen = [row for row in rows if "score/held_out_error" in row]
    if "score/held_out_error" not in now:
        return None
    best = max(seen, key=lambda row: row["score/held_out"])
    error = math.hypot(best["score/held_out_error"], now["score/held_out_error"])
    if best["score/held_out"] - now["score/held_out"] <= 2 * error or now["reward/mean"] <= best["reward/mean"]:
        return None
    return (
        f"held-out criterion fell from {number(best['score/held_out'])} to {number(now['score/held_out'])} "
        f"(± {number(error)}) while the reward rose from {number(best['reward/mean'])} to "
        f"{number(now['reward/mean'])}: the policy is exploiting the reward",
        "kl_coef, or label the new completions",
    )


def first_ratio(rows: Rows, limit: float) -> tuple[str, str] | None:
    """Fires if π/π_old differs from 1 by more than rounding before any update: two passes compute different numbers."""
    deviation = rows[-1].get("ratio/first_deviation")
    if deviation is None or deviation <= limit:
        return None
    sentence = f"π/π_old before the first update is off by {number(deviation, 2)}, rounding explains {number(limit)}"
    return sentence, "decoding or device.precision"


def stale_sampler(rows: Rows, limit: float) -> tuple[str, str] | None:
    """Fires if sampler and trainer differ more than rounding explains, or 2.5 times as much as in the first step.

    The first step's mean difference is pure rounding, because no update has been made that the sampler could have
    missed. Measured in bfloat16 over 80 steps, later differences were 0.65 to 1.02 times the first, and 3 to 5 times
    the first when the sampler was one update behind. Below a fifth of `limit` the rule never fires. It uses the mean
    over tokens, because rounding alone moves single tokens by up to 0.3 nats.
    """
    name = "mismatch/logps_mean"
    now, first = rows[-1].get(name), next((row[name] for row in rows if name in row), None)
    if now is None or first is None or now <= min(limit, max(2.5 * first, 0.2 * limit)):
        return None
    return (
        f"sampler and trainer differ by {number(now, 2)} nats per token, {number(first, 2)} in the first step: "
        "the sampler uses outdated weights",
        "the engine's synchronisation, or device.precision",
    )


def groups_without_spread(rows: Rows) -> tuple[str, str] | None:
    """Fires if in three consecutive steps 90 % of the groups have equal rewards, so that they give no gradient."""
    latest = [row["group/no_spread"] for row in rows[-NUM_FIRST:] if "group/no_spread" in row]
    if len(latest) < NUM_FIRST or min(latest) < 0.9:
        return None
    return (
        f"for {percent(latest[-1])} of the prompts, all completions have the same reward",
        "num_completions_per_prompt, or other prompts",
    )


def chosen_becomes_unlikely(rows: Rows) -> tuple[str, str] | None:
    """Fires if, averaged over the last steps, chosen completions are less than half as likely as under the reference.

    DPO only requires that the rejected completions fall further. The probability then moves to text that is not in the
    data.
    """
    log_ratios = [row["logratio/chosen"] for row in rows[-NUM_FIRST:] if "logratio/chosen" in row]
    if len(log_ratios) < NUM_FIRST or sum(log_ratios) / NUM_FIRST > -math.log(2):
        return None
    return (
        f"log π/π_ref of the chosen completions is {number(sum(log_ratios) / NUM_FIRST)} nats on the last {NUM_FIRST} "
        "steps: they become unlikely together with the rejected ones",
        "losses: add {kind: nll, weight: 0.2}, raise beta, or lower optimiser.learning_rate",
    )


def _first(rows: Rows, name: str) -> float | None:
    """Mean over the first `NUM_FIRST` steps that have the metric; None until a later step has it.

    Steps may lack a metric: those of a critic's warm-up have no entropy.
    """
    values = [row[name] for row in rows if name in row]
    return sum(values[:NUM_FIRST]) / NUM_FIRST if len(values) > NUM_FIRST else None
