"""`judge` scores completions with a function or a reward model; `evaluate` compares models by such scores."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from preflab.errors import PreflabError
from preflab.evaluation.paired import Sheet, binary_as_shares, differences, figures
from preflab.library.models import Answers, Asked, Model, RewardModel, prompt_record, sample
from preflab.rewards.functions import FunctionScorer, reward_function
from preflab.statistics.interval import Interval, sentence
from preflab.store.exports.trainer_texts import asked_for, template_of
from preflab.store.formats.fields import ranks_of_scores
from preflab.training.protocols import Scorer, ScoringItem
from preflab.words import interval_text

Judge = Callable[..., Any] | RewardModel
"""A function of `(prompt, completion)` or of `(prompts, completions)` that returns numbers, or a reward model."""


@dataclass(frozen=True)
class Comparison:
    """The figures that `evaluate` measured.

    `str()` gives one sentence per model after the first, on the difference in the judge's score; for a single model
    its score.
    """

    figures: Mapping[str, Mapping[str, Interval]]
    """Model → measure → mean over the prompts with a 95 % interval. The judge's measure is `judge/score`."""
    differences: Mapping[str, Mapping[str, Interval]]
    """Model → measure → model − first model, paired by prompt, with a 95 % interval."""

    def __str__(self) -> str:
        first = next(iter(self.figures))
        if not self.differences:
            return f"score of {first}: {interval_text(asdict(self.figures[first]['judge/score']))}"
        scores = [(name, measures["judge/score"]) for name, measures in self.differences.items()]
        return "\n".join(sentence(interval, f"score of {name} compared with {first}") for name, interval in scores)


def judge(answers: Sequence[Answers], by: Judge) -> list[dict[str, Any]]:
    """Rank each prompt's completions by their scores; returns rows for `train` and `train_reward`.

    A row holds `prompt`, `completions`, `ranks` (1 for the highest score, equal for equal scores), `scores` and
    `labeler`. It is a row of the format `rankings`, which `preflab import` and the data of a recipe also read.

    Args:
        answers: from `sample`, with at least two completions each.
        by: a function of `(prompt, completion)` that returns a number, or a reward model.

    Raises:
        PreflabError: a score is missing, not a number, NaN or infinite; or a prompt has only one completion.
    """
    single = next((each for each in answers if len(each.completions) < 2), None)
    if single is not None:
        raise PreflabError(
            f"one completion of {single.prompt.shown[:60]!r}",
            "at least two completions to compare",
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
    """Measure the judge's score, length and diversity of every model on the same prompts, and the differences.

    Intervals are over prompts, and differences are paired by prompt. Models with a chat template share their sampling
    seeds, and so do models without one. Use a judge that was not the training reward, and prompts that no model was
    trained on.

    Args:
        models: name → model; the first is the one the others are compared with.
        prompts: as for `sample`.
        by: as for `judge`.
        num_completions, max_new_tokens, temperature, seed: as for `sample`.

    Raises:
        PreflabError: there is no model, or any error of `sample` and `judge`.
    """
    if not models:
        raise PreflabError("no model to evaluate", 'a mapping such as {"before": model}', "name at least one")
    untemplated = [prompt_record(each, number, turns=False) for number, each in enumerate(prompts, 1)]
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
        sheets[name] = _build_sheet(name, [prompt.id for prompt in untemplated], answers, _scores(answers, by))
    sheets, first = binary_as_shares(sheets), next(iter(sheets))
    return Comparison(
        {name: figures(sheet, seed=seed) for name, sheet in sheets.items()},
        {name: differences(sheets[first], sheet, seed=seed) for name, sheet in sheets.items() if name != first},
    )


def _build_sheet(name: str, prompt_ids: Sequence[str], answers: Sequence[Answers], scores: Sequence[float]) -> Sheet:
    """The sheet of a model, one row per completion.

    Rows have the id of the prompt before the chat template, so that models with and without a template can be paired.
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
    """(N,) the scores of all completions, in order of prompts."""
    scorer: Scorer = by.scorer if isinstance(by, RewardModel) else FunctionScorer(reward_function(by, _name(by)))
    items = [ScoringItem.of(each.prompt, completion) for each in answers for completion in each.completions]
    return [float(value) for value in scorer.score(items).total]


def _name(by: Judge) -> str:
    return "reward model" if isinstance(by, RewardModel) else getattr(by, "__name__", type(by).__name__)
