"""Seeds derived from names: every source of randomness has its own, so results do not depend on the order of calls."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable

SEED = re.compile(r"(?P<stage>.+)/seed-(?P<seed>\d+)")
"""Name of a stage that a recipe repeats for several training seeds."""


def name_with_seed(stage: str, seed: int) -> str:
    """The name of a repeated stage: `ppo/seed-1`."""
    return f"{stage}/seed-{seed}"


def split_seed(name: str) -> tuple[str, int | None]:
    """The stage and the seed in a name: `ppo/seed-1` → ppo and 1; `ppo` → ppo and None."""
    match = SEED.fullmatch(name)
    return (match["stage"], int(match["seed"])) if match else (name, None)


def stages_of(names: Iterable[str]) -> dict[str, list[str]]:
    """Stage → its names among these: one for each training seed, or the stage's own."""
    stages: dict[str, list[str]] = {}
    for name in names:
        stages.setdefault(split_seed(name)[0], []).append(name)
    return stages


def derive_seed(*parts: int | str) -> int:
    """A stable 63-bit seed from a parent seed and names, e.g. `derive_seed(seed, "rollout", step, row)`.

    The same parts give the same seed in every process and Python version; different parts give unrelated seeds.
    """
    text = "\x1f".join(str(part) for part in parts)
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") >> 1
