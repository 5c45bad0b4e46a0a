"""Tokenize and decode text that continues other text, without changing a character if the tokenizer allows it.

A prompt is tokenized before its completion is known, so the two are tokenized separately. Tokenizers of the
SentencePiece kind put a space before every text and remove one when they decode. A continuation is therefore tokenized
and decoded after an anchor, a few characters whose own tokens are then cut off.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from functools import cached_property
from typing import Any

from preflab.conversations.marks import BREAK, Marks

Ids = tuple[int, ...]

ANCHORS = ("", "\n", ".", "a", "\n\n", "x\n")
"""Candidates for the anchor; the first one with which continuations survive a round trip is used."""

PROBES = (
    ("One", " two"),
    ("One", "two"),
    ("Line.\n", "Next"),
    ("Ends. ", "It goes on"),
    ("a:", "\n\n b"),
    ("x", " 7, é"),
)
"""Test cases: a text and its continuation."""

WARNED_OF_LENGTH = "sequence-length-is-longer-than-the-specified-maximum"
"""Name under which transformers remembers that it has warned of a long text."""

NUM_PROBES = 3
"""Fewest probes that must survive a round trip as one text; probes with characters unknown to the tokenizer do not."""


def decode(tokenizer: Any, ids: Sequence[int], *, special: bool = False) -> str:
    """The text of token ids on their own, without cleaning up spaces; special tokens only if `special` is set."""
    return str(tokenizer.decode(list(ids), skip_special_tokens=not special, clean_up_tokenization_spaces=False))


class Joining:
    """Tokenizes and decodes continuations of a text with a tokenizer."""

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer
        self.marks = Marks(tokenizer)
        # transformers would warn once of a text longer than `model_max_length`; preflab names all such rows itself.
        getattr(tokenizer, "deprecation_warnings", {})[WARNED_OF_LENGTH] = True

    def ids(self, text: str) -> Ids:
        """Tokens of a text on its own, without BOS or EOS; a special token's spelling with a break stays text."""
        if BREAK in text:
            return self._with_breaks(text)
        return tuple(self.tokenizer(text, add_special_tokens=False)["input_ids"])

    def start(self, text: str) -> Ids:
        """Tokens of a plain prompt with the special tokens that the tokenizer adds before it, not those after it."""
        if BREAK in text:
            return (*self.start("a")[: -len(self.ids("a"))], *self.ids(text))
        plain, full = self.ids(text), tuple(self.tokenizer(text)["input_ids"])
        if not plain:
            return full[:1] if full[:1] == (self.tokenizer.bos_token_id,) else ()
        for place in range(len(full) - len(plain) + 1):
            if full[place : place + len(plain)] == plain:
                return full[: place + len(plain)]
        return full

    def _with_breaks(self, text: str) -> Ids:
        """Tokens of a text with breaks; text between two special tokens is tokenized separately, as tokenizers do."""
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
        """Whether text after a special token ("": at the beginning) gets the same tokens as on its own."""
        return not mark or self.ids(f"{mark}a")[1:] == self.ids("a")

    def continued(self, before: str, text: str) -> Ids:
        """Tokens of `text` as a continuation of `before`, whose own tokens stay unchanged.

        If the tokens of both together begin with those of `before`, the remaining ones; else a token would span both,
        and `text` is tokenized after the anchor.
        """
        if not self.is_exact:
            return self._apart(text)
        near = before[self._last_mark(before) :]
        first, both = self.ids(near), self.ids(near + text)
        return both[len(first) :] if both[: len(first)] == first else self._anchored(self.anchor, text)

    def verbatim(self, text: str) -> Ids:
        """Tokens of a continuation in which spellings of special tokens are plain text."""
        start, both = (tuple(self.marks.letters(part)) for part in (self.anchor, self.anchor + text))
        return both[len(start) :] if both[: len(start)] == start else tuple(self.marks.letters(text))

    def _last_mark(self, text: str) -> int:
        """Start of the last special token in a text: text before it has no effect on the tokens after it."""
        match = self._ends_with_mark.match(text) if self._ends_with_mark else None
        return match.start(1) if match else 0

    @cached_property
    def _ends_with_mark(self) -> re.Pattern[str] | None:
        added = self.tokenizer.added_tokens_decoder.values()
        marks = sorted((str(token) for token in added if token.special and not token.single_word), key=len)
        return re.compile(f".*({'|'.join(map(re.escape, reversed(marks)))})", re.DOTALL) if marks else None

    def text(self, ids: Sequence[int], *, special: bool = False) -> str:
        """The text of tokens that continue other tokens; special tokens only if `special` is set."""
        if not self.is_exact or not self.anchor:
            return self._decoded(ids, special)
        return self._decoded((*self.ids(self.anchor), *ids), special)[len(self.anchor) :]

    def spelled(self, ids: Sequence[int], marks: Collection[str]) -> str:
        """The text of tokens that continue other tokens, including the special tokens spelled like one of `marks`."""
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
        """Special tokens, which decoding leaves out."""
        added = self.tokenizer.added_tokens_decoder.items()
        return frozenset({*self.tokenizer.all_special_ids, *(token for token, one in added if one.special)})

    @property
    def outer_ids(self) -> frozenset[int]:
        """The BOS, EOS and padding tokens, which are not part of any text."""
        one = self.tokenizer
        return frozenset({one.bos_token_id, one.eos_token_id, one.pad_token_id} - {None})

    @property
    def is_exact(self) -> bool:
        """Whether prompt and completion, tokenized separately and decoded together, give exactly both texts."""
        return self._found_anchor is not None

    @property
    def anchor(self) -> str:
        """The anchor: characters put before a continuation for tokenizing."""
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
        """Tokens of a continuation for a tokenizer without an exact round trip.

        A text that starts with a space is tokenized after a word, so that the tokenizer adds no second space.
        """
        return self._anchored("a", text) if text.startswith(" ") else self.ids(text)

    def _decoded(self, ids: Sequence[int], special: bool) -> str:
        return decode(self.tokenizer, ids, special=special)
