"""Loads classifiers as measures: the probability of one class for each completion."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from preflab.errors import PreflabError
from preflab.models.loading import best_device, load_classifier, load_tokenizer
from preflab.models.packages import resolve_package
from preflab.records import Prompt
from preflab.rewards.classifier import ClassifierScorer
from preflab.rewards.score import CARD
from preflab.settings.classifiers import ClassifierSettings
from preflab.training.protocols import ScoringItem
from preflab.words import count

Array = NDArray[np.float64]


@dataclass(frozen=True)
class LoadedClassifier:
    """A classifier that is ready to read completions."""

    name: str
    settings: ClassifierSettings
    scorer: ClassifierScorer

    def probabilities(self, prompts: Sequence[Prompt], texts: Sequence[str]) -> Array:
        """(N,) the probability of the class for each text."""
        items = [ScoringItem(prompt, text) for prompt, text in zip(prompts, texts, strict=True)]
        return self.scorer.score(items).total.double().numpy()

    def note(self, where: str, texts: Sequence[str]) -> list[str]:
        """A note about texts that are longer than the classifier reads; [] if there are none."""
        if not (num := self.scorer.num_cut(texts)):
            return []
        of = f"{num:,} of {count(len(texts), 'text')}"
        return [f"{self.name}: it reads the first {count(self.scorer.max_tokens, 'token')}; {of} of {where} are longer"]


def load_classifiers(
    wanted: Mapping[str, ClassifierSettings], folders: Mapping[str, Path | str], precision: str
) -> list[LoadedClassifier]:
    """Loads the classifiers that a stage names; `folders` maps their models to a folder or Hub id.

    Raises:
        PreflabError: one is a reward model, has no trained head, or has no such class (the message lists its classes).
    """
    return [
        LoadedClassifier(name, settings, _load(name, settings, folders[settings.model], precision))
        for name, settings in wanted.items()
    ]


def _load(name: str, settings: ClassifierSettings, ref: Path | str, precision: str) -> ClassifierScorer:
    if (Path(ref) / CARD).is_file():
        raise PreflabError(
            f"classifiers.{name}: {settings.model} is a reward model, which has no classes",
            "a folder or Hub id of a sequence classifier",
            "name reward models in `rewards`",
        )
    place = resolve_package(ref)
    model = load_classifier(place, dtype=precision).to(best_device())
    tokenizer = load_tokenizer(place, writes=False)
    return ClassifierScorer(model, tokenizer, settings.class_label, output="probability")
