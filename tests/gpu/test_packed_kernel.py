"""Variable-length attention against padded rows, within the rounding of bfloat16: a GPU's kernel, or the CPU's loop."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from torch import Tensor

from preflab.models.trunk import Role, Trunk
from preflab.settings.learning import LoraSettings
from preflab.settings.recipe import PackingName
from preflab.training.batches import TokenSequence
from preflab.training.unpadded_rows import UnpaddedRows
from tiny_models import tiny_model

ROLES: tuple[Role, ...] = ("policy", "reference", "value", "reward")
SIZES = {"hidden_size": 128, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 32}


def sequences() -> list[TokenSequence]:
    """Sequences of 5 to 50 tokens."""
    generator = torch.Generator().manual_seed(0)
    ids = [torch.randint(5, 90, (length,), generator=generator).tolist() for length in (13, 5, 50, 21, 34)]
    return [TokenSequence(tuple(row[:3]), tuple(row[3:])) for row in ids]


def numbers_and_gradient(
    device: str, kind: str, lora: LoraSettings | None, packing: PackingName, recomputes: bool
) -> list[Tensor]:
    """What the losses are made of, and the gradient of a loss in which every number has its own weight."""
    torch.manual_seed(0)
    model = tiny_model(kind, **SIZES)
    model = model if lora is None else model.bfloat16()
    trunk = Trunk(
        model, SimpleNamespace(pad_token_id=0), lora=lora, roles=ROLES, compute="bfloat16", packing=packing
    ).to(device)
    if recomputes:
        trunk.enable_gradient_checkpointing()
    batch = trunk.collate(sequences())
    assert isinstance(batch, UnpaddedRows) == (packing != "off")
    said = trunk(batch, ROLES, exact_kl=True)
    mask = batch.completion_mask
    numbers = torch.cat(
        [said["policy"].logps[mask], said["reference"].logps[mask], said["value"].values[mask], said["reward"].rewards]
    )
    (torch.linspace(-1, 1, len(numbers), device=device) * numbers).sum().backward()
    return [numbers.detach(), torch.cat([p.grad.flatten() for p in trunk.parameters() if p.grad is not None])]


@pytest.mark.parametrize("recomputes", [False, True])
@pytest.mark.parametrize("lora", [None, LoraSettings(rank=2, alpha=4)], ids=["full", "lora"])
@pytest.mark.parametrize("kind", ["llama", "qwen2", "mistral"])
def test_packed_rows_have_padded_numbers_and_gradients(
    device: str, kind: str, lora: LoraSettings | None, recomputes: bool
) -> None:
    """`auto` packs on a GPU; on a CPU packing has to be asked for."""
    packing: PackingName = "auto" if device.startswith("cuda") else "on"
    padded = numbers_and_gradient(device, kind, lora, "off", recomputes)
    packed = numbers_and_gradient(device, kind, lora, packing, recomputes)
    for found, expected in zip(packed, padded, strict=True):
        assert float((found - expected).norm() / expected.norm()) <= 2**-5
