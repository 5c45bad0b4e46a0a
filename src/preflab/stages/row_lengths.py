"""The longest row of a stage, told to its models: rotary frequencies that depend on the length are fixed for it.

A row is a prompt with its completion. Where completions are sampled, the longest is that of the longest prompt with
max_new_tokens more, whether any is that long or not: see `models.rotary`.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sized
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from preflab.models.rotary import RowLengths

logger = logging.getLogger(__name__)


def fix_row_lengths(rows: RowLengths, sequences: Iterable[Sized], max_new_tokens: int = 0) -> dict[str, float]:
    """Fix frequencies for the longest of some sequences and `max_new_tokens` more; the figure `longest_row`.

    Nothing is done, and no figure returned, where a model's frequencies do not depend on the length. Long-range
    frequencies, which change every row, are said in a warning.
    """
    longest = max((len(sequence) for sequence in sequences), default=0) + max_new_tokens if rows else 0
    if not longest:
        return {}
    rows.fix(longest)
    logger.log(logging.WARNING if rows.are_long_range else logging.INFO, rows.description())
    return {"longest_row": longest}
