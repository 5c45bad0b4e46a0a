"""What a chat template writes around an assistant's words, and which token ends its turn.

    generation prompt | lead | words | close

`lead` stands between the generation prompt and the words (a space, an empty block of thinking), `close` is what follows
them whether or not another turn comes (`<|im_end|>` and a line break). The turn ends with the first token of the close
that stops the sampler, or that is special. Of a template that closes turns with none, the mark of the next turn ends
this one where it stops the sampler; else the tokenizer's end token does. Turns that call tools may end with another
token; a token that also stands between two calls of one turn ends none (`call_ends`).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from preflab.conversations.call_ends import CALLING, USER, CallEnds, end_of, find_call_ends, mark_of_next
from preflab.conversations.joining import Joining
from preflab.conversations.template import TOOL, Template
from preflab.conversations.thinking import MARK, ThinkingForm, Write, continuation, find_form, thinking_of
from preflab.errors import PreflabError
from preflab.records import Message, Prompt

ANSWER = Message("assistant", MARK)
NAMES = re.compile(r"assistant|model|\bbot\b|chatbot|gpt", re.IGNORECASE)
"""What templates call the assistant in the header of its turns."""


@dataclass(frozen=True)
class Frame:
    """What a template writes around the words of an assistant's turn that has no thinking and calls nothing."""

    header: str
    """What the template lacks as its generation prompt: a header of the assistant's turn that it writes with the turn
    alone. "" for most templates."""
    lead: str | None
    """None where the generation prompt does not lead to the turns that the template writes: it opens thinking."""
    close: str
    """Up to and including the turn's end; what stands after it opens the next turn."""
    rest: str
    """All that follows the words of the last turn."""
    end_id: int | None
    """The token that ends the turn; None: the template writes none."""
    added: str
    """The end where the template writes it with the next turn alone, of which it is the mark; "" for most templates."""
    calls: CallEnds
    """How turns end that call tools."""
    stop_ids: tuple[int, ...]
    """All tokens that end a turn, with or without calls of tools."""
    opener: str
    """The tag of thinking that the generation prompt ends with, white space included; "" for most templates."""
    closed: bool
    """Whether the generation prompt ends by closing thinking: the assistant is not to think."""
    form: ThinkingForm | None
    """How the template writes thinking, the opener included; None: it writes none."""


def find_frame(template: Template, joining: Joining, stops: Sequence[int], example: Prompt | None = None) -> Frame:
    """The frame of a template.

    Args:
        template: of a chat model.
        joining: text to tokens.
        stops: tokens that stop the sampler, as the model's configuration and its tokenizer name them.
        example: a conversation to try it with; None: a user's turn.

    Raises:
        PreflabError: the template does not write what the assistant says.
    """
    asked, prefix, whole = _tried(template) if example is None else _written(template, example)
    start, mark, rest = whole.rpartition(MARK)
    if not mark:
        raise PreflabError(
            "the chat template does not write the assistant's turns",
            "a template that writes every turn of a conversation",
            "lay the model's own chat_template.jinja into its folder",
        )
    lead = continuation(prefix, start)
    header = ""
    if lead and NAMES.search(lead) and prefix == template.text(asked.messages, asked, opened=False):
        header = lead.rstrip(" ")  # a space belongs to the words: most tokenizers join the two
        lead = lead[len(header) :]
    opener, closed = thinking_of(prefix)
    end_id, added = _plain_end(template, joining, asked, rest, stops)
    calls = find_call_ends(template, joining, stops)
    return Frame(
        header=header,
        lead=lead,
        close=rest + added if added else _up_to(rest, end_id, joining),
        rest=rest,
        end_id=end_id,
        added=added,
        calls=calls,
        stop_ids=tuple(sorted({*stops, *(token for token in (end_id, calls.end_id) if token is not None)})),
        opener=opener,
        closed=closed,
        form=_form_after(template, asked),
    )


def _tried(template: Template) -> tuple[Prompt, str, str]:
    """A prompt to try the template with, its text up to where the assistant speaks, and with an answer."""
    source = "a user's turn and an answer, to try the chat template with"
    asked = Prompt.make(messages=(USER,), source=source)
    try:
        return _written(template, asked)
    except PreflabError:  # some templates are for conversations with tools alone
        return _written(template, Prompt.make(messages=(USER,), columns={"tools": [TOOL]}, source=source))


def _written(template: Template, asked: Prompt) -> tuple[Prompt, str, str]:
    """A prompt, its text up to where the assistant speaks, and with an answer."""
    turns = asked.messages
    return asked, template.text(turns, asked, opened=True), template.text([*turns, ANSWER], asked, opened=False)


def _plain_end(
    template: Template, joining: Joining, asked: Prompt, rest: str, stops: Sequence[int]
) -> tuple[int | None, str]:
    """The token that ends an answer, None without one, and its text where the template does not write it last."""
    last = joining.ids(rest)
    try:
        longer = template.text([*asked.messages, ANSWER, USER], asked, opened=False).rpartition(MARK)[2]
    except PreflabError:  # a template for one exchange
        longer = rest
    middle = joining.ids(longer)
    shared = next(
        (i for i, (a, b) in enumerate(zip(last, middle, strict=False)) if a != b), min(len(last), len(middle))
    )
    end_id = end_of(last[:shared], joining, stops, any_special=True)
    if end_id is None:
        end_id = end_of(last, joining, stops, any_special=bool(rest.strip()))
    return (end_id, "") if end_id is not None else mark_of_next(rest, longer, joining, stops)


def _form_after(template: Template, asked: Prompt) -> ThinkingForm | None:
    """How thinking is written after a prompt: before an answer, else before a call of a tool."""

    def writes(prompt: Prompt) -> Write:
        def write(turns: Sequence[Message], opened: bool) -> str | None:
            try:
                return template.text(turns, prompt, opened=opened)
            except PreflabError:
                return None

        return write

    calling = replace(asked, columns={**asked.columns, "tools": [TOOL]})
    return find_form(writes(asked), asked.messages) or find_form(writes(calling), asked.messages, CALLING.tool_calls)


def _up_to(rest: str, end_id: int | None, joining: Joining) -> str:
    """The text of the close up to the end token; without one, what is left when white space is taken off."""
    if end_id is None:
        return rest.rstrip()
    word = joining.tokenizer.convert_ids_to_tokens(end_id)
    place = rest.find(word)
    return rest[: place + len(word)] if place >= 0 else rest
