"""Text → token ids where it continues other text, and back, letter for letter where the tokenizer allows it.

A prompt is tokenized before its completion is known, so the two are tokenized apart. Tokenizers of SentencePiece's kind
put a space before every text they are given, and take one away when they decode; what continues a text is therefore
tokenized and decoded behind an anchor, a few characters whose own tokens are then cut off.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from functools import cached_property
from typing import Any

Ids = tuple[int, ...]

ANCHORS = ("", "\n", ".", "a", "\n\n", "x\n")
"""Characters to stand before a continuation; the first that gives its text back is used."""

PROBES = (
    ("One", " two"),
    ("One", "two"),
    ("Line.\n", "Next"),
    ("Ends. ", "It goes on"),
    ("a:", "\n\n b"),
    ("x", " 7, é"),
)
"""A text and what continues it."""

NUM_PROBES = 3
"""Probes that a tokenizer must give back when it sees them whole: those it lacks characters for prove nothing."""


def decode(tokenizer: Any, ids: Sequence[int], *, special: bool = False) -> str:
    """The text of token ids by themselves, spaces as they are; special tokens are left out unless asked for."""
    return str(tokenizer.decode(list(ids), skip_special_tokens=not special, clean_up_tokenization_spaces=False))


class Joining:
    """How a tokenizer continues a text."""

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer

    def ids(self, text: str) -> Ids:
        """Tokens of a text by itself, without special tokens of the tokenizer's own."""
        return tuple(self.tokenizer(text, add_special_tokens=False)["input_ids"])

    def continued(self, before: str, text: str) -> Ids:
        """Tokens of `text` where it continues `before`; those of `before` are not changed by what follows.

        Where the tokens of both together begin with those of `before`, the rest of them; else (a token would reach
        across) the tokens of `text` behind the anchor.
        """
        if not self.is_exact:
            return self._apart(text)
        near = before[self._last_mark(before) :]
        first, both = self.ids(near), self.ids(near + text)
        return both[len(first) :] if both[: len(first)] == first else self._anchored(self.anchor, text)

    def verbatim(self, text: str) -> Ids:
        """Tokens of a continuation in which the text of a special token is text as any other."""
        start, both = (tuple(self._split(part)) for part in (self.anchor, self.anchor + text))
        return both[len(start) :] if both[: len(start)] == start else tuple(self._split(text))

    def _split(self, text: str) -> list[int]:
        found: list[int] = self.tokenizer(text, add_special_tokens=False, split_special_tokens=True)["input_ids"]
        return found

    def _last_mark(self, text: str) -> int:
        """Where the last special token of a text begins: what stands before it changes no token after it."""
        found = self._ends_with_mark.match(text) if self._ends_with_mark else None
        return found.start(1) if found else 0

    @cached_property
    def _ends_with_mark(self) -> re.Pattern[str] | None:
        added = self.tokenizer.added_tokens_decoder.values()
        marks = sorted((str(token) for token in added if token.special and not token.single_word), key=len)
        return re.compile(f".*({'|'.join(map(re.escape, reversed(marks)))})", re.DOTALL) if marks else None

    def text(self, ids: Sequence[int], *, special: bool = False) -> str:
        """The text of tokens that continue something; `special` tokens are left out unless they are asked for."""
        if not self.is_exact or not self.anchor:
            return self._decoded(ids, special)
        return self._decoded((*self.ids(self.anchor), *ids), special)[len(self.anchor) :]

    def spelled(self, ids: Sequence[int], without: Collection[int]) -> str:
        """The text of sampled tokens, their special tokens written out except those of `without`.

        Thinking stands between special tokens in some families; without them it would run into the answer. Where the
        text would not become the same special tokens again, all of them are left out.
        """
        text = self._with_marks(ids, without)
        return self.text(ids) if text is None else text

    def loses_marks(self, ids: Sequence[int], without: Collection[int]) -> bool:
        """Whether `spelled` leaves out special tokens other than those of `without`."""
        return self._with_marks(ids, without) is None

    def _with_marks(self, ids: Sequence[int], without: Collection[int]) -> str | None:
        """The text with special tokens; None where it would not become them again."""
        written = [token for token in ids if token not in without or token not in self.special_ids]
        marks = self._marks_of(written)
        if not marks:
            return self.text(written)
        text = self.text(written, special=True)
        return text if self._marks_of(self.ids(text)) == marks else None

    def _marks_of(self, ids: Sequence[int]) -> list[int]:
        return [token for token in ids if token in self.special_ids]

    @cached_property
    def special_ids(self) -> frozenset[int]:
        """Tokens that decoding leaves out."""
        added = self.tokenizer.added_tokens_decoder.items()
        return frozenset({*self.tokenizer.all_special_ids, *(token for token, one in added if one.special)})

    @property
    def outer_ids(self) -> frozenset[int]:
        """Tokens that begin, end and fill rows: they belong to no text."""
        one = self.tokenizer
        return frozenset({one.bos_token_id, one.eos_token_id, one.pad_token_id} - {None})

    @property
    def is_exact(self) -> bool:
        """Whether prompt and completion, tokenized apart and decoded together, give both texts letter for letter."""
        return self._found_anchor is not None

    @property
    def anchor(self) -> str:
        """The characters that stand before a continuation."""
        return self._found_anchor or ""

    @cached_property
    def _found_anchor(self) -> str | None:
        known = [(a, b) for a, b in PROBES if self._decoded(self.ids(a + b), False) == a + b]
        if len(known) < NUM_PROBES:
            return None
        return next((anchor for anchor in ANCHORS if self._gives_back(anchor, known)), None)

    def _gives_back(self, anchor: str, probes: Sequence[tuple[str, str]]) -> bool:
        start = self.ids(anchor)
        for before, text in probes:
            ids = self._anchored(anchor, text)
            if self._decoded((*start, *ids), False) != anchor + text:
                return False
            if self._decoded((*self.ids(before), *ids), False) != before + text:
                return False
        return True

    def _anchored(self, anchor: str, text: str) -> Ids:
        first, both = self.ids(anchor), self.ids(anchor + text)
        return both[len(first) :] if both[: len(first)] == first else self.ids(text)

    def _apart(self, text: str) -> Ids:
        """Tokens of a continuation of a tokenizer that cannot give it back letter for letter.

        A text that brings a space gets no second one from the tokenizer: its tokens are those after another word.
        """
        return self._anchored("a", text) if text.startswith(" ") else self.ids(text)

    def _decoded(self, ids: Sequence[int], special: bool) -> str:
        return decode(self.tokenizer, ids, special=special)
