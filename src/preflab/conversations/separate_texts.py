"""Tokenizes prompt and completion for encoder–decoders, where a completion does not continue the prompt's text.

prompt        the tokens of an input, with the special tokens that the tokenizer adds at both ends
completion    the tokens of a target text (of a translation model: in the target language), and the end token
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

from preflab.conversations.joining import PROBES, Ids, Joining, decode
from preflab.conversations.marks import BREAK


class SeparateTexts(Joining):
    """Tokenizes and decodes a completion as a separate text."""

    def start(self, text: str) -> Ids:
        """Tokens of a whole plain prompt, with every special token that the tokenizer adds before and after it."""
        if BREAK not in text:
            return tuple(self.tokenizer(text)["input_ids"])
        before, after = self._added
        return (*before, *self.ids(text), *after)

    def continued(self, before: str, text: str) -> Ids:
        """Tokens of a completion; the text before it has no effect."""
        if BREAK in text:
            return self.ids(text)
        return tuple(self.tokenizer(text_target=text, add_special_tokens=False)["input_ids"])

    def verbatim(self, text: str) -> Ids:
        """Tokens of a text in which spellings of special tokens are plain text."""
        return tuple(self.marks.letters(text))

    def text(self, ids: Sequence[int], *, special: bool = False) -> str:
        """The text of a completion's tokens; special tokens only if `special` is set."""
        return decode(self.tokenizer, ids, special=special)

    @cached_property
    def _added(self) -> tuple[Ids, Ids]:
        """The special tokens that the tokenizer adds before and after an input."""
        plain, full = self.ids("a"), tuple(self.tokenizer("a")["input_ids"])
        starts = (i for i in range(len(full) - len(plain) + 1) if full[i : i + len(plain)] == plain)
        place = next(starts, len(full) - len(plain))
        return full[:place], full[place + len(plain) :]

    @cached_property
    def _found_anchor(self) -> str | None:
        """ "" if separate texts are equal after encoding and decoding, else None."""
        texts = [text for pair in PROBES for text in pair if text == text.strip() and "\n" not in text]
        return "" if all(self.text(self.continued("", text)) == text for text in texts) else None


def joining_for(tokenizer: Any, *, apart: bool) -> Joining:
    """The tokenization of a model's texts; `apart` if its encoder reads the prompt and its decoder the completion."""
    return SeparateTexts(tokenizer) if apart else Joining(tokenizer)
