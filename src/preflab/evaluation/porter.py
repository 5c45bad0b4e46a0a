"""The Porter stemmer: English words without their endings, "parcels" → "parcel", "moving" → "move".

M. F. Porter 1980, "An algorithm for suffix stripping", with the departures of NLTK's default mode, so that ROUGE with
stems equals that of `rouge-score` with `use_stemmer=True`. Letters are consonants or vowels (y is a vowel after a
consonant); the measure m of a stem is the number of changes from a vowel to a consonant: tree 0, trouble 1, private 2.
Each step removes or replaces at most one ending: the first of its list that the word has, if its condition holds.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from itertools import pairwise

Condition = Callable[[str], bool]
IRREGULAR = {
    "skies": "sky", "dying": "die", "lying": "lie", "tying": "tie", "news": "news", "innings": "inning",
    "inning": "inning", "outings": "outing", "outing": "outing", "cannings": "canning", "canning": "canning",
    "howe": "howe", "proceed": "proceed", "exceed": "exceed", "succeed": "succeed", "sky": "sky",
}  # fmt: skip
STEP_2 = (
    ("ational", "ate"), ("tional", "tion"), ("enci", "ence"), ("anci", "ance"), ("izer", "ize"), ("bli", "ble"),
    ("alli", "al"), ("entli", "ent"), ("eli", "e"), ("ousli", "ous"), ("ization", "ize"), ("ation", "ate"),
    ("ator", "ate"), ("alism", "al"), ("iveness", "ive"), ("fulness", "ful"), ("ousness", "ous"), ("aliti", "al"),
    ("iviti", "ive"), ("biliti", "ble"), ("fulli", "ful"),
)  # fmt: skip
STEP_3 = (
    ("icate", "ic"), ("ative", ""), ("alize", "al"), ("iciti", "ic"), ("ical", "ic"), ("ful", ""), ("ness", ""),
)  # fmt: skip
STEP_4 = (
    "al", "ance", "ence", "er", "ic", "able", "ible", "ant", "ement", "ment", "ent", "ion", "ou", "ism", "ate", "iti",
    "ous", "ive", "ize",
)  # fmt: skip


@lru_cache(maxsize=100_000)
def porter_stem(word: str) -> str:
    """The stem of a word in lower case; words of one or two letters stay as they are."""
    if word in IRREGULAR:
        return IRREGULAR[word]
    if len(word) <= 2:
        return word
    for step in (_plural, _past, _final_y, _step_2, _step_3, _step_4, _final_e):
        word = step(word)
    return word[:-1] if word.endswith("ll") and _measure(word[:-1]) > 1 else word


def _consonants(word: str) -> list[bool]:
    flags: list[bool] = []
    for letter in word:
        flags.append(letter not in "aeiou" if letter != "y" else not flags or not flags[-1])
    return flags


def _measure(stem: str) -> int:
    flags = _consonants(stem)
    return sum(now and not before for before, now in pairwise(flags))


def _ends_short(stem: str) -> bool:
    """True if the stem ends with consonant, vowel, consonant other than w, x, y (hop), or is vowel, consonant (at)."""
    flags = _consonants(stem)
    if len(stem) == 2:
        return flags == [False, True]
    return flags[-3:] == [True, False, True] and stem[-1] not in "wxy"


def _replace(word: str, endings: Sequence[tuple[str, str]], condition: Condition) -> str:
    for ending, other in endings:
        if word.endswith(ending):
            stem = word.removesuffix(ending)
            return stem + other if condition(stem) else word
    return word


def _plural(word: str) -> str:
    if len(word) == 4 and word.endswith("ies"):
        return word[:-1]
    return _replace(word, (("sses", "ss"), ("ies", "i"), ("ss", "ss"), ("s", "")), lambda stem: True)


def _past(word: str) -> str:
    if word.endswith("ied"):
        return word[:-1] if len(word) == 4 else word[:-2]
    if word.endswith("eed"):
        return word[:-1] if _measure(word[:-3]) > 0 else word
    ending = next((end for end in ("ed", "ing") if word.endswith(end) and not all(_consonants(word[: -len(end)]))), "")
    if not ending:
        return word
    stem = word.removesuffix(ending)
    if stem.endswith(("at", "bl", "iz")):
        return stem + "e"
    if len(stem) > 1 and stem[-1] == stem[-2] and _consonants(stem)[-1]:
        return stem if stem[-1] in "lsz" else stem[:-1]
    return stem + "e" if _measure(stem) == 1 and _ends_short(stem) else stem


def _final_y(word: str) -> str:
    return _replace(word, (("y", "i"),), lambda stem: len(stem) > 1 and _consonants(stem)[-1])


def _step_2(word: str) -> str:
    if word.endswith("alli") and _measure(word[:-4]) > 0:
        return _step_2(word[:-2])
    if word.endswith("logi"):
        return word[:-1] if _measure(word[:-3]) > 0 else word
    return _replace(word, STEP_2, lambda stem: _measure(stem) > 0)


def _step_3(word: str) -> str:
    return _replace(word, STEP_3, lambda stem: _measure(stem) > 0)


def _step_4(word: str) -> str:
    ending = next((end for end in STEP_4 if word.endswith(end)), "")
    stem = word.removesuffix(ending)
    removed = _measure(stem) > 1 and (ending != "ion" or stem.endswith(("s", "t")))
    return stem if removed else word


def _final_e(word: str) -> str:
    if not word.endswith("e"):
        return word
    stem = word[:-1]
    return stem if _measure(stem) > 1 or (_measure(stem) == 1 and not _ends_short(stem)) else word
