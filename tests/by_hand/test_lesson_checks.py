"""The exercises of the lessons: a right answer, and the answers that readers give first."""

from __future__ import annotations

import pytest

from preflab.errors import PreflabError
from preflab.lessons.checks.verdict import check_answer, numbers_in
from preflab.lessons.page import lesson

# Lesson → answer → whether it is right, and words of the reason.
ANSWERS: dict[int, dict[str, tuple[bool, str]]] = {
    1: {
        "2 1 -1": (True, "completes the first row"),
        "action 2, X gets 1 and O gets −1": (True, "completes the first row"),
        "5 1 -1": (False, "does not complete a line of X"),  # blocks O instead
        "3 1 -1": (False, "3 is no free cell"),  # counted from 1
        "2 1 0": (False, "O gets the negative"),
        "2 1 1": (False, "O gets the negative"),
    },
    2: {
        "0.15": (True, "half of the way"),
        "it is +0.15": (True, "half of the way"),
        "0.35": (False, "the other sign"),  # 0.5 + 0.5 · (0.2 − 0.5)
        "-0.2": (False, "−0.2 is the target"),
        "0.7": (False, "find the target first"),
    },
    3: {
        "8 0.67": (True, "12 · (1 − 1/3) = 8"),
        "8 2/3": (True, "12 · (1 − 1/3) = 8"),
        "8 and 0.6667": (True, "12 · (1 − 1/3) = 8"),
        "12 1": (False, "multiply them by 1 − π"),
        "4 0.33": (False, "1 − π, not π"),
        "8 8": (False, "8 is right"),
        "1 2": (False, "multiply the reward"),
    },
    4: {
        "2.4 -3": (True, "min(3, 2.4) = 2.4"),
        "3 -3": (False, "the minimum counts"),
        "2.4 -2.4": (False, "nothing is clipped there"),
        "2.4 2": (False, "For the second compare"),
        "0 0": (False, "take the smaller one"),
    },
    5: {
        "0.89": (True, "1.23 − 0.34 = 0.89"),
        "-0.89": (False, "above 0"),
        "0": (False, "how the value changes"),
        "1.23": (False, "Subtract"),
        "1.57": (False, "minus the value before"),
    },
}


@pytest.mark.parametrize(
    ("number", "answer"), [(number, answer) for number, answers in ANSWERS.items() for answer in answers]
)
def test_answer_is_right_or_not_yet_with_the_reason(number: int, answer: str) -> None:
    right, words = ANSWERS[number][answer]
    verdict = check_answer(lesson(number).slug, answer)
    assert (verdict.right, words in verdict.reason) == (right, True), verdict.reason


@pytest.mark.parametrize("number", ANSWERS)
def test_every_exercise_has_a_right_and_a_wrong_answer(number: int) -> None:
    assert {right for right, _ in ANSWERS[number].values()} == {True, False}
    with pytest.raises(PreflabError, match="the answer is empty"):
        check_answer(lesson(number).slug, "  ")


def test_numbers_are_read_with_either_minus_and_as_fractions() -> None:
    assert numbers_in("it is −0.5, then +3 and -2.", 3) == [-0.5, 3.0, -2.0]
    assert numbers_in("-3/4 .25", 2) == [-0.75, 0.25]
    with pytest.raises(PreflabError, match="holds 2 numbers"):
        numbers_in("0,5", 1)
