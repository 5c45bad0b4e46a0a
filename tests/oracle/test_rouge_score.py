"""ROUGE against Google's package `rouge-score` (development only; skipped where it is not installed)."""

from __future__ import annotations

import random
import re
from pathlib import Path

import pytest

from preflab.evaluation.porter import porter_stem
from preflab.evaluation.rouge import KINDS, best_rouge, rouge, rouge_words

WORDS = ["The", "parcel", "parcels", "isn't", "late,", "5", "it_is", "(soon)", "a", "a.", "moving", "moved", "happily"]


@pytest.mark.parametrize("stems", [False, True])
def test_ascii_text_scores_as_in_googles_package(stems: bool) -> None:
    scorers = pytest.importorskip("rouge_score.rouge_scorer")
    scorer = scorers.RougeScorer(["rouge1", "rouge2", "rougeL"], use_stemmer=stems)
    draw = random.Random(1)
    for _ in range(200):
        text, *references = (" ".join(draw.choices(WORDS, k=draw.randrange(12))) for _ in range(3))
        theirs = scorer.score_multi(references, text)
        words, first = rouge_words(text, stems=stems), rouge_words(references[0], stems=stems)
        alone = scorer.score(references[0], text)
        for kind in KINDS:
            name = f"rouge{kind.upper()}"
            assert best_rouge(kind, text, references, stems=stems).f1 == pytest.approx(theirs[name].fmeasure)
            assert rouge(kind, words, first).precision == pytest.approx(alone[name].precision)


def test_stems_are_those_of_nltk(repository: Path) -> None:
    theirs = pytest.importorskip("nltk.stem.porter").PorterStemmer()
    texts = [file.read_text(encoding="utf-8") for file in (repository / "docs").glob("**/*.md")]
    words = {word for text in texts for word in re.findall("[a-z]+", text.lower())}
    assert len(words) > 3000
    assert not {word: porter_stem(word) for word in words if porter_stem(word) != theirs.stem(word)}
