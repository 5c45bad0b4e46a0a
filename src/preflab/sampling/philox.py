"""The uniform numbers of `sampling.randomness`, computed on the sampler's device: a function of seed and position.

Philox 4×64 with 10 rounds (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3", section 3.3), with the
numbers of numpy's `Generator(Philox(key=seed))`, bit for bit. Position t of a seed is word t mod 4 of the block with
counter t // 4 + 1. Words are 64 bits in int64 tensors, whose sums and products wrap around as unsigned ones do.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

ROUNDS = 10
MULTIPLIERS = (0xD2E7470EE14C6C93, 0xCA5A826395121157)
WEYL = (0x9E3779B97F4A7C15, 0xBB67AE8584CAA73B)
"""Added to the two words of the key after each round."""
LOW = 0xFFFFFFFF


def uniforms_on(device: torch.device, seeds: Sequence[int], num_draws: int) -> Tensor:
    """(B, num_draws) float64 numbers in [0, 1), equal to those of `randomness.uniforms`.

    Args:
        device: where they are computed.
        seeds: one per row, each from 0 to 2⁶⁴ − 1.
        num_draws: positions 0 to num_draws − 1.
    """
    num_blocks = -(-num_draws // 4)
    key = torch.tensor([_signed(seed) for seed in seeds], device=device)[:, None].expand(-1, num_blocks)
    counter = torch.arange(1, num_blocks + 1, device=device).expand(len(seeds), -1)
    zeros = torch.zeros_like(counter)
    words = _philox((counter, zeros, zeros, zeros), (key, zeros))
    numbers = (torch.stack(words, -1).flatten(1)[:, :num_draws] >> 11) & (2**53 - 1)
    return numbers.double() * 2.0**-53


def _philox(words: tuple[Tensor, ...], key: tuple[Tensor, Tensor]) -> tuple[Tensor, ...]:
    """The four words of each counter under its key."""
    for number in range(ROUNDS):
        if number:
            key = (key[0] + _signed(WEYL[0]), key[1] + _signed(WEYL[1]))
        high0, low0 = _product(words[0], MULTIPLIERS[0])
        high1, low1 = _product(words[2], MULTIPLIERS[1])
        words = (high1 ^ words[1] ^ key[0], low1, high0 ^ words[3] ^ key[1], low0)
    return words


def _product(x: Tensor, factor: int) -> tuple[Tensor, Tensor]:
    """The upper and the lower 64 bits of x · factor, both unsigned, from products of 32-bit halves."""
    upper, lower = _high(x), x & LOW
    f_upper, f_lower = factor >> 32, factor & LOW
    middle = upper * f_lower + _high(lower * f_lower)
    other = lower * f_upper + (middle & LOW)
    return upper * f_upper + _high(middle) + _high(other), x * _signed(factor)


def _high(x: Tensor) -> Tensor:
    """The upper 32 bits of an unsigned word."""
    return (x >> 32) & LOW


def _signed(word: int) -> int:
    """The int64 with the bits of an unsigned 64-bit word."""
    return word - 2**64 if word >= 2**63 else word
