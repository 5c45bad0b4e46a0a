"""The figures of one model, and the differences between two models on the same prompts, each with its interval.

A `Sheet` holds one model's completions, one per row. Two sheets can be compared if their rows answer the same prompts
in the same order. There are four sorts of measure: means of a column, shares of a 0/1 column, the spread of a column,
and figures of the set.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from preflab.evaluation.diversity import distinct_difference, distinct_interval, repeated_share, words
from preflab.evaluation.spread import spread_difference, spread_interval
from preflab.statistics.bounded import bounded_difference, bounded_mean
from preflab.statistics.interval import Interval
from preflab.statistics.means import mean_interval, paired_difference
from preflab.statistics.shares import share_difference, share_interval

Array = NDArray[np.float64]
NUM_DISTINCT = (1, 2)
"""The n for which distinct-n is reported."""
FROM_0_TO_1 = ("probability/", "rouge/", "repeat/")
"""Prefixes of the means of values between 0 and 1."""
BOUNDED = (*FROM_0_TO_1, "distinct/")
"""Prefixes of the measures between 0 and 1 that are no shares; shares have such intervals anyway."""


@dataclass(frozen=True)
class Sheet:
    """One model's N completions (prompts × completions per prompt), with measurements of each."""

    model: str
    prompt_ids: tuple[str, ...]
    """(N,); rows of one prompt are adjacent."""
    texts: tuple[str, ...]
    num_tokens: tuple[int, ...] = ()
    """Length of each row in tokens; () if unknown, as for texts that people wrote."""
    sum_logps: tuple[float, ...] = ()
    """Σ log-probability of each row at the sampling temperature, nats; () if unknown."""
    means: Mapping[str, Array] = field(default_factory=dict)
    """Name → (N,) numbers to average, nan for a missing one: scores of judges and reward models, KL."""
    shares: Mapping[str, Array] = field(default_factory=dict)
    """Name → (N,) of 0 or 1: marked F, class of text, finished without the length limit."""
    spreads: Mapping[str, Array] = field(default_factory=dict)
    """Name → (N,) numbers whose standard deviation is reported."""
    repeated: bool = False
    """Each prompt's text is listed several times, to be paired with several completions; it has no distinct-n then."""

    def repeat(self, times: int) -> Sheet:
        """The sheet with every row listed `times` times, to be paired with as many completions per prompt."""
        if times == 1:
            return self

        def rows(values: tuple[Any, ...]) -> tuple[Any, ...]:
            return tuple(value for value in values for _ in range(times))

        def arrays(columns: Mapping[str, Array]) -> dict[str, Array]:
            return {name: np.repeat(column, times) for name, column in columns.items()}

        return Sheet(
            self.model, rows(self.prompt_ids), rows(self.texts), rows(self.num_tokens), rows(self.sum_logps),
            arrays(self.means), arrays(self.shares), arrays(self.spreads), repeated=True,
        )  # fmt: skip

    @property
    def columns(self) -> dict[str, Array]:
        """The columns to average: `means`, length and repeats."""
        tokens = {"length/tokens": np.array(self.num_tokens, dtype=np.float64)} if self.num_tokens else {}
        return {
            **self.means,
            **tokens,
            "length/words": np.array([len(words(text)) for text in self.texts], dtype=np.float64),
            "repeat/share": np.array([repeated_share(words(text)) for text in self.texts]),
        }


def figures(sheet: Sheet, *, seed: int = 0) -> dict[str, Interval]:
    """Measure → value of one model with an interval over prompts and the number of prompts."""
    measured = {
        name: (bounded_mean if name.startswith(FROM_0_TO_1) else mean_interval)(column, sheet.prompt_ids, seed=seed)
        for name, column in sorted(sheet.columns.items())
    }
    measured |= {name: share_interval(column, sheet.prompt_ids) for name, column in sorted(sheet.shares.items())}
    measured |= {name: spread_interval(column, sheet.prompt_ids) for name, column in sorted(sheet.spreads.items())}
    if not sheet.repeated:
        texts = [words(text) for text in sheet.texts]
        measured |= {f"distinct/{n}": distinct_interval(texts, n, sheet.prompt_ids) for n in NUM_DISTINCT}
    if sheet.sum_logps:
        measured["entropy/token"] = mean_interval(
            -np.array(sheet.sum_logps), sheet.prompt_ids, weights=sheet.num_tokens, seed=seed
        )
    return {name: one.within(0.0, 1.0) if _is_bounded(name) else one for name, one in measured.items()}


def differences(first: Sheet, second: Sheet, *, seed: int = 0) -> dict[str, Interval]:
    """Measure → second − first with an interval, for every measure that both sheets have.

    Raises:
        ValueError: the rows of the sheets do not answer the same prompts in the same order.
    """
    if first.prompt_ids != second.prompt_ids:
        raise ValueError(f"{first.model} and {second.model} do not answer the same prompts in the same order")
    prompts = first.prompt_ids
    measured = {
        name: (bounded_difference if name.startswith(FROM_0_TO_1) else paired_difference)(
            column, other, prompts, seed=seed
        )
        for name, column, other in _common(first.columns, second.columns)
    }
    measured |= {
        name: share_difference(column, other, prompts) for name, column, other in _common(first.shares, second.shares)
    }
    measured |= {
        name: spread_difference(first.spreads[name], second.spreads[name], prompts)
        for name in sorted(first.spreads.keys() & second.spreads.keys())
    }
    if not (first.repeated or second.repeated):
        texts, others = [words(text) for text in first.texts], [words(text) for text in second.texts]
        measured |= {f"distinct/{n}": distinct_difference(texts, others, n, prompts) for n in NUM_DISTINCT}
    if first.sum_logps and second.sum_logps:
        measured["entropy/token"] = paired_difference(
            -np.array(first.sum_logps),
            -np.array(second.sum_logps),
            prompts,
            weights=(first.num_tokens, second.num_tokens),
            seed=seed,
        )
    return {name: one.within(-1.0, 1.0) if _is_bounded(name) else one for name, one in measured.items()}


def _is_bounded(name: str) -> bool:
    """True for a measure between 0 and 1, whose interval is cut to that range."""
    return name.startswith(BOUNDED)


def _common(columns: Mapping[str, Array], others: Mapping[str, Array]) -> Iterator[tuple[str, Array, Array]]:
    for name in sorted(columns.keys() & others.keys()):
        yield name, columns[name], others[name]


def binary_as_shares(sheets: Mapping[str, Sheet]) -> dict[str, Sheet]:
    """The sheets with those means moved to `shares` whose values are only 0 and 1, both seen in one of the sheets.

    The mean of a judge that answers yes or no is a share, and its interval that of a share.
    """
    seen: dict[str, set[float]] = {}
    for sheet in sheets.values():
        for name, column in sheet.means.items():
            seen.setdefault(name, set()).update(np.unique(column[~np.isnan(column)]).tolist())
    binary = {name for name, values in seen.items() if values == {0.0, 1.0}}
    return {
        model: replace(
            sheet,
            means={name: column for name, column in sheet.means.items() if name not in binary},
            shares={**sheet.shares, **{name: column for name, column in sheet.means.items() if name in binary}},
        )
        for model, sheet in sheets.items()
    }


def label_columns(labels: list[str], classes: list[str]) -> dict[str, Array]:
    """One 0/1 column per class: {"label/rude": (N,)}."""
    return {f"label/{name}": np.array([float(label == name) for label in labels]) for name in classes}
