"""Settings of judging and of turning judgments into preferences."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import ClassVar, Literal

from pydantic import model_validator

from preflab.records import Content, Way
from preflab.settings.base import Settings, StageSettings, setting
from preflab.ways.registry import USUAL, names_in_words, way_named

MOST_LABELS = 1000
"""Labels of one task."""
MOST_LABELERS = 10_000
"""Labelers on a simulated panel, each of whom is kept in memory."""
WIDEST = 1e9
"""Utilities and their noise are no larger, so that sums of them stay finite."""


class PanelSettings(Settings):
    """A panel of simulated labelers with a known utility and known vices (always called simulated)."""

    kind: Literal["simulated"] = "simulated"
    utility: str = setting(
        ..., "`module:function` giving a text's true utility, None for F.", "required", refers="function"
    )
    num: int = setting(5, "Labelers on the panel.", "choice: a small team", ge=1, le=MOST_LABELERS)
    careless: int = setting(0, "How many of them answer at random.", "choice: none", ge=0, le=MOST_LABELERS)
    reversed: int = setting(0, "How many read the scale backwards.", "choice: none", ge=0, le=MOST_LABELERS)
    length_bias: float = setting(
        0.0,
        "Utility each of them adds per standard deviation of length.",
        "choice: none; AlpacaFarm found people prefer the longer text in 64 %",
        ge=-WIDEST,
        le=WIDEST,
    )
    flattery_bias: float = setting(
        0.0, "Utility each of them adds per flattering word.", "choice: none", ge=-WIDEST, le=WIDEST
    )
    flattering_words: tuple[str, ...] = setting((), "The words that flatter, lower case.", "choice: none")
    noise: float = setting(
        1.0,
        "Standard deviation of the noise added to a perceived utility.",
        "choice: strict agreement near 0.72, Ouyang et al. 2022",
        ge=0,
        le=WIDEST,
    )
    tie_width: float = setting(
        0.35,
        "Perceived utilities nearer than this are called a tie.",
        "measured: 14 to 15 % ties in simulation",
        ge=0,
        le=WIDEST,
    )

    scale_offset: float = setting(
        0.0,
        "Of scores: standard deviation, over labelers, of how many points each one gives above the others.",
        "choice: none; people's scales differ",
        ge=0,
        le=WIDEST,
        counts="if_set",
    )
    scale_spread: float = setting(
        0.0,
        "Of scores: standard deviation, over labelers, of the logarithm of how widely each one uses the scale.",
        "choice: none; people's scales differ",
        ge=0,
        le=10,  # a factor of 22,000
        counts="if_set",
    )

    @model_validator(mode="after")
    def _vices_fit(self) -> PanelSettings:
        """A labeler has one habit at most."""
        if self.careless + self.reversed > self.num:
            raise ValueError(f"careless + reversed is {self.careless + self.reversed}, more than num = {self.num}")
        return self


def usual_question(way: Way, polarity: int) -> str:
    """What is asked where nobody wrote a question of their own."""
    better, worse = way_named(way).questions
    return worse if polarity < 0 else better


def check_criteria(way: Way, criteria: Sequence[str], scale_ends: Collection[str]) -> None:
    """Refuse criteria that the way of judging lacks, a criterion named twice, and ends of scales that are not there.

    Raises:
        ValueError: says what is wrong.
    """
    asked = way_named(way)
    if asked.by_criteria and not criteria:
        raise ValueError(f"way is {way} and criteria is empty; write for example `criteria: [helpful]`")
    if len(set(criteria)) < len(criteria):
        raise ValueError("criteria names one twice")
    scales = set(asked.scales(criteria))
    if unknown := sorted(set(scale_ends) - scales):
        raise ValueError(f"scale_ends has {', '.join(unknown)}; the scales are {', '.join(sorted(scales)) or 'none'}")


class JudgeSettings(StageSettings):
    """Stage `judge`: completions are put to labelers."""

    makes: ClassVar[str] = "judgments"
    kind: Literal["judge"] = "judge"
    completions: str = setting(..., "A stage that makes completions.", "required", refers="completions")
    way: Way = setting(
        USUAL,
        f"How they are judged: {names_in_words()}.",
        "Ouyang et al. 2022, section 3.5",
    )
    labelers: str = setting(
        "people", "A panel of the recipe, or `people`.", "choice: people are the point", refers="labelers"
    )
    overlap: int = setting(
        3, "Labels wanted per task.", "measured: 3 labels 0.816, 5 labels 0.857 pair accuracy", ge=1, le=MOST_LABELS
    )
    question: str = setting(
        "", "What the labelers are asked; empty: the usual question of the way of judging.", "choice", max_length=2000
    )
    polarity: Literal[1, -1] = setting(
        1,
        "1: the preferred one is the better one; -1: the question asks for the worse one.",
        "Bai et al. 2022 asked for the more harmful one in half of their data",
        counts="if_set",
    )
    criteria: tuple[str, ...] = setting(
        (), "What scores are given for; Likert scores need one criterion at least.", "choice: none", counts="if_set"
    )
    scale_ends: dict[str, tuple[str, str]] = setting(
        {},
        "Criterion → the words at the ends of its scale; `overall` is that of scores before a ranking.",
        "choice: none",
        counts="never",
    )
    content: Content = setting(
        "plain",
        "What the completions are: plain, markdown, code, chat or image; decides how they are shown.",
        "choice: shows what the model wrote",
        counts="never",
    )
    instructions: str | None = setting(
        None,
        "Markdown file of the labelers' instructions, relative to the recipe; None: a text to begin with.",
        "choice: labelers read instructions first",
        counts="never",
    )
    gold: str | None = setting(
        None,
        "JSONL file of tasks with known answers that are mixed in, relative to the recipe.",
        "choice: none",
        counts="never",
    )
    gold_share: float = setting(
        0.1,
        "Share of the tasks a labeler is shown that are gold, where there are any.",
        "choice: one in ten",
        ge=0,
        le=0.5,
        counts="never",
    )
    ask_note: bool = setting(False, "Whether labelers are asked to say why.", "choice: it costs time", counts="never")
    allow_fail: bool = setting(
        True, "Whether a completion can be marked F.", "choice: nonsense is removed, not ranked", counts="never"
    )
    order: Literal["nearest_done", "worth_asking"] = setting(
        "nearest_done",
        "Which task is next.",
        "choice: tasks that lack the fewest labels are finished first",
        counts="never",
    )
    lease_minutes: float = setting(
        30.0,
        "A task not worked on for so long goes to somebody else, minutes.",
        "choice: a long coffee",
        gt=0,
        le=7 * 24 * 60,
        counts="never",
    )
    hourly_cost: float = setting(
        0.0, "What an hour of labelling costs; 0: not counted.", "choice: unknown", ge=0, le=1e9, counts="never"
    )
    currency: str = setting("EUR", "Currency of the cost.", "choice", max_length=8, counts="never")

    @model_validator(mode="after")
    def _question_suits(self) -> JudgeSettings:
        """Where none was written, the question that suits the way; settings are frozen, this is still their making."""
        if not self.question:
            object.__setattr__(self, "question", usual_question(self.way, self.polarity))
        return self

    @model_validator(mode="after")
    def _criteria_fit(self) -> JudgeSettings:
        """A way that scores by criteria needs some, and words stand at the ends of scales that exist."""
        check_criteria(self.way, self.criteria, self.scale_ends)
        return self


class ReadingSettings(Settings):
    """How judgments are read: what the answers of several labelers come to. A campaign has one, or the stage that reads
    judgments made by nobody's campaign.
    """

    consensus: Literal["one_coin_em", "majority"] = setting(
        "one_coin_em",
        "How labelers are weighed: reliability by one-coin EM, or one labeler one vote.",
        "measured: 0.818 against 0.744 pair accuracy with 3 of 12 labelers bad",
    )
    fail_share: float = setting(
        0.5,
        "A completion is F when at least this share of its labelers say so.",
        "choice: half, as an even split is a warning",
        gt=0,
        le=1,
    )
    criterion: str | None = setting(
        None,
        "Of Likert scores on several criteria: the one that orders the completions; None: the campaign's first.",
        "choice: scores on every criterion are kept all the same",
        counts="if_set",
    )
    level_scores: bool = setting(
        True,
        "Whether each labeler's own offset and spread are taken out of scores before they are averaged.",
        "choice: people's scales differ",
        counts="if_set",
    )
    pairs_by: Literal["text", "completion"] = setting(
        "text",
        "Whether two completions of one text make no pair (text), or are judged as two (completion).",
        "choice: nothing can be learned from a text beside itself",
        counts="if_set",
    )
    order_rule: Literal["kemeny", "copeland"] = setting(
        "kemeny",
        "How margins become an order: Kemeny's up to nine completions and Copeland's beyond, or always Copeland's.",
        "Young and Levenglick 1978: the only rule that is neutral, consistent and a Condorcet rule",
        counts="if_set",
    )


CONSENSUS = {"one_coin_em": "votes weighed by reliability (one-coin EM)", "majority": "one labeler, one vote"}
"""The methods of `consensus` in words."""


class PreferencesSettings(ReadingSettings, StageSettings):
    """Stage `preferences`: judgments to consensus ranks and pairs."""

    makes: ClassVar[str] = "preferences"
    kind: Literal["preferences"] = "preferences"
    judgments: str = setting(..., "A stage that makes judgments.", "required", refers="judgments")
