"""The questions to an AI judge, and strict parsers for its answers: an answer in any other form counts as unreadable.

The wording is versioned by its hash, which is part of the labeler's record. A changed wording makes a new labeler.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from preflab.records import content_id

Choice = Literal["first", "second", "equal"]

SYSTEM = (
    "You compare answers that a language model gave. Judge only what is written. Longer is not better, and neither is "
    "praise for the reader. Facts count more than tone."
)
PAIR = """{question}

[The prompt]
{prompt}

[Answer A]
{first}

[Answer B]
{second}

Say in at most four sentences what speaks for each. Then write, as the last line and nothing after it, exactly one of:
VERDICT: A
VERDICT: B
VERDICT: TIE"""
RATE = """Rate one answer by one criterion: {criterion}.

[The prompt]
{prompt}

[The answer]
{completion}

1 means {low}, 5 means {high}. Say in at most three sentences why. Then write, as the last line and nothing after it:
SCORE: <a whole number from 1 to 5>"""
AGAIN = "Your last line was not in the form asked for. Write only the last line, in exactly that form."
LABELS = """{question}

[The prompt]
{prompt}

[Answer A]
{first}

[Answer B]
{second}

The better one is answer"""

THINKING_CLOSED = "likelihood in a turn, thinking closed"
"""`LocalJudge.asked` of a model whose chat template opens thinking, which is closed before each label."""
VERSION = content_id("question", [SYSTEM, PAIR, RATE, AGAIN, LABELS])[-8:]
"""Eight hex digits of the hash of all the wording."""


@dataclass(frozen=True)
class Wording:
    """The question about a pair to a judge by likelihood, and the labels it can answer with."""

    comparison: str
    """A template with the placeholders {question}, {prompt}, {first} and {second}."""
    labels: tuple[str, str] = ("A", "B")
    """The labels of the first and of the second answer."""

    @property
    def version(self) -> str:
        """Eight hex digits of the hash of this wording; `VERSION` for preflab's own wording."""
        return VERSION if self == OWN_WORDING else content_id("question", [self.comparison, *self.labels])[-8:]


OWN_WORDING = Wording(LABELS)

VERDICTS: dict[str, Choice] = {"A": "first", "B": "second", "TIE": "equal"}


def pair_question(question: str, prompt: str, first: str, second: str) -> list[dict[str, str]]:
    """The messages that ask which of two answers is better, with reasons."""
    asked = _fill(PAIR, question=question, prompt=prompt, first=first, second=second)
    return [{"role": "system", "content": SYSTEM}, {"role": "user", "content": asked}]


def rating_question(
    criterion: str, prompt: str, completion: str, ends: tuple[str, str] | None = None
) -> list[dict[str, str]]:
    """The messages that ask for a score of one answer on one criterion; `ends` are the meanings of 1 and 5."""
    low, high = ends or ("not at all", "fully")
    asked = _fill(RATE, criterion=criterion, prompt=prompt, completion=completion, low=low, high=high)
    return [{"role": "system", "content": SYSTEM}, {"role": "user", "content": asked}]


def label_question(question: str, prompt: str, first: str, second: str, wording: Wording = OWN_WORDING) -> str:
    """The text that a model continues with one of the wording's labels, such as " A" or " B"."""
    return _fill(wording.comparison, question=question, prompt=prompt, first=first, second=second)


def read_verdict(text: str) -> Choice | None:
    """The choice in the last line; None if that line is not exactly a verdict.

    Example:
        >>> read_verdict("B is shorter.\\nVERDICT: A")
        'first'
    """
    match = re.fullmatch(r"\**VERDICT:\s*\**\s*(A|B|TIE)\s*\.?\**", _last_line(text))
    return VERDICTS[match[1]] if match else None


def read_score(text: str) -> int | None:
    """The score in the last line; None if that line is not exactly a score from 1 to 5 (10 is not read as 1)."""
    match = re.fullmatch(r"\**SCORE:\s*\**\s*([1-5])(?:\s*/\s*5)?\s*\.?\**", _last_line(text))
    return int(match[1]) if match else None


def read_reasons(text: str) -> str:
    """The text before the last line."""
    return "\n".join(text.strip().splitlines()[:-1]).strip()


def combine_orders(forward: Choice, swapped: Choice) -> Choice:
    """Combine two verdicts on a pair into one; they are a tie if they disagree.

    `swapped` is the verdict on the two answers in exchanged order. Source: Zheng et al. 2023 (arXiv 2306.05685),
    section 3.4, the conservative remedy for position bias.
    """
    unswapped: dict[Choice, Choice] = {"first": "second", "second": "first", "equal": "equal"}
    return forward if forward == unswapped[swapped] else "equal"


def rank_by_choices(num: int, choices: Sequence[tuple[int, int, Choice]]) -> tuple[int, ...]:
    """Rank `num` completions by wins minus losses over verdicts on pairs; equal differences share a rank."""
    points = [0] * num
    for first, second, choice in choices:
        won = {"first": 1, "second": -1, "equal": 0}[choice]
        points[first] += won
        points[second] -= won
    return tuple(1 + sum(other > own for other in points) for own in points)


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.strip().splitlines() if line.strip()]
    return lines[-1] if lines else ""


def _fill(template: str, **parts: str) -> str:
    """The template with its placeholders replaced in one pass, so that braces in a completion stay as they are."""
    return re.sub(r"\{(\w+)\}", lambda mark: parts[mark[1]], template)
