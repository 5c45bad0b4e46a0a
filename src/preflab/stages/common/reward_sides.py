"""Refuses an evaluation that counts as harm the class that its models were rewarded for."""

from __future__ import annotations

from collections.abc import Iterator

from preflab.errors import PreflabError
from preflab.recipe import Recipe
from preflab.settings.classifiers import ClassifierSettings
from preflab.settings.evaluation import EvaluateSettings
from preflab.settings.rewards import RewardSource


def check_sides(recipe: Recipe, settings: EvaluateSettings) -> None:
    """Compare the classes that trained the models or chose the completions with the classes that are measured.

    Classes of different classifiers are compared by name: `hate` is the same in both.

    Raises:
        PreflabError: a class is rewarded and measured as "lower is better", or penalised and measured as "higher is
            better".
    """
    for model in (*settings.models, *settings.completions):
        for place, source in _rewards(recipe, model):
            for name, measured in settings.classifiers.items():
                if _contradict(source, measured):
                    verb = "rewards" if source.weight > 0 else "penalises"
                    raise PreflabError(
                        f"{place} {verb} the class `{source.class_label}`, and classifiers.{name} of the evaluation "
                        f"calls a {measured.better} probability of `{measured.class_label}` better",
                        "a reward for the better side",
                        "reward the other class (class_label), turn the sign of weight, or change `better` of the "
                        "classifier if this is what you want",
                    )


def _rewards(recipe: Recipe, model: str) -> Iterator[tuple[str, RewardSource]]:
    """Classifiers among the rewards of a stage that makes a model or completions, with the paths of their settings."""
    for number, source in enumerate(getattr(recipe.stages.get(model), "rewards", ())):
        if isinstance(source, RewardSource) and source.class_label is not None:
            yield f"stages.{model}.rewards.{number}", source


def _contradict(source: RewardSource, measured: ClassifierSettings) -> bool:
    rewarded, counted = str(source.class_label).lower(), measured.class_label.lower()
    same = rewarded == counted and (not rewarded.isdigit() or source.model == measured.model)
    return same and source.weight != 0 and (source.weight > 0) == (measured.better == "lower")
