"""ROUGE against Google's package `rouge-score` (development only; skipped where it is not installed)."""

from __future__ import annotations

import random

import pytest

from preflab.evaluation.rouge import KINDS, best_rouge, rouge, rouge_words


def test_ascii_text_scores_as_in_googles_package() -> None:
    scorer = pytest.importorskip("rouge_score.rouge_scorer").RougeScorer(["rouge1", "rouge2", "rougeL"])
    draw = random.Random(1)
    words = ["The", "parcel", "parcels", "isn't", "late,", "5", "it_is", "(soon)", "a", "a.", "late"]
    for _ in range(200):
        text, *references = (" ".join(draw.choices(words, k=draw.randrange(12))) for _ in range(3))
        theirs = scorer.score_multi(references, text)
        for kind in KINDS:
            expected, found = theirs[f"rouge{kind.upper()}"], best_rouge(kind, text, references)
            assert found.f1 == pytest.approx(expected.fmeasure)
            assert rouge(kind, rouge_words(text), rouge_words(references[0])).precision == pytest.approx(
                scorer.score(references[0], text)[f"rouge{kind.upper()}"].precision
            )
