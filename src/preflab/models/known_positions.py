"""Tells transformers that rows hold one sequence each, which it would otherwise read from the device in every pass.

Without a mask, transformers looks for jumps in the position ids, to keep sequences apart that are packed into one row.
The host waits for the device to answer. Rows that preflab passes without positions have none: positions count up.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

FUNCTION = "find_packed_sequence_indices"
"""Function of `transformers.masking_utils`; versions without it do not look for jumps."""

_known: ContextVar[bool] = ContextVar("known_positions", default=False)


@contextmanager
def one_sequence_per_row(inputs: dict[str, Any]) -> Iterator[None]:
    """Inside, position ids are not searched if the inputs of a forward pass hold no positions of their own.

    Nor are they if the inputs say where sequences begin, because then the attention keeps them apart.
    """
    _install()
    token = _known.set("position_ids" not in inputs or "cu_seq_lens_q" in inputs)
    try:
        yield
    finally:
        _known.reset(token)


@functools.cache
def _install() -> None:
    """Replace the function once. The answer depends on the context, because other threads may run other passes."""
    from transformers import masking_utils

    original = getattr(masking_utils, FUNCTION, None)
    if original is None:
        return

    @functools.wraps(original)
    def unless_known(*args: Any, **kwargs: Any) -> Any:
        return None if _known.get() else original(*args, **kwargs)

    setattr(masking_utils, FUNCTION, unless_known)
