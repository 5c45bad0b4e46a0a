"""TRL's preference rows: prompt/chosen/rejected, the prompt inside both, and prompt/completion/label."""

from __future__ import annotations

from dataclasses import dataclass

from preflab.records import Preference, Prompt
from preflab.store.formats.base import Format, Parsed
from preflab.store.formats.fields import (
    Turns,
    column,
    completion_text,
    imported,
    kind_of,
    one_pair,
    others,
    prompt_of,
    prompt_of_turns,
    text,
    turns,
)
from preflab.store.formats.reading import BadRow, Row

MODEL = "trl"
"""The model of completions whose rows do not name one."""


def _explicit(row: Row, source: str) -> Parsed:
    prompt = prompt_of(row, "prompt", source)
    sides = {name: completion_text(column(row, name), name) for name in ("chosen", "rejected")}
    return _pair(prompt, sides["chosen"], sides["rejected"], row)


def _implicit(row: Row, source: str) -> Parsed:
    if isinstance(column(row, "chosen"), list):
        chosen, rejected = turns(row["chosen"], "chosen"), turns(column(row, "rejected"), "rejected")
        shared, first, second = _split_turns(chosen, rejected)
        return _pair(prompt_of_turns(shared, "chosen", source), first, second, row)
    whole, other = text(row, "chosen"), text(row, "rejected")
    if whole == other:
        raise BadRow("chosen and rejected are equal", "two different completions")
    cut = shared_words(whole, other)
    if not whole[:cut].strip():
        raise BadRow("chosen and rejected do not begin with the same words", "the prompt at the beginning of both")
    return _pair(Prompt.make(text=whole[:cut], source=source), whole[cut:], other[cut:], row)


def shared_words(first: str, second: str) -> int:
    """Length of the longest beginning that two texts share and that ends where a word ends."""
    shorter = min(len(first), len(second))
    cut = next((index for index in range(shorter) if first[index] != second[index]), shorter)
    while cut and not all(len(whole) == cut or whole[cut].isspace() for whole in (first, second)):
        cut -= 1
    return cut


def _split_turns(chosen: Turns, rejected: Turns) -> tuple[Turns, str, str]:
    if chosen[:-1] != rejected[:-1]:
        raise BadRow(
            "the conversations differ before the last turn", "conversations that differ in the last turn alone"
        )
    if {chosen[-1].role, rejected[-1].role} != {"assistant"}:
        raise BadRow("a conversation that does not end with the assistant's turn", "the answers as last turns")
    return chosen[:-1], chosen[-1].content, rejected[-1].content


def _pair(prompt: Prompt, chosen: str, rejected: str, row: Row) -> Parsed:
    if chosen == rejected:
        raise BadRow("chosen and rejected are equal", "two different completions")
    known = others(row, "prompt", "chosen", "rejected")
    first, second = (imported(prompt, words, MODEL, columns=known) for words in (chosen, rejected))
    preference = one_pair(prompt, first, second, source="trl")
    return Parsed((prompt, first, second, preference), key=preference.id)


@dataclass(frozen=True)
class Thumb:
    """One row's verdict on one completion."""

    prompt_id: str
    completion_id: str
    up: bool


def _unpaired(row: Row, source: str) -> Parsed:
    label = column(row, "label")
    if not isinstance(label, bool) and label not in (0, 1):
        raise BadRow(f"the label is {label!r}, {kind_of(label)}", "true (good) or false (bad)")
    prompt = prompt_of(row, "prompt", source)
    words = completion_text(column(row, "completion"), "completion")
    completion = imported(prompt, words, MODEL, columns=others(row, "prompt", "completion", "label"))
    return Parsed((prompt, completion), items=(Thumb(prompt.id, completion.id, bool(label)),))


def _share_of_thumbs(thumbs: list[Thumb]) -> list[Preference]:
    """One group per prompt: for each completion the share of its rows that say good. Nothing is ranked."""
    groups: dict[str, dict[str, list[bool]]] = {}
    for thumb in thumbs:
        groups.setdefault(thumb.prompt_id, {}).setdefault(thumb.completion_id, []).append(thumb.up)
    return [
        Preference.make(
            prompt_id,
            tuple(verdicts),
            (1,) * len(verdicts),
            thumbs=tuple(sum(up) / len(up) for up in verdicts.values()),
            source="trl",
        )
        for prompt_id, verdicts in groups.items()
    ]


EXPLICIT = Format(
    "trl-explicit",
    "prompt, chosen, rejected: text, or conversations",
    _explicit,
    lambda row: {"prompt", "chosen", "rejected"} <= set(row),
)
IMPLICIT = Format(
    "trl-implicit",
    "chosen and rejected with the prompt at the beginning of both: text, or conversations",
    _implicit,
    lambda row: {"chosen", "rejected"} <= set(row) and "prompt" not in row,
)
UNPAIRED = Format(
    "trl-unpaired",
    "prompt, completion, label (true: good), as for KTO",
    _unpaired,
    lambda row: {"prompt", "completion", "label"} <= set(row),
    finish=_share_of_thumbs,
)
