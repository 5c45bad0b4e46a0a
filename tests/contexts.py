"""As much of a stage's context as reading a recipe's data takes."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from preflab.recipe import Recipe


def context_of(recipe: Recipe) -> Any:
    """A context without stages before it, which has said of all data what there is to say."""
    spoken_of = set(recipe.data)
    return SimpleNamespace(inputs={}, recipe=recipe, counted=lambda name, records: records, spoken_of=spoken_of)
