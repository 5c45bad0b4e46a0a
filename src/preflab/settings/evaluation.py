"""Settings of evaluation and of the report."""

from __future__ import annotations

from typing import Literal

from preflab.settings.base import MOST_COMPLETIONS, StageSettings, setting
from preflab.settings.classifiers import ClassifierSettings
from preflab.settings.sampling import DecodingSettings


class EvaluateSettings(StageSettings):
    """Stage `evaluate`: several models answer the same held-out prompts and are compared, paired by prompt."""

    kind: Literal["evaluate"] = "evaluate"
    models: tuple[str, ...] = setting(
        ...,
        "Models in order; the others are compared with the first.",
        "required",
        min_length=1,
        refers="model",
    )
    reference: str | None = setting(None, "Reference model of the KL; None: the first model.", "choice", refers="model")
    completions: tuple[str, ...] = setting(
        (),
        "Stages, such as `best_of_n`, whose stored completions of the same prompts are measured too.",
        "choice: none",
        refers="completions",
        counts="if_set",
    )
    prompts: str = setting(
        ..., "Prompts: `data name`, `data name.train` or `data name.held_out`.", "required", refers="data"
    )
    judges: dict[str, str] = setting(
        {},
        "Name → `module:function` that scores a text, other than the training reward.",
        "choice: none",
        refers="function",
    )
    rewards: tuple[str, ...] = setting((), "Reward stages whose scores are reported too.", "choice", refers="reward")
    primary: str | None = setting(
        None,
        "The measure that decides, named before the run: `judge/NAME`, `reward/NAME`, `label/CLASS` or another one.",
        "choice: None: the first judge, else reward model, else classifier; the run says which",
        counts="if_set",
    )
    labels: str | None = setting(
        None,
        "`module:function` that names the class of a text (rude, curt, …); classes are counted per model.",
        "choice",
        refers="function",
    )
    classifiers: dict[str, ClassifierSettings] = setting(
        {},
        "Name → a classifier whose probability of one class is measured, such as toxicity: mean, spread, share above a "
        "threshold.",
        "choice: none",
        counts="if_set",
    )
    reference_texts: tuple[str, ...] = setting(
        (),
        "Columns of the prompts that hold texts written by people, one or a list in each: ROUGE is measured against "
        "them, and the first of each prompt is compared with the models, as `human`.",
        "choice: none",
        counts="if_set",
    )
    rouge_stems: bool = setting(
        False,
        "Compare the Porter stems of words for ROUGE, as rouge-score does with `use_stemmer=True`; for English alone.",
        "choice: the same rule for every language",
        counts="if_set",
    )
    num_completions: int = setting(1, "Completions per prompt and model.", "choice", ge=1, le=MOST_COMPLETIONS)
    max_prompts: int | None = setting(None, "Use only this many prompts; None: all.", "choice: all", ge=1)
    too_long: Literal["refuse", "leave_out"] = setting(
        "refuse",
        "Prompts without room for max_new_tokens in one of the models: stop with an error, or leave them out for all.",
        "choice: nothing is left out by default",
        counts="if_set",
    )
    decoding: DecodingSettings = setting(DecodingSettings(), "How completions are sampled.", "choice: as in training")
    tilted_optimum: str | None = setting(
        None, "Name of a judge: estimate the best mean score possible at each KL.", "choice: none"
    )
    num_tilted_prompts: int = setting(
        32,
        "Prompts on which the optimum, and the models' scores next to it, are estimated.",
        "choice: seconds on two cores",
        ge=2,
    )
    num_tilted_completions: int = setting(
        64,
        "Completions of the reference per prompt (n); a KL above log(n / 8) cannot be estimated.",
        "choice: reaches about 2 nats",
        ge=8,
        le=MOST_COMPLETIONS,
    )


class ReportSettings(StageSettings):
    """Stage `report`: write one HTML file about the named stages."""

    kind: Literal["report"] = "report"
    of: tuple[str, ...] = setting(..., "Stages to report, in order.", "required", min_length=1, refers="stage")
    title: str = setting("preflab report", "Heading of the page.", "choice")
    num_samples: int = setting(12, "Before/after samples shown.", "choice", ge=0)
