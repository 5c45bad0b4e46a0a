"""Rewards that need no training: name one as `preflab.rewards.library:exact_answer`, or start your own from it.

Each takes one completion and whatever columns of the prompt it asks for; a column of a prompt such as `answer` or
`pattern` comes in by its name. All of them give a number a person can predict with pencil and paper, and show one in
an example that a test runs.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from fractions import Fraction

NUMBER = re.compile(r"[-+]?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?(?:/\d+)?|[-+]?\.\d+")
"""A number as people write it: 1,234.5 or 3/4 or -.5."""


def num_words(completion: str) -> float:
    """Words in the completion.

    Example:
        >>> num_words("one two  three")
        3.0
    """
    return float(len(completion.split()))


def length_in_range(completion: str, min_words: int = 0, max_words: int | None = None) -> float:
    """1 between `min_words` and `max_words` words, and less by 1/10 for each word too few or too many, 0 at least.

    Example:
        >>> length_in_range("three words more", max_words=2)
        0.9
    """
    num = len(completion.split())
    missing = max(0, int(min_words) - num)
    surplus = max(0, num - int(max_words)) if max_words is not None else 0
    return max(0.0, 1.0 - 0.1 * (missing + surplus))


def matches(completion: str, pattern: str) -> float:
    """1 where the regular expression of the column `pattern` is found anywhere, else 0.

    Example:
        >>> matches("call 555-12", "[0-9]{3}-[0-9]{2}"), matches("no number", "[0-9]")
        (1.0, 0.0)
    """
    return float(re.search(pattern, completion, flags=re.DOTALL) is not None)


def xml_format(completion: str, tags: Sequence[str] = ("think", "answer")) -> float:
    """1 where the completion is exactly these elements, in this order, each opened and closed once; else 0.

    Example:
        >>> xml_format("<think>2 + 2</think> <answer>4</answer>")
        1.0
    """
    form = r"\s*".join(rf"<{re.escape(tag)}>(?:(?!</?{re.escape(tag)}>).)*</{re.escape(tag)}>" for tag in tags)
    return float(re.fullmatch(rf"\s*{form}\s*", completion, flags=re.DOTALL) is not None)


def xml_tags(completion: str, tags: Sequence[str] = ("think", "answer")) -> float:
    """Share of opening and closing tags that stand in the completion exactly once: a slope towards `xml_format`.

    Example:
        >>> xml_tags("<think>2 + 2</think> <answer>4")
        0.75
    """
    marks = [mark for tag in tags for mark in (f"<{tag}>", f"</{tag}>")]
    return sum(completion.count(mark) == 1 for mark in marks) / max(1, len(marks))


def answer_of(completion: str) -> str:
    """What counts as the answer: the last <answer> element, else what follows the last `####`, else the last line."""
    elements = re.findall(r"<answer>(.*?)</answer>", completion, flags=re.DOTALL)
    if elements:
        return elements[-1].strip()
    if "####" in completion:
        return completion.rpartition("####")[2].strip()
    lines = [line for line in completion.splitlines() if line.strip()]
    return lines[-1].strip() if lines else ""


def exact_answer(completion: str, answer: str) -> float:
    """1 where the answer is the column `answer`, upper and lower case and spaces aside, else 0.

    Example:
        >>> exact_answer("so #### 42", "42"), exact_answer("the moon, or Mars", "the moon")
        (1.0, 0.0)
    """
    return float(_plain(answer_of(completion)) == _plain(str(answer)))


def numeric_answer(completion: str, answer: str | float, tolerance: float = 0.0) -> float:
    """1 where the last number of the answer equals the column `answer` within `tolerance`, else 0; 1/2 is 0.5.

    Raises:
        ValueError: the column `answer` holds no number.

    Example:
        >>> numeric_answer("a half is 1/2", 0.5), numeric_answer("between 3 and 4", 3)
        (1.0, 0.0)
    """
    wanted = _numbers(str(answer))
    if not wanted:
        raise ValueError(f"the column `answer` holds no number: {answer!r}")
    found = _numbers(answer_of(completion))
    return float(bool(found) and abs(found[-1] - wanted[-1]) <= Fraction(tolerance))


def repetition(completion: str, ngram: int = 3) -> float:
    """Minus the share of n-grams of words that stood earlier in the completion: 0 is best, −1 worst.

    Example:
        >>> repetition("a b a b a b")  # four 3-grams, two of them again
        -0.5
    """
    words = completion.lower().split()
    grams = [tuple(words[i : i + ngram]) for i in range(len(words) - ngram + 1)]
    return -(1.0 - len(set(grams)) / len(grams)) if grams else 0.0


def keywords(completion: str, wanted: Sequence[str] = (), unwanted: Sequence[str] = ()) -> float:
    """Share of the column `wanted` that occurs, less the share of `unwanted` that does; whole words, any case.

    Example:
        >>> keywords("Please wait", wanted=["please", "thank you"], unwanted=["stupid"])
        0.5
    """
    text = completion.lower()

    def share(words: Sequence[str]) -> float:
        found = [bool(re.search(rf"(?<!\w){re.escape(word.lower())}(?!\w)", text)) for word in words]
        return sum(found) / len(found) if found else 0.0

    return share(_listed(wanted)) - share(_listed(unwanted))


def _listed(words: str | Sequence[str]) -> Sequence[str]:
    return [words] if isinstance(words, str) else list(words)


def _plain(text: str) -> str:
    return " ".join(text.lower().split()).rstrip(".")


def _numbers(text: str) -> list[Fraction]:
    """The numbers of a text, exactly; one that divides by zero is none."""
    found = []
    for word in NUMBER.findall(text):
        top, _, bottom = word.replace(",", "").partition("/")
        if not bottom or int(bottom):
            found.append(Fraction(top) / (int(bottom) if bottom else 1))
    return found
