"""Seeds by name: every source of randomness gets a seed from what it is for, so that nothing depends on order."""

from __future__ import annotations

import hashlib


def derive_seed(*parts: int | str) -> int:
    """A stable 63-bit seed from a parent seed and names, e.g. `derive_seed(seed, "rollout", step, row)`.

    The same parts give the same seed in every process and Python version; other parts give an unrelated one.
    """
    text = "\x1f".join(str(part) for part in parts)
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") >> 1
