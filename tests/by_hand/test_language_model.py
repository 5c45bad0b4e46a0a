"""What an open model says of itself, on a model and a tokenizer whose facts are written here."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from preflab.models.language_model import LanguageModel
from preflab.training.token_limits import NO_LIMIT


def opened(positions: int | None, **further: Any) -> LanguageModel:
    """A model whose configuration knows a context of so many tokens; None: no limit."""
    text = SimpleNamespace(max_position_embeddings=positions, **further)
    model = SimpleNamespace(config=SimpleNamespace(get_text_config=lambda: text))
    return LanguageModel(Path("model"), model, SimpleNamespace(), "float32")


@pytest.mark.parametrize(
    ("positions", "wanted", "most"),
    [(64, None, 64), (64, 32, 32), (64, 65, 64), (None, 32, 32), (None, None, 2**31)],
)
def test_longest_row_is_the_smaller_of_setting_and_context(
    positions: int | None, wanted: int | None, most: int
) -> None:
    assert NO_LIMIT == 2**31
    assert opened(positions).limits(wanted).both == most


def test_context_of_dynamic_scaling_is_factor_times_as_long() -> None:
    model = opened(64, rope_parameters={"rope_type": "dynamic", "factor": 2.5})
    assert model.context_length == 160
    assert model.limits(200).both == 160
