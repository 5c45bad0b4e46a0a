"""Which values of a generation configuration leave the model's distribution as it is, from transformers' manual."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from preflab.models.generation_defaults import NEUTRAL, strip_generation_defaults

VALUES: dict[str, tuple[Any, Any]] = {
    "num_beams": (1, 2),
    "num_beam_groups": (1, 2),
    "diversity_penalty": (0.0, 1.0),
    "early_stopping": (False, True),
    "length_penalty": (1.0, 2.0),
    "min_length": (0, 1),
    "min_new_tokens": (0, 1),
    "no_repeat_ngram_size": (0, 1),
    "encoder_no_repeat_ngram_size": (0, 1),
    "repetition_penalty": (1.0, 2.0),
    "encoder_repetition_penalty": (1.0, 2.0),
    "exponential_decay_length_penalty": (None, (5, 1.1)),
    "penalty_alpha": (0.0, 1.0),
    "bad_words_ids": (None, [[0]]),
    "sequence_bias": (None, {(1,): -1.0}),
    "suppress_tokens": ([], [5]),
    "begin_suppress_tokens": ([], [5]),
    "forced_eos_token_id": (None, 1),
    "force_words_ids": (None, [[5]]),
    "constraints": (None, [5]),
    "typical_p": (1.0, 0.9),
    "epsilon_cutoff": (0.0, 1.0),
    "eta_cutoff": (0.0, 1.0),
    "top_h": (None, 0.4),
    "guidance_scale": (1, 2),
    "dola_layers": (None, "high"),
    "watermarking_config": (None, {"bias": 2.0}),
}
"""Setting → a value that changes nothing, and one that changes which tokens are drawn."""


def model_with(**settings: Any) -> Any:
    config = SimpleNamespace(model_type="t5", task_specific_params=None)
    return SimpleNamespace(generation_config=SimpleNamespace(**settings), config=config)


def test_every_setting_is_in_this_table() -> None:
    assert VALUES.keys() == NEUTRAL.keys()


@pytest.mark.parametrize("name", VALUES)
def test_a_neutral_value_stays_and_another_is_removed(name: str) -> None:
    neutral, other = VALUES[name]
    for value in (neutral, None):
        model = model_with(**{name: value})
        assert strip_generation_defaults(model) == []
        assert getattr(model.generation_config, name) == value
    model = model_with(**{name: other})
    (shown,) = strip_generation_defaults(model)
    assert shown == f"{name} = {'…' if isinstance(other, list | dict) else other}"
    assert getattr(model.generation_config, name) is None


def test_guidance_of_1_is_neutral_as_a_float_too() -> None:
    assert strip_generation_defaults(model_with(guidance_scale=1.0)) == []
