"""Settings of AI judges."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import model_validator

from preflab.settings.base import Settings, StageSettings, setting
from preflab.ways.registry import BY_PAIRS, BY_POINTS, AiWayName, in_words


class EndpointSettings(Settings):
    """An OpenAI-compatible server and the model that is asked there."""

    base_url: str = setting(..., "Address up to and including `/v1`.", "required")
    model: str = setting(..., "The model as the server calls it.", "required")
    api_key_env: str = setting(
        "OPENAI_API_KEY",
        "Environment variable that holds the key; the key itself stands nowhere.",
        "OpenAI's own client",
    )
    temperature: float = setting(0.0, "Sampling temperature of the judge.", "choice: the likeliest verdict", ge=0)
    max_tokens: int = setting(512, "Longest answer, tokens.", "choice: a few sentences and a verdict", ge=16)
    timeout_s: float = setting(60.0, "Seconds one call may take.", "choice", gt=0)
    max_retries: int = setting(4, "Further attempts after a time-out or a busy server.", "choice", ge=0, le=20)
    max_parallel: int = setting(4, "Calls at once.", "choice: polite to a small server", ge=1, le=256)
    price_prompt: float = setting(0.0, "Money per million prompt tokens; 0: not counted.", "choice: unknown", ge=0)
    price_completion: float = setting(0.0, "Money per million written tokens.", "choice: unknown", ge=0)


class JudgeSource(Settings):
    """Who judges: a local model asked by likelihood, or an endpoint that writes."""

    model: str | None = setting(
        None, "A stage that makes a model, a folder or a Hub id: asked by likelihood.", "one of two", refers="model"
    )
    endpoint: EndpointSettings | None = setting(None, "An OpenAI-compatible server.", "one of two")
    tie_width: float = setting(
        0.0, "For a local model: |P(A) − ½| up to this is a tie.", "choice: any leaning counts", ge=0, lt=0.5
    )

    @model_validator(mode="after")
    def _one_judge(self) -> JudgeSource:
        """Either of the two, not both."""
        if (self.model is None) == (self.endpoint is None):
            raise ValueError("a judge is either a `model` or an `endpoint`: give one of the two")
        if self.endpoint is not None and self.tie_width:
            raise ValueError("tie_width is for a local `model`: an endpoint says itself what is a tie")
        return self


class AiJudgeSettings(StageSettings):
    """Stage `ai_judge`: completions are put to an AI judge, every pair in both orders or criterion by criterion."""

    makes: ClassVar[str] = "judgments"
    kind: Literal["ai_judge"] = "ai_judge"
    completions: str = setting(..., "A stage that makes completions.", "required", refers="completions")
    judge: JudgeSource = setting(..., "Who judges.", "required")
    way: AiWayName = setting(
        BY_PAIRS[0], "How: every pair in both orders, or points per criterion.", "Zheng et al. 2023 (arXiv 2306.05685)"
    )
    question: str = setting("Which completion is better?", "What is asked of a pair.", "choice", min_length=1)
    by_principle: bool = setting(
        False,
        "For ranking: each task is judged by a principle drawn from the constitution, instead of `question`.",
        "Bai et al. 2022b (arXiv 2212.08073), section 4.1",
    )
    constitution: str | None = setting(
        None, "With by_principle: YAML file of principles; None: preflab's own.", "choice", refers="file"
    )
    criteria: dict[str, float] = setting(
        {},
        f"For {in_words(BY_POINTS)}: criterion → its weight in the combined score; each is asked for by itself.",
        "choice: none",
    )
    scale_ends: dict[str, tuple[str, str]] = setting({}, "Criterion → what 1 and 5 mean.", "choice: not at all, fully")
    people: str | None = setting(
        None,
        "A judge stage whose people judged the same completions: how far the AI agrees is measured, points are fitted.",
        "choice: none; without it nothing is known of the judge",
        refers="judgments",
    )

    @property
    def by_pairs(self) -> bool:
        """Whether the judge compares completions two by two, instead of giving each its points."""
        return self.way in BY_PAIRS

    @model_validator(mode="after")
    def _criteria_fit(self) -> AiJudgeSettings:
        """Points need criteria; ends need a criterion."""
        if self.constitution is not None and not self.by_principle:
            raise ValueError("constitution is given but by_principle is off: nothing would read it")
        if self.by_principle and not self.by_pairs:
            raise ValueError(f"by_principle compares completions: it needs way: {in_words(BY_PAIRS)}")
        if self.by_principle and self.question != type(self).model_fields["question"].default:
            raise ValueError("question is given with by_principle: each principle asks its own, nothing would read it")
        if self.by_pairs and self.criteria:
            raise ValueError(
                f"criteria are for way: {in_words(BY_POINTS)}; a ranking answers `question`, nothing would read them"
            )
        if not self.by_pairs and not self.criteria:
            raise ValueError(f"{self.way} needs `criteria`, such as {{helpfulness: 1.0}}")
        unknown = sorted(self.scale_ends.keys() - self.criteria.keys())
        if unknown:
            raise ValueError(f"scale_ends names {unknown[0]!r}, which is no criterion")
        return self
