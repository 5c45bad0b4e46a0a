"""How turns end that call tools, found by rendering one call, two calls, and a call with its result."""

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
    """The tokens that close calls of tools."""

    end_id: int | None = None
    """The token that ends a turn of calls; None: the one that ends every turn, or no calls are known."""
    added: str = ""
    """Its text where the template writes it with the tool's result alone; "" for most templates."""
    inner_ids: tuple[int, ...] = ()
    """Tokens that stand between two calls of a turn: they close one call and end no turn."""


def find_call_ends(template: Template, joining: Joining, stops: Sequence[int]) -> CallEnds:
    """The tokens with which a template closes calls; `stops` are those that the configuration stops at."""
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
    """The first token that stops the sampler; else, where nothing but white space follows it, the last special one."""
    known = [token for token in close if token in stops]
    words = [token for token in close if joining.text([token], special=True).strip()]
    last = words[-1] if any_special and words and is_special(joining.tokenizer, words[-1]) else None
    return known[0] if known else last


def is_special(tokenizer: Any, token: int) -> bool:
    """Whether a token was added to the vocabulary as a whole, as the marks of turns are."""
    return token in tokenizer.added_tokens_decoder or token in tokenizer.all_special_ids


def mark_of_next(last: str, followed: str, joining: Joining, stops: Sequence[int]) -> tuple[int | None, str]:
    """The stop token that follows a turn's close when another turn comes, and the text up to it; None and "" for none.

    Args:
        last: what stands after a turn's words at the end of a conversation.
        followed: what stands there before another turn.
        joining: text to tokens.
        stops: tokens that the configuration stops at.
    """
    after = followed[len(last) :] if followed.startswith(last) else ""
    ids = joining.ids(after.lstrip())
    if not ids or ids[0] not in stops:
        return None, ""
    mark = str(joining.tokenizer.convert_ids_to_tokens(ids[0]))
    return ids[0], after[: after.find(mark) + len(mark)]


def _between_calls(template: Template, joining: Joining) -> tuple[int, ...]:
    """Tokens added to the vocabulary that stand between two calls; () where a turn holds one call alone."""
    two = replace(CALLING, tool_calls=(CALL, replace(CALL, id="call00002")))
    written = _rendered(template, [USER, two])
    between = MARK.join(written.split(MARK)[1:-1]) if written else ""
    return tuple(token for token in joining.ids(between) if is_special(joining.tokenizer, token))


def _after_mark(template: Template, turns: Sequence[Message]) -> str | None:
    """What the template writes after the last mark; None: it refuses the turns, or writes no mark."""
    written = _rendered(template, turns)
    return written.rpartition(MARK)[2] if written is not None and MARK in written else None


def _rendered(template: Template, turns: Sequence[Message]) -> str | None:
    try:
        return template.text(turns, Prompt.make(messages=(USER,), columns={"tools": [TOOL]}), opened=False)
    except PreflabError:
        return None
