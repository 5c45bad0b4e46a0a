"""Which prompts a stage keeps for testing: decided by the prompt alone, so that all stages keep the same."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, TypeVar

from preflab.errors import PreflabError
from preflab.records import Prompt, content_id
from preflab.words import count

Row = TypeVar("Row", bound=Any)
DIGITS = 12
"""Hexadecimal digits of the hash that a prompt's place is read off."""


def held_out_prompts(prompts: Iterable[Prompt], share: float) -> set[str]:
    """Ids of the prompts that are kept for testing.

    A prompt is held out where the hash of its text or turns, as a number in [0, 1), is below the share: neither its
    other columns nor the stage nor a seed play a part. System turns do not count, and a user's turn alone falls where
    its text does, so the same question is on one side whatever form a file gives it. At least one prompt is held out
    and one is not; with a share of 0 none is. It is another hash than that of a data file's `held_out`, so that the two
    can be combined.

    Args:
        prompts: each once, or more often.
        share: of the prompts, in [0, 1).

    Raises:
        PreflabError: fewer than two prompts, where some are to be held out.
    """
    if share == 0:
        return set()
    by_place: dict[float, set[str]] = {}
    for prompt in prompts:
        by_place.setdefault(_place(prompt), set()).add(prompt.id)
    if len(by_place) < 2:
        num = sum(map(len, by_place.values()))
        alike = f"{num} prompts of one text, which differ in other columns alone"
        raise PreflabError(
            f"preferences about {alike if num > 1 else count(num, 'prompt')}",
            "at least two prompts, one to train and one to test on",
            "collect preferences about more prompts"
            + (", write what tells them apart into their texts," if num > 1 else ",")
            + " or set held_out: 0 and do without figures on held-out ones",
        )
    places = sorted(by_place)
    num = min(max(sum(place < share for place in places), 1), len(places) - 1)
    return set().union(*(by_place[place] for place in places[:num]))


def parted(rows: Sequence[Row], apart: set[str]) -> tuple[list[Row], list[Row]]:
    """Rows whose `prompt_id` is not among those held out, and those whose is."""
    return [row for row in rows if row.prompt_id not in apart], [row for row in rows if row.prompt_id in apart]


def refuse_all_held_out(num_train: int, num_held_out: int, name: str, what: str) -> None:
    """Refuses data of which only held-out prompts can be learned from.

    Args:
        num_train: rows to train on from which something is learned.
        num_held_out: held-out rows of this kind.
        name: of the data.
        what: the rows are, such as "groups".

    Raises:
        PreflabError: there are none to train on, and some are held out.
    """
    if num_held_out and not num_train:
        raise PreflabError(
            f"{name}: all {num_held_out} {what} to learn from are about held-out prompts",
            f"{what} on both sides",
            "collect preferences about more prompts, lower held_out, or set it to 0",
        )


def _place(prompt: Prompt) -> float:
    turns = [turn for turn in prompt.messages if turn.role != "system"] or prompt.messages
    alone = len(turns) == 1 and turns[0].role == "user"
    asked = [turns[0].content, []] if alone else [prompt.text, [turn.parts for turn in turns]]
    return int(content_id("held-out", asked).rpartition("-")[2][:DIGITS], 16) / 16**DIGITS
