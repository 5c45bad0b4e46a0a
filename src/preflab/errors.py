"""The one error a person is meant to read: what was found, what was expected, what to do."""

from __future__ import annotations


class PreflabError(Exception):
    """Bad input or a state that only the user can correct; the command line prints it and exits with code 2.

    Args:
        found: what was found and where (file and line, record, or setting).
        expected: what would have been right.
        do: what to do now.

    Example:
        >>> print(PreflabError("prompts.jsonl, line 17: not JSON", "one JSON object per line", "correct line 17"))
        prompts.jsonl, line 17: not JSON
        one JSON object per line
        correct line 17
    """

    def __init__(self, found: str, expected: str = "", do: str = "") -> None:
        self.found = found
        self.expected = expected
        self.do = do
        super().__init__(found)

    def __str__(self) -> str:
        return "\n".join(line for line in (self.found, self.expected, self.do) if line)


def cut(text: str, most: int = 80) -> str:
    """The text shortened to `most` characters, the last one a `…`; a shorter text unchanged."""
    return text if len(text) <= most else text[: most - 1] + "…"


def nearest(word: str, known: list[str]) -> str:
    """Up to three known words that resemble a misspelt one, for an error's second line; "" when none does."""
    from difflib import get_close_matches

    return ", ".join(get_close_matches(word, known, n=3, cutoff=0.6))
