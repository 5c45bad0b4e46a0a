"""Which encoder–decoders scale the decoder's states before their head: by 4^(−1/2) = 1/2 with four of them."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from preflab.models.decoder_tokens import decoder_tokens
from preflab.models.encoder_decoders import EncoderDecoder

FAMILY = EncoderDecoder(SimpleNamespace(config=SimpleNamespace(decoder_start_token_id=0)))


@pytest.mark.parametrize(
    ("kind", "settings", "factor"),
    [
        ("t5", {"scale_decoder_outputs": True, "tie_word_embeddings": False}, 0.5),
        ("t5", {"scale_decoder_outputs": False, "tie_word_embeddings": True}, 1.0),
        ("umt5", {"tie_word_embeddings": True}, 0.5),
        ("umt5", {"tie_word_embeddings": False}, 1.0),
        ("switch_transformers", {"tie_word_embeddings": True}, 0.5),
        ("bart", {"tie_word_embeddings": True}, 1.0),
        ("bart", {"tie_word_embeddings": False}, 1.0),
    ],
)
def test_states_are_scaled_by_setting_or_with_a_tied_head(kind: str, settings: dict[str, Any], factor: float) -> None:
    model = SimpleNamespace(config=SimpleNamespace(model_type=kind, d_model=4, **settings))
    states = torch.tensor([[[1.0, -2.0, 3.0, 0.5]]])
    assert FAMILY.read_by_head(model, states).tolist() == (factor * states).tolist()


@pytest.mark.parametrize(("kind", "embeds"), [("m2m_100", True), ("nllb-moe", True), ("t5", False), ("bart", False)])
@pytest.mark.parametrize("prefix", ["", "decoder_"])
def test_tokens_are_embedded_for_models_that_skip_padding(kind: str, embeds: bool, prefix: str) -> None:
    decoder = SimpleNamespace(embed_tokens=lambda ids: 10.0 * ids)
    model = SimpleNamespace(config=SimpleNamespace(model_type=kind), get_decoder=lambda: decoder)
    ((name, tokens),) = decoder_tokens(model, torch.tensor([[3, 0]]), prefix).items()
    assert name == f"{prefix}{'inputs_embeds' if embeds else 'input_ids'}"
    assert tokens.tolist() == ([[30.0, 0.0]] if embeds else [[3, 0]])
