"""Where a completion's randomness comes from: a seed by hash, and all its uniforms from that seed."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from preflab.seeds import derive_seed


def request_seed(stage_seed: int, step_or_prompt_id: int | str, index: int) -> int:
    """The seed of one completion: 63 bits of a hash over the three, the same on every machine and in every order.

    Args:
        stage_seed: the stage's seed.
        step_or_prompt_id: a prompt's id, or the step of a loop.
        index: which of the completions of this prompt or step, from 0.
    """
    return derive_seed(stage_seed, "request", step_or_prompt_id, index)


def uniforms(seeds: Sequence[int], num_draws: int) -> torch.Tensor:
    """(B, num_draws) float64 in [0, 1): row b comes from seeds[b] alone, and a longer row starts like a shorter one."""
    rows = np.empty((len(seeds), num_draws))
    for row, seed in zip(rows, seeds, strict=True):
        np.random.Generator(np.random.Philox(key=seed)).random(out=row)
    return torch.from_numpy(rows)
