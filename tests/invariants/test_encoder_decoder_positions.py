"""M2M-100 and NLLB: a padding token that the policy drew counts as a position, in the sampler and in the trainer."""

from __future__ import annotations

import pytest
import torch

from architectures import build
from preflab.models.families import token_logits
from preflab.models.kinds import family_of
from preflab.sampling.encoder_decoder_pass import EncoderDecoderPass
from preflab.training.batches import TokenSequence

PAD, START = 0, 2
PROMPT = (5, 6, 7)
WRITTEN = {"without padding": (8, 9, 10, 11), "padding first": (PAD, 9, 10, 11), "padding inside": (8, PAD, PAD, 11)}


@pytest.mark.parametrize("written", WRITTEN.values(), ids=WRITTEN)
@pytest.mark.parametrize("name", ["m2m_100", "nllb-moe", "bart", "t5"])
@torch.no_grad()
def test_cached_and_uncached_passes_agree_on_a_drawn_padding_token(name: str, written: tuple[int, ...]) -> None:
    model = build(name)
    uncached = token_logits(family_of(model), model, [TokenSequence(PROMPT, written)], PAD)
    cached = EncoderDecoderPass(model, PAD, once=False)
    logits = [cached.start([PROMPT], torch.tensor([0]))]
    logits += [cached.step(torch.tensor([token])) for token in written[:-1]]
    assert torch.allclose(torch.cat(logits), uncached, atol=1e-5)


@pytest.mark.parametrize("name", ["m2m_100", "nllb-moe"])
@torch.no_grad()
def test_embeddings_give_the_logits_of_ids_where_no_padding_was_drawn(name: str) -> None:
    model, written = build(name), WRITTEN["without padding"]
    ours = token_logits(family_of(model), model, [TokenSequence(PROMPT, written)], PAD)
    decoder_ids = torch.tensor([[START, *written[:-1]]])
    expected = model(input_ids=torch.tensor([PROMPT]), decoder_input_ids=decoder_ids, use_cache=False).logits[0]
    assert torch.allclose(ours, expected, atol=1e-5)
