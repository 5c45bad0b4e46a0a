"""Text that spells a special token (`<s>` in HTML, `<|im_end|>` in a question about templates) is text, no token.

A tokenizer makes the token of its spelling wherever that stands, so that a turn's words could end it or open another
role's. Before a template or the tokenizer reads what people and models wrote, a break is put into each such spelling;
`joining` takes the break out again and tokenizes what is around it letter by letter.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from functools import cached_property
from typing import Any

BREAK = "Qx7qTextq7xQ"
"""Stands behind the first character of a spelling that is text: letters, which no template changes or escapes."""


class Marks:
    """The special tokens of a tokenizer, as they are spelled."""

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer
        self._spellable: dict[str, bool] = {}

    @cached_property
    def texts(self) -> tuple[str, ...]:
        """All spellings, the longest first; one of a single character has no place for a break."""
        special = {str(token) for token in self._special}
        return tuple(sorted((text for text in special if len(text) > 1), key=lambda text: (-len(text), text)))

    def within(self, tags: Mapping[str, str]) -> frozenset[str]:
        """Special tokens that stand in tags, of thinking for example."""
        return frozenset(mark for mark in self.texts if any(mark in tag for tag in (*tags, *tags.values())))

    def broken(self, text: str, kept: Collection[str] = ()) -> str:
        """The text with a break in each spelling, but for those `kept` and those that the tokenizer cannot spell."""
        if self._pattern is None or not self._pattern.search(text):
            return text
        return self._pattern.sub(lambda found: self._broken(found[0], kept), text)

    def _broken(self, mark: str, kept: Collection[str]) -> str:
        return mark if mark in kept or not self.is_spellable(mark) else f"{mark[0]}{BREAK}{mark[1:]}"

    def held(self, text: str, kept: Collection[str] = ()) -> str | None:
        """The first special token that the tokenizer would make of a text, those `kept` left out."""
        matches = self._pattern.finditer(text) if self._pattern else ()
        return next((mark[0] for mark in matches if mark[0] not in kept), None)

    def pieces(self, text: str) -> list[str]:
        """What stands before, between and after the special tokens of a text, and in odd places those tokens.

        White space that a token takes to itself stands with it.
        """
        return self._splitting.split(text) if self._splitting else [text]

    def is_spellable(self, mark: str) -> bool:
        """Whether the tokenizer has other tokens for the spelling; one of whole words has not."""
        if mark not in self._spellable:
            ids = set(self.letters(mark))
            self._spellable[mark] = bool(ids) and not ids & self._ids
        return self._spellable[mark]

    def letters(self, text: str) -> list[int]:
        """Tokens of a text in which every spelling is text."""
        text = without_breaks(text)
        ids: list[int] = self.tokenizer(text, add_special_tokens=False, split_special_tokens=True)["input_ids"]
        return ids

    @property
    def _special(self) -> list[Any]:
        return [token for token in self.tokenizer.added_tokens_decoder.values() if token.special]

    @cached_property
    def _ids(self) -> set[int]:
        """The token of unknown characters is no special one here: it may stand for a letter."""
        special = {place for place, token in self.tokenizer.added_tokens_decoder.items() if token.special}
        return special - {self.tokenizer.unk_token_id}

    @cached_property
    def _pattern(self) -> re.Pattern[str] | None:
        return re.compile("|".join(map(re.escape, self.texts))) if self.texts else None

    @cached_property
    def _splitting(self) -> re.Pattern[str] | None:
        marks = sorted(self._special, key=lambda token: -len(str(token)))
        found = [
            (r"\s*" if mark.lstrip else "") + re.escape(str(mark)) + (r"\s*" if mark.rstrip else "") for mark in marks
        ]
        return re.compile(f"({'|'.join(found)})") if found else None


def without_breaks(text: str) -> str:
    """A text as people wrote it, for what is said of it."""
    return text.replace(BREAK, "")


def as_text(tokenizer: Any, *texts: str, **others: Any) -> Any:
    """A tokenizer's encoding of one or two texts, for models that are no chat models: what they spell is text."""
    return tokenizer(*texts, split_special_tokens=True, **others)
