"""How templates write an assistant's thinking: the tags of families, and the form of a marked thought."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from preflab.records import Message, ToolCall

MARK = "Qx7qMarkq7xQ"
"""A word that no template changes and no text contains."""
MARKED = Message("assistant", f"{MARK}2", reasoning=f"{MARK}1")

Write = Callable[[Sequence[Message], bool], str | None]
"""What a template writes for turns, with or without the generation prompt; None: it refuses them."""

THINKING_TAGS = {
    "<think>": "</think>",
    "<thinking>": "</thinking>",
    "<seed:think>": "</seed:think>",
    "[THINK]": "[/THINK]",
    "<|START_THINKING|>": "<|END_THINKING|>",
    "<|inner_prefix|>": "<|inner_suffix|>",
    "<|channel>thought": "<channel|>",
}
"""What opens an assistant's thinking, and what closes it."""
OPENING = "|".join(map(re.escape, THINKING_TAGS))
CLOSING = "|".join(map(re.escape, THINKING_TAGS.values()))
OPENS = re.compile(rf"({OPENING})\s*\Z")
CLOSES = re.compile(rf"({CLOSING})\s*\Z")
"""How a generation prompt ends that opens thinking, or says that there is none."""
NO_THINKING = re.compile(rf"\s*(?:{OPENING})?\s*(?:{CLOSING})")
"""Thinking without a word in it."""


@dataclass(frozen=True)
class ThinkingForm:
    """What a template writes around an assistant's thinking."""

    opening: str
    """Before the thinking; the tag that a generation prompt opens is included."""
    closing: str
    """Between the thinking and the words."""

    @property
    def is_marked(self) -> bool:
        """Whether marks stand on both sides of the thinking."""
        return bool(self.opening.strip() and self.closing.strip())

    @property
    def lead(self) -> str:
        """White space between the generation prompt and the mark that opens thinking."""
        return self.opening[: len(self.opening) - len(self.opening.lstrip())]

    def written(self, thought: str, words: str) -> str:
        """Thinking and words in this form."""
        return f"{self.opening}{thought}{self.closing}{words}"

    def apart(self, turn: Message) -> Message:
        """A turn whose thinking stands beside its words, where it stood in them in this form."""
        if turn.reasoning or not turn.content.startswith(self.opening):
            return turn
        thought, closing, words = turn.content[len(self.opening) :].partition(self.closing)
        return replace(turn, content=words, reasoning=thought) if closing else turn

    def stands_in_words(self, write: Write, before: Sequence[Message]) -> bool:
        """Whether the template writes the same where thinking stands in the words in this form, not beside them."""
        inside = replace(MARKED, content=self.written(MARKED.reasoning, MARKED.content), reasoning="")
        return write([*before, inside], False) == write([*before, MARKED], False)


def find_form(write: Write, before: Sequence[Message], calls: tuple[ToolCall, ...] = ()) -> ThinkingForm | None:
    """The form in which a template writes thinking after the turns `before`; None: it writes none there.

    Args:
        write: asks the template.
        before: turns of a conversation.
        calls: what the turn that thinks calls: some templates write the thinking of such turns alone.
    """
    prefix, whole = write(before, True), write([*before, replace(MARKED, tool_calls=calls)], False)
    if prefix is None or whole is None:
        return None
    text = continuation(prefix, whole)
    opening, mark, rest = (text or "").partition(MARKED.reasoning)
    closing, has_words, _ = rest.partition(MARKED.content)
    return ThinkingForm(thinking_of(prefix)[0] + opening, closing) if mark and has_words else None


def thinking_of(prefix: str) -> tuple[str, bool]:
    """The tag of thinking that a generation prompt ends with ("" for none), and whether it ends by closing thinking."""
    opener = OPENS.search(prefix)
    return opener[0] if opener else "", CLOSES.search(prefix) is not None


def continuation(prefix: str, whole: str) -> str | None:
    """What follows a generation prompt in a conversation whose last turn the template has written.

    Mostly the conversation begins with the prompt. Some generation prompts say whether the assistant thinks and the
    turns do not: after an empty block of thinking come the words, an open one may be closed at once.

    Returns:
        None where the conversation goes on in another way than the prompt.
    """
    shared = common_length(prefix, whole)
    ahead, tail = prefix[shared:], whole[shared:]
    if not ahead.strip():
        return tail if not ahead else tail.lstrip()
    empty = NO_THINKING.match(tail)
    if NO_THINKING.fullmatch(ahead.rstrip()):
        opened = OPENS.search(prefix[:shared])  # then the turn goes on by thinking
        return tail[empty.end() :] if empty else None if opened else tail
    return tail if empty and OPENS.fullmatch(ahead) and not re.match(rf"\s*(?:{OPENING})", tail) else None


def common_length(one: str, other: str) -> int:
    """Length of the longest beginning that two texts share and that ends before or after a tag, not within it."""
    shorter = min(len(one), len(other))
    length = next((index for index in range(shorter) if one[index] != other[index]), shorter)
    if length == shorter:
        return length
    for opening, closing in ("<>", "[]"):
        place = one.rfind(opening, 0, length)
        if place >= 0 and closing not in one[place:length]:
            length = place
    return length
