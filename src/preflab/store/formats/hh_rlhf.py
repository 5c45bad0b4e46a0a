"""Anthropic's HH-RLHF: two whole transcripts that differ only in the assistant's last turn."""

from __future__ import annotations

import re

from preflab.records import Message, Prompt
from preflab.store.formats.asked import Words, question_of_turns
from preflab.store.formats.base import Format, Parsed
from preflab.store.formats.columns import PROMPTS, first, peek
from preflab.store.formats.fields import text
from preflab.store.formats.json_rows import BadRow, Row
from preflab.store.formats.pairs import count_pairs, pair_of
from preflab.store.formats.trl import refuse_turns_of_others

HUMAN, ASSISTANT = "\n\nHuman:", "\n\nAssistant:"
TURN = re.compile(r"\n\n(Human|Assistant):")
MODEL = "hh-rlhf"


def _plain(row: Row, source: str) -> Parsed:
    shared, chosen, rejected = _split(row)
    refuse_turns_of_others(row)
    return _pair(row, Prompt.make(text=shared, source=source), chosen, rejected)


def _chat(row: Row, source: str) -> Parsed:
    shared, chosen, rejected = _split(row)
    turns = conversation(shared.removesuffix(ASSISTANT))
    prompt = question_of_turns(row, turns, "chosen").prompt(source)
    return _pair(row, prompt, chosen.strip(), rejected.strip())


def _split(row: Row) -> tuple[str, str, str]:
    """(the common beginning up to the last `Assistant:`, the chosen last turn, the rejected last turn)."""
    chosen, rejected = text(row, "chosen"), text(row, "rejected")
    if chosen == rejected:
        raise BadRow("chosen and rejected are equal", "two different last turns")
    ends = [whole.rfind(ASSISTANT) for whole in (chosen, rejected)]
    if min(ends) < 0:
        raise BadRow("a transcript without an assistant's turn", "turns that begin with '\\n\\nAssistant:'")
    cuts = [end + len(ASSISTANT) for end in ends]
    if chosen[: cuts[0]] != rejected[: cuts[1]]:
        raise BadRow(
            "the transcripts differ before the last assistant's turn", "transcripts that differ in the last turn alone"
        )
    if not conversation(chosen[: ends[0]]):
        raise BadRow("an empty prompt", "a human's turn before the assistant's last one")
    return chosen[: cuts[0]], chosen[cuts[0] :], rejected[cuts[1] :]


def conversation(transcript: str) -> tuple[Message, ...]:
    """The turns of a transcript; text before the first turn becomes the system's turn."""
    before, *parts = TURN.split(transcript)
    roles = {"Human": "user", "Assistant": "assistant"}
    turns = [Message(roles[who], words.strip()) for who, words in zip(parts[::2], parts[1::2], strict=True)]  # type: ignore[arg-type]
    return tuple([Message("system", before.strip())] * bool(before.strip()) + turns)


def _pair(row: Row, prompt: Prompt, chosen: str, rejected: str) -> Parsed:
    if chosen == rejected:
        raise BadRow("chosen and rejected differ in white space alone", "two different last turns")
    return pair_of(row, prompt, Words(chosen), Words(rejected), "hh-rlhf", MODEL)


def _looks_like(row: Row) -> bool:
    sides = [peek(row, name) for name in ("chosen", "rejected")]
    transcripts = all(isinstance(side, str) and HUMAN in side and ASSISTANT in side for side in sides)
    return first(row, PROMPTS) is None and transcripts


HH_RLHF = Format(
    "hh-rlhf",
    "chosen and rejected transcripts; the prompt keeps their wording (Human:, Assistant:)",
    _plain,
    _looks_like,
    finish=count_pairs,
    repeats="votes",
    needs=("chosen", "rejected"),
    columns="`chosen`, `rejected` transcripts",
    becomes="a group of two, the wording kept",
)
HH_RLHF_CHAT = Format(
    "hh-rlhf-chat",
    "the same as turns, for models with a chat template",
    _chat,
    lambda row: False,
    finish=count_pairs,
    repeats="votes",
    columns="the same file, cut into turns",
    becomes="a group of two",
)
