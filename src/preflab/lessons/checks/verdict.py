"""A verdict on an answer, and ways to read answers."""

from __future__ import annotations

import importlib
import re
from typing import NamedTuple

from preflab.errors import PreflabError

NUMBER = re.compile(r"([-−+]?)(\d+\.?\d*|\.\d+)(?:/([1-9]\d*))?")


class Verdict(NamedTuple):
    """An answer judged: right or not yet, with the reason in sentences for the reader."""

    right: bool
    reason: str


def check_answer(slug: str, answer: str) -> Verdict:
    """The verdict on an answer to the exercise of the lesson `NN-slug`.

    Raises:
        PreflabError: the answer is empty, or not in the form that the exercise asks for.
    """
    if not answer.strip():
        raise PreflabError("the answer is empty", "an answer to the exercise", "write it after --answer")
    module = importlib.import_module(f"preflab.lessons.checks.{slug[3:].replace('-', '_')}")
    verdict: Verdict = module.check(answer)
    return verdict


def numbers_in(answer: str, num: int) -> list[float]:
    """The numbers of an answer that has to hold `num` of them; a minus may be - or −, and 2/3 is a number.

    Raises:
        PreflabError: there are more or fewer.
    """
    written = NUMBER.findall(answer)
    if len(written) != num:
        number = {0: "no number", 1: "one number"}.get(len(written), f"{len(written)} numbers")
        raise PreflabError(
            f"the answer {answer!r} holds {number}",
            "one number, with a point: 0.5" if num == 1 else f"{num} numbers, separated by spaces",
            "write the answer in this form",
        )
    return [(-1 if sign in ("-", "−") else 1) * float(text) / float(below or 1) for sign, text, below in written]
