"""Limit the time of chat templates and the size of their results: they come with models and are programs.

transformers compiles a template in a sandbox that blocks files and Python, but not endless loops. Here the compiled
program checks the clock in each of its blocks, and operations that make texts, lists and numbers larger are checked
before they run. A conversation takes about a millisecond, so no real template comes near the limits.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import lru_cache, wraps
from typing import Any

from jinja2 import Template as Compiled
from jinja2 import nodes as ast
from jinja2.compiler import CodeGenerator, CompilerExit
from jinja2.runtime import markup_join, str_join
from jinja2.sandbox import ImmutableSandboxedEnvironment

from preflab.errors import PreflabError

SECONDS = 5.0
"""Processor time allowed for one conversation."""
LARGEST = 32 * 2**20
"""Most characters of a text, and most entries of a list."""
MOST = 1_000_000
"""The largest number that a template may pass to a function: a width, a count, an indent."""
BITS = 4096
"""Most bits of a whole number that a template may compute."""

HOLDERS = ("range", "namespace", "dict")
"""Functions that may get any number: they only store it, or have their own limit."""
WIDTHS = re.compile(r"%[-+ #0]*[\d.]*(\*|\d{7})|\{[^{}]*\d{7}")
"""Formats with a width of millions, or with a computed width."""

_STATE = threading.local()


class EndlessTemplate(PreflabError):
    """A chat template exceeded a limit."""

    def __init__(self, found: str) -> None:
        super().__init__(
            f"the chat template {found}",
            f"a template that renders a conversation within {SECONDS:g} seconds and {LARGEST:,} characters",
            "correct chat_template.jinja in the model's folder; the model's page may have a newer one",
        )


@contextmanager
def limited() -> Iterator[None]:
    """Apply the time limit to templates that this thread renders within the block; the clock starts now."""
    install()
    _STATE.until, _STATE.began = time.monotonic() + SECONDS, time.thread_time()
    try:
        yield
    finally:
        _STATE.until = None


def install() -> None:
    """Make transformers compile chat templates with limits; the time limit applies only within `limited`."""
    from transformers.utils import chat_template_utils

    compiled = chat_template_utils._compile_jinja_template
    if getattr(compiled, "has_limits", False):
        return

    @lru_cache
    def with_limits(source: str) -> Compiled:
        return LimitedEnvironment.like(compiled("").environment).from_string(source)

    with_limits.has_limits = True  # type: ignore[attr-defined]
    chat_template_utils._compile_jinja_template = with_limits


class _Generator(CodeGenerator):
    """Generates the template's program with a clock check in each block and each iteration of a filtered loop."""

    def blockvisit(self, nodes: Iterable[ast.Node], frame: Any) -> None:
        try:
            self.writeline("environment.tick()")
            for node in nodes:
                self.visit(node, frame)
        except CompilerExit:
            pass

    def visit_For(self, node: ast.For, frame: Any) -> None:
        if node.test is not None:
            tick = ast.Call(ast.EnvironmentAttribute("tick"), [], [], None, None)
            node.test = ast.And(tick, node.test).set_lineno(node.lineno).set_environment(self.environment)
        super().visit_For(node, frame)

    def visit_Concat(self, node: ast.Concat, frame: Any) -> None:
        self.write("environment.joined(context, (")
        for each in node.nodes:
            self.visit(each, frame)
            self.write(", ")
        self.write("))")


