"""What was trained on any architecture opens again with transformers alone, and says the same."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from architecture_table import DECODERS, ENCODER_DECODERS, MIXTURES, RECURRENT, SEEING
from architecture_trials import (
    LORA,
    batch,
    difference_when_loaded,
    largest,
    load_reward_trunk,
    load_trunk,
    logits,
    own_logits,
    save,
    tiers,
)
from architectures import build
from preflab.models.causality import why_not_causal
from preflab.models.export import export_policy, export_reward
from preflab.models.kinds import UNSUPPORTED
from preflab.models.role_files import save_role
from preflab.models.trunk import Trunk
from preflab.models.weights_id import base_hash
from preflab.rewards.rankings import Encoder
from preflab.rewards.score import load_reward_model, save_reward_model
from preflab.settings.learning import LoraSettings
from preflab.training.batches import TokenSequence
from preflab.training.joined_rows import join_rows

POLICIES = {
    "qwen3_moe": "AutoModelForCausalLM",
    "deepseek_v3": "AutoModelForCausalLM",
    "mamba": "AutoModelForCausalLM",
    "gemma3, seeing": "AutoModelForImageTextToText",
    "llava": "AutoModelForImageTextToText",
    "t5": "AutoModelForSeq2SeqLM",
    "bart": "AutoModelForSeq2SeqLM",
}
REWARDS = {
    # transformers has a classifier of the text model inside gemma3 and llava.
    "llama": "LlamaForSequenceClassification",
    "qwen3_moe": "Qwen3MoeForSequenceClassification",
    "gemma3, seeing": "Gemma3TextForSequenceClassification",
    "llava": "LlamaForSequenceClassification",
    # It has none of these.
    "gemma4": "PooledClassifier",
    "cohere2": "PooledClassifier",
    "granitemoehybrid": "PooledClassifier",
    "mamba": "PooledClassifier",
    "falcon_h1": "PooledClassifier",
    "qwen2_5_vl": "PooledClassifier",
}
ROWS = [(1, 5, 6, 7, 8, 2), (1, 9, 2), (1, 50, 51, 52, 3)]


def others(chosen: Any, *more: str) -> list[Any]:
    """The kinds chosen by hand, and all others among the slow tests and `every`."""
    return tiers(list(chosen), [*DECODERS, *MIXTURES, *RECURRENT, *SEEING, *more])


def writable(name: str) -> str:
    """The name, unless its model is one that is refused."""
    if name in UNSUPPORTED or why_not_causal(build(name)) is not None:
        pytest.skip("refused as a policy")
    return name


@pytest.mark.parametrize("name", others(POLICIES, *ENCODER_DECODERS))
def test_a_policy_opens_with_the_class_it_was_made_with(name: str, tmp_path: Path) -> None:
    base, ids = save(writable(name), tmp_path / "base"), batch().input_ids
    trunk = load_trunk(base, ("policy",))
    save_role(trunk, "policy", tmp_path / "adapter")
    export_policy(base, tmp_path / "adapter", tmp_path / "out")
    opened = type(build(name)).from_pretrained(tmp_path / "out", dtype=torch.float32).eval()
    with torch.no_grad():
        found = own_logits(opened, ids)
    expected, plain = logits(trunk, "policy", ids), logits(trunk, "reference", ids)
    assert largest(found - expected) <= 1e-3 * largest(expected - plain)
    if name in POLICIES:
        auto = getattr(transformers, POLICIES[name])
        assert type(auto.from_pretrained(tmp_path / "out")) is type(build(name))
        towers = [key for key in opened.state_dict() if "vision" in key or "multi_modal" in key]
        assert bool(towers) == ("ImageText" in POLICIES[name])


def scores(opened: Any, rows: list[tuple[int, ...]], side: str, *, mask: bool = True) -> torch.Tensor:
    """(B,) logits of padded rows and the bias in the configuration."""
    width, pad = max(map(len, rows)), opened.config.pad_token_id
    fills = [(pad,) * (width - len(row)) for row in rows]
    ids = [fill + row if side == "left" else row + fill for row, fill in zip(rows, fills, strict=True)]
    marks = [
        [0] * len(fill) + [1] * len(row) if side == "left" else [1] * len(row) + [0] * len(fill)
        for row, fill in zip(rows, fills, strict=True)
    ]
    arguments = {"attention_mask": torch.tensor(marks)} if mask else {}
    with torch.no_grad():
        return opened(input_ids=torch.tensor(ids), **arguments).logits[:, 0] + opened.config.preflab_reward_bias


@pytest.mark.parametrize("lora", [LORA, None], ids=["lora", "full"])
@pytest.mark.parametrize("name", others(REWARDS))
def test_a_reward_model_opens_as_a_classifier(name: str, lora: LoraSettings | None, tmp_path: Path) -> None:
    base = save(writable(name), tmp_path / "base")
    trunk = load_reward_trunk(base, causal=True, lora=lora)
    export_reward(trunk, tmp_path / "out")
    # One row at a time, so that no padding has a part in what is expected.
    with torch.no_grad():
        alone = [trunk(join_rows([TokenSequence(r[:1], r[1:])], 0), ("reward",))["reward"].rewards for r in ROWS]
    expected = torch.cat(alone)
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    own = config["architectures"] == ["PooledClassifier"]
    opened = transformers.AutoModelForSequenceClassification.from_pretrained(
        tmp_path / "out", trust_remote_code=own, dtype=torch.float32
    ).eval()
    if name in REWARDS:
        assert type(opened).__name__ == REWARDS[name]
    assert opened.config.num_labels == 1
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "out")
    assert (tokenizer.padding_side, tokenizer.pad_token_id) == ("right", opened.config.pad_token_id)
    assert opened.config.pad_token_id != tokenizer.eos_token_id
    allowed = 1e-4 * max(1.0, largest(expected))
    assert largest(expected[0] - expected[1]) > 100 * allowed
    assert largest(scores(opened, ROWS, "right") - expected) <= allowed
    if own:
        assert largest(scores(opened, ROWS, "left") - expected) <= allowed
        assert largest(scores(opened, ROWS, "right", mask=False) - expected) <= allowed


@pytest.mark.parametrize("lora", [LORA, None], ids=["lora", "full"])
@pytest.mark.parametrize("name", tiers(["t5", "bart"], list(ENCODER_DECODERS)))
def test_a_reward_model_on_an_encoder_decoder_is_loaded_and_exported(
    name: str, lora: LoraSettings | None, tmp_path: Path
) -> None:
    base = save(writable(name), tmp_path / "base")
    trunk = load_reward_trunk(base, causal=True, lora=lora)
    assert export_reward(trunk, tmp_path / "out") <= 1e-4
    assert difference_when_loaded(trunk, base, tmp_path / "rm") <= 1e-5


@pytest.mark.parametrize("name", ["opt", "opt, projected", "bert, decoder", "gemma3, seeing", "deepseek_v3", "mamba"])
def test_a_fully_fine_tuned_reward_model_is_loaded_as_what_it_was(name: str, tmp_path: Path) -> None:
    base = save(name, tmp_path / "base")
    trunk = load_reward_trunk(base, causal=True, lora=None)
    encoder = Encoder(trunk.tokenizer, True, 100)
    hash_ = base_hash(base, trunk.models["reward"])
    save_reward_model(trunk, tmp_path / "rm", base="", weights_hash=hash_, encoder=encoder)
    loaded: Trunk = load_reward_model(tmp_path / "rm")[0]
    with torch.no_grad():
        expected, found = (one(batch(), ("reward",))["reward"].rewards for one in (trunk, loaded))
    assert torch.allclose(found, expected, atol=1e-6)
