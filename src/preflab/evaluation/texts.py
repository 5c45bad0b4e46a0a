"""What a text is worth and which class it belongs to: judges, F, labels; one value per completion, nan or F where none.

Judges and labellers are handed in as functions of (prompts, completions, columns); this room loads none.
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
    """A function that scores texts and was not the training reward."""

    name: str
    function: JudgeFunction
    fail_utility: float | None
    """What an F counts in means; None: F completions are left out of them, and the F-rate says how many."""

    def scores(self, prompts: Sequence[Prompt], texts: Sequence[str]) -> list[float | None]:
        """One score per text, None = F."""
        columns = dict.fromkeys(name for prompt in prompts for name in prompt.columns)
        lists = {name: [prompt.columns.get(name) for prompt in prompts] for name in columns}
        return self.function([prompt.shown for prompt in prompts], list(texts), **lists)

    def column(self, scores: Sequence[float | None]) -> Array:
        """(N,) for averaging: F counted as `fail_utility`, or nan."""
        missing = float("nan") if self.fail_utility is None else self.fail_utility
        return np.array([missing if score is None else score for score in scores], dtype=np.float64)


def fail_column(scores: Sequence[float | None]) -> Array:
    """(N,) 1 where the judge said F."""
    return np.array([float(score is None) for score in scores])


def counts(labels: Sequence[str]) -> dict[str, int]:
    """Class → number of completions, most frequent first."""
    return dict(Counter(labels).most_common())


def checked_labels(values: Sequence[object], function: str) -> list[str]:
    """The classes as text.

    Raises:
        PreflabError: something that is no non-empty text.
    """
    for value in values:
        if not isinstance(value, str) or not value:
            raise PreflabError(
                f"{function} gave {value!r} as the class of a completion", "a non-empty text", "mend the function"
            )
    return [str(value) for value in values]
