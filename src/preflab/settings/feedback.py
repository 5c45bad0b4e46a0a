"""Settings of judging and of turning judgments into preferences."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import ClassVar, Literal

from pydantic import model_validator

from preflab.records import Content, Way
from preflab.settings.base import Settings, StageSettings, setting
from preflab.ways.registry import USUAL, names_in_words, way_named

MOST_LABELS = 1000
"""Most labels of one task."""
MOST_LABELERS = 10_000
"""Most labelers of a simulated panel; each is kept in memory."""
WIDEST = 1e9
"""Bound on utility settings and noise, so that sums stay finite."""


class PanelSettings(Settings):
    """A panel of simulated labelers with a known utility and known biases; reports always call them simulated."""

    kind: Literal["simulated"] = "simulated"
    utility: str = setting(
        ..., "`module:function` that returns a text's true utility, None for F.", "required", refers="function"
    )
    num: int = setting(5, "Labelers on the panel.", "choice: a small team", ge=1, le=MOST_LABELERS)
    careless: int = setting(0, "How many of them answer at random.", "choice: none", ge=0, le=MOST_LABELERS)
    reversed: int = setting(0, "How many read the scale backwards.", "choice: none", ge=0, le=MOST_LABELERS)
    length_bias: float = setting(
        0.0,
        "Utility that every labeler adds per standard deviation of length.",
        "choice: none; in AlpacaFarm people prefer the longer text in 64 % of pairs",
        ge=-WIDEST,
        le=WIDEST,
    )
    flattery_bias: float = setting(
        0.0, "Utility that every labeler adds per flattering word.", "choice: none", ge=-WIDEST, le=WIDEST
    )
    flattering_words: tuple[str, ...] = setting((), "Flattering words, in lower case.", "choice: none")
    noise: float = setting(
        1.0,
        "Standard deviation of the noise added to a perceived utility.",
        "choice: strict agreement near 0.72, Ouyang et al. 2022",
        ge=0,
        le=WIDEST,
    )
    tie_width: float = setting(
        0.35,
        "Perceived utilities that differ by less than this are a tie.",
        "measured: 14 to 15 % ties in simulation",
        ge=0,
        le=WIDEST,
    )

    scale_offset: float = setting(
        0.0,
        "For scores: standard deviation, over labelers, of a labeler's constant offset, in points.",
        "choice: none; people's scales differ",
        ge=0,
        le=WIDEST,
        counts="if_set",
    )
    scale_spread: float = setting(
        0.0,
        "For scores: standard deviation, over labelers, of the logarithm of a labeler's spread on the scale.",
        "choice: none; people's scales differ",
        ge=0,
        le=10,  # a factor of 22,000
        counts="if_set",
    )

    @model_validator(mode="after")
    def _vices_fit(self) -> PanelSettings:
        """Refuse more careless and reversed labelers than the panel has: each labeler has at most one habit."""
        if self.careless + self.reversed > self.num:
            raise ValueError(f"careless + reversed is {self.careless + self.reversed}, more than num = {self.num}")
        return self


def usual_question(way: Way, polarity: int) -> str:
    """The default question of a way of judging; `polarity` −1 asks for the worse completion."""
    better, worse = way_named(way).questions
    return worse if polarity < 0 else better


def check_criteria(way: Way, criteria: Sequence[str], scale_ends: Collection[str]) -> None:
    """Check criteria and scale ends against the way of judging.

    Raises:
        ValueError: the way needs criteria and has none, a criterion is named twice, or a scale of `scale_ends` does not
            exist.
    """
    judged_by = way_named(way)
    if judged_by.by_criteria and not criteria:
        raise ValueError(f"way is {way} and criteria is empty; write for example `criteria: [helpful]`")
    if len(set(criteria)) < len(criteria):
        raise ValueError("criteria has an entry twice")
    scales = set(judged_by.scales(criteria))
    if unknown := sorted(set(scale_ends) - scales):
        raise ValueError(f"scale_ends has {', '.join(unknown)}; the scales are {', '.join(sorted(scales)) or 'none'}")


class JudgeSettings(StageSettings):
    """Stage `judge`: labelers judge completions."""

    makes: ClassVar[str] = "judgments"
    kind: Literal["judge"] = "judge"
    completions: str = setting(..., "A stage that makes completions.", "required", refers="completions")
    way: Way = setting(
        USUAL,
        f"Way of judging: {names_in_words()}.",
        "Ouyang et al. 2022, section 3.5",
    )
    labelers: str = setting(
        "people", "A panel of the recipe, or `people`.", "choice: labels of people are the goal", refers="labelers"
    )
    overlap: int = setting(
        3, "Labels wanted per task.", "measured: 3 labels 0.816, 5 labels 0.857 pair accuracy", ge=1, le=MOST_LABELS
    )
    question: str = setting(
        "", "Question to the labelers; empty: the default question of the way of judging.", "choice", max_length=2000
    )
    polarity: Literal[1, -1] = setting(
        1,
        "1: the question asks for the better completion; -1: it asks for the worse one.",
        "Bai et al. 2022 asked for the more harmful completion in half of their data",
        counts="if_set",
    )
    criteria: tuple[str, ...] = setting(
        (), "Criteria that are scored; Likert scores need at least one.", "choice: none", counts="if_set"
    )
    scale_ends: dict[str, tuple[str, str]] = setting(
        {},
        "Criterion → the words at both ends of its scale; `overall` is the scale of the scores before a ranking.",
        "choice: none",
        counts="never",
    )
    content: Content = setting(
        "plain",
        "Type of the completions: plain, markdown, code, chat, image or playout; decides how they are displayed.",
        "choice: shows the model's text unchanged",
        counts="never",
    )
    game: str | None = setting(
        None,
        "For playouts: the game, by its name or its Python file relative to the recipe; people see clips of it.",
        "required for playouts that people judge",
        counts="never",
    )
    instructions: str | None = setting(
        None,
        "Markdown file with the labelers' instructions, relative to the recipe; None: a starter text.",
        "choice: labelers read instructions first",
        counts="never",
    )
    gold: str | None = setting(
        None,
        "JSONL file of tasks with known answers to mix in, relative to the recipe.",
        "choice: none",
        counts="never",
    )
    gold_share: float = setting(
        0.1,
        "Share of gold tasks among the tasks a labeler gets, if there are any.",
        "choice: one in ten",
        ge=0,
        le=0.5,
        counts="never",
    )
    ask_note: bool = setting(False, "Whether labelers are asked for a reason.", "choice: it costs time", counts="never")
    allow_fail: bool = setting(
        True, "Whether a completion can be marked F.", "choice: nonsense is removed, not ranked", counts="never"
    )
    order: Literal["nearest_done", "worth_asking"] = setting(
        "nearest_done",
        "Order of the tasks: those nearest to completion first, or the most informative first.",
        "choice: tasks that lack the fewest labels are finished first",
        counts="never",
    )
    lease_minutes: float = setting(
        30.0,
        "Minutes without activity after which a task is given to another labeler.",
        "choice: long enough for a break",
        gt=0,
        le=7 * 24 * 60,
        counts="never",
    )
    hourly_cost: float = setting(
        0.0, "Cost of an hour of labelling; 0: not counted.", "choice: unknown", ge=0, le=1e9, counts="never"
    )
    currency: str = setting("EUR", "Currency of the cost.", "choice", max_length=8, counts="never")

    @model_validator(mode="after")
    def _question_suits(self) -> JudgeSettings:
        """Fill in the default question of the way; `object.__setattr__` because the settings are frozen."""
        if not self.question:
            object.__setattr__(self, "question", usual_question(self.way, self.polarity))
        return self

    @model_validator(mode="after")
    def _criteria_fit(self) -> JudgeSettings:
        """Check criteria and scale ends against the way of judging."""
        check_criteria(self.way, self.criteria, self.scale_ends)
        return self


class ReadingSettings(Settings):
    """How the answers of several labelers become a consensus. A campaign has these settings; for judgments outside any
    campaign the stage `preferences` has them.
    """

    consensus: Literal["one_coin_em", "majority"] = setting(
        "one_coin_em",
        "Weight of labelers: reliability estimated by one-coin EM, or one vote each.",
        "measured: 0.818 against 0.744 pair accuracy with 3 of 12 labelers bad",
    )
    fail_share: float = setting(
        0.5,
        "A completion is F if at least this share of its labelers mark it F.",
        "choice: half; an even split already counts as F",
        gt=0,
        le=1,
    )
    criterion: str | None = setting(
        None,
        "For Likert scores on several criteria: the one that ranks the completions; None: the campaign's first.",
        "choice: the scores on the other criteria are kept too",
        counts="if_set",
    )
    level_scores: bool = setting(
        True,
        "Whether each labeler's offset and spread are removed from scores before averaging.",
        "choice: people's scales differ",
        counts="if_set",
    )
    pairs_by: Literal["text", "completion"] = setting(
        "text",
        "Whether completions with equal text count as one and form no pair (text), or as two (completion).",
        "choice: a text compared with itself teaches nothing",
        counts="if_set",
    )
    order_rule: Literal["kemeny", "copeland"] = setting(
        "kemeny",
        "Rule from margins to an order: Kemeny up to nine completions and Copeland beyond, or always Copeland.",
        "Young and Levenglick 1978: the only neutral, consistent Condorcet rule",
        counts="if_set",
    )


CONSENSUS = {"one_coin_em": "votes weighed by reliability (one-coin EM)", "majority": "one labeler, one vote"}
"""Value of `consensus` → its description."""


class PreferencesSettings(ReadingSettings, StageSettings):
    """Stage `preferences`: turn judgments into consensus ranks and pairs."""

    makes: ClassVar[str] = "preferences"
    kind: Literal["preferences"] = "preferences"
    judgments: str = setting(..., "A stage that makes judgments.", "required", refers="judgments")
