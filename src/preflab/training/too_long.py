"""Handles rows longer than a model accepts: refuse all, leave them out, or cut prompts; they are counted and named."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from preflab.errors import PreflabError
from preflab.training.batches import TokenSequence
from preflab.training.token_limits import NO_LIMIT, TokenLimits
from preflab.words import count

TooLong = Literal["refuse", "leave_out", "cut_prompt"]
SHOWN = 8
"""Number of rows that a line names."""


@dataclass
class LongRows:
    """Handles the rows longer than `max_tokens`, and records them.

    Args:
        max_tokens: maximum number of tokens of prompt and completion, or the limits of a model that limits each.
        too_long: `refuse` such rows, `leave_out` them, or `cut_prompt`. Cutting removes tokens at the beginning of the
            prompt, after the first token (BOS), so that the longest completion fits. A row whose completion alone is
            too long is refused.
    """

    max_tokens: int | TokenLimits
    too_long: TooLong
    room: int = 0
    """Further tokens that every row needs, such as those of a completion that is yet to be sampled."""
    cut: Callable[[TokenSequence], TokenSequence] | None = None
    """Cuts a sequence in place of the rule of `cut_prompt`, for rows in which more than the prompt may be cut."""
    found: list[tuple[str, int]] = field(default_factory=list)
    """The rows that are too long: (file and line, tokens of the longest sequence)."""
    hopeless: list[tuple[str, int]] = field(default_factory=list)
    """The rows that are refused, in the same form."""
    _parts: dict[str, str] = field(default_factory=dict)
    """File and line → the tokens of prompt and completion each, for models that limit each."""

    @property
    def limits(self) -> TokenLimits:
        """`max_tokens` as limits."""
        most = self.max_tokens
        return most if isinstance(most, TokenLimits) else TokenLimits(both=most)

    @property
    def _most(self) -> str:
        return self.limits.describe()

    def fitted(self, sequences: Sequence[TokenSequence], where: str) -> tuple[TokenSequence, ...] | None:
        """The sequences of one row (the completions of one prompt), cut if necessary; None if the row is not used."""
        limits, longest = self.limits, max(len(sequence) for sequence in sequences) + self.room
        if all(limits.fits(sequence, self.room) for sequence in sequences):
            return tuple(sequences)
        self.found.append((where, longest))
        if min(limits.prompt, limits.completion) < NO_LIMIT:
            prompt = max(len(sequence.prompt_ids) for sequence in sequences)
            completion = max(len(sequence.completion_ids) for sequence in sequences)
            self._parts[where] = f" ({prompt} + {completion})"
        if self.too_long == "leave_out":
            return None
        if self.too_long == "cut_prompt" and self.cut is not None:
            return tuple(self.cut(sequence) for sequence in sequences)
        surplus = max(limits.surplus(sequence, self.room) for sequence in sequences)
        uncuttable = [
            sequence
            for sequence in sequences
            if len(sequence.prompt_ids) <= surplus or not limits.writes(sequence, self.room)
        ]
        if self.too_long == "refuse" or uncuttable:
            self.hopeless.append((where, longest))
            return None
        return tuple(replace(s, prompt_ids=s.prompt_ids[:1] + s.prompt_ids[1 + surplus :]) for s in sequences)

    def check(self, num_fitting: int) -> None:
        """Call after the last row: raise one error about all refused rows.

        Args:
            num_fitting: number of rows that fit, after cutting.

        Raises:
            PreflabError: rows are refused (the first ones are named, the others counted), or all rows were left out.
        """
        if self.found and not num_fitting and not self.hopeless:
            raise PreflabError(
                f"no row fits: {self.found[0][0]} has {count(self.found[0][1], 'token')}, at most {self._most} fit",
                "at least one row that fits",
                "raise max_tokens if the model's context allows it, lower max_new_tokens of the stage that "
                "writes the completions, or set too_long: cut_prompt",
            )
        if not self.hopeless:
            return
        where, length = self.hopeless[0]
        others = [place for place, _ in self.hopeless[1:]]
        more = f" (and {count(len(others), 'more row')}: {_named(others)})" if others else ""
        cut = self.too_long == "cut_prompt"
        alone = ", and the completion alone is too long" if cut else ""
        others_too = "" if cut else " or cut_prompt"
        if self.room:
            raise PreflabError(
                f"{where}: a prompt of {count(length - self.room, 'token')} and max_new_tokens {self.room}{more}",
                f"{self.limits.with_room()}, the model's context",
                f"shorten the prompt or lower max_new_tokens, or set too_long: leave_out{others_too}",
            )
        raise PreflabError(
            f"{where}: prompt and completion are {count(length, 'token')}{self._parts.get(where, '')}{alone}{more}",
            f"at most {self._most}",
            f"shorten or remove these rows, or set too_long: leave_out{others_too}; raise max_tokens if the model's "
            "context allows it",
        )

    @property
    def said(self) -> str:
        """A sentence about the rows left out or cut, for a stage's summary; "" if all rows fit."""
        if not self.found:
            return ""
        done = "left out" if self.too_long == "leave_out" else "cut at the beginning"
        num = len(self.found)
        what = (
            f"{count(num, 'prompt')} without room for {count(self.room, 'token')}"
            if self.room
            else f"{count(num, 'row')} longer than {self._most}"
        )
        return f"; {what} {done}: {_named([place for place, _ in self.found])}"

    @property
    def figures(self) -> dict[str, float | str]:
        """The number of rows that were too long; empty if all fit."""
        return {"num_too_long": float(len(self.found))} if self.found else {}


def _named(places: Sequence[str]) -> str:
    """The first `SHOWN` places, joined; the file is named only once if all are lines of the same file."""
    heads = {place.rpartition(" ")[0] for place in places}
    shown = list(places[:SHOWN])
    if len(heads) == 1 and len(places) > 1:
        shown = [shown[0], *(place.rpartition(" ")[2] for place in shown[1:])]
    return ", ".join(shown) + (", …" if len(places) > SHOWN else "")
