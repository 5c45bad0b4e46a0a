"""The Porter stemmer on the examples of his paper (1980), and where NLTK's default mode departs from it."""

from __future__ import annotations

import pytest

from preflab.evaluation.porter import porter_stem

PAPER = """caresses caress, ponies poni, caress caress, cats cat, feed feed, agreed agre, plastered plaster,
bled bled, motoring motor, sing sing, conflated conflat, troubled troubl, sized size, hopping hop,
tanned tan, falling fall, hissing hiss, fizzed fizz, failing fail, filing file, happy happi,
relational relat, conditional condit, rational ration, digitizer digit, radically radic,
differently differ, vietnamization vietnam, predication predic, operator oper, feudalism feudal,
decisiveness decis, hopefulness hope, callousness callous, formality formal, sensibility sensibl,
triplicate triplic, formative form, formalize formal, electrical electr, goodness good, revival reviv,
allowance allow, inference infer, airliner airlin, gyroscopic gyroscop, adjustable adjust, irritant irrit,
replacement replac, adjustment adjust, dependent depend, adoption adopt, communism commun, activate activ,
effective effect, probate probat, rate rate, cease ceas, controlling control, roll roll,
generalizations gener, oscillators oscil"""
NLTK = "ties tie, flies fli, dies die, tied tie, spied spi, enjoy enjoy, try tri, sky sky, dying die, apology apolog"
Y = "yes ye, cycles cycl, trying tri, applying appli, conveyance convey"
"""y is a consonant at the start of a word and after a vowel."""
SHORT = "is is, as as, sys sy, ate ate, snake snake, wide wide, type type, mixed mix, aing a"
"""The condition *o of the paper, words of two letters, and stems of one."""
MEASURE = """really realli, additionally addit, geology geolog, logy logi, ness ness, guaranteed guarante, abeed abe,
adding ad, seeing see"""
"""Stems with a measure of exactly 0 or 1, and doubled letters of which only consonants become one."""


@pytest.mark.parametrize(
    "pair", [" ".join(pair.split()) for pair in f"{PAPER}, {NLTK}, {Y}, {SHORT}, {MEASURE}".split(",")]
)
def test_stem_is_the_papers(pair: str) -> None:
    word, stem = pair.split()
    assert porter_stem(word) == stem
