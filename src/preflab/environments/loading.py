"""Finds the environment that a recipe names, and calls it: its errors name the episode and the turn."""

from __future__ import annotations

import inspect
import math
import numbers
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from preflab.environments.protocol import Environment, Reply
from preflab.errors import PreflabError
from preflab.messages import Message
from preflab.records import Prompt
from preflab.user_code import CAUGHT, call_within, load_named

T = TypeVar("T")

LARGEST = float.fromhex("0x1.fffffep+127")
"""Largest absolute reward: rewards are kept in float32, where larger numbers are infinite."""

NUM_TURNS = "num_turns"
"""The column that every episode has: turns of the policy."""

PARAMETERS = {"reset": ("prompt", "seed"), "step": ("completion",)}
"""Method of an environment → its parameters besides `self`."""


@dataclass(frozen=True)
class EnvironmentSource:
    """A class of environments and its name in errors."""

    name: str
    make: Callable[[], Environment]
    timeout_s: float | None = None
    """Most seconds of one call; None: no limit."""

    @classmethod
    def load(cls, path: str, timeout_s: float | None = None) -> EnvironmentSource:
        """The environment named `module:Class`.

        Raises:
            PreflabError: there is no such class, or it lacks `reset` or `step` with their parameters.
        """
        made = load_named(path, "environment", "my_game:Guess")
        for method, names in PARAMETERS.items():
            function = getattr(made, method, None)
            taken = list(inspect.signature(function).parameters)[1:] if callable(function) else None
            if taken is None or len(taken) != len(names):
                raise PreflabError(
                    f"{path}: {'no method' if taken is None else 'a method'} `{method}`"
                    + ("" if taken is None else f"({', '.join(taken)})"),
                    f"`{method}({', '.join(names)})`",
                    "see preflab.environments.protocol for the two methods of an environment",
                )
        return cls(path, made, timeout_s)

    def prompts(self) -> list[Prompt]:
        """The prompts that the class itself supplies, texts made into prompts.

        Raises:
            PreflabError: it has none.
        """
        method = getattr(self.make, "prompts", None)
        if method is None:
            raise PreflabError(
                f"{self.name} has no `prompts()`, and the stage names no prompts",
                "one of the two: every episode starts from a prompt",
                "set `prompts`, or write a static method `prompts()` that returns a list of texts or prompts",
            )
        returned: Any = self.call("prompts()", method)
        rows = [] if isinstance(returned, str) or not isinstance(returned, Iterable) else list(returned)
        prompts = [Prompt.make(text=one) if isinstance(one, str) else one for one in rows]
        if not prompts or not all(isinstance(one, Prompt) for one in prompts):
            raise PreflabError(
                f"{self.name}: prompts() returned {returned!r:.80}", "a list of texts or prompts", "correct `prompts`"
            )
        return prompts

    def start(self, where: str) -> Environment:
        """A new episode's environment; `where` names the episode in errors."""
        return self.call(f"{where}: {self.name.rpartition(':')[2]}()", self.make)

    def reset(self, environment: Environment, prompt: Prompt, seed: int, where: str) -> str | Sequence[Message] | None:
        """The first turn, checked."""
        first = self.call(f"{where}: reset", lambda: environment.reset(prompt, seed))
        turns = first is not None and not isinstance(first, str)
        if turns and not (isinstance(first, Sequence) and first and all(isinstance(turn, Message) for turn in first)):
            raise self._wrong(f"{where}: reset returned {first!r:.80}", "a text, a list of turns (Message), or None")
        return first

    def step(self, environment: Environment, completion: str, where: str) -> Reply:
        """The reply to a turn of the policy, checked, with floats as its numbers."""
        reply = self.call(f"{where}: step", lambda: environment.step(completion))
        if not isinstance(reply, Reply):
            raise self._wrong(f"{where}: step returned {reply!r:.80}", "a preflab.environments.protocol.Reply")
        columns: Any = reply.columns
        if not isinstance(columns, Mapping) or not all(isinstance(name, str) for name in columns):
            raise self._wrong(f"{where}: columns is {columns!r:.80}", "numbers by name, such as {'hints': 2}")
        if NUM_TURNS in columns:
            raise self._wrong(f"{where}: a column named {NUM_TURNS}", "another name: preflab counts the turns itself")
        checked = Reply(
            reward=self._number(f"{where}: reward", reply.reward),
            end=self._flag(f"{where}: end", reply.end),
            columns={name: self._number(f"{where}: column {name}", value) for name, value in columns.items()},
        )
        if reply.turn is None and not reply.end:
            raise self._wrong(f"{where}: step returned neither a turn nor the end", "a next turn, or end=True")
        turn: Any = reply.turn
        if turn is not None and not isinstance(turn, str):
            raise self._wrong(f"{where}: the next turn is {reply.turn!r:.80}", "a text")
        return replace(checked, turn=turn)

    def call(self, what: str, call: Callable[[], T]) -> T:
        """The result of a call of the user's code.

        Raises:
            PreflabError: the call raised, or took longer than the limit; the message begins with `what`.
        """
        late = self._wrong(f"{what} returned nothing within {self.timeout_s or 0:g} s", "a result in time")
        try:
            return call_within(self.timeout_s, call, late=late)
        except PreflabError as error:
            if error is late:
                raise
            raise PreflabError(f"{self.name}, {what}: {error.found}", error.expected, error.do) from error
        except CAUGHT as error:
            raise self._wrong(f"{what} raised {type(error).__name__}: {error}", "a result") from error

    def _flag(self, what: str, value: Any) -> bool:
        """The value as True or False; a text or None is refused, since Python would take it for one of them."""
        plain = _plain(value)
        if not isinstance(plain, numbers.Real) or plain not in (0, 1):
            raise self._wrong(f"{what} is {value!r:.80}", "True or False")
        return bool(plain)

    def _number(self, what: str, value: Any) -> float:
        """The value as a float that float32 can hold."""
        plain = _plain(value)
        try:
            number = float(plain) if isinstance(plain, numbers.Real) else math.nan
        except OverflowError:
            number = math.inf
        if not abs(number) <= LARGEST:
            raise self._wrong(f"{what} is {value!r}", "a finite number")
        return number

    def _wrong(self, found: str, expected: str) -> PreflabError:
        return PreflabError(
            f"{self.name}, {found}", expected, "correct the environment: a failed episode never counts as a reward of 0"
        )


def _plain(value: Any) -> Any:
    """The Python number of an array or tensor without dimensions; any other value as it is."""
    return value.item() if hasattr(value, "item") and getattr(value, "ndim", 0) == 0 else value


def check_columns(columns: Sequence[Mapping[str, Any]], name: str) -> None:
    """Check that all episodes have columns of the same names.

    Raises:
        PreflabError: they differ.
    """
    names = {tuple(sorted(row)) for row in columns}
    if len(names) > 1:
        first, second, *_ = sorted(names)
        raise PreflabError(
            f"{name}: one episode ended with the columns ({', '.join(first)}), another with ({', '.join(second)})",
            "the same names in every reply",
            "give every column in each Reply, as 0 where it has no value",
        )
