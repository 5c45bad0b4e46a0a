"""Rotary frequencies by the length of rows, worked out from the formulas; nothing else of a model is looked at."""

from __future__ import annotations

import copy
from math import log, sqrt
from typing import Any

import pytest
import torch
from transformers import (
    Gemma3TextConfig,
    HunYuanDenseV1Config,
    LlamaConfig,
    Phi3Config,
    PhimoeConfig,
)
from transformers.models.gemma3.modeling_gemma3 import Gemma3RotaryEmbedding
from transformers.models.hunyuan_v1_dense.modeling_hunyuan_v1_dense import HunYuanDenseV1RotaryEmbedding
from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding
from transformers.models.phi3.modeling_phi3 import Phi3RotaryEmbedding
from transformers.models.phimoe.modeling_phimoe import PhimoeRotaryEmbedding

from preflab.models.facts import context_length
from preflab.models.rotary import RowLengths

SIZES = {
    "hidden_size": 32,
    "num_attention_heads": 4,
    "num_key_value_heads": 4,
    "num_hidden_layers": 2,
    "vocab_size": 9,
    "pad_token_id": 0,
}
SHORT, LONG = [1.0, 1.5, 2.0, 3.0], [2.0, 4.0, 8.0, 16.0]
LONGROPE = {
    "rope_type": "longrope",
    "rope_theta": 10_000.0,
    "short_factor": SHORT,
    "long_factor": LONG,
    "original_max_position_embeddings": 32,
}
PLAIN = [1.0, 0.1, 0.01, 0.001]
"""10,000^(−2i/8), i = 0 … 3."""


def tables(module: Any, positions: list[int], **layer: str) -> torch.Tensor:
    """(positions, 4) cosines of the first half: the second repeats it."""
    return module(torch.zeros(1, 1), torch.tensor([positions]), **layer)[0][0, :, :4]


def cosines(frequencies: list[float], positions: list[int], scale: float = 1.0) -> torch.Tensor:
    return scale * torch.cos(torch.tensor(positions, dtype=torch.float32)[:, None] * torch.tensor(frequencies))


def phi3() -> Phi3RotaryEmbedding:
    return Phi3RotaryEmbedding(
        Phi3Config(
            **SIZES, max_position_embeddings=128, original_max_position_embeddings=32, rope_parameters=dict(LONGROPE)
        )
    )


@pytest.mark.parametrize(("longest", "factors"), [(32, SHORT), (33, LONG), (128, LONG)])
def test_longrope_by_the_longest_row(longest: int, factors: list[float]) -> None:
    """Short factors up to 32 tokens, long ones beyond, for short batches and long ones alike; √(1 + ln 4 / ln 32)."""
    module, scale = phi3(), sqrt(1 + log(128 / 32) / log(32))
    frequencies = [plain / factor for plain, factor in zip(PLAIN, factors, strict=True)]
    lengths = RowLengths([module])
    lengths.fix(longest)
    for positions in ([0, 1, 5], [30, 31, 40], [100]):
        torch.testing.assert_close(tables(module, positions), cosines(frequencies, positions, scale))
    assert lengths.longest == longest
    assert str(longest) in lengths.description()
    assert ("long-range" in lengths.description()) == (longest > 32)


@pytest.mark.parametrize(("longest", "theta"), [(64, 10_000.0), (65, None), (96, 10_000.0 * 3 ** (8 / 6))])
def test_dynamic_ntk_by_the_longest_row(longest: int, theta: float | None) -> None:
    """θ (4 · L / 64 − 3)^(8/6): 3^(4/3) times as large at 96 tokens, as it was up to 64."""
    parameters = {"rope_type": "dynamic", "rope_theta": 10_000.0, "factor": 4.0}
    config = LlamaConfig(**SIZES, max_position_embeddings=64, rope_parameters=parameters)
    theta = theta or 10_000.0 * (4 * 65 / 64 - 3) ** (8 / 6)
    module = LlamaRotaryEmbedding(config)
    RowLengths([module]).fix(longest)
    for positions in ([0, 1], [70], [200], [3]):
        expected = cosines([theta ** (-2 * i / 8) for i in range(4)], positions)
        torch.testing.assert_close(tables(module, positions), expected)
    assert context_length(config) == 256


