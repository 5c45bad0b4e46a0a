"""Settings of one term of the reward: the source of its scores, and its weight."""

from __future__ import annotations

from typing import Literal

from pydantic import model_validator

from preflab.settings.ai import JudgeSource
from preflab.settings.base import Settings, setting

SOURCES = ("model", "ensemble", "function", "implicit", "judge")
READ_BY = {
    "criteria": "judge",
    "scale_ends": "judge",
    "calibration": "judge",
    "combine": "ensemble",
    "std_coef": "ensemble",
    "reference": "ensemble",
    "timeout_s": "function",
    "class_label": "model",
    "class_output": "model",
}
"""Setting → the only source that reads it."""


class RewardSource(Settings):
    """One term of the reward: a reward model, an ensemble, a classifier, a function or an AI judge, with its weight."""

    model: str | None = setting(
        None,
        "A stage that makes a reward model, a folder or a Hub id of a classifier.",
        "one of the sources",
        refers="reward",
    )
    ensemble: tuple[str, ...] = setting(
        (),
        "Several reward models, by stage or folder, combined into one score.",
        "one of the sources",
        refers="reward",
    )
    function: str | None = setting(
        None,
        "`module:function` of (prompt, completion, columns) that returns a number.",
        "one of the sources",
        refers="function",
    )
    implicit: str | None = setting(
        None,
        "A stage `dpo` or its model folder: the reward is β log π/π_ref of its policy.",
        "one of the sources; Rafailov et al. 2023, section 4",
        refers="model",
    )
    judge: JudgeSource | None = setting(None, "An AI judge that gives points per criterion.", "one of the sources")
    criteria: dict[str, float] = setting({}, "For a judge: criterion → its weight.", "required for judges")
    scale_ends: dict[str, tuple[str, str]] = setting(
        {}, "For a judge: criterion → what 1 and 5 mean.", "choice: not at all, fully"
    )
    calibration: str | None = setting(
        None,
        "For a judge: an ai_judge stage whose calibration lines map its points to people's scale.",
        "choice: none",
        refers="judgments",
    )
    combine: Literal["mean", "minimum", "mean_minus_std"] = setting(
        "mean_minus_std",
        "For an ensemble: how its members become one score.",
        "Coste et al. 2023 (arXiv 2310.02743): disagreement lowers the score",
    )
    std_coef: float = setting(1.0, "For `mean_minus_std`: weight of the members' standard deviation.", "choice", ge=0)
    reference: str | None = setting(
        None,
        "For an ensemble: a sample stage whose mean score per prompt is subtracted from each member's score.",
        "required for ensembles",
        refers="completions",
    )
    timeout_s: float | None = setting(
        None, "For a function: time limit of a call, seconds; beyond it the run stops.", "choice: none", gt=0
    )
    class_label: str | None = setting(
        None, "For a classifier: the class whose logit is the reward.", "required for classifiers"
    )
    class_output: Literal["logit", "probability"] = setting(
        "logit",
        "For a classifier: the logit of the class or its probability.",
        "choice: the logit is unbounded, it never saturates",
    )
    weight: float = setting(1.0, "Factor of this term in the sum.", "choice")
    name: str | None = setting(None, "Its name in the metrics; None: the last part of its source.", "choice")

    @model_validator(mode="after")
    def _one_source(self) -> RewardSource:
        if sum(bool(getattr(self, name)) for name in SOURCES) != 1:
            raise ValueError("a reward is a `model`, `ensemble`, `function`, `implicit` or `judge`: give one of them")
        used = next(name for name in SOURCES if getattr(self, name))
        fields = type(self).model_fields
        unread = [n for n, source in READ_BY.items() if source != used and getattr(self, n) != fields[n].default]
        if unread:
            raise ValueError(f"{unread[0]} is for a reward by `{READ_BY[unread[0]]}`: nothing would read it here")
        if (self.judge is None) != (not self.criteria):
            raise ValueError("a judge needs `criteria`, such as {helpfulness: 1.0}, and only a judge reads them")
        if self.ensemble and (len(self.ensemble) < 2 or self.reference is None):
            raise ValueError("an ensemble needs at least two members and a `reference` of completions")
        return self
