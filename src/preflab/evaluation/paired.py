"""The figures of one model, and the differences of two models over the same prompts, each with its interval.

A `Sheet` holds what one model wrote, row by row; two sheets are compared when their rows answer the same prompts in
the same order. Three sorts of measure: means of a column, shares of a yes/no column, and figures of the whole set.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from preflab.evaluation.diversity import distinct_difference, distinct_interval, repeated_share, words
from preflab.evaluation.statistics import Interval, bootstrap_mean, paired_difference, proportion

Array = NDArray[np.float64]
NUM_DISTINCT = (1, 2)
"""Which n of distinct-n are reported."""


@dataclass(frozen=True)
class Sheet:
    """What one model wrote for N rows (prompts × completions), and what was measured on each."""

    model: str
    prompt_ids: tuple[str, ...]
    """(N,), rows of one prompt next to each other."""
    texts: tuple[str, ...]
    num_tokens: tuple[int, ...]
    sum_logps: tuple[float, ...] = ()
    """Σ log-probability of each row under the sampling temperature, nats; () when not known."""
    means: Mapping[str, Array] = field(default_factory=dict)
    """Name → (N,) numbers to be averaged, nan where there is none: scores of judges and reward models, KL."""
    shares: Mapping[str, Array] = field(default_factory=dict)
    """Name → (N,) 0 or 1: F, classes of text, ended by itself."""

    @property
    def columns(self) -> dict[str, Array]:
        """The columns that are averaged: those handed in, length and repeats."""
        return {
            **self.means,
            "length/tokens": np.array(self.num_tokens, dtype=np.float64),
            "length/words": np.array([len(words(text)) for text in self.texts], dtype=np.float64),
            "repeat/share": np.array([repeated_share(words(text)) for text in self.texts]),
        }


def figures(sheet: Sheet, *, seed: int = 0) -> dict[str, Interval]:
    """Every measure of one model: value, interval over prompts, number of prompts."""
    found = {
        name: bootstrap_mean(column, sheet.prompt_ids, seed=seed) for name, column in sorted(sheet.columns.items())
    }
    found |= {name: proportion(column, sheet.prompt_ids) for name, column in sorted(sheet.shares.items())}
    texts = [words(text) for text in sheet.texts]
    found |= {f"distinct/{n}": distinct_interval(texts, n, sheet.prompt_ids) for n in NUM_DISTINCT}
    if sheet.sum_logps:
        found["entropy/token"] = bootstrap_mean(
            -np.array(sheet.sum_logps), sheet.prompt_ids, weights=sheet.num_tokens, seed=seed
        )
    return found


def differences(first: Sheet, second: Sheet, *, seed: int = 0) -> dict[str, Interval]:
    """Every measure both have, second − first, over the same prompts.

    Raises:
        ValueError: the sheets do not answer the same prompts row by row.
    """
    if first.prompt_ids != second.prompt_ids:
        raise ValueError(f"{first.model} and {second.model} do not answer the same prompts in the same order")
    prompts = first.prompt_ids
    found = {
        name: paired_difference(column, other, prompts, seed=seed) for name, column, other in _common(first, second)
    }
    texts, others = [words(text) for text in first.texts], [words(text) for text in second.texts]
    found |= {f"distinct/{n}": distinct_difference(texts, others, n, prompts) for n in NUM_DISTINCT}
    if first.sum_logps and second.sum_logps:
        found["entropy/token"] = paired_difference(
            -np.array(first.sum_logps),
            -np.array(second.sum_logps),
            prompts,
            weights=(first.num_tokens, second.num_tokens),
            seed=seed,
        )
    return found


def _common(first: Sheet, second: Sheet) -> Iterator[tuple[str, Array, Array]]:
    for mine, theirs in ((first.columns, second.columns), (first.shares, second.shares)):
        for name in sorted(mine.keys() & theirs.keys()):
            yield name, mine[name], theirs[name]


def label_columns(labels: list[str], classes: list[str]) -> dict[str, Array]:
    """One 0/1 column per class: {"label/rude": (N,)}."""
    return {f"label/{name}": np.array([float(label == name) for label in labels]) for name in classes}
