"""The randomness of a completion: its seed is a hash, and all its uniform numbers come from that seed."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from preflab.seeds import derive_seed


def request_seed(stage_seed: int, step_or_prompt_id: int | str, index: int) -> int:
    """The seed of one completion: 63 bits of a hash of the three arguments, equal on every machine and in any order.

    Args:
        stage_seed: the stage's seed.
        step_or_prompt_id: the prompt's id, or the step of a training loop.
        index: number of the completion within this prompt or step, from 0.
    """
    return derive_seed(stage_seed, "request", step_or_prompt_id, index)


def uniforms(seeds: Sequence[int], num_draws: int) -> torch.Tensor:
    """(B, num_draws) uniform numbers in [0, 1), float64. Row b depends on seeds[b] only.

    A larger `num_draws` extends the rows without changing their first numbers.
    """
    rows = np.empty((len(seeds), num_draws))
    for row, seed in zip(rows, seeds, strict=True):
        np.random.Generator(np.random.Philox(key=seed)).random(out=row)
    return torch.from_numpy(rows)
