"""How far hidden states may move, and which settings are windows, before completions get rows of their own."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from preflab.models import prompt_sharing
from preflab.models.prompt_sharing import why_not_shared
from preflab.training.joined_rows import JoinedRows
from tiny_encoder_decoders import tiny_t5
from tiny_models import tiny_model


def reason(monkeypatch: pytest.MonkeyPatch, apart: float, dtype: torch.dtype = torch.float32) -> str | None:
    """The reason for a Llama whose states are −4, ½ and 2, and with shared rows have another ½."""
    expected = torch.tensor([-4.0, 0.5, 2.0])
    both = [expected, expected - torch.tensor([0.0, 4 * apart, 0.0])]
    monkeypatch.setattr(prompt_sharing, "_states", lambda model, batch, family: both.pop(0))
    return why_not_shared(tiny_model("llama").to(dtype))


@pytest.mark.parametrize(
    ("dtype", "apart", "fits"),
    [
        (torch.float32, 0.9e-4, True), (torch.float32, 1.1e-4, False),
        (torch.float16, 0.9e-2, True), (torch.float16, 1.1e-2, False),
        (torch.bfloat16, 4.5e-2, True), (torch.bfloat16, 5.5e-2, False),
        (torch.float64, 0.9e-4, True), (torch.float64, 1.1e-4, False),
    ],
)  # fmt: skip
def test_states_may_differ_by_a_share_of_the_largest(
    monkeypatch: pytest.MonkeyPatch, dtype: torch.dtype, apart: float, fits: bool
) -> None:
    found = reason(monkeypatch, apart, dtype)
    assert found == (None if fits else f"its states differ by {apart:.1e} of their largest value")


@pytest.mark.parametrize("name", prompt_sharing.WINDOWS)
def test_a_window_is_refused_unless_it_is_switched_off(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny_model("llama")
    monkeypatch.setattr(prompt_sharing, "_states", lambda model, batch, family: torch.ones(3))
    for value, switch, fits in ((16, None, False), (16, True, False), (16, False, True), (0, None, True)):
        setattr(model.config, name, value)
        if switch is not None:
            model.config.use_sliding_window = switch
        assert (why_not_shared(model) is None) is fits
        if hasattr(model.config, "use_sliding_window"):
            del model.config.use_sliding_window


def test_rows_of_the_trial_share_prompts_of_two_lengths(monkeypatch: pytest.MonkeyPatch) -> None:
    """Prompts 3 4 5 6 7 and 12 13 14, modulo the vocabulary; every completion predicts the same tokens both ways."""
    batches: list[JoinedRows] = []

    def states(model: Any, batch: JoinedRows, family: object) -> torch.Tensor:
        batches.append(batch)
        return torch.ones(3)

    monkeypatch.setattr(prompt_sharing, "_states", states)
    monkeypatch.setattr(prompt_sharing, "family_of", lambda model: Llama())
    config = SimpleNamespace(vocab_size=10)
    assert why_not_shared(SimpleNamespace(config=SimpleNamespace(get_text_config=lambda: config), dtype=None)) is None
    plain, ours = batches
    assert plain.input_ids.shape[0] == 4
    assert ours.input_ids.shape[0] == 2
    assert plain.input_ids[0, :9].tolist() == [3, 4, 5, 6, 7, 8, 9, 0, 1]
    assert ours.input_ids[0, :5].tolist() == [3, 4, 5, 6, 7]
    assert ours.input_ids[1, :3].tolist() == [2, 3, 4]
    assert torch.equal(plain.completion_ids, ours.completion_ids)
    assert plain.completion_mask.sum(1).tolist() == [4, 7, 2, 3]


class Llama(prompt_sharing.Decoder):
    """The family of decoders, without a model."""

    def __init__(self) -> None:
        pass


def test_an_encoder_decoder_has_no_rows_of_several_completions() -> None:
    assert why_not_shared(tiny_t5()) == "its family (encoder–decoder) has no rows of several completions"
