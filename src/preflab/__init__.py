"""preflab: from completions and people's judgments to an aligned language model, with the evidence that it worked.

From Python: `load`, `sample`, `judge`, `train`, `train_reward`, `evaluate` (docs/reference/python.md).

Nothing is imported here: `import preflab` costs milliseconds, and each room brings in what it needs when it is used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from preflab.library import (
        Answers,
        Comparison,
        Model,
        RewardModel,
        evaluate,
        judge,
        load,
        sample,
        train,
        train_reward,
    )

__version__ = "0.1.0"
__all__ = [
    "Answers",
    "Comparison",
    "Model",
    "RewardModel",
    "evaluate",
    "judge",
    "load",
    "sample",
    "train",
    "train_reward",
]


def __getattr__(name: str) -> Any:
    """The functions of `preflab.library`, which is imported when the first of them is used."""
    if name not in __all__:
        raise AttributeError(f"module 'preflab' has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module("preflab.library"), name)
