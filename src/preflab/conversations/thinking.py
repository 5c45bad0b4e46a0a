"""The form in which templates write an assistant's thinking, and the tags that model families use for it."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from preflab.records import Message, ToolCall

MARK = "Qx7qMarkq7xQ"
"""A word that no template changes and that no text contains."""
MARKED = Message("assistant", f"{MARK}2", reasoning=f"{MARK}1")

Write = Callable[[Sequence[Message], bool], str | None]
"""Renders turns, with or without the generation prompt; None if the template refuses them."""

THINKING_TAGS = {
    "<think>": "</think>",
    "<thinking>": "</thinking>",
    "<seed:think>": "</seed:think>",
    "[THINK]": "[/THINK]",
    "<|START_THINKING|>": "<|END_THINKING|>",
    "<|inner_prefix|>": "<|inner_suffix|>",
    "<|channel>thought": "<channel|>",
}
"""Opening tag of an assistant's thinking → its closing tag."""
OPENING = "|".join(map(re.escape, THINKING_TAGS))
CLOSING = "|".join(map(re.escape, THINKING_TAGS.values()))
OPENS = re.compile(rf"({OPENING})\s*\Z")
CLOSES = re.compile(rf"({CLOSING})\s*\Z")
"""The end of a generation prompt that opens thinking (OPENS), or that closes it, so that there is none (CLOSES)."""
NO_THINKING = re.compile(rf"\s*(?:{OPENING})?\s*(?:{CLOSING})")
"""An empty block of thinking."""


@dataclass(frozen=True)
class ThinkingForm:
    """The text that a template writes around an assistant's thinking."""

    opening: str
    """Text before the thinking, including a tag that the generation prompt writes."""
    closing: str
    """Text between the thinking and the words."""

    @property
    def is_marked(self) -> bool:
        """Whether there are marks on both sides of the thinking."""
        return bool(self.opening.strip() and self.closing.strip())

    @property
    def lead(self) -> str:
        """White space between the generation prompt and the opening mark."""
        return self.opening[: len(self.opening) - len(self.opening.lstrip())]

    def written(self, thought: str, words: str) -> str:
        """Thinking and words in this form."""
        return f"{self.opening}{thought}{self.closing}{words}"

    def apart(self, turn: Message) -> Message:
        """The turn with thinking moved out of its words into `reasoning`, if the words contain it in this form."""
        if turn.reasoning or not turn.content.startswith(self.opening):
            return turn
        thought, closing, words = turn.content[len(self.opening) :].partition(self.closing)
        return replace(turn, content=words, reasoning=thought) if closing else turn

    def stands_in_words(self, write: Write, before: Sequence[Message]) -> bool:
        """Whether the template writes the same text if thinking is part of the words, in this form."""
        inside = replace(MARKED, content=self.written(MARKED.reasoning, MARKED.content), reasoning="")
        return write([*before, inside], False) == write([*before, MARKED], False)


def find_form(write: Write, before: Sequence[Message], calls: tuple[ToolCall, ...] = ()) -> ThinkingForm | None:
    """The form in which a template writes thinking after the turns `before`; None if it writes none.

    Args:
        write: renders turns with the template.
        before: turns of a conversation.
        calls: tool calls of the turn with thinking; some templates write thinking only in turns with calls.
    """
    prefix, whole = write(before, True), write([*before, replace(MARKED, tool_calls=calls)], False)
    if prefix is None or whole is None:
        return None
    text = continuation(prefix, whole)
    opening, mark, rest = (text or "").partition(MARKED.reasoning)
    closing, has_words, _ = rest.partition(MARKED.content)
    return ThinkingForm(thinking_of(prefix)[0] + opening, closing) if mark and has_words else None


def thinking_of(prefix: str) -> tuple[str, bool]:
    """The opening tag of thinking at the end of a generation prompt ("" for none), and whether it ends with a closing
    tag."""
    opener = OPENS.search(prefix)
    return opener[0] if opener else "", CLOSES.search(prefix) is not None


def continuation(prefix: str, whole: str) -> str | None:
    """The text after the generation prompt `prefix` in `whole`, a rendered conversation with the assistant's turn.

    Usually `whole` begins with `prefix`. Some generation prompts contain thinking tags that rendered turns lack: the
    words then follow an empty block of thinking, or an open block may be closed at once.

    Returns:
        None if the conversation does not continue the generation prompt.
    """
    shared = common_length(prefix, whole)
    ahead, tail = prefix[shared:], whole[shared:]
    if not ahead.strip():
        return tail if not ahead else tail.lstrip()
    empty = NO_THINKING.match(tail)
    if NO_THINKING.fullmatch(ahead.rstrip()):
        opened = OPENS.search(prefix[:shared])  # if so, the turn continues with thinking
        return tail[empty.end() :] if empty else None if opened else tail
    return tail if empty and OPENS.fullmatch(ahead) and not re.match(rf"\s*(?:{OPENING})", tail) else None


def common_length(one: str, other: str) -> int:
    """Length of the longest common prefix of two texts that does not end within a tag."""
    shorter = min(len(one), len(other))
    length = next((index for index in range(shorter) if one[index] != other[index]), shorter)
    if length == shorter:
        return length
    for opening, closing in ("<>", "[]"):
        place = one.rfind(opening, 0, length)
        if place >= 0 and closing not in one[place:length]:
            length = place
    return length
