"""Long lists of numbers on a page: 16-bit integers in base64, which are short. `game-data.js` reads them."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Any

import numpy as np

STEPS = 32_767
"""A list is stored in this many steps between 0 and its largest absolute value."""


def pack_numbers(numbers: Sequence[float]) -> dict[str, Any]:
    """`most`, the largest absolute value, and `int16`, each number as round(number / most · 32,767), little-endian.

    0 and ±`most` are stored exactly, all others to most / 65,534.
    """
    most = max((abs(number) for number in numbers), default=0.0) or 1.0
    steps = np.rint(np.asarray(numbers, dtype=np.float64) / most * STEPS).astype("<i2")
    return {"most": most, "int16": base64.b64encode(steps.tobytes()).decode("ascii")}
