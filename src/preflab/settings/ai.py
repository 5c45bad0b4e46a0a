"""Settings of AI judges."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import model_validator

from preflab.settings.base import Settings, StageSettings, setting
from preflab.ways.registry import BY_PAIRS, BY_POINTS, AiWayName, in_words


class EndpointSettings(Settings):
    """An OpenAI-compatible server and the model to ask there."""

    base_url: str = setting(..., "Address up to and including `/v1`.", "required")
    model: str = setting(..., "The model's name on the server.", "required")
    api_key_env: str = setting(
        "OPENAI_API_KEY",
        "Environment variable that holds the key; the key itself is never written to a file.",
        "OpenAI's own client",
    )
    temperature: float = setting(0.0, "Sampling temperature of the judge.", "choice: the likeliest verdict", ge=0)
    max_tokens: int = setting(512, "Longest answer, tokens.", "choice: a few sentences and a verdict", ge=16)
    timeout_s: float = setting(60.0, "Time limit of one call, seconds.", "choice", gt=0)
    max_retries: int = setting(4, "Further attempts after a time-out or a busy server.", "choice", ge=0, le=20)
    max_parallel: int = setting(4, "Most calls at the same time.", "choice: light load on a small server", ge=1, le=256)
    price_prompt: float = setting(0.0, "Money per million prompt tokens; 0: not counted.", "choice: unknown", ge=0)
    price_completion: float = setting(0.0, "Money per million written tokens.", "choice: unknown", ge=0)


class JudgeSource(Settings):
    """The judge: a local model whose verdict is read from likelihoods, or an endpoint that answers in text."""

    model: str | None = setting(
        None,
        "A stage that makes a model, a folder or a Hub id; its verdict is read from likelihoods.",
        "one of two",
        refers="model",
    )
    endpoint: EndpointSettings | None = setting(None, "An OpenAI-compatible server.", "one of two")
    tie_width: float = setting(
        0.0, "For a local model: |P(A) − ½| up to this is a tie.", "choice: any leaning counts", ge=0, lt=0.5
    )

    @model_validator(mode="after")
    def _one_judge(self) -> JudgeSource:
        """Require exactly one of `model` and `endpoint`."""
        if (self.model is None) == (self.endpoint is None):
            raise ValueError("a judge is either a `model` or an `endpoint`: give one of the two")
        if self.endpoint is not None and self.tie_width:
            raise ValueError("tie_width is for a local `model`: an endpoint itself says whether it is a tie")
        return self


class AiJudgeSettings(StageSettings):
    """Stage `ai_judge`: an AI judge compares completions, every pair in both orders, or scores them by criteria."""

    makes: ClassVar[str] = "judgments"
    kind: Literal["ai_judge"] = "ai_judge"
    completions: str = setting(..., "A stage that makes completions.", "required", refers="completions")
    judge: JudgeSource = setting(..., "The judge.", "required")
    way: AiWayName = setting(
        BY_PAIRS[0],
        "Way of judging: every pair in both orders, or points per criterion.",
        "Zheng et al. 2023 (arXiv 2306.05685)",
    )
    question: str = setting("Which completion is better?", "Question asked about a pair.", "choice", min_length=1)
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
        f"For {in_words(BY_POINTS)}: criterion → its weight in the combined score; each is asked separately.",
        "choice: none",
    )
    scale_ends: dict[str, tuple[str, str]] = setting({}, "Criterion → what 1 and 5 mean.", "choice: not at all, fully")
    people: str | None = setting(
        None,
        "A judge stage in which people judged the same completions: measures the AI's agreement with them and "
        "calibrates its points.",
        "choice: none; without it the judge's quality is unknown",
        refers="judgments",
    )

    @property
    def by_pairs(self) -> bool:
        """Whether the judge compares completions in pairs, instead of giving points to each."""
        return self.way in BY_PAIRS

    @model_validator(mode="after")
    def _criteria_fit(self) -> AiJudgeSettings:
        """Refuse settings that the chosen way does not read, points without criteria, and ends without a criterion."""
        if self.constitution is not None and not self.by_principle:
            raise ValueError("constitution is given but by_principle is off: nothing would read it")
        if self.by_principle and not self.by_pairs:
            raise ValueError(f"by_principle compares completions: it needs way: {in_words(BY_PAIRS)}")
        if self.by_principle and self.question != type(self).model_fields["question"].default:
            raise ValueError("question is given with by_principle: each principle has its own, nothing would read it")
        if self.by_pairs and self.criteria:
            raise ValueError(
                f"criteria are for way: {in_words(BY_POINTS)}; a ranking answers `question`, nothing would read them"
            )
        if not self.by_pairs and not self.criteria:
            raise ValueError(f"{self.way} needs `criteria`, such as {{helpfulness: 1.0}}")
        unknown = sorted(self.scale_ends.keys() - self.criteria.keys())
        if unknown:
            raise ValueError(f"scale_ends names {unknown[0]!r}, which is not a criterion")
        return self
