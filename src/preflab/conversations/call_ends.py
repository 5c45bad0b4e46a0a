"""Find how turns with tool calls end, by rendering one call, two calls, and a call with its result."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from preflab.conversations.joining import Joining
from preflab.conversations.template import TOOL, Template
from preflab.conversations.thinking import MARK
from preflab.errors import PreflabError
from preflab.records import Message, Prompt, ToolCall

USER = Message("user", "a")
CALL = ToolCall("probe", f'{{"mark": "{MARK}"}}')
CALLING = Message("assistant", "", tool_calls=(CALL,))
RESULT = Message("tool", "b", name="probe", tool_call_id="call00001")


@dataclass(frozen=True)
class CallEnds:
    """The tokens that close tool calls."""

    end_id: int | None = None
    """The token that ends a turn with calls; None: the one that ends every turn, or the template has no calls."""
    added: str = ""
    """Its text, if the template writes it only before the tool's result; "" for most templates."""
    inner_ids: tuple[int, ...] = ()
    """Tokens between two calls of a turn: they close a call but do not end the turn."""


def find_call_ends(template: Template, joining: Joining, stops: Sequence[int]) -> CallEnds:
    """The tokens with which a template closes calls; `stops` are the stop tokens of the configuration."""
    alone = _after_mark(template, [USER, CALLING])
    if alone is None:
        return CallEnds()
    inner = _between_calls(template, joining)
    close = [token for token in joining.ids(alone) if token not in inner]
    end_id, added = end_of(close, joining, stops, any_special=True), ""
    if end_id is None:
        followed = _after_mark(template, [USER, CALLING, RESULT])
        end_id, added = mark_of_next(alone, followed or "", joining, stops)
    return CallEnds(end_id, added, inner)


def end_of(close: Sequence[int], joining: Joining, stops: Sequence[int], *, any_special: bool) -> int | None:
    """The first stop token in `close`; else, with `any_special`, its last token besides white space if special."""
    known = [token for token in close if token in stops]
    words = [token for token in close if joining.text([token], special=True).strip()]
    last = words[-1] if any_special and words and is_special(joining.tokenizer, words[-1]) else None
    return known[0] if known else last


def is_special(tokenizer: Any, token: int) -> bool:
    """Whether a token was added to the vocabulary as a whole, like the marks of turns."""
    return token in tokenizer.added_tokens_decoder or token in tokenizer.all_special_ids


def mark_of_next(last: str, followed: str, joining: Joining, stops: Sequence[int]) -> tuple[int | None, str]:
    """The stop token that starts the next turn right after a turn's close, and the text up to it; (None, "") for none.

    Args:
        last: the text after a turn's words at the end of a conversation.
        followed: the text after the words if another turn follows.
        joining: converts text to tokens.
        stops: stop tokens of the configuration.
    """
    after = followed[len(last) :] if followed.startswith(last) else ""
    ids = joining.ids(after.lstrip())
    if not ids or ids[0] not in stops:
        return None, ""
    mark = str(joining.tokenizer.convert_ids_to_tokens(ids[0]))
    return ids[0], after[: after.find(mark) + len(mark)]


def _between_calls(template: Template, joining: Joining) -> tuple[int, ...]:
    """Special tokens between two calls; () if the template allows only one call per turn."""
    two = replace(CALLING, tool_calls=(CALL, replace(CALL, id="call00002")))
    written = _try_render(template, [USER, two])
    between = MARK.join(written.split(MARK)[1:-1]) if written else ""
    return tuple(token for token in joining.ids(between) if is_special(joining.tokenizer, token))


def _after_mark(template: Template, turns: Sequence[Message]) -> str | None:
    """The rendered text after the last mark; None if the template refuses the turns or writes no mark."""
    written = _try_render(template, turns)
    return written.rpartition(MARK)[2] if written is not None and MARK in written else None


def _try_render(template: Template, turns: Sequence[Message]) -> str | None:
    try:
        return template.text(turns, Prompt.make(messages=(USER,), columns={"tools": [TOOL]}), opened=False)
    except PreflabError:
        return None
