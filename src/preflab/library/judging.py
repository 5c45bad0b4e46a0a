"""Completions judged by a function or a reward model, and models compared by it: `judge` and `evaluate`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from preflab.errors import PreflabError
from preflab.evaluation.paired import Sheet, differences, figures
from preflab.evaluation.statistics import Interval, sentence
from preflab.library.models import Answers, Asked, Model, RewardModel, prompt_record, sample
from preflab.rewards.functions import FunctionScorer, reward_function
from preflab.store.exports.words import asked_for, template_of
from preflab.store.formats.fields import ranks_of_scores
from preflab.training.protocols import Scorer, ScoringItem
from preflab.words import interval_text

Judge = Callable[..., Any] | RewardModel
"""A function of `(prompt, completion)` or of `(prompts, completions)` that gives numbers, or a reward model."""


@dataclass(frozen=True)
class Comparison:
    """The figures that `evaluate` measured.

    Its text is one sentence per further model, about the difference in the judge's score; of a single model, its score.
    """

    figures: Mapping[str, Mapping[str, Interval]]
    """Model → measure → its mean over the prompts with a 95 % interval. The judge's measure is `judge/score`."""
    differences: Mapping[str, Mapping[str, Interval]]
    """Model → measure → model − first model, prompt by prompt, with a 95 % interval."""

    def __str__(self) -> str:
        first = next(iter(self.figures))
        if not self.differences:
            return f"score of {first}: {interval_text(asdict(self.figures[first]['judge/score']))}"
        scores = [(name, measures["judge/score"]) for name, measures in self.differences.items()]
        return "\n".join(sentence(interval, f"score of {name} beside {first}") for name, interval in scores)


def judge(answers: Sequence[Answers], by: Judge) -> list[dict[str, Any]]:
    """Each prompt's completions ranked by their scores: rows that `train` and `train_reward` learn from.

    A row holds `prompt`, `completions`, `ranks` (1 for the highest score, equal for equal scores), `scores` and
    `labeler`. It is a row of the format `rankings`, so `preflab import` and the data of a recipe read it too.

    Args:
        answers: from `sample`, at least two completions each.
        by: a function of `(prompt, completion)` that gives a number, or a reward model.

    Raises:
        PreflabError: a score is missing, no number, NaN or infinite; a prompt has one completion only.
    """
    single = next((each for each in answers if len(each.completions) < 2), None)
    if single is not None:
        raise PreflabError(
            f"one completion of {single.prompt.shown[:60]!r}",
            "at least two to compare",
            "sample with num_completions=2 or more",
        )
    scores, rows, start = _scores(answers, by), [], 0
    for each in answers:
        scores_of, start = scores[start : start + len(each.completions)], start + len(each.completions)
        row = {"prompt": asked_for(each.prompt), **template_of(each.prompt), "completions": each.texts}
        rows.append({**row, "ranks": list(ranks_of_scores(scores_of)), "scores": scores_of, "labeler": _name(by)})
    return rows


def evaluate(
    models: Mapping[str, Model],
    prompts: Sequence[Asked],
    by: Judge,
    *,
    num_completions: int = 1,
    max_new_tokens: int = 48,
    temperature: float = 1.0,
    seed: int = 0,
) -> Comparison:
    """The judge's score, length and diversity of every model on the same prompts, and differences with their intervals.

    All models with a chat template draw with the same seeds, and so do all without one. Intervals are over prompts:
    differences are paired by prompt. Take a judge that was not the training reward, and prompts that no model has
    learned from.

    Args:
        models: name → model; the others are compared with the first.
        prompts: as for `sample`.
        by: as for `judge`.
        num_completions, max_new_tokens, temperature, seed: as for `sample`.

    Raises:
        PreflabError: no model, or as `sample` and `judge` raise it.
    """
    if not models:
        raise PreflabError("no model to evaluate", 'a mapping such as {"before": model}', "name at least one")
    as_asked = [prompt_record(each, number, turns=False) for number, each in enumerate(prompts, 1)]
    sheets = {}
    for name, model in models.items():
        answers = sample(
            model,
            prompts,
            num_completions=num_completions,
            max_new_tokens=max_new_tokens,
            temperature=temperature,
            seed=seed,
        )
        sheets[name] = _sheet(name, [prompt.id for prompt in as_asked], answers, _scores(answers, by))
    first = next(iter(sheets))
    return Comparison(
        {name: figures(sheet, seed=seed) for name, sheet in sheets.items()},
        {name: differences(sheets[first], sheet, seed=seed) for name, sheet in sheets.items() if name != first},
    )


def _sheet(name: str, prompt_ids: Sequence[str], answers: Sequence[Answers], scores: Sequence[float]) -> Sheet:
    """One row per completion of a model.

    Rows carry the prompt's id from before templating, so that models with and without a chat template are paired.
    """
    completions = [completion for each in answers for completion in each.completions]
    return Sheet(
        name,
        tuple(id_ for id_, each in zip(prompt_ids, answers, strict=True) for _ in each.completions),
        tuple(completion.text for completion in completions),
        tuple(len(completion.token_ids) for completion in completions),
        tuple(sum(completion.logps) for completion in completions),
        {"judge/score": np.array(scores)},
        {"finished/share": np.array([float(completion.finish_reason == "stop") for completion in completions])},
    )


def _scores(answers: Sequence[Answers], by: Judge) -> list[float]:
    """(N,) the score of every completion, prompt by prompt."""
    scorer: Scorer = by.scorer if isinstance(by, RewardModel) else FunctionScorer(reward_function(by, _name(by)))
    items = [ScoringItem.of(each.prompt, completion) for each in answers for completion in each.completions]
    return [float(value) for value in scorer.score(items).total]


def _name(by: Judge) -> str:
    return "reward model" if isinstance(by, RewardModel) else getattr(by, "__name__", type(by).__name__)
