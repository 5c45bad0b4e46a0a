"""The text of each token of a completion, such that the texts join to the completion as well as they can."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby


def restore_spaces(tokens: Sequence[str], text: str) -> list[str]:
    """Each token with the white space before it in the text, which decoding token by token often loses.

    Example:
        >>> restore_spaces(["so", "what", "?"], "so what?")
        ['so', ' what', '?']
    """
    restored, place = [], 0
    for token in tokens:
        at = text.find(token, place) if token else -1
        gap = text[place:at] if at >= 0 else ""
        if at < 0 or gap.strip():
            restored.append(token)
            continue
        restored.append(gap + token)
        place = at + len(token)
    return restored


def runs_of(written: Sequence[bool]) -> list[tuple[int, int]]:
    """Start and end of each run of equal flags: the turns of a dialogue, if the flags say what the policy wrote.

    Example:
        >>> runs_of([True, True, False, True])
        [(0, 2), (2, 3), (3, 4)]
    """
    runs, start = [], 0
    for _, group in groupby(written):
        end = start + sum(1 for _ in group)
        runs.append((start, end))
        start = end
    return runs
