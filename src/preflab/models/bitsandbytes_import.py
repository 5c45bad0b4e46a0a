"""Imports bitsandbytes, an optional package: 4-bit bases of adapters and 8-bit optimiser states."""

from __future__ import annotations

import functools
import importlib
import importlib.util
import logging
import sys
from typing import Any

from preflab.errors import PreflabError

NAME = "bitsandbytes"
INSTALL = "pip install 'preflab[bitsandbytes]'"


def is_installed() -> bool:
    """Whether bitsandbytes can be imported."""
    return importlib.util.find_spec(NAME) is not None


def needing_bitsandbytes(stage: Any) -> list[str]:
    """The settings of a stage that need the package, with their values."""
    lora, optimiser = getattr(stage, "lora", None), getattr(stage, "optimiser", None)
    wanted = {
        "lora.base: nf4": getattr(lora, "base", "") == "nf4",
        "optimiser.states: 8bit": getattr(optimiser, "states", "") == "8bit",
    }
    return [name for name, needed in wanted.items() if needed]


def check_installed(wanted: str) -> None:
    """Check that bitsandbytes is installed, without importing it.

    Args:
        wanted: the setting that needs it, with its value.

    Raises:
        PreflabError: it is not installed.
    """
    if not is_installed():
        raise PreflabError(
            f"{wanted} needs the package {NAME}, which is not installed",
            "an installed package",
            f"{INSTALL}, or remove the setting",
        )


def import_bitsandbytes(wanted: str) -> Any:
    """The package bitsandbytes.

    Args:
        wanted: the setting that needs it, with its value.

    Raises:
        PreflabError: it is not installed.
    """
    check_installed(wanted)
    return _without_downloads()


def import_before_peft() -> None:
    """Import bitsandbytes if it is installed; peft would import it in any case, with downloads."""
    if is_installed():
        _without_downloads()


@functools.cache
def _without_downloads() -> Any:
    """Import bitsandbytes with the package `kernels` hidden.

    On CPUs with AVX-512 for bfloat16, bitsandbytes asks `kernels` at import for a kernel from the Hub. Without
    `kernels` it logs a warning and uses its own code.
    """
    missing = object()
    former: Any = sys.modules.get("kernels", missing)
    logger = logging.getLogger(f"{NAME}.backends.cpu.ops")
    level = logger.level
    sys.modules["kernels"] = None  # type: ignore[assignment]
    logger.setLevel(logging.ERROR)
    try:
        return importlib.import_module(NAME)
    finally:
        logger.setLevel(level)
        if former is missing:
            del sys.modules["kernels"]
        else:
            sys.modules["kernels"] = former
