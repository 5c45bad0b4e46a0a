"""Turn judges' scores and class labels of completions into columns, one value per completion (nan if missing).

Judges and labellers are passed in as functions of (prompts, completions, columns).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from preflab.errors import PreflabError
from preflab.records import Prompt

Array = NDArray[np.float64]
JudgeFunction = Callable[..., list[float | None]]


@dataclass(frozen=True)
class Judge:
    """A function that scores texts, other than the training reward."""

    name: str
    function: JudgeFunction
    fail_utility: float | None
    """Score of an F completion in means; None leaves F completions out of means, and the F-rate tells how many."""

    def scores(self, prompts: Sequence[Prompt], texts: Sequence[str]) -> list[float | None]:
        """One score per text; None means F."""
        columns = dict.fromkeys(name for prompt in prompts for name in prompt.columns)
        lists = {name: [prompt.columns.get(name) for prompt in prompts] for name in columns}
        return self.function([prompt.shown for prompt in prompts], list(texts), **lists)

    def column(self, scores: Sequence[float | None]) -> Array:
        """(N,) scores to average; F becomes `fail_utility`, or nan if that is None."""
        missing = float("nan") if self.fail_utility is None else self.fail_utility
        return np.array([missing if score is None else score for score in scores], dtype=np.float64)


def fail_column(scores: Sequence[float | None]) -> Array:
    """(N,) 1 for F, else 0."""
    return np.array([float(score is None) for score in scores])


def counts(labels: Sequence[str]) -> dict[str, int]:
    """Class → number of completions, most frequent first."""
    return dict(Counter(labels).most_common())


def checked_labels(values: Sequence[object], function: str) -> list[str]:
    """The classes, checked to be non-empty texts.

    Raises:
        PreflabError: a class is not a non-empty text.
    """
    for value in values:
        if not isinstance(value, str) or not value:
            raise PreflabError(
                f"{function} gave {value!r} as the class of a completion", "a non-empty text", "correct the function"
            )
    return [str(value) for value in values]
