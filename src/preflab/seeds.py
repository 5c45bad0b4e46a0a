"""Seeds derived from names: every source of randomness has its own, so results do not depend on the order of calls."""

from __future__ import annotations

import hashlib


def derive_seed(*parts: int | str) -> int:
    """A stable 63-bit seed from a parent seed and names, e.g. `derive_seed(seed, "rollout", step, row)`.

    The same parts give the same seed in every process and Python version; different parts give unrelated seeds.
    """
    text = "\x1f".join(str(part) for part in parts)
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") >> 1
