"""Find the text that a chat template writes around an assistant's words, and the token that ends its turn.

    generation prompt | lead | words | close

`lead` is the text between the generation prompt and the words (a space, an empty block of thinking). `close` follows
the words whether or not another turn comes (`<|im_end|>` and a line break). The turn ends with the first stop token of
the close, or else with a special token. If the close has neither, the next turn's first token ends this turn if it is a
stop token; otherwise the tokenizer's end token does. Turns with tool calls may end with another token; a token that
also occurs between two calls of one turn does not end a turn (`call_ends`).
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
"""Names of the assistant in the headers of its turns."""


@dataclass(frozen=True)
class Frame:
    """The text around the words of an assistant's turn without thinking and tool calls."""

    header: str
    """A header of the assistant's turn that the template writes with the turn but not as a generation prompt; "" for
    most templates."""
    lead: str | None
    """Text before the words; None if rendered turns do not continue the generation prompt, as it opens thinking."""
    close: str
    """Text after the words, up to and including the turn's end."""
    rest: str
    """All text after the words of the last turn."""
    end_id: int | None
    """The token that ends the turn; None if the template writes none."""
    added: str
    """The end mark, if the template writes it only at the start of the next turn; "" for most templates."""
    calls: CallEnds
    """The ends of turns with tool calls."""
    stop_ids: tuple[int, ...]
    """All tokens that end a turn, with or without tool calls."""
    opener: str
    """The tag of thinking at the end of the generation prompt, with its white space; "" for most templates."""
    closed: bool
    """Whether the generation prompt ends with a closing tag of thinking, so that the assistant must not think."""
    form: ThinkingForm | None
    """The form of thinking, including the opener; None if the template writes no thinking."""


def find_frame(template: Template, joining: Joining, stops: Sequence[int], example: Prompt | None = None) -> Frame:
    """The frame of a template.

    Args:
        template: the chat template of a model.
        joining: converts text to tokens.
        stops: stop tokens of the model's configuration and of its tokenizer.
        example: a conversation for the test rendering; None: a user's turn.

    Raises:
        PreflabError: the template does not write the assistant's words.
    """
    asked, prefix, whole = _render_default(template) if example is None else _render_with_answer(template, example)
    start, mark, rest = whole.rpartition(MARK)
    if not mark:
        raise PreflabError(
            "the chat template does not write the assistant's turns",
            "a template that writes every turn of a conversation",
            "put the model's own chat_template.jinja into its folder",
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


def _render_default(template: Template) -> tuple[Prompt, str, str]:
    """A test prompt, its text up to the assistant's words, and its text with an answer."""
    source = "a user's turn and an answer, to try the chat template with"
    asked = Prompt.make(messages=(USER,), source=source)
    try:
        return _render_with_answer(template, asked)
    except PreflabError:  # some templates accept only conversations with tools
        return _render_with_answer(template, Prompt.make(messages=(USER,), columns={"tools": [TOOL]}, source=source))


def _render_with_answer(template: Template, asked: Prompt) -> tuple[Prompt, str, str]:
    """The prompt, its text up to the assistant's words, and its text with an answer."""
    turns = asked.messages
    return asked, template.text(turns, asked, opened=True), template.text([*turns, ANSWER], asked, opened=False)


def _plain_end(
    template: Template, joining: Joining, asked: Prompt, rest: str, stops: Sequence[int]
) -> tuple[int | None, str]:
    """The token that ends an answer (None without one), and its text if only the next turn brings it."""
    last = joining.ids(rest)
    try:
        longer = template.text([*asked.messages, ANSWER, USER], asked, opened=False).rpartition(MARK)[2]
    except PreflabError:  # the template accepts only one exchange
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
    """The form of thinking after a prompt: before an answer, else before a tool call."""

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
    """The text of the close up to the end token; without an end token, the text without trailing white space."""
    if end_id is None:
        return rest.rstrip()
    word = joining.tokenizer.convert_ids_to_tokens(end_id)
    place = rest.find(word)
    return rest[: place + len(word)] if place >= 0 else rest
