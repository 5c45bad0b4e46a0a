"""Any Python function as a reward: `module:function` of prompts, completions and the prompts' extra columns.

The names of the parameters decide how it is called: `def f(prompt, completion, topic)` once per completion,
`def f(prompts, completions, topic)` once with lists. Columns are passed to parameters of the same name; `**columns`
takes them all. The calls of an `async def` function run concurrently.
Errors of a function are raised with its name, the prompt and the completion, and never become a reward of 0.
"""

from __future__ import annotations

import asyncio
import inspect
import math
import numbers
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from multiprocessing.pool import ThreadPool
from typing import Any

import torch

from preflab.errors import PreflabError, nearest
from preflab.training.protocols import Scores, ScoringItem
from preflab.user_code import CAUGHT, call_within, load_named
from preflab.words import count

ONE_BY_ONE = ("prompt", "completion")
BATCHED = ("prompts", "completions")
SHOWN_CHARACTERS = 80
LARGEST = torch.finfo(torch.float32).max
"""Largest absolute reward: rewards are kept in float32, where larger numbers are infinite."""


@dataclass(frozen=True)
class RewardFunction:
    """A reward function with one signature and checked results: `(prompts, completions, **columns) -> list[float]`.

    Raises `PreflabError` if the function raises, or returns NaN, an infinity, a value that is not a number, or a list
    of the wrong length. None is accepted only with `allow_none` (a utility returns it for "F").
    """

    name: str
    function: Callable[..., Any]
    parameters: tuple[str, ...]
    """Prompt and completion parameters it takes, and the columns it requires."""
    optional: tuple[str, ...]
    """Columns it takes if the prompts have them: parameters with a default."""
    batched: bool
    takes_all_columns: bool
    allow_none: bool = False

    def __call__(self, prompts: Sequence[str], completions: Sequence[str], **columns: Sequence[Any]) -> list[Any]:
        """One checked value per completion; float, or None where allowed."""
        values = self.call_unchecked(prompts, completions, **columns)
        return [self._checked(value, *where) for value, *where in zip(values, prompts, completions, strict=True)]

    def call_unchecked(self, prompts: Sequence[str], completions: Sequence[str], **columns: Sequence[Any]) -> list[Any]:
        """The function's value for each completion, not checked: the class of a text, for example, is a name."""
        arguments = {**self._texts(prompts, completions), **self._chosen_columns(columns)}
        call = self._all_at_once if self.batched else self._each
        return call(arguments, prompts, completions)

    def _texts(self, prompts: Sequence[str], completions: Sequence[str]) -> dict[str, list[Any]]:
        names = BATCHED if self.batched else ONE_BY_ONE
        texts = {names[0]: list(prompts), names[1]: list(completions)}
        return {name: values for name, values in texts.items() if name in self.parameters}

    def _chosen_columns(self, columns: Mapping[str, Sequence[Any]]) -> dict[str, list[Any]]:
        if self.takes_all_columns:
            return {name: list(values) for name, values in columns.items()}
        wanted = [name for name in self.parameters if name not in ONE_BY_ONE + BATCHED]
        for name in wanted:
            if name not in columns:
                raise PreflabError(
                    f"{self.name} has a parameter {name!r}, which is not a column of the prompts",
                    f"columns of the prompts: {', '.join(sorted(columns)) or 'none'}"
                    + (f"; near it: {near}" if (near := nearest(name, list(columns))) else ""),
                    "rename the parameter, or add the column to the prompts",
                )
        return {name: list(columns[name]) for name in (*wanted, *self.optional) if name in columns}

    def _each(self, arguments: dict[str, list[Any]], prompts: Sequence[str], completions: Sequence[str]) -> list[Any]:
        values = []
        for i, (prompt, completion) in enumerate(zip(prompts, completions, strict=True)):
            try:
                values.append(self.function(**{name: column[i] for name, column in arguments.items()}))
            except CAUGHT as error:
                _close(values)
                raise self._raised(error, prompt, completion) from error
        if not any(map(inspect.isawaitable, values)):
            return values
        gathered = _gather(values)
        for value, prompt, completion in zip(gathered, prompts, completions, strict=True):
            if isinstance(value, CAUGHT):
                raise self._raised(value, prompt, completion) from value
        return gathered

    def _all_at_once(
        self, arguments: dict[str, list[Any]], prompts: Sequence[str], completions: Sequence[str]
    ) -> list[Any]:
        if not completions:
            return []
        try:
            values = self.function(**arguments)
            if inspect.isawaitable(values):
                (values,) = _gather([values])
                if isinstance(values, CAUGHT):
                    raise values
        except CAUGHT as error:
            raise self._raised(error, prompts[0], completions[0], more=len(completions) - 1) from error
        values = values.tolist() if hasattr(values, "tolist") else values
        if not isinstance(values, Sequence) or isinstance(values, str):
            raise self._wrong(f"returned {type(values).__name__} instead of a list", prompts[0], completions[0])
        if len(values) != len(completions):
            fault = f"returned {count(len(values), 'value')} for {count(len(completions), 'completion')}"
            raise self._wrong(fault, prompts[0], completions[0])
        return list(values)

    def _checked(self, value: Any, prompt: str, completion: str) -> float | None:
        if value is None and self.allow_none:
            return None
        if hasattr(value, "item") and getattr(value, "ndim", 0) == 0:
            value = value.item()
        if not isinstance(value, numbers.Real):
            raise self._wrong(f"returned {value!r}, which is not a number", prompt, completion)
        try:
            number = float(value)
        except OverflowError:
            number = math.inf
        if not abs(number) <= LARGEST:
            raise self._wrong(f"returned {number:g}, which is not finite in float32", prompt, completion)
        return number

    def _raised(self, error: BaseException, prompt: str, completion: str, more: int = 0) -> PreflabError:
        batch = f" (first of a batch, {more} more)" if more else ""
        return self._wrong(f"raised {type(error).__name__}: {error}{batch}", prompt, completion)

    def _wrong(self, fault: str, prompt: str, completion: str) -> PreflabError:
        return PreflabError(
            f"{self.name} {fault}; prompt {_shorten(prompt)}, completion {_shorten(completion)}",
            "one finite number per completion",
            "fix the function: a missing reward does not count as 0",
        )


