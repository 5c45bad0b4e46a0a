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

from preflab.conversations.marks import BREAK, Marks

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
        self.marks = Marks(tokenizer)

    def ids(self, text: str) -> Ids:
        """Tokens of a text alone, without special tokens of the tokenizer's own; a spelling with a break is text."""
        if BREAK in text:
            return self._with_breaks(text)
        return tuple(self.tokenizer(text, add_special_tokens=False)["input_ids"])

    def _with_breaks(self, text: str) -> Ids:
        """What stands between two special tokens is tokenized apart, as the tokenizer itself does it."""
        ids: list[int] = []
        whole, mark = "", ""
        for place, piece in enumerate(self.marks.pieces(text)):
            if BREAK not in piece:
                whole += piece
            else:
                ids += self.ids(whole) if whole else ()
                ids += self.marks.letters(piece) if self._begins_anew(mark) else self.verbatim(piece)
                whole = ""
            mark = piece if place % 2 else mark
        return (*ids, *(self.ids(whole) if whole else ()))

    def _begins_anew(self, mark: str) -> bool:
        """Whether text after a special token ("": at the beginning) has the tokens that it has by itself."""
        return not mark or self.ids(f"{mark}a")[1:] == self.ids("a")

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
        start, both = (tuple(self.marks.letters(part)) for part in (self.anchor, self.anchor + text))
        return both[len(start) :] if both[: len(start)] == start else tuple(self.marks.letters(text))

    def _last_mark(self, text: str) -> int:
        """Where the last special token of a text begins: what stands before it changes no token after it."""
        match = self._ends_with_mark.match(text) if self._ends_with_mark else None
        return match.start(1) if match else 0

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

    def spelled(self, ids: Sequence[int], marks: Collection[str]) -> str:
        """The text of tokens that continue something, with the special tokens that are spelled like one of `marks`."""
        shown = self._ids_of(marks)
        if not shown.intersection(ids):
            return self.text(ids)
        return self.text([token for token in ids if token in shown or token not in self.special_ids], special=True)

    def loses_marks(self, ids: Sequence[int], marks: Collection[str], without: Collection[int]) -> bool:
        """Whether `spelled` leaves out special tokens other than those of `without`."""
        shown = self._ids_of(marks)
        return any(token in self.special_ids and token not in shown and token not in without for token in ids)

    def _ids_of(self, marks: Collection[str]) -> set[int]:
        return set(self.tokenizer.convert_tokens_to_ids(sorted(marks)))

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
