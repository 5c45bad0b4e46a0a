"""The options of a campaign: what is asked, how it is judged, who gets which task next."""

from __future__ import annotations

from typing import Literal

from pydantic import model_validator

from preflab.records import Content, Way
from preflab.settings.base import setting
from preflab.settings.feedback import MOST_LABELS, ReadingSettings, check_criteria, usual_question
from preflab.ways.registry import USUAL

FIXED = ("question", "polarity", "way", "criteria")
"""What stays as it is once the campaign has a judgment: a change would give old answers a new meaning."""
OpenTo = Literal["everybody", "invited", "named"]

A_WEEK = 7 * 24 * 60
"""Minutes; a task held for longer is a task that nobody else can do."""


class CampaignOptions(ReadingSettings):
    """Options of one campaign, how answers are read among them; all but the `FIXED` ones may change while it runs."""

    name: str = setting(..., "What the campaign is called.", "required", min_length=1, max_length=200)
    question: str = setting(
        "", "What the labelers are asked; empty: the usual question of the way of judging.", "choice", max_length=2000
    )
    polarity: Literal[1, -1] = setting(
        1, "1: the preferred one is the better one; -1: the question asks for the worse one.", "Bai et al. 2022"
    )
    way: Way = setting(USUAL, "How completions are judged.", "Ouyang et al. 2022, section 3.5")
    criteria: tuple[str, ...] = setting((), "What Likert scores are given for.", "choice: none")
    scale_ends: dict[str, tuple[str, str]] = setting({}, "Criterion → the words at its scale's ends.", "choice: none")
    content: Content = setting("plain", "What completions are, which decides how they are shown.", "choice")
    overlap: int = setting(
        3, "Labels wanted per task.", "measured: 3 labels 0.816, 5 labels 0.857 accuracy", ge=1, le=MOST_LABELS
    )
    ask_note: bool = setting(False, "Whether labelers are asked to say why.", "choice: it costs time")
    allow_fail: bool = setting(True, "Whether a completion can be marked F.", "choice: nonsense is removed, not ranked")
    max_tie_rate_nudge: float = setting(
        0.5, "Above this share of ties a labeler is reminded that ties are rare; never blocked.", "choice", ge=0, le=1
    )
    lease_minutes: float = setting(
        30.0,
        "A task not worked on for so long goes to somebody else.",
        "choice: a long coffee",
        gt=0,
        ge=1 / 60,
        le=A_WEEK,
    )
    order: Literal["nearest_done", "worth_asking"] = setting(
        "nearest_done",
        "Which task is next among those of one priority.",
        "choice: tasks that lack the fewest labels are finished first",
    )
    open_to: OpenTo = setting(
        "invited",
        "Who may judge: `everybody` with an account, now or later; `invited`: whoever is invited to it or to all; "
        "`named`: only people invited to it or let in by name.",
        "choice: an invitation says what it opens",
    )
    count_ai: bool = setting(False, "Whether AI judges' labels count to the overlap.", "choice: people are the point")
    gold_share: float = setting(0.0, "Share of tasks shown whose answer is known.", "choice: none", ge=0, le=0.5)
    hourly_cost: float = setting(0.0, "What an hour of labelling costs.", "choice: unknown", ge=0, le=1e9)
    currency: str = setting("EUR", "Currency of the cost.", "choice", max_length=8)
    confirmed_reversed: tuple[str, ...] = setting(
        (),
        "Labelers of whom a lead has confirmed that they read the scale backwards.",
        "choice: nobody is turned round silently",
    )

    @model_validator(mode="after")
    def _question_suits(self) -> CampaignOptions:
        """Where none was written, the question that suits the way; settings are frozen, this is still their making."""
        if not self.question:
            object.__setattr__(self, "question", usual_question(self.way, self.polarity))
        return self

    @model_validator(mode="after")
    def _criteria_fit(self) -> CampaignOptions:
        """A way that scores by criteria needs some, and words stand at the ends of scales that exist."""
        check_criteria(self.way, self.criteria, self.scale_ends)
        if self.criterion is not None and self.criterion not in self.criteria:
            raise ValueError(f"criterion is {self.criterion}, the criteria are {', '.join(self.criteria) or 'none'}")
        return self
