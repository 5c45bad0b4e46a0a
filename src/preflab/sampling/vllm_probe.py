"""Compares a server's log-probabilities of a fixed sequence with the trainer's, after every change of its weights.

Servers that sampled from old or empty weights have trained models on garbage for months, because such text looks
fluent. The mean difference over the probe's tokens tells whether the server holds the trainer's weights:

    rounding      the difference with the weights at the start, which both sides certainly have
    allowed       the larger of FLOOR and ROUNDINGS times the rounding
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from preflab.errors import PreflabError
from preflab.words import number

FLOOR = 1e-3
"""Mean difference, nats per token, that is always allowed."""
ROUNDINGS = 3.0
"""Mean difference that is allowed, in units of the rounding measured at the start."""
MOST_ROUNDING = 0.3
"""Largest difference at the start, nats per token. Measured between 16 bits and float32: 0.01 to 0.1 nats."""
HOW_TO_GO_ON = (
    "restart the server with the run's starting model (`preflab serve-engine MODEL`), then run the same command again; "
    "the run goes on from its last checkpoint"
)

Logps = NDArray[np.float64]


@dataclass(frozen=True)
class Reading:
    """Log-probabilities of the probe's tokens by server and trainer, (tokens,) each."""

    server: Logps
    trainer: Logps

    @classmethod
    def of(cls, server: Sequence[float], trainer: Sequence[float]) -> Reading:
        """From two lists of numbers."""
        return cls(np.asarray(server, dtype=np.float64), np.asarray(trainer, dtype=np.float64))

    @property
    def difference(self) -> float:
        """Mean |server − trainer|, nats per token."""
        return mean_gap(self.server, self.trainer)


def mean_gap(one: Logps, other: Logps) -> float:
    """Mean absolute difference, nats per token; infinite if a number is not finite."""
    gap = float(np.abs(one - other).mean())
    return gap if np.isfinite(gap) else float("inf")


class Probe:
    """The readings of a run: of the weights at the start, and of the last change of the server's numbers.

    Args:
        start: with the weights at the start; with adapters the base model without them.

    Raises:
        PreflabError: server and trainer differ at the start by more than rounding can explain.
    """

    def __init__(self, start: Reading) -> None:
        self.start, self.last = start, start
        self.rounding = start.difference
        if self.rounding > MOST_ROUNDING:
            raise PreflabError(
                f"server and trainer give the probe's tokens {_shown(start)}: they differ by "
                f"{number(self.rounding, 3)} nats per token before any training",
                f"at most {MOST_ROUNDING}, which 16 bits can explain: the server holds another model",
                HOW_TO_GO_ON,
            )

    @property
    def allowed(self) -> float:
        """Largest mean difference that rounding explains, nats per token."""
        return max(FLOOR, ROUNDINGS * self.rounding)

    def check(self, version: int, reading: Reading) -> None:
        """Check the reading after a change of weights and keep it as the last one.

        Raises:
            PreflabError: the server does not hold the weights of this version.
        """
        same = np.array_equal(reading.server, self.last.server)
        learned = mean_gap(reading.trainer, self.last.trainer)
        if reading.difference <= self.allowed and not (same and learned > max(FLOOR / 10, self.rounding / 4)):
            # While the server's numbers stay the same, `last` stays too, so that what was learned meanwhile adds up.
            self.last = self.last if same else reading
            return
        raise PreflabError(
            f"version {version}: the server gives the probe's tokens {_shown(reading)} by the trainer, a mean "
            f"difference of {number(reading.difference, 3)} nats per token: {self._cause(reading)}",
            f"a difference of at most {number(self.allowed, 3)}, what rounding explains (measured at the start: "
            f"{number(self.rounding, 3)}), and other numbers whenever the weights have changed",
            HOW_TO_GO_ON,
        )

    def _cause(self, reading: Reading) -> str:
        """The likely fault of the server's weights, in words."""
        near = max(FLOOR / 10, self.rounding / 2)
        to_start, to_last = mean_gap(reading.server, self.start.server), mean_gap(reading.server, self.last.server)
        if to_last <= near and mean_gap(self.last.server, self.start.server) > near:
            return "it still holds the weights of the last version (stale)"
        if to_start <= near:
            return "it holds the weights of the start: the update was ignored (stale) or is empty (zero)"
        effect, shift = reading.trainer - self.start.trainer, reading.server - self.start.server
        size = float(effect @ effect)
        scale = float(effect @ shift) / size if size > 0 else 0.0
        if 1.5 < scale < 3.0:
            return f"its update is about {number(scale, 2)} times too large (alpha / rank applied twice?)"
        return "it holds other weights"


def _shown(reading: Reading) -> str:
    """The two means, nats per token."""
    return f"{number(float(reading.server.mean()), 5)} on average, and {number(float(reading.trainer.mean()), 5)}"
