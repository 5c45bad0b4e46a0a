"""The exercises of lessons 6 to 10: right answers, and the answers that readers give first."""

from __future__ import annotations

from math import exp, log, sqrt

import pytest

from preflab.lessons.checks.verdict import check_answer
from preflab.lessons.page import lesson

# Lesson → answer → whether it is right, and words of the reason.
ANSWERS: dict[int, dict[str, tuple[bool, str]]] = {
    6: {
        "1.7": (True, "about 2 %"),
        "0": (True, "about 2 %"),  # all demonstrations that are not rude: measured 0
        "33": (False, "is too much"),  # the assistant of the page
        "30.75": (False, "is too much"),  # the demonstrations
        "-1": (False, "is no percentage"),
    },
    7: {
        "2 0.38": (True, "2 pairs, and the loss is 0.38"),
        "2 pairs, loss 0.380": (True, "as before"),
        "3 0.38": (False, "are tied"),  # the tie counted
        "6 0.38": (False, "6 pairs are not right"),  # 4 · 3 / 2
        "2 1.15": (False, "loss 1.15 is not"),  # the other one preferred
        "2 -0.38": (False, "loss -0.38 is not"),  # log σ without the minus
        "2 10.38": (False, "loss 10.38 is not"),
    },
    8: {
        "0.13": (True, "nearly none"),
        "KL 0.05 nats": (True, "nearly none"),
        "1.15": (False, "would cost 11.5"),  # the KL at β = 0.25
        "11.5": (False, "would cost 115"),
        "-0.02": (False, "never negative"),
    },
    9: {
        "1.5 0": (True, "0.75 / 0.5 = 1.5"),
        "0.75 0": (False, "not divided"),
        "1.73 0": (False, "divides by K = 4"),  # 0.75 / √(0.75 / 4)
        "1 0": (False, "the mean is 0.25"),  # the reward itself
        "1.5 1": (False, "each reward equals the mean"),
    },
    10: {
        "7 refusing too much": (True, "7 principles"),
        '7 "Refusing too much"': (True, "7 principles"),
        "9 refusing too much": (False, "not the examples"),  # with the two examples
        "7 usefulness": (False, '"usefulness" does not stop'),
        "7 caution": (False, "the name of a principle is missing"),
    },
}


@pytest.mark.parametrize(
    ("number", "answer"), [(number, answer) for number, answers in ANSWERS.items() for answer in answers]
)
def test_answer_is_right_or_not_yet_with_the_reason(number: int, answer: str) -> None:
    right, words = ANSWERS[number][answer]
    verdict = check_answer(lesson(number).slug, answer)
    assert (verdict.right, words in verdict.reason) == (right, True), verdict.reason


def test_sums_of_the_pages_are_those_of_paper_and_pencil() -> None:
    seen = {number: lesson(number).numbers for number in (7, 8, 9)}
    assert seen[7]["probability"] == pytest.approx(1 / (1 + exp(-(0.24 + 0.53))))
    assert seen[7]["loss"] == pytest.approx(log(1 + exp(-(0.24 + 0.53))))
    assert seen[7]["turned"] == pytest.approx(log(1 + exp(0.24 + 0.53)))
    last, first = 1.87 - 1.23, 1.23 - 0.34 + 0.95 * (1.87 - 1.23)
    assert (seen[8]["last"], seen[8]["advantage"]) == (pytest.approx(last), pytest.approx(first))
    # half the mean squared error: the returns are advantage + value
    assert seen[8]["value_loss"] == pytest.approx((last**2 + first**2) / 4)
    # rewards 1, 1, 0, 0: the deviations are ½, their standard deviation √(4 · ¼ / 3)
    assert seen[9]["advantage"] == pytest.approx(0.5 / sqrt(1 / 3), abs=2e-4)  # GRPO adds 0.0001 to the deviation
    # DPO: β · (log 2 − log ½) = ¼ · log 4
    assert seen[9]["loss"] == pytest.approx(log(1 + 4**-0.25))