class LimitedEnvironment(ImmutableSandboxedEnvironment):
    """The sandbox of transformers with limits added."""

    code_generator_class = _Generator
    intercepted_binops = frozenset(("+", "*", "**", "%"))
    holders: list[Any]

    @classmethod
    def like(cls, other: Any) -> LimitedEnvironment:
        """A limited environment with the filters, functions and extensions of another environment."""
        made: LimitedEnvironment = object.__new__(cls)
        made.__dict__.update(other.__dict__)
        made.filters = {name: _check_filter(each) for name, each in other.filters.items()}
        made.holders = [other.globals[name] for name in HOLDERS if name in other.globals]
        made.globals = {name: each for name, each in other.globals.items() if name != "lipsum"}
        return made

    def tick(self) -> bool:
        """Check the clock; only this thread's processor time counts. Returns True, for use in expressions."""
        until = getattr(_STATE, "until", None)
        if until is not None and time.monotonic() > until:
            used = time.thread_time() - _STATE.began
            if used > SECONDS:
                raise EndlessTemplate(f"does not end: it was stopped after {used:.0f} seconds")
            _STATE.until = time.monotonic() + SECONDS - used
        return True

    def joined(self, context: Any, parts: tuple[Any, ...]) -> str:
        """Join texts for the operator `~`, with a check of the size."""
        _check_size(sum(len(part) for part in parts if isinstance(part, str)))
        return (markup_join if context.eval_ctx.autoescape else str_join)(parts)

    def call(__self, __context: Any, __obj: Any, *args: Any, **named: Any) -> Any:
        """Call a function for the template, with checks of arguments and result."""
        if __obj not in __self.holders:
            method = getattr(__obj, "__wrapped__", __obj)
            _check_arguments(getattr(method, "__self__", None), getattr(method, "__name__", ""), args, named)
        return _sized(super().call(__context, __obj, *args, **named))

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        """Evaluate `+`, `*`, `**` or `%` after a check of the result's size."""
        self.tick()
        GROWTH[operator](left, right)
        return super().call_binop(context, operator, left, right)


def _check_filter(function: Callable[..., Any]) -> Callable[..., Any]:
    """The filter with checks of its arguments and its result."""
    name = getattr(function, "__name__", "").removeprefix("do_")

    @wraps(function)
    def checked(*args: Any, **named: Any) -> Any:
        texts = [each for each in args if isinstance(each, str | list | tuple)]
        _check_arguments(texts[0] if texts else None, name, args[1:], named)
        return _sized(function(*args, **named))

    return checked


def _check_arguments(of: Any, name: str, args: tuple[Any, ...], named: dict[str, Any]) -> None:
    """Refuse arguments with which the function or method `name` (of the value `of`) would make something too large."""
    arguments = [*args, *named.values()]
    if any(isinstance(each, int) and abs(each) > MOST for each in arguments):
        raise EndlessTemplate(f"hands a number beyond {MOST:,} to {name or 'a function'}")
    texts = [len(each) for each in arguments if isinstance(each, str)]
    if name == "replace" and isinstance(of, str) and texts:
        _check_size(len(of) + (len(of) + 1) * max(texts))
    elif name == "join":
        lists = [each for each in (of, *arguments) if isinstance(each, list | tuple)]
        between = max([*texts, len(of) if isinstance(of, str) else 0])
        parts = [part for each in lists for part in each]
        _check_size(between * len(parts) + sum(len(part) for part in parts if isinstance(part, str)))
    elif name in ("format", "format_map") and isinstance(of, str):
        _check_widths(of)


def _check_widths(text: str) -> None:
    if WIDTHS.search(text):
        raise EndlessTemplate("formats a text with a width of millions, or with one that it computes")


def _check_size(size: int) -> None:
    if size > LARGEST:
        raise EndlessTemplate(f"makes a text or list of {size:,}")


def _sized(value: Any) -> Any:
    if isinstance(value, str | list | tuple | dict):
        _check_size(len(value))
    return value


def _sum_grows(left: Any, right: Any) -> None:
    if isinstance(left, str | list | tuple) and isinstance(right, str | list | tuple):
        _check_size(len(left) + len(right))


def _product_grows(left: Any, right: Any) -> None:
    for one, other in ((left, right), (right, left)):
        if isinstance(one, str | list | tuple) and isinstance(other, int):
            _check_size(len(one) * max(0, other))
    if isinstance(left, int) and isinstance(right, int):
        _check_bits(left.bit_length() + right.bit_length())


def _power_grows(left: Any, right: Any) -> None:
    if isinstance(left, int) and isinstance(right, int):
        _check_bits(left.bit_length() * abs(right))


def _format_grows(left: Any, right: Any) -> None:
    if isinstance(left, str):
        _check_widths(left)


def _check_bits(bits: int) -> None:
    if bits > BITS:
        raise EndlessTemplate(f"computes a number of {bits:,} bits")


GROWTH = {"+": _sum_grows, "*": _product_grows, "**": _power_grows, "%": _format_grows}
