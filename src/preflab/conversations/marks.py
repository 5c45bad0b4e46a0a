"""Keep text that spells a special token (`<s>` in HTML, `<|im_end|>` in a question about templates) from becoming it.

A tokenizer turns such a spelling into the token wherever it occurs, so words could end their turn or open another
role's. Therefore a break is inserted into each spelling in texts of people and models before a template or the
tokenizer reads them. `joining` removes the breaks and tokenizes those spellings as plain text.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from functools import cached_property
from typing import Any

BREAK = "Qx7qTextq7xQ"
"""Inserted after the first character of a spelling; letters, because no template changes or escapes them."""


class Marks:
    """The spellings of a tokenizer's special tokens."""

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer
        self._spellable: dict[str, bool] = {}

    @cached_property
    def texts(self) -> tuple[str, ...]:
        """All spellings, longest first, without those of a single character, which have no room for a break."""
        special = {str(token) for token in self._special}
        return tuple(sorted((text for text in special if len(text) > 1), key=lambda text: (-len(text), text)))

    def within(self, tags: Mapping[str, str]) -> frozenset[str]:
        """The special tokens that occur in these tags, for example tags of thinking."""
        return frozenset(mark for mark in self.texts if any(mark in tag for tag in (*tags, *tags.values())))

    def broken(self, text: str, kept: Collection[str] = ()) -> str:
        """The text with a break in each spelling, except those in `kept` and those that only exist as the token."""
        if self._pattern is None or not self._pattern.search(text):
            return text
        return self._pattern.sub(lambda found: self._broken(found[0], kept), text)

    def _broken(self, mark: str, kept: Collection[str]) -> str:
        return mark if mark in kept or not self.is_spellable(mark) else f"{mark[0]}{BREAK}{mark[1:]}"

    def held(self, text: str, kept: Collection[str] = ()) -> str | None:
        """The first special token that the tokenizer would find in a text, other than those in `kept`; None without."""
        matches = self._pattern.finditer(text) if self._pattern else ()
        return next((mark[0] for mark in matches if mark[0] not in kept), None)

    def pieces(self, text: str) -> list[str]:
        """The text split at its special tokens; they are at the odd positions, with the white space they absorb."""
        return self._splitting.split(text) if self._splitting else [text]

    def is_spellable(self, mark: str) -> bool:
        """Whether the tokenizer can write the spelling with other tokens; a tokenizer of whole words cannot."""
        if mark not in self._spellable:
            ids = set(self.letters(mark))
            self._spellable[mark] = bool(ids) and not ids & self._ids
        return self._spellable[mark]

    def letters(self, text: str) -> list[int]:
        """Tokens of a text in which every spelling is plain text."""
        text = without_breaks(text)
        ids: list[int] = self.tokenizer(text, add_special_tokens=False, split_special_tokens=True)["input_ids"]
        return ids

    @property
    def _special(self) -> list[Any]:
        return [token for token in self.tokenizer.added_tokens_decoder.values() if token.special]

    @cached_property
    def _ids(self) -> set[int]:
        """Ids of special tokens, without the unknown token, which may stand for a letter."""
        special = {place for place, token in self.tokenizer.added_tokens_decoder.items() if token.special}
        return special - {self.tokenizer.unk_token_id}

    @cached_property
    def _pattern(self) -> re.Pattern[str] | None:
        return re.compile("|".join(map(re.escape, self.texts))) if self.texts else None

    @cached_property
    def _splitting(self) -> re.Pattern[str] | None:
        marks = sorted(self._special, key=lambda token: -len(str(token)))
        patterns = [
            (r"\s*" if mark.lstrip else "") + re.escape(str(mark)) + (r"\s*" if mark.rstrip else "") for mark in marks
        ]
        return re.compile(f"({'|'.join(patterns)})") if patterns else None


def without_breaks(text: str) -> str:
    """The original text, without breaks, for messages."""
    return text.replace(BREAK, "")


def as_text(tokenizer: Any, *texts: str, **others: Any) -> Any:
    """A tokenizer's encoding of one or two texts, for models without chat; special tokens' spellings stay text."""
    return tokenizer(*texts, split_special_tokens=True, **others)
