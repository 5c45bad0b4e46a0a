"""Which criteria a first reward may maximise, by the words of their names."""

from __future__ import annotations

import pytest

from preflab.starter.criteria import more_is, worth_more

WORSE = (
    "toxicity", "toxicity_score", "toxicityScore", "toxicityscore", "harm_score", "Harmfulness", "error_rating",
    "error-rate", "bias", "hallucination", "num_hallucinations", "score_bias", "rudeness", "perplexity",
)  # fmt: skip
NEITHER = ("verbosity", "complexity", "length", "length_score", "response_length", "tokens", "word_count", "latency")
BETTER = (
    "score", "rating", "helpfulness", "harmless", "harmlessness", "nontoxic", "non_toxicity", "error_free", "unbiased",
    "harm_avoidance", "no_hallucinations", "harmony", "correctness", "sentiment", "overall", "conciseness", "safety",
)  # fmt: skip


@pytest.mark.parametrize(
    ("criterion", "expected"),
    [(name, meant) for meant, names in (("worse", WORSE), ("neither", NEITHER), ("better", BETTER)) for name in names],
)
def test_what_more_of_a_criterion_is_can_be_told_from_its_words(criterion: str, expected: str) -> None:
    assert more_is(criterion) == expected


def test_a_reward_keeps_what_more_of_is_better() -> None:
    assert worth_more(["helpfulness", "verbosity", "toxicity_score"]) == ["helpfulness"]
