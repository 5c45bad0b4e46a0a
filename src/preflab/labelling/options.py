"""The options of a campaign: the question, the way of judging, the assignment of tasks, the cost."""

from __future__ import annotations

from typing import Literal

from pydantic import model_validator

from preflab.records import Content, Way
from preflab.settings.base import setting
from preflab.settings.feedback import MOST_LABELS, ReadingSettings, check_criteria, usual_question
from preflab.ways.registry import USUAL

FIXED = ("question", "polarity", "way", "criteria")
"""Options that cannot change once the campaign has a judgment, since earlier answers would change their meaning."""
OpenTo = Literal["everybody", "invited", "named"]

A_WEEK = 7 * 24 * 60
"""Minutes in a week, the longest lease: nobody else can do a task while it is held."""


class CampaignOptions(ReadingSettings):
    """Options of one campaign, including how its answers are read; all except `FIXED` may change while it runs."""

    name: str = setting(..., "Name of the campaign.", "required", min_length=1, max_length=200)
    question: str = setting(
        "", "Question to the labelers; empty: the default question of the way of judging.", "choice", max_length=2000
    )
    polarity: Literal[1, -1] = setting(
        1, "1: the question asks for the better completion; -1: for the worse one.", "Bai et al. 2022"
    )
    way: Way = setting(USUAL, "How completions are judged.", "Ouyang et al. 2022, section 3.5")
    criteria: tuple[str, ...] = setting((), "Criteria that Likert scores are given for.", "choice: none")
    scale_ends: dict[str, tuple[str, str]] = setting(
        {}, "Criterion → the words at the two ends of its scale.", "choice: none"
    )
    content: Content = setting("plain", "Format of the completions, which decides how they are shown.", "choice")
    overlap: int = setting(
        3, "Labels wanted per task.", "measured: 3 labels 0.816, 5 labels 0.857 accuracy", ge=1, le=MOST_LABELS
    )
    ask_note: bool = setting(False, "Whether labelers are asked to give a reason.", "choice: it costs time")
    allow_fail: bool = setting(True, "Whether a completion can be marked F.", "choice: nonsense is removed, not ranked")
    max_tie_rate_nudge: float = setting(
        0.5, "Above this share of ties a labeler is reminded that ties should be rare.", "choice", ge=0, le=1
    )
    lease_minutes: float = setting(
        30.0,
        "Minutes after which a task that is not worked on goes to another labeler.",
        "choice: longer than a coffee break",
        gt=0,
        ge=1 / 60,
        le=A_WEEK,
    )
    order: Literal["nearest_done", "worth_asking"] = setting(
        "nearest_done",
        "Order of tasks with the same priority.",
        "choice: tasks that lack the fewest labels are finished first",
    )
    open_to: OpenTo = setting(
        "invited",
        "Who may judge. `everybody`: all accounts, including later ones; `invited`: people invited to this campaign or "
        "to all; `named`: only people invited to this campaign or let in by name.",
        "choice: an invitation names the campaigns it is for",
    )
    count_ai: bool = setting(
        False, "Whether AI judges' labels count towards the overlap.", "choice: labels of people are wanted"
    )
    gold_share: float = setting(
        0.0, "Share of gold tasks (with a known answer) among the tasks shown.", "choice: none", ge=0, le=0.5
    )
    hourly_cost: float = setting(0.0, "Cost of one hour of labelling.", "choice: unknown", ge=0, le=1e9)
    currency: str = setting("EUR", "Currency of the cost.", "choice", max_length=8)
    confirmed_reversed: tuple[str, ...] = setting(
        (),
        "Labelers who, as a lead has confirmed, read the scale backwards; their answers are reversed.",
        "choice: no answer is reversed without a lead's confirmation",
    )

    @model_validator(mode="after")
    def _question_suits(self) -> CampaignOptions:
        """Set the default question if there is none; settings are frozen, so the field is set directly."""
        if not self.question:
            object.__setattr__(self, "question", usual_question(self.way, self.polarity))
        return self

    @model_validator(mode="after")
    def _criteria_fit(self) -> CampaignOptions:
        """Refuse a way of judging without the criteria it needs, words for unknown scales, and an unknown criterion."""
        check_criteria(self.way, self.criteria, self.scale_ends)
        if self.criterion is not None and self.criterion not in self.criteria:
            raise ValueError(f"criterion is {self.criterion}, the criteria are {', '.join(self.criteria) or 'none'}")
        return self
