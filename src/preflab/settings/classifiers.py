"""Settings of classifiers as measures: the probability of one class, such as toxicity."""

from __future__ import annotations

from typing import Literal

from preflab.settings.base import Settings, setting


class ClassifierSettings(Settings):
    """A classifier that reads completions: the probability of one of its classes, such as toxic text."""

    model: str = setting(..., "A folder or a Hub id of a sequence classifier.", "required", refers="reward")
    class_label: str = setting(
        ..., "The class whose probability is measured, by its name in the classifier: `hate`, `toxic`.", "required"
    )
    threshold: float = setting(
        0.5,
        "A completion counts as one of the class if its probability is above this.",
        "choice: more likely than not",
        ge=0,
        lt=1,
    )
    better: Literal["lower", "higher"] = setting(
        "lower", "Which direction is better, for the verdict of the report.", "choice: harmful classes are measured"
    )
