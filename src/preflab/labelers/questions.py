"""What an AI judge is asked, and how its answer is read: strictly, or not at all.

The wording is versioned by its own hash, which every AI labeler names: another wording is another labeler.
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
"""How a local model is asked whose chat template opens thinking: that is closed before each label."""
VERSION = content_id("question", [SYSTEM, PAIR, RATE, AGAIN, LABELS])[-8:]
"""Eight hex digits of the hash of all the wording."""


@dataclass(frozen=True)
class Wording:
    """How a judge by likelihood is asked about a pair, and what it may answer."""

    comparison: str
    """With the marks {question}, {prompt}, {first} and {second}."""
    labels: tuple[str, str] = ("A", "B")
    """The names of the first answer and of the second."""

    @property
    def version(self) -> str:
        """Eight hex digits of the hash of this wording; of all of preflab's own where it is that."""
        return VERSION if self == OWN_WORDING else content_id("question", [self.comparison, *self.labels])[-8:]


OWN_WORDING = Wording(LABELS)

VERDICTS: dict[str, Choice] = {"A": "first", "B": "second", "TIE": "equal"}


def pair_question(question: str, prompt: str, first: str, second: str) -> list[dict[str, str]]:
    """Which of two is better, with reasons."""
    asked = _filled(PAIR, question=question, prompt=prompt, first=first, second=second)
    return [{"role": "system", "content": SYSTEM}, {"role": "user", "content": asked}]


def rating_question(
    criterion: str, prompt: str, completion: str, ends: tuple[str, str] | None = None
) -> list[dict[str, str]]:
    """How many points one answer gets by one criterion; `ends` say what 1 and 5 mean."""
    low, high = ends or ("not at all", "fully")
    asked = _filled(RATE, criterion=criterion, prompt=prompt, completion=completion, low=low, high=high)
    return [{"role": "system", "content": SYSTEM}, {"role": "user", "content": asked}]


def label_question(question: str, prompt: str, first: str, second: str, wording: Wording = OWN_WORDING) -> str:
    """A text after which a model goes on with " A" or " B", or with whatever the wording's labels are."""
    return _filled(wording.comparison, question=question, prompt=prompt, first=first, second=second)


def read_verdict(text: str) -> Choice | None:
    """The choice of the last line, None where it is not exactly a verdict.

    Example:
        >>> read_verdict("B is shorter.\\nVERDICT: A")
        'first'
    """
    match = re.fullmatch(r"\**VERDICT:\s*\**\s*(A|B|TIE)\s*\.?\**", _last_line(text))
    return VERDICTS[match[1]] if match else None


def read_score(text: str) -> int | None:
    """The points of the last line, None where it is not exactly a score from 1 to 5 (a 10 is not a 1)."""
    match = re.fullmatch(r"\**SCORE:\s*\**\s*([1-5])(?:\s*/\s*5)?\s*\.?\**", _last_line(text))
    return int(match[1]) if match else None


def reasons(text: str) -> str:
    """What stands before the last line."""
    return "\n".join(text.strip().splitlines()[:-1]).strip()


def both_orders(there: Choice, back: Choice) -> Choice:
    """One verdict from two: `back` was asked with the answers exchanged. What depends on the order is a tie.

    Source: Zheng et al. 2023 (arXiv 2306.05685), section 3.4: position bias, and its conservative cure.
    """
    turned: dict[Choice, Choice] = {"first": "second", "second": "first", "equal": "equal"}
    return there if there == turned[back] else "equal"


def ranks_of_choices(num: int, choices: Sequence[tuple[int, int, Choice]]) -> tuple[int, ...]:
    """Ranks from verdicts on pairs of `num` completions, by wins less losses; equal = tie."""
    points = [0] * num
    for first, second, choice in choices:
        won = {"first": 1, "second": -1, "equal": 0}[choice]
        points[first] += won
        points[second] -= won
    return tuple(1 + sum(other > mine for other in points) for mine in points)


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.strip().splitlines() if line.strip()]
    return lines[-1] if lines else ""


def _filled(template: str, **parts: str) -> str:
    """Each mark replaced once: what a completion contains in braces stays as it is."""
    return re.sub(r"\{(\w+)\}", lambda mark: parts[mark[1]], template)
