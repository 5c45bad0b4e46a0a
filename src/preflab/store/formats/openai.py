"""OpenAI's preference rows: the prompt in `input`, and the two answers in columns beside it."""

from __future__ import annotations

from preflab.store.formats.asked import question_of_turns
from preflab.store.formats.base import Format, Parsed
from preflab.store.formats.columns import (
    OF_CONVERSATION,
    OF_TEMPLATE,
    blank,
    column,
    has,
    is_default,
    peek,
    unread,
    with_defaults,
)
from preflab.store.formats.json_rows import BadRow, Row
from preflab.store.formats.pairs import count_pairs, pair_of, with_prompt
from preflab.store.formats.turns import conversation, kind_of

SIDES = {"preferred_output": "chosen", "non_preferred_output": "rejected"}
ASKED = ("messages", *OF_TEMPLATE)


def _row(row: Row, source: str) -> Parsed:
    inside = column(row, "input")
    if not isinstance(inside, dict):
        raise BadRow(f"the column 'input' holds {kind_of(inside)}", '{"messages": […]}')
    answers = {name: column(row, side) for side, name in SIDES.items()}
    of_all = {name: row[name] for name in OF_CONVERSATION if is_default(row, name)}
    inner = with_defaults({**{name: inside[name] for name in inside if name in ASKED}, **answers}, of_all)
    talk = conversation(column(inner, "messages"), "input.messages")
    question = question_of_turns(inner, talk.turns, "input.messages")
    prompt, chosen, rejected = with_prompt(inner, question, source)
    known = {f"input.{name}" for name, value in inside.items() if name not in ASKED and not blank(value)}
    inner.update(unread(row))
    parsed = pair_of(inner, prompt, chosen, rejected, "openai", "openai")
    left_out = (*parsed.left_out, *talk.left_out, *(f"the field {name!r}" for name in sorted(known)))
    return Parsed(parsed.records, content=parsed.content, items=parsed.items, left_out=left_out)


OPENAI = Format(
    "openai-preferences",
    "input.messages, preferred_output, non_preferred_output, as OpenAI's preference tuning reads them",
    _row,
    lambda row: isinstance(peek(row, "input"), dict) and has(row, *SIDES),
    finish=count_pairs,
    repeats="votes",
    needs=("input", *SIDES),
    holds_objects={"input"}.__contains__,
    columns="`input.messages`, `preferred_output`, `non_preferred_output`",
    becomes="a group of two, one pair",
)
