"""Token limits of a model: for prompt and completion together, or for each of them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from preflab.words import count

if TYPE_CHECKING:
    from preflab.training.batches import TokenSequence

NO_LIMIT = 2**31
"""Means no limit: more tokens than any row has."""


@dataclass(frozen=True)
class TokenLimits:
    """A decoder limits prompt and completion together, an encoder–decoder each of them."""

    both: int = NO_LIMIT
    """Most tokens of prompt and completion together."""
    prompt: int = NO_LIMIT
    """Most tokens that the encoder reads."""
    completion: int = NO_LIMIT
    """Most tokens that the decoder writes."""

    def at_most(self, both: int | None) -> TokenLimits:
        """The same limits, with prompt and completion together at most `both`."""
        return self if both is None else replace(self, both=min(self.both, both))

    def surplus(self, sequence: TokenSequence, room: int = 0) -> int:
        """Tokens to cut from the prompt so that the sequence and `room` further tokens fit; 0 or less if they do."""
        return max(len(sequence) + room - self.both, len(sequence.prompt_ids) - self.prompt)

    def writes(self, sequence: TokenSequence, room: int = 0) -> bool:
        """Whether the completion and `room` further tokens fit beside a prompt of one token."""
        return len(sequence.completion_ids) + room <= min(self.completion, self.both - 1)

    def fits(self, sequence: TokenSequence, room: int = 0) -> bool:
        """Whether prompt, completion and `room` further tokens fit."""
        return self.surplus(sequence, room) <= 0 and len(sequence.completion_ids) + room <= self.completion

    def room(self, num_prompt_tokens: int) -> int:
        """The most tokens that can be written after a prompt of this length; 0 or less if there is no room."""
        return 0 if num_prompt_tokens > self.prompt else min(self.both - num_prompt_tokens, self.completion)

    def with_room(self) -> str:
        """The limits of prompt and new tokens as text, for an error about `max_new_tokens`."""
        apart = min(self.prompt, self.completion) < NO_LIMIT
        return f"at most {self.describe()}" if apart else f"together at most {self.both}"

    def describe(self) -> str:
        """The limits as text to follow "at most"."""
        apart = {"in the prompt": self.prompt, "in the completion": self.completion}
        parts = [f"{count(num, 'token')} {where}" for where, num in apart.items() if num < NO_LIMIT]
        together = [f"{count(self.both, 'token')} together"] if self.both < NO_LIMIT and parts else []
        return " and ".join(parts + together) or count(self.both, "token")
