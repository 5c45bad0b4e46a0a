"""Chooses the prompts held out for testing from the prompts alone, so that all stages hold out the same ones."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, TypeVar

from preflab.errors import PreflabError
from preflab.records import Prompt, content_id
from preflab.words import count

Row = TypeVar("Row", bound=Any)
DIGITS = 12
"""Hexadecimal digits of the hash that are read as a number in [0, 1)."""


def held_out_prompts(prompts: Iterable[Prompt], share: float) -> set[str]:
    """Ids of the prompts that are held out for testing.

    A prompt is held out if the hash of its text or turns, read as a number in [0, 1), is below the share. Its other
    columns, the stage and the seed have no influence. System turns are ignored, and a single user turn has the hash of
    its text, so a question is on the same side in every file format. At least one prompt is held out and one is not;
    with a share of 0 none is held out. The hash differs from that of a data file's `held_out`, so that the two can be
    combined.

    Args:
        prompts: the prompts; repeated ones make no difference.
        share: share of the prompts to hold out, in [0, 1).

    Raises:
        PreflabError: the share is not 0 and there are fewer than two different prompts.
    """
    if share == 0:
        return set()
    by_place: dict[float, set[str]] = {}
    for prompt in prompts:
        by_place.setdefault(_place(prompt), set()).add(prompt.id)
    if len(by_place) < 2:
        num = sum(map(len, by_place.values()))
        alike = f"{num} prompts with the same text, which differ only in other columns"
        raise PreflabError(
            f"preferences about {alike if num > 1 else count(num, 'prompt')}",
            "at least two different prompts, one for training and one for testing",
            "collect preferences about more prompts"
            + (", write the differing columns into the texts," if num > 1 else ",")
            + " or set held_out: 0 to train without held-out figures",
        )
    places = sorted(by_place)
    num = min(max(sum(place < share for place in places), 1), len(places) - 1)
    return set().union(*(by_place[place] for place in places[:num]))


def parted(rows: Sequence[Row], apart: set[str]) -> tuple[list[Row], list[Row]]:
    """Rows whose `prompt_id` is not in `apart`, then rows whose `prompt_id` is."""
    return [row for row in rows if row.prompt_id not in apart], [row for row in rows if row.prompt_id in apart]


def refuse_all_held_out(num_train: int, num_held_out: int, name: str, what: str) -> None:
    """Refuse data in which every row to learn from is about a held-out prompt.

    Args:
        num_train: number of training rows to learn from.
        num_held_out: number of held-out rows to learn from.
        name: name of the data.
        what: noun for the rows, such as "groups".

    Raises:
        PreflabError: there are held-out rows but no training rows.
    """
    if num_held_out and not num_train:
        raise PreflabError(
            f"{name}: all {num_held_out} {what} to learn from are about held-out prompts",
            f"{what} about other prompts, too",
            "collect preferences about more prompts, lower held_out, or set it to 0",
        )


def _place(prompt: Prompt) -> float:
    turns = [turn for turn in prompt.messages if turn.role != "system"] or prompt.messages
    alone = len(turns) == 1 and turns[0].role == "user"
    asked = [turns[0].content, []] if alone else [prompt.text, [turn.parts for turn in turns]]
    return int(content_id("held-out", asked).rpartition("-")[2][:DIGITS], 16) / 16**DIGITS
