"""The buffers that captured decoding keeps are those that `check --memory` counts for a GPU."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from torch import Tensor

from architecture_trials import load_trunk, save
from captured_trials import DECODING, requests
from preflab.memory.decoding import DRAWING, fixed_bytes
from preflab.memory.load import Load
from preflab.memory.model_sizes import ModelSizes
from preflab.sampling.buckets import Buckets
from preflab.sampling.engine import TransformersEngine


def cache_tensors(engine: TransformersEngine) -> list[Tensor]:
    """Keys and values that the engine holds."""
    decoder = engine._decoder
    assert decoder is not None
    forward: Any = decoder.forward
    return [buffer for holder in forward.cache.holders for buffer in holder.buffers]


@pytest.mark.parametrize("name", ["llama", "qwen3_moe"])
def test_buffers_after_a_call_are_those_that_are_predicted(name: str, tmp_path: Path) -> None:
    """Buffers stay after `release`. The prediction adds three distributions per row, which live in the graphs."""
    trunk, asked = load_trunk(save(name, tmp_path), ("policy",)), requests()
    engine = TransformersEngine(
        trunk.model, pad_id=trunk.pad_id, stop_token_ids=(), role=lambda: trunk.role("policy"), capture="on"
    )
    engine.sample(asked, DECODING)
    engine.release()
    longest = max(len(request.prompt_ids) for request in asked) + DECODING.max_new_tokens
    load = Load("sample", 0, 0, False, False, 0, rows=len(asked), row_tokens=longest)
    model = ModelSizes.of(trunk.model)
    drawing = 4 * DRAWING * Buckets().num_rows(len(asked)) * model.vocabulary
    held = sum(buffer.nbytes for buffer in cache_tensors(engine))
    assert held == fixed_bytes(model, load, accelerator=True) - drawing
    assert held == 2 * 4 * Buckets().num_rows(len(asked)) * 128 * model.num_layers * model.state_width // 2
