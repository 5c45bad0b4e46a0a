"""Loads and calls the user's own Python: reward functions, environments."""

from __future__ import annotations

import importlib
import multiprocessing
import os
import sys
from collections.abc import Callable
from multiprocessing.pool import ThreadPool
from typing import Any, TypeVar

from preflab.errors import PreflabError, nearest

CAUGHT = (Exception, SystemExit)
"""Exceptions of the user's code that are reported: an `exit()` in it must not end the run silently."""

T = TypeVar("T")


def load_named(path: str, what: str, example: str) -> Any:
    """The callable that `path` names, from an installed package or from the current directory.

    Args:
        path: `module:name`.
        what: the noun for errors, such as `function`.
        example: a path of this kind, for errors.

    Raises:
        PreflabError: there is no such module or name, or the module cannot be imported.
    """
    module_name, colon, name = path.partition(":")
    if not (module_name and colon and name):
        raise PreflabError(
            f"{path!r} does not name {_article(what)} {what}",
            "the name of a module, a colon, and a name in it",
            f"write for example `{example}`",
        )
    module = _import(module_name, path)
    named = getattr(module, name, None)
    if not callable(named):
        known = [key for key, value in vars(module).items() if callable(value) and not key.startswith("_")]
        raise PreflabError(
            f"{path}: module {module_name} has no {what} {name!r}",
            f"near it: {near}" if (near := nearest(name, known)) else f"it has: {', '.join(sorted(known)) or 'none'}",
            "check the name after the colon",
        )
    return named


def call_within(seconds: float | None, call: Callable[[], T], *, late: PreflabError) -> T:
    """The result of the call; a call that takes longer than the limit is abandoned, and `late` is raised.

    Without a limit the call is made in this thread. Errors of the call itself are raised unchanged.
    """
    if seconds is None:
        return call()
    raised: list[BaseException] = []

    def guarded() -> Any:
        try:
            return call()
        except CAUGHT as error:  # an exit() would end the pool's thread, and nothing would be returned
            raised.append(error)

    pool = ThreadPool(1)  # its threads do not keep the program from ending
    try:
        result: T = pool.apply_async(guarded).get(seconds)
        if raised:
            raise raised[0]
        return result
    except multiprocessing.TimeoutError:
        raise late from None
    finally:
        pool.terminate()


def _article(noun: str) -> str:
    return "an" if noun[0] in "aeiou" else "a"


def _import(module_name: str, path: str) -> Any:
    here = os.getcwd()
    added = here not in sys.path
    if added:
        sys.path.insert(0, here)
    try:
        importlib.invalidate_caches()
        return importlib.import_module(module_name)
    except Exception as error:
        raise PreflabError(
            f"{path}: module {module_name!r} cannot be imported ({type(error).__name__}: {error})",
            "a module that is installed or in the current directory",
            "run preflab from the folder of the module, or install it",
        ) from error
    finally:
        if added:
            sys.path.remove(here)
