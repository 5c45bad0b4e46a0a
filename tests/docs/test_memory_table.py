"""The table of memory: one cell by hand, what fits follows from it, and the README holds the table of the program."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import pytest

from docs_scripts import docs_script

GIB = 2**30
PARAMETERS = 8_030_261_248
"""Of Llama 3 8B: 32 layers, embedding and head of 128,256 · 4096 each, a norm."""


@pytest.fixture(scope="module")
def script(repository: Path) -> ModuleType:
    """docs/memory_table.py as a module."""
    return docs_script(repository, "memory_table")


def test_adapters_on_eight_billion_by_hand(script: ModuleType) -> None:
    """A layer of Llama 3 8B has 2 · 4096² + 2 · 4096 · 1024 + 3 · 4096 · 14336 weights and two norms of 4096.

    Adapters: queries and output 2 · 8192, keys and values 2 · 5120, feed-forward 3 · 18432 in and out per layer.
    The peak is writing, 4 bytes per parameter, beside the base in 2 bytes, the adapters, gradients and moments in 16.
    The copy that is written has the adapter and its gradient too, 8 bytes.
    """
    adapter = 16 * 32 * (2 * 8192 + 2 * 5120 + 3 * 18432)
    expected = 500 * 2**20 + 2 * PARAMETERS + 16 * adapter + 4 * PARAMETERS + 8 * adapter
    assert script.needed("8B", "SFT, LoRA") == pytest.approx(expected / GIB, rel=1e-9)


def test_full_fine_tuning_by_hand(script: ModuleType) -> None:
    """4 + 2 for the weights, 8 moments, 4 gradients; a DPO's reference 2 more; PPO twice 18, reference and reward 2.

    Activations of 4,096 tokens with checkpointing: 32 inputs of layers in 2 bytes; a layer 2 · x + 22 · 4096 bytes with
    x = 6 · 4096 + 2 · 4096 + 2 · 1024 + 4 · 14336; a block 2 · (2 · 4096 + 3 · 14336); times 1.1. The head: three times
    2^24 logits, and a gradient, in 4 bytes. DPO and PPO decode: buffers for 64 rows of 1,024 keys and values, three
    float32 distributions of a row, and linear layers and head once more in 2 bytes.
    """
    layer = 2 * (8 * 4096 + 2048 + 4 * 14336) + 22 * 4096
    block = 2 * (2 * 4096 + 3 * 14336)
    learning = 1.1 * 4096 * (32 * 2 * 4096 + layer + block) + 12 * 2**24 + 4 * 4096 * 128256
    linear = 32 * (2 * 4096**2 + 2 * 4096 * 1024 + 3 * 4096 * 14336)
    buffers = 2 * 64 * 1024 * 32 * 2048 + 12 * 64 * 128256 + 2 * (linear + 4096 * 128256)
    context = 500 * 2**20
    for column, num_bytes in {"SFT, full": 18, "DPO, full": 20, "PPO, full": 40}.items():
        fixed = 0 if column == "SFT, full" else buffers
        expected = context + num_bytes * PARAMETERS + learning + fixed
        assert script.needed("8B", column) == pytest.approx(expected / GIB, rel=1e-9)


def test_largest_model_leaves_a_memory_reserve(script: ModuleType) -> None:
    """8B with LoRA needs 46.3 GiB: of 54 GiB 85 % are 45.9, of 55 GiB 46.75."""
    assert script.largest(54, "SFT, LoRA") == "3B"
    assert script.largest(55, "SFT, LoRA") == "8B"
    assert script.largest(1, "SFT, LoRA") == "–"


def test_readme_holds_the_table(script: ModuleType, repository: Path) -> None:
    text = (repository / "README.md").read_text(encoding="utf-8")
    assert text.count(script.BEGIN) == text.count(script.END) == 1
    assert script.with_table(text) == text, "run `make docs`"