def test_each_kind_of_layer_has_its_own() -> None:
    """Full attention with LongRoPE, windows with plain frequencies of another base."""
    config = Gemma3TextConfig(
        **SIZES,
        head_dim=8,
        max_position_embeddings=128,
        layer_types=["sliding_attention", "full_attention"],
        rope_parameters={
            "full_attention": dict(LONGROPE),
            "sliding_attention": {"rope_type": "default", "rope_theta": 100.0},
        },
    )
    module, scale = Gemma3RotaryEmbedding(config), sqrt(1 + log(128 / 32) / log(32))
    RowLengths([module]).fix(50)
    long = [plain / factor for plain, factor in zip(PLAIN, LONG, strict=True)]
    for positions in ([0, 3], [90]):
        full = tables(module, positions, layer_type="full_attention")
        torch.testing.assert_close(full, cosines(long, positions, scale))
        window = tables(module, positions, layer_type="sliding_attention")
        torch.testing.assert_close(window, cosines([100.0 ** (-2 * i / 8) for i in range(4)], positions))


@pytest.mark.parametrize(("longest", "scale"), [(32, 1.25), (33, 1.5)])
def test_scales_that_are_switched_beside_the_frequencies(longest: int, scale: float) -> None:
    parameters = {**LONGROPE, "short_mscale": 1.25, "long_mscale": 1.5}
    config = PhimoeConfig(**SIZES, max_position_embeddings=128, rope_parameters=parameters)
    module = PhimoeRotaryEmbedding(config)
    RowLengths([module]).fix(longest)
    frequencies = [
        plain / factor for plain, factor in zip(PLAIN, SHORT, strict=True)
    ]  # transformers never switches them
    for positions in ([0, 1, 5], [30, 31, 40], [100]):
        torch.testing.assert_close(tables(module, positions), cosines(frequencies, positions, scale))
    assert config.rope_parameters["long_mscale"] == 1.5


def test_a_length_can_be_fixed_again_and_goes_with_copies() -> None:
    module = phi3()
    short, long = (tables(phi3(), [0, 1, last])[:2] for last in (20, 60))
    assert not torch.equal(short, long)
    RowLengths([module]).fix(60)
    twin = copy.deepcopy(module)
    RowLengths([module]).fix(20)
    assert torch.equal(tables(module, [0, 1, 60])[:2], short)
    assert torch.equal(tables(twin, [0, 1]), long)
    assert RowLengths([twin]).longest == 60


def test_lengths_are_apart_only_where_they_matter_and_nobody_has_fixed_them() -> None:
    lengths = RowLengths([phi3()])
    assert lengths.groups([5, 40, 32, 33]) == [[0, 2], [1, 3]]
    lengths.fix(40)
    assert lengths.groups([5, 40, 32, 33]) == [[0, 1, 2, 3]]
    dynamic = {"rope_type": "dynamic", "rope_theta": 10_000.0, "factor": 4.0}
    ntk = RowLengths(
        [LlamaRotaryEmbedding(LlamaConfig(**SIZES, max_position_embeddings=64, rope_parameters=dict(dynamic)))]
    )
    assert ntk.groups([5, 70, 64, 71, 70]) == [[0, 2], [1, 4], [3]]
    plain = LlamaRotaryEmbedding(LlamaConfig(**SIZES, max_position_embeddings=64))
    fixed_base = {**dynamic, "alpha": 1000.0}
    hunyuan = HunYuanDenseV1RotaryEmbedding(
        HunYuanDenseV1Config(**SIZES, head_dim=8, max_position_embeddings=64, rope_parameters=fixed_base)
    )
    nothing = RowLengths([plain, hunyuan])
    assert not nothing
    assert nothing.groups([5, 70]) == [[0, 1]]
    nothing.fix(70)
    assert nothing.longest is None
