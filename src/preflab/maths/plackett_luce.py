"""The Plackett–Luce likelihood of whole rankings; a tie is the sum over the orders it leaves open.

The best completion is chosen from all, the next from the remaining ones, and so on, each with probability ∝ exp(score).
Scores are log-strengths, defined up to one constant per ranking, as in `maths.bradley_terry`. For two completions the
model is Bradley–Terry.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

MAX_TIED = 12
"""Most completions that may share a rank: a tie of n costs 2ⁿ steps."""


def plackett_luce_log_likelihood(scores: Tensor, ranks: Sequence[int | None]) -> Tensor:
    """log P(the weak order `ranks`), the sum over all strict orders compatible with it.

    P(y_1 ≻ y_2 ≻ … ≻ y_K) = Π_k exp(s_k) / Σ_{j ≥ k} exp(s_j)

    Args:
        scores: (K,).
        ranks: rank per completion, smaller is better, equal = tie, None = not ranked (left out).

    Returns:
        0-d; 0 if there is nothing to choose (everything tied, or fewer than two ranked).

    Raises:
        ValueError: the numbers of ranks and scores differ, or more than 12 completions share a rank.

    Source: Plackett 1975; Luce 1959; for reward models Zhu et al. 2023 (arXiv 2301.11270, K-wise comparisons). Ties:
    the marginal probability of a partially observed strict order.
    """
    if len(scores) != len(ranks):
        raise ValueError(f"{len(ranks)} ranks for {len(scores)} scores")
    levels = sorted({rank for rank in ranks if rank is not None})
    blocks = [[i for i, rank in enumerate(ranks) if rank == level] for level in levels]
    total = scores.sum() * 0.0
    for number, block in enumerate(blocks[:-1]):
        later = [i for other in blocks[number + 1 :] for i in other]
        total = total + _block_first(scores[block], scores[later].logsumexp(0))
    return total


def _block_first(block: Tensor, log_later: Tensor) -> Tensor:
    """log P(the n completions of a tie come before all later ones, in any order among themselves).

    Dynamic programming over subsets S that were already chosen: f(∅) = 1 and
    f(S) = Σ_{i ∈ S} f(S \\ {i}) · exp(s_i) / Σ exp(s_j) over all j that were not in S \\ {i}, later ones included.
    """
    num = len(block)
    if num > MAX_TIED:
        raise ValueError(f"{num} completions share a rank; at most {MAX_TIED} can be summed over")
    paths: list[Tensor] = [block.new_zeros(())]
    for chosen in range(1, 2**num):
        ways = []
        for i in range(num):
            if chosen >> i & 1:
                before = chosen & ~(1 << i)
                left = [block[j] for j in range(num) if not before >> j & 1]
                ways.append(paths[before] + block[i] - torch.stack([*left, log_later]).logsumexp(0))
        paths.append(torch.stack(ways).logsumexp(0))
    return paths[-1]
