"""Adapters of T5 and BART on disk, opened by peft and exported."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from preflab.files import read_json
from preflab.models.export import export_policy
from preflab.models.language_model import open_language_model
from preflab.models.role_files import save_role
from preflab.models.trunk import Trunk
from preflab.settings.learning import LoraSettings
from tiny_encoder_decoders import save_encoder_decoder

TEXTS = ["where is my parcel ?", "the letter is late ."]
PROMPT, WRITTEN = (5, 6, 7, 1), (9, 10, 0, 11)


def save_adapter(base: Path, folder: Path, where: Any) -> Trunk:
    """A trunk with an adapter whose B is not zero; the adapter is saved in the folder."""
    trunk = open_language_model(base, dtype="float32").trunk(("policy",), lora=LoraSettings(rank=2, where=where))
    random = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for name, parameter in trunk.named_parameters():
            if ".lora_B." in name:
                parameter.copy_(0.3 * torch.randn(parameter.shape, generator=random))
    save_role(trunk, "policy", folder)
    return trunk


def logits_of(model: Any, start: tuple[int, ...]) -> Tensor:
    """(T, V) logits of transformers' own forward pass from which the tokens of `WRITTEN` are drawn."""
    written = torch.tensor([[*start, *WRITTEN]])
    with torch.no_grad():
        output = model(
            input_ids=torch.tensor([PROMPT]),
            decoder_input_ids=written,
            decoder_attention_mask=torch.ones_like(written),
        )
    return output.logits[0, len(start) - 1 : -1].float()


@pytest.mark.parametrize("where", ["decoder", "all"])
@pytest.mark.parametrize("name", ["t5 1.0", "t5 1.1", "bart"])
def test_peft_opens_a_saved_adapter_with_the_same_logits(name: str, where: str, tmp_path: Path) -> None:
    from peft import PeftModel
    from transformers import AutoModelForSeq2SeqLM

    base = save_encoder_decoder(name, tmp_path / "base", TEXTS * 5)
    trunk = save_adapter(base, tmp_path / "adapter", where)
    start = trunk.family.start
    with trunk.role("policy"):
        expected = logits_of(trunk.language_model("policy"), start)
    with trunk.role("reference"):
        assert (expected - logits_of(trunk.language_model("reference"), start)).abs().max() > 0.1
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        opened = PeftModel.from_pretrained(AutoModelForSeq2SeqLM.from_pretrained(base), str(tmp_path / "adapter"))
    assert torch.allclose(logits_of(opened.eval(), start), expected, atol=1e-5)


def test_an_exported_adapter_keeps_the_token_that_the_decoder_was_trained_to_begin_with(tmp_path: Path) -> None:
    """BART's tokenizer puts BOS (2) before a text; the base's configuration names the end token (1) alone."""
    base = save_encoder_decoder("bart", tmp_path / "base", TEXTS * 5)
    trunk = save_adapter(base, tmp_path / "adapter", "all")
    assert trunk.family.start == (1, 2)
    export_policy(base, tmp_path / "adapter", tmp_path / "out")
    saved = read_json(tmp_path / "out" / "generation_config.json")
    assert (saved["decoder_start_token_id"], saved["forced_bos_token_id"]) == (1, 2)
