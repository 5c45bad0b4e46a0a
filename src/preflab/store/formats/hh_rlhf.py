"""Anthropic's HH-RLHF: two whole transcripts, the same up to the assistant's last turn."""

from __future__ import annotations

import re

from preflab.records import Message, Prompt
from preflab.store.formats.base import Format, Parsed
from preflab.store.formats.fields import imported, one_pair, others, prompt_of_turns, text
from preflab.store.formats.reading import BadRow, Row

HUMAN, ASSISTANT = "\n\nHuman:", "\n\nAssistant:"
TURN = re.compile(r"\n\n(Human|Assistant):")
MODEL = "hh-rlhf"


def _plain(row: Row, source: str) -> Parsed:
    shared, chosen, rejected = _split(row)
    return _pair(Prompt.make(text=shared, source=source), chosen, rejected, row)


def _chat(row: Row, source: str) -> Parsed:
    shared, chosen, rejected = _split(row)
    prompt = prompt_of_turns(conversation(shared.removesuffix(ASSISTANT)), "chosen", source)
    return _pair(prompt, chosen.strip(), rejected.strip(), row)


def _split(row: Row) -> tuple[str, str, str]:
    """(what both share up to the last `Assistant:`, the chosen end, the rejected end)."""
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
    """The turns of a transcript; what stands before the first turn is the system's."""
    before, *parts = TURN.split(transcript)
    roles = {"Human": "user", "Assistant": "assistant"}
    turns = [Message(roles[who], words.strip()) for who, words in zip(parts[::2], parts[1::2], strict=True)]  # type: ignore[arg-type]
    return tuple([Message("system", before.strip())] * bool(before.strip()) + turns)


def _pair(prompt: Prompt, chosen: str, rejected: str, row: Row) -> Parsed:
    if chosen == rejected:
        raise BadRow("chosen and rejected differ in white space alone", "two different last turns")
    known = others(row, "chosen", "rejected")
    first, second = (imported(prompt, words, MODEL, columns=known) for words in (chosen, rejected))
    preference = one_pair(prompt, first, second, source="hh-rlhf")
    return Parsed((prompt, first, second, preference), key=preference.id)


def _looks_like(row: Row) -> bool:
    sides = [row.get(name) for name in ("chosen", "rejected")]
    return "prompt" not in row and all(isinstance(side, str) and HUMAN in side and ASSISTANT in side for side in sides)


HH_RLHF = Format(
    "hh-rlhf",
    "chosen and rejected transcripts; the prompt keeps their wording (Human:, Assistant:)",
    _plain,
    _looks_like,
)
HH_RLHF_CHAT = Format("hh-rlhf-chat", "the same as turns, for models with a chat template", _chat, lambda row: False)
