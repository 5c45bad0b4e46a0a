"""Rows longer than a model takes: refused all at once, left out, or their prompts cut; always counted and named."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from preflab.errors import PreflabError
from preflab.training.batches import TokenSequence
from preflab.words import count

TooLong = Literal["refuse", "leave_out", "cut_prompt"]
SHOWN = 8
"""Rows that a line names."""


@dataclass
class LongRows:
    """What is done with rows beyond `max_tokens`, and which they were.

    Args:
        max_tokens: longest prompt + completion.
        too_long: `refuse` them, `leave_out` these rows, or `cut_prompt`: prompts lose their beginning, the first token
            (BOS) kept, so that the longest completion fits; a row whose completion alone is too long is refused.
    """

    max_tokens: int
    too_long: TooLong
    room: int = 0
    """Tokens that every row needs besides, such as those of a completion that is still to be written."""
    cut: Callable[[TokenSequence], TokenSequence] | None = None
    """How a row is cut where not only the prompt may lose its beginning."""
    found: list[tuple[str, int]] = field(default_factory=list)
    """(where the row stands, its longest length in tokens)."""
    hopeless: list[tuple[str, int]] = field(default_factory=list)
    """Those that no cut makes fit."""

    def fitted(self, sequences: Sequence[TokenSequence], where: str) -> tuple[TokenSequence, ...] | None:
        """The sequences of one row (the completions of one prompt) as they are used; None: the row is left out."""
        longest = max(len(sequence) for sequence in sequences) + self.room
        if longest <= self.max_tokens:
            return tuple(sequences)
        self.found.append((where, longest))
        if self.too_long == "leave_out":
            return None
        if self.too_long == "cut_prompt" and self.cut is not None:
            return tuple(self.cut(sequence) for sequence in sequences)
        surplus = longest - self.max_tokens
        if self.too_long == "refuse" or any(len(sequence.prompt_ids) <= surplus for sequence in sequences):
            self.hopeless.append((where, longest))
            return None
        return tuple(replace(s, prompt_ids=s.prompt_ids[:1] + s.prompt_ids[1 + surplus :]) for s in sequences)

    def check(self, num_fitting: int) -> None:
        """Refuse what does not fit, once all rows have been seen.

        Args:
            num_fitting: rows that do.

        Raises:
            PreflabError: there are such rows; the first ones are named, the others counted. Or nothing is left.
        """
        if self.found and not num_fitting and not self.hopeless:
            raise PreflabError(
                f"no row fits: {self.found[0][0]} is {count(self.found[0][1] - self.max_tokens, 'token')} too long",
                "rows that fit",
                "raise max_tokens if the model's context allows it, lower max_new_tokens where completions are "
                "written, or set too_long: cut_prompt",
            )
        if not self.hopeless:
            return
        where, length = self.hopeless[0]
        others = [place for place, _ in self.hopeless[1:]]
        more = f" (and {count(len(others), 'more row')}: {_named(others)})" if others else ""
        cut = self.too_long == "cut_prompt"
        alone = ", the completion alone too many" if cut else ""
        others_too = "" if cut else " or cut_prompt"
        if self.room:
            raise PreflabError(
                f"{where}: a prompt of {count(length - self.room, 'token')} and max_new_tokens {self.room}{more}",
                f"together at most {self.max_tokens}, the model's context",
                f"shorten the prompt or lower max_new_tokens, or set too_long: leave_out{others_too}",
            )
        raise PreflabError(
            f"{where}: prompt and completion are {count(length, 'token')}{alone}{more}",
            f"at most {count(self.max_tokens, 'token')}",
            f"shorten or remove these rows, or set too_long: leave_out{others_too}; raise max_tokens if the model's "
            "context allows it",
        )

    @property
    def said(self) -> str:
        """What was done, for a stage's summary; "" where all rows fit."""
        if not self.found:
            return ""
        done = "left out" if self.too_long == "leave_out" else "cut at the beginning"
        num = len(self.found)
        what = (
            f"{count(num, 'prompt')} without room for {count(self.room, 'token')}"
            if self.room
            else f"{count(num, 'row')} longer than {count(self.max_tokens, 'token')}"
        )
        return f"; {what} {done}: {_named([place for place, _ in self.found])}"

    @property
    def figures(self) -> dict[str, float | str]:
        """How many rows were too long; nothing where all fit."""
        return {"num_too_long": float(len(self.found))} if self.found else {}


def _named(places: Sequence[str]) -> str:
    """The first few places; their file once, where all are lines of one."""
    heads = {place.rpartition(" ")[0] for place in places}
    shown = list(places[:SHOWN])
    if len(heads) == 1 and len(places) > 1:
        shown = [shown[0], *(place.rpartition(" ")[2] for place in shown[1:])]
    return ", ".join(shown) + (", …" if len(places) > SHOWN else "")
