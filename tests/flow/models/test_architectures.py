"""Every architecture passes `preflab check`, decodes and trains as its own plain forward says, and learns."""

from __future__ import annotations

from pathlib import Path

import pytest

from architecture_table import DECODERS, ENCODER_DECODERS, MIXTURES, RECURRENT, SEEING
from architecture_trials import AGREE, ROUNDS, load_trunk, losses_of_training, measure_agreement, save, tiers
from preflab.errors import PreflabError
from preflab.models.check import check_model
from preflab.models.kinds import UNSUPPORTED
from preflab.models.loading import load_causal_lm
from preflab.sampling.engine import TransformersEngine

QUICK = ["llama, tied", "qwen3_moe", "mamba", "gemma3, seeing", "t5"]
ALL = [*DECODERS, *MIXTURES, *RECURRENT, *ENCODER_DECODERS, *SEEING]
EVERY = tiers(QUICK, ALL)
NO_TEXT_MODELS = {"blip", "blip-2", "cpmant", "idefics", "instructblip", "kosmos-2", "paligemma", "pix2struct"}
"""What is refused: prefix models, and models that cannot be asked without an image."""
REFUSED = {*NO_TEXT_MODELS, *UNSUPPORTED}


@pytest.mark.parametrize("name", EVERY)
def test_an_architecture_is_checked_decoded_and_trained(name: str, tmp_path: Path) -> None:
    folder = save(name, tmp_path)
    if name in REFUSED:
        with pytest.raises(PreflabError):
            load_causal_lm(folder, dtype="float32")
        return
    rows = check_model(folder, TransformersEngine)
    assert [(row.name, row.measured, row.advice) for row in rows if not row.holds] == []
    found = measure_agreement(load_trunk(folder, ("policy",)))
    assert max(found.sampler, found.trainer) <= ROUNDS.get(name, AGREE), found
    losses = losses_of_training(load_trunk(folder, ("policy",)))
    assert losses[-1] < losses[0]


@pytest.mark.parametrize("name", sorted(ROUNDS))
def test_what_deviates_in_float32_is_rounding(name: str, tmp_path: Path) -> None:
    trunk = load_trunk(save(name, tmp_path), ("policy",)).double()
    found = measure_agreement(trunk)
    assert max(found.sampler, found.trainer) <= 1e-6, "what is written down of a completion is float32"
