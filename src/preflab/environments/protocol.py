"""The contract of an environment: it gives the policy a first turn, then answers each of its turns.

    class Guess:                                                  # one object per episode, made without arguments
        def reset(self, prompt, seed):                            # what the policy reads first
            self.secret = seed % 10
            return "Guess a number from 0 to 9."
        def step(self, completion):                               # the answer to the policy's turn
            right = completion.strip() == str(self.secret)
            return Reply(None if right else "No.", reward=float(right), end=right)

An environment is the user's Python, in this process. All of its randomness comes from `seed`: the episodes of a GRPO
group get the same prompt and the same seed, so that they differ only in what the policy wrote.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from preflab.messages import Message
from preflab.records import Prompt


@dataclass(frozen=True)
class Reply:
    """An environment's answer to a turn of the policy."""

    turn: str | None = None
    """The other side's next turn. None only at the end; a last turn is shown to people, the policy does not read it."""
    reward: float = 0.0
    """Reward of the policy's turn."""
    end: bool = False
    """True: the episode is over."""
    columns: Mapping[str, float] = field(default_factory=dict)
    """Further numbers for the log, the same names in every reply; of an episode the last reply's are logged."""


class Environment(Protocol):
    """One episode. A class may also have `prompts() -> list[Prompt | str]`, used if the recipe names no prompts."""

    def reset(self, prompt: Prompt, seed: int) -> str | Sequence[Message] | None:
        """The policy's first turn to read: the user's turn as text, whole turns, or None for the prompt itself.

        Args:
            prompt: of the stage; a text that is returned takes the place of all its turns but the system's.
            seed: a whole number below 2⁶³.
        """
        ...

    def step(self, completion: str) -> Reply:
        """The answer to a turn of the policy; `completion` has its thinking too, where the model thinks."""
        ...