def load_function(path: str, *, allow_none: bool = False) -> RewardFunction:
    """The function named `module:function`, from an installed package or from the current directory.

    Args:
        path: such as `my_rewards:politeness` or `package.module:function`.
        allow_none: None is a legal value (a utility's "F").

    Raises:
        PreflabError: no such module or function, a module that cannot be imported, or a signature that takes neither
            `prompt`/`completion` nor `prompts`/`completions`.
    """
    function = load_named(path, "function", "my_rewards:politeness")
    return reward_function(function, path, allow_none=allow_none)


def reward_function(function: Callable[..., Any], name: str, *, allow_none: bool = False) -> RewardFunction:
    """Wrap a callable; its signature decides how it is called."""
    parameters = inspect.signature(function).parameters.values()
    named = [p for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
    names = {p.name for p in named}
    batched, single = bool(names & set(BATCHED)), bool(names & set(ONE_BY_ONE))
    if batched == single:
        raise PreflabError(
            f"{name} takes ({', '.join(p.name for p in parameters)})",
            "parameters named prompt and completion (called one by one) or prompts and completions (called with lists)",
            "rename its parameters",
        )
    texts = set(BATCHED + ONE_BY_ONE)
    wanted = tuple(p.name for p in named if p.name in texts or p.default is p.empty)
    optional = tuple(p.name for p in named if p.name not in wanted)
    takes_all = any(p.kind is p.VAR_KEYWORD for p in parameters)
    return RewardFunction(name, function, wanted, optional, batched, takes_all, allow_none)


class FunctionScorer:
    """A `Scorer` that calls a reward function with the texts of completions and the columns of their prompts.

    Args:
        function: the reward.
        timeout_s: most seconds for scoring all items; None: no limit.
    """

    def __init__(self, function: RewardFunction, timeout_s: float | None = None) -> None:
        self.function, self.timeout_s = function, timeout_s

    def score(self, items: Sequence[ScoringItem]) -> Scores:
        """Scores (B,) float32, one term named after the function."""
        names = dict.fromkeys(name for item in items for name in item.prompt.columns)
        columns = {name: [item.prompt.columns.get(name) for item in items] for name in names}
        prompts, texts = [item.prompt.shown for item in items], [item.text for item in items]
        late = PreflabError(
            f"{self.function.name} returned nothing within {self.timeout_s or 0:g} s",
            "one number per completion in time",
            "make the function faster, or raise `timeout_s`",
        )
        values = call_within(self.timeout_s, lambda: self.function(prompts, texts, **columns), late=late)
        total = torch.tensor(values, dtype=torch.float32)
        return Scores(total, {self.function.name: total})


def _gather(values: Sequence[Any]) -> list[Any]:
    """The results of concurrent coroutines, in their order; if one raises, its exception is in its place."""

    async def gather() -> list[Any]:
        waiting = [value if inspect.isawaitable(value) else _as_awaitable(value) for value in values]
        return list(await asyncio.gather(*waiting, return_exceptions=True))

    with ThreadPool(1) as pool:  # a thread of its own: the caller may be inside an event loop, as in a notebook
        return pool.apply(lambda: asyncio.run(gather()))


async def _as_awaitable(value: Any) -> Any:
    return value


def _close(values: Sequence[Any]) -> None:
    """Close coroutines that will not be awaited."""
    for value in values:
        if inspect.iscoroutine(value):
            value.close()


def _shorten(text: str) -> str:
    return repr(text if len(text) <= SHOWN_CHARACTERS else text[: SHOWN_CHARACTERS - 1] + "…")
