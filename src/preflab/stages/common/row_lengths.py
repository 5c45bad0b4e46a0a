"""Fixes length-dependent rotary frequencies of a stage's models for the stage's longest row, see `models.rotary`.

A row is a prompt with its completion. If completions are sampled, the longest row counts as the longest prompt plus
max_new_tokens, even if no completion gets that long.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sized
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from preflab.models.rotary import RowLengths

logger = logging.getLogger(__name__)


def fix_row_lengths(rows: RowLengths, sequences: Iterable[Sized], max_new_tokens: int = 0) -> dict[str, float]:
    """Fix frequencies for the longest sequence plus `max_new_tokens`; returns the figure `longest_row`, in tokens.

    Does nothing and returns {} if no model's frequencies depend on the length. Logs a warning if the length is beyond
    the limit of the scaling, since every row then gets long-range frequencies.
    """
    longest = max((len(sequence) for sequence in sequences), default=0) + max_new_tokens if rows else 0
    if not longest:
        return {}
    rows.fix(longest)
    logger.log(logging.WARNING if rows.are_long_range else logging.INFO, rows.description())
    return {"longest_row": longest}
