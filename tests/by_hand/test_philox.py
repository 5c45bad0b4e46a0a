"""The device's uniform numbers are numpy's, and the generator's published ones."""

from __future__ import annotations

import pytest
import torch

from preflab.sampling.philox import _philox, _product, uniforms_on
from preflab.sampling.randomness import uniforms

CPU = torch.device("cpu")


def unsigned(words: tuple[torch.Tensor, ...]) -> list[int]:
    return [int(word) % 2**64 for word in words]


@pytest.mark.parametrize(
    ("counter", "key", "expected"),
    [
        (0, 0, (0x16554D9ECA36314C, 0xDB20FE9D672D0FDC, 0xD7E772CEE186176B, 0x7E68B68AEC7BA23B)),
        (-1, -1, (0x87B092C3013FE90B, 0x438C3C67BE8D0224, 0x9CC7D7C69CD777B6, 0xA09CAEBF594F0BA0)),
    ],
)
def test_known_answers(counter: int, key: int, expected: tuple[int, ...]) -> None:
    """The vectors `philox4x64 10` of Random123's kat_vectors: all bits 0, and all bits 1."""
    word, half = torch.tensor([counter]), torch.tensor([key])
    assert unsigned(_philox((word, word, word, word), (half, half))) == list(expected)


@pytest.mark.parametrize("x", [0, 1, 2**32 - 1, 2**32, 2**63 - 1, 2**63, 2**64 - 1, 0x123456789ABCDEF0])
@pytest.mark.parametrize("factor", [1, 2**32 + 1, 2**64 - 1])
def test_products_have_128_bits(x: int, factor: int) -> None:
    signed = x - 2**64 if x >= 2**63 else x
    high, low = unsigned(_product(torch.tensor([signed]), factor))
    assert (high << 64) + low == x * factor


@pytest.mark.parametrize("num_draws", [1, 3, 4, 5, 130])
def test_numbers_are_those_of_the_host(num_draws: int) -> None:
    seeds = [0, 1, 12345678901234567, 2**63 - 1, 2**63, 2**64 - 1]
    assert torch.equal(uniforms_on(CPU, seeds, num_draws), uniforms(seeds, num_draws))


def test_a_position_does_not_depend_on_the_batch() -> None:
    alone = uniforms_on(CPU, [7], 9)
    assert torch.equal(uniforms_on(CPU, [3, 7, 9], 100)[1:2, :9], alone)
