"""A base in NF4 of every architecture computes what the plain model with the same weights computes."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from torch import Tensor

from architecture_table import DECODERS, ENCODER_DECODERS, MIXTURES, RECURRENT, SEEING
from architecture_trials import tiers
from architectures import build
from preflab.errors import PreflabError
from preflab.models import bitsandbytes_import
from preflab.models.four_bit import dequantise, quantise_base
from preflab.models.kinds import UNSUPPORTED
from preflab.models.trunk import Trunk
from preflab.settings.learning import LoraSettings
from preflab.training.batches import TokenSequence

pytestmark = pytest.mark.skipif(
    not bitsandbytes_import.is_installed(), reason="needs bitsandbytes: pip install 'preflab[bitsandbytes]'"
)
NO_TEXT_MODELS = {"blip", "blip-2", "cpmant", "idefics", "instructblip", "kosmos-2", "paligemma", "pix2struct", "xlnet"}
CONV1D = {"gpt2", "openai-gpt"}
"""Architectures whose layers are of transformers' class Conv1D."""
NAMES = [
    name
    for name in (*DECODERS, *MIXTURES, *RECURRENT, *ENCODER_DECODERS, *SEEING)
    if name not in {*NO_TEXT_MODELS, *UNSUPPORTED}
]
QUICK = ["gpt2", "falcon", "gemma3n", "gpt_oss", "t5"]
ROWS = [TokenSequence((3, 1, 5), (20, 10, 21, 7)), TokenSequence((3,), (1, 9))]


def trunk_of(model: object, base: str) -> Trunk:
    """A trunk whose adapters act, with the same numbers in every trunk."""
    lora = LoraSettings.model_validate({"rank": 2, "base": base})
    trunk = Trunk(model, SimpleNamespace(pad_token_id=0), lora=lora, roles=("policy",), seed=1)
    generator = torch.Generator().manual_seed(5)
    for _, parameter in trunk.parameters_of("policy"):
        parameter.data = 0.1 * torch.randn(parameter.shape, generator=generator)
    return trunk


def learned(trunk: Trunk) -> tuple[Tensor, Tensor, Tensor]:
    """Log-probabilities, exact KL and the gradient of the adapters."""
    output = trunk(trunk.collate(ROWS), ("policy",), exact_kl=True)["policy"]
    output.logps.sum().backward()
    parts = [p.grad.flatten() for _, p in trunk.parameters_of("policy") if p.grad is not None]
    return output.logps.detach(), output.kl.detach(), torch.cat(parts)


@pytest.mark.parametrize("name", tiers(QUICK, NAMES))
def test_quantised_base_is_the_plain_model_with_its_weights(name: str) -> None:
    plain = build(name)
    if name in CONV1D:
        with pytest.raises(PreflabError, match="no linear layer that can be quantised"):
            quantise_base(plain)
        return
    quantise_base(plain)
    dequantise(plain)
    logps, kl, gradient = learned(trunk_of(build(name), "nf4"))
    expected_logps, expected_kl, expected = learned(trunk_of(plain, "as_loaded"))
    assert torch.equal(logps, expected_logps)
    assert torch.equal(kl, expected_kl)
    assert kl.abs().max() > 0, "the reference is the base with adapters off"
    assert (gradient - expected).abs().max() <= 1e-6 * expected.abs().max()
