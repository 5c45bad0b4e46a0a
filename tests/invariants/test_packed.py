"""Packed products: the same numbers as plain ones, and only where they can be had."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from preflab.models import onednn, packed
from preflab.models.packed import can_pack, packed_linear, packed_product

needs_onednn = pytest.mark.skipif(not onednn.works(), reason="torch has no packed products on this processor")


@needs_onednn
@pytest.mark.parametrize("num_outputs", [301, 3])
@pytest.mark.parametrize("num_rows", [1, 5, 37, 64])
def test_a_packed_product_is_the_plain_one(num_rows: int, num_outputs: int) -> None:
    torch.manual_seed(0)
    weight, x = torch.randn(num_outputs, 17), torch.randn(num_rows, 17)
    product = packed_product(weight, 8)
    assert product is not None
    assert torch.allclose(product(x), x @ weight.T, atol=1e-5)
    before = product(x)
    weight.zero_()
    assert torch.equal(product(x), before), "a packed weight is a copy"


@needs_onednn
@pytest.mark.parametrize("bias", [True, False])
def test_a_layer_is_packed_inside_the_block_alone(bias: bool) -> None:
    torch.manual_seed(0)
    layer, x = nn.Linear(17, 301, bias=bias), torch.randn(2, 3, 17)
    expected = layer(x)
    with torch.inference_mode(), packed_linear(layer, 6):
        assert "forward" in vars(layer)
        assert torch.allclose(layer(x), expected, atol=1e-5)
    assert "forward" not in vars(layer)
    assert torch.equal(layer(x), expected)


@needs_onednn
def test_hooks_other_types_and_a_second_block_are_left_in_peace() -> None:
    layer = nn.Linear(3, 4)
    layer.forward = lambda x: x + 1000  # type: ignore[method-assign,assignment]
    with packed_linear(layer, 1):
        assert layer(torch.zeros(1, 3))[0, 0] == 1000
    assert layer(torch.zeros(1, 3))[0, 0] == 1000
    layer = nn.Linear(3, 4)
    one, other = packed_linear(layer, 1), packed_linear(layer, 1)
    with torch.inference_mode():
        one.__enter__()
        other.__enter__()
        one.__exit__(None, None, None)
        other.__exit__(None, None, None)
    assert "forward" not in vars(layer)


def test_what_cannot_be_packed(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not can_pack(torch.zeros(4, 3, dtype=torch.bfloat16))
    assert not can_pack(torch.zeros(4, 3, device="meta"))
    monkeypatch.setattr(packed, "LARGEST", 4 * 12 - 1)
    assert packed_product(torch.zeros(4, 3), 1) is None
    monkeypatch.setattr(packed, "LARGEST", 4 * 12)
    monkeypatch.setattr(packed, "works", lambda: False)
    assert packed_product(torch.zeros(4, 3), 1) is None
    for module in (nn.Linear(3, 4), nn.ReLU(), None):
        with packed_linear(module, 1):
            assert module is None or "forward" not in vars(module)
