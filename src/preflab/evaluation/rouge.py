"""ROUGE-1, ROUGE-2 and ROUGE-L: the overlap of a text with reference texts (Lin 2004, "ROUGE: A Package for Automatic
Evaluation of Summaries").

    overlap(n) = Σ_g min(times of n-gram g in the text, times of g in the reference)
    precision  = overlap / n-grams of the text          recall = overlap / n-grams of the reference
    F1         = 2 · precision · recall / (precision + recall), 0 if both are 0

ROUGE-L takes the longest common subsequence of the two word sequences as the overlap, over their numbers of words:
words in the same order, with gaps. Of several references the one with the highest F1 counts, separately for each of
the three. A text without n-grams, such as an empty one, scores 0; so does a reference that is too short for one.

Words are runs of letters and digits in lower case; everything else separates them. For ASCII text the figures are
those of Google's `rouge-score` (a test compares the two). That package drops every other letter; here they count as
letters. By default words are not stemmed, as with `use_stemmer=False`. With `stems`, words of more than three letters
are reduced by the Porter stemmer, as with `use_stemmer=True`: "parcels" then counts as "parcel". That makes figures
higher, for English alone, so compare them only with others made the same way.

ROUGE counts shared words. It neither sees a false statement in the reference's words nor a true one in other words.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

from preflab.evaluation.diversity import ngrams
from preflab.evaluation.porter import porter_stem

WORD = re.compile(r"[^\W_]+")
KINDS = ("1", "2", "l")
"""The kinds that are reported: n-grams of one and of two words, and the longest common subsequence."""


@dataclass(frozen=True)
class Rouge:
    """One comparison of a text with a reference."""

    f1: float
    precision: float
    recall: float

    @classmethod
    def of(cls, overlap: int, size: int, reference_size: int) -> Rouge:
        """From the overlap and the sizes of the text and of the reference, in n-grams or words."""
        if not overlap:
            return cls(0.0, 0.0, 0.0)
        precision, recall = overlap / size, overlap / reference_size
        return cls(2 * precision * recall / (precision + recall), precision, recall)


def rouge_words(text: str, *, stems: bool = False) -> list[str]:
    """The words that ROUGE compares: `rouge_words("It's 5 o'clock.")` → ["it", "s", "5", "o", "clock"]."""
    words: list[str] = WORD.findall(text.lower())
    return [porter_stem(word) if len(word) > 3 else word for word in words] if stems else words


def common_subsequence(first: Sequence[Hashable], second: Sequence[Hashable]) -> int:
    """The length of the longest common subsequence of two sequences.

    Bit i of `open_` is 0 where the table of the textbook's recurrence rises between `first[:i]` and `first[:i+1]`, so
    one addition updates a whole row of the table (Hyyrö 2004, "Bit-parallel LCS-length computation revisited").
    """
    places: dict[Hashable, int] = {}
    for i, item in enumerate(first):
        places[item] = places.get(item, 0) | 1 << i
    every = (1 << len(first)) - 1
    open_ = every
    for item in second:
        matched = open_ & places.get(item, 0)
        open_ = (open_ + matched | open_ - matched) & every
    return len(first) - open_.bit_count()


def rouge(kind: str, text: Sequence[str], reference: Sequence[str]) -> Rouge:
    """ROUGE-1, -2 or -L (`kind` "1", "2" or "l") of a text's words against the words of one reference."""
    if kind == "l":
        return Rouge.of(common_subsequence(text, reference), len(text), len(reference))
    n = int(kind)
    grams, wanted = Counter(ngrams(text, n)), Counter(ngrams(reference, n))
    return Rouge.of((grams & wanted).total(), grams.total(), wanted.total())


def best_rouge(kind: str, text: str, references: Sequence[str], *, stems: bool = False) -> Rouge:
    """The ROUGE of a text against the reference with which its F1 is highest.

    Args:
        kind: "1", "2" or "l".
        text: the text that is measured.
        references: the texts that it is compared with.
        stems: compare the stems of English words.

    Raises:
        ValueError: there is no reference.
    """
    words = rouge_words(text, stems=stems)
    scores = (rouge(kind, words, rouge_words(reference, stems=stems)) for reference in references)
    return max(scores, key=lambda one: one.f1)
