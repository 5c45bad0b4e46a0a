"""Settings of judging and of turning judgments into preferences."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import model_validator

from preflab.settings.base import Settings, StageSettings, setting


class PanelSettings(Settings):
    """A panel of simulated labelers with a known utility and known vices (always called simulated)."""

    kind: Literal["simulated"] = "simulated"
    utility: str = setting(
        ..., "`module:function` giving a text's true utility, None for F.", "required", refers="function"
    )
    num: int = setting(5, "Labelers on the panel.", "choice: a small team", ge=1)
    careless: int = setting(0, "How many of them answer at random.", "choice: none", ge=0)
    reversed: int = setting(0, "How many read the scale backwards.", "choice: none", ge=0)
    length_bias: float = setting(
        0.0,
        "Utility each of them adds per standard deviation of length.",
        "choice: none; AlpacaFarm found people prefer the longer text in 64 %",
    )
    flattery_bias: float = setting(0.0, "Utility each of them adds per flattering word.", "choice: none")
    flattering_words: tuple[str, ...] = setting((), "The words that flatter, lower case.", "choice: none")
    noise: float = setting(
        1.0,
        "Standard deviation of the noise added to a perceived utility.",
        "choice: strict agreement near 0.72, Ouyang et al. 2022",
        ge=0,
    )
    tie_width: float = setting(
        0.35, "Perceived utilities nearer than this are called a tie.", "measured: 14 to 15 % ties in simulation", ge=0
    )

    @model_validator(mode="after")
    def _vices_fit(self) -> PanelSettings:
        """A labeler has one habit at most."""
        if self.careless + self.reversed > self.num:
            raise ValueError(f"careless + reversed is {self.careless + self.reversed}, more than num = {self.num}")
        return self


class JudgeSettings(StageSettings):
    """Stage `judge`: completions are put to labelers."""

    makes: ClassVar[str] = "judgments"
    kind: Literal["judge"] = "judge"
    completions: str = setting(..., "A stage that makes completions.", "required", refers="completions")
    way: Literal["ranking"] = setting("ranking", "How they are judged.", "Ouyang et al. 2022, section 3.5")
    labelers: str = setting(
        "people", "A panel of the recipe, or `people`.", "choice: people are the point", refers="labelers"
    )
    overlap: int = setting(3, "Labels wanted per task.", "measured: 3 labels 0.816, 5 labels 0.857 pair accuracy", ge=1)
    question: str = setting("Which completion is better?", "What the labelers are asked.", "choice")


class PreferencesSettings(StageSettings):
    """Stage `preferences`: judgments to consensus ranks and pairs."""

    makes: ClassVar[str] = "preferences"
    kind: Literal["preferences"] = "preferences"
    judgments: str = setting(..., "A stage that makes judgments.", "required", refers="judgments")
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
