"""Which reward models can join a trunk, what is a decoder, and which completion has no finite score."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from chat_templates import BY_NAME, HI, byte_tokenizer
from preflab.errors import PreflabError
from preflab.models.adapter_targets import AdapterTargets
from preflab.records import Prompt
from preflab.rewards import score
from preflab.rewards.rankings import Encoder
from preflab.rewards.score import (
    RewardModelCard,
    RewardModelScorer,
    is_decoder,
    load_reward_model,
    save_reward_model,
    shares_base,
    shares_experts,
)
from preflab.settings.learning import LoraSettings
from preflab.training.protocols import ScoringItem


def targets(*parameters: str) -> AdapterTargets:
    """An adapter on linear layers and on these weights of experts."""
    return AdapterTargets(("layer",), parameters)


@pytest.mark.parametrize(
    ("saved", "others", "fits"),
    [
        (None, [targets("a")], True),  # a whole model
        (targets(), [targets("a")], True),
        (targets("a"), [], True),
        (targets("a"), [targets()], True),
        (targets("a", "b"), [targets("b", "a"), targets()], True),
        (targets("a"), [targets("a"), targets("b")], False),
        (targets("a"), [targets("a", "b")], False),
    ],
)
def test_adapters_on_experts_lie_on_the_same_ones(
    saved: AdapterTargets | None, others: list[AdapterTargets], fits: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(score, "_saved_targets", lambda *_: saved)
    monkeypatch.setattr(score.RewardModelCard, "read", lambda folder: None)
    trunk: Any = SimpleNamespace(model=None, targets=dict(enumerate(others)))
    assert shares_experts(Path(), trunk) is fits


@pytest.mark.parametrize(
    ("lora", "causal", "weights", "shares"),
    [
        ({}, True, "base", True),
        (None, True, "base", False),
        ({}, False, "base", False),
        ({}, True, "other", False),
        ({"base": "as_loaded"}, True, "base", True),
        ({"base": "nf4"}, True, "base", False),
    ],
)
def test_adapters_of_decoders_share_the_base_they_were_trained_on(
    lora: Any, causal: bool, weights: str, shares: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    card = SimpleNamespace(lora=lora, causal=causal, weights_hash=weights)
    monkeypatch.setattr(score.RewardModelCard, "read", lambda folder: card)
    assert shares_base(Path(), "base") is shares
    quantised = lora == {"base": "nf4"}
    assert shares_base(Path(), "base", "nf4") is quantised


@pytest.mark.parametrize(
    ("kind", "has_head", "expected"),
    [("decoder", True, True), ("decoder", False, False), ("encoder", True, False), ("encoder", False, False)],
)
def test_decoder_is_a_language_model_with_its_head(
    kind: str, has_head: bool, expected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(score, "read_config", lambda ref: ref)
    monkeypatch.setattr(score, "check_reads", lambda ref, config: None)
    monkeypatch.setattr(score, "kind_of", lambda config: kind)
    monkeypatch.setattr(score, "names_language_model", lambda config: has_head)
    assert is_decoder("ref") is expected


def test_completion_without_a_finite_score_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(score, "reward_scores", lambda trunk, sequences, budget: torch.tensor([1.0, math.nan]))
    encoder: Any = SimpleNamespace(encode_written=lambda prompt, completion: None)
    scorer = RewardModelScorer(SimpleNamespace(), encoder, "rm", takes_tokens=True)  # type: ignore[arg-type]
    items = [ScoringItem(Prompt.make("p"), text) for text in ("fine", "bad")]
    with pytest.raises(PreflabError, match="reward model rm scored nan; completion 'bad'"):
        scorer.score(items)


@pytest.mark.parametrize(
    ("takes_tokens", "completion_ids", "read"),
    [(True, (3,), ((2,), (3,))), (False, (3,), "text"), (True, (), "text")],
)
def test_sampled_tokens_are_read_where_they_are_the_models_own(
    takes_tokens: bool, completion_ids: Sequence[int], read: Any
) -> None:
    encoder: Any = SimpleNamespace(
        encode_sampled=lambda prompt, prompt_ids, completion_ids, policy_tokens: (prompt_ids, completion_ids),
        encode_written=lambda prompt, completion: completion.text,
    )
    scorer = RewardModelScorer(SimpleNamespace(), encoder, "rm", takes_tokens=takes_tokens)  # type: ignore[arg-type]
    assert scorer.sequence(ScoringItem(Prompt.make("p"), "text", (2,), tuple(completion_ids))) == read


def test_the_mask_of_a_dialogue_follows_the_end_that_the_template_writes() -> None:
    """The policy ended its turn without the space before `</s>`; the policy's tokens are H, the space and the end."""
    tokenizer = byte_tokenizer(BY_NAME["llama2"])
    end, space = tokenizer.eos_token_id, tokenizer.convert_tokens_to_ids("Ġ")
    encoder, prompt = Encoder(tokenizer, True, 512), Prompt.make(messages=(HI,))
    sequence = encoder.encode_sampled(prompt, (5,), (7, 8, end), (True, False, True))
    assert (sequence.completion_ids, sequence.policy_tokens) == ((7, 8, space, end), (True, False, True, True))
    short = Encoder(tokenizer, True, 4).encode_sampled(prompt, (5,), (7, 8, end), (True, False, True))
    assert (short.completion_ids, short.policy_tokens) == ((8, space, end), (False, True, True)), "cut to 4 tokens"


@pytest.mark.parametrize("lora", [True, False])
def test_card_says_what_the_model_needs(lora: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    saved: list[Any] = []
    monkeypatch.setattr(score, "save_role", lambda trunk, role, folder, base: saved.append((role, base)))
    monkeypatch.setattr(score, "name_body", lambda model: f"body of {model.name}")
    files = SimpleNamespace(save_pretrained=lambda folder: saved.append(folder.is_dir()))
    trunk: Any = SimpleNamespace(
        head=lambda role: SimpleNamespace(gain=torch.tensor(2.0), offset=torch.tensor(-0.5)),
        lora=SimpleNamespace(model_dump=lambda mode: {"rank": 4}) if lora else None,
        pooling="mean",
        models={"reward": SimpleNamespace(name="rm", config=files)},
    )
    encoder: Any = SimpleNamespace(
        causal=False, max_tokens=32, stops=(7, 8), tokenizer=files, apart=True, max_prompt=20, max_completion=12,
    )  # fmt: skip
    save_reward_model(trunk, tmp_path / "rm", base="../base", weights_hash="hash", encoder=encoder)
    assert RewardModelCard.read(tmp_path / "rm") == RewardModelCard(
        base="../base" if lora else "", weights_hash="hash", causal=False, pooling="mean", gain=2.0, offset=-0.5,
        max_tokens=32, lora={"rank": 4} if lora else None, stops=(7, 8), body="" if lora else "body of rm",
        apart=True, max_prompt=20, max_completion=12,
    )  # fmt: skip
    assert saved == ([("reward", "hash")] if lora else [("reward", ""), True, True])


@pytest.mark.parametrize(("lora", "joins"), [({"rank": 2}, True), ({"rank": 2}, False), (None, False)])
def test_saved_model_is_put_on_its_trunk(
    lora: Any, joins: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A whole model joins no trunk; an adapter joins one or gets one, with its pooling and its targets."""
    card = RewardModelCard("base", "hash", True, "mean", 1.0, 0.0, 16, lora)
    done: list[Any] = []
    shared_trunk: Any = SimpleNamespace(
        add_role=lambda role, **other: done.append((role, other)), freeze=done.append, pooling="last", model="model",
        tokenizer="words",
    )  # fmt: skip
    monkeypatch.setattr(score.RewardModelCard, "read", lambda folder: card)
    monkeypatch.setattr(score, "_saved_targets", lambda folder, card, model: f"targets on {model}")
    monkeypatch.setattr(score, "load_role", lambda trunk, role, folder, base: done.append((role, folder, base)))
    monkeypatch.setattr(score, "Trunk", lambda *a, **other: done.append((a, other)) or shared_trunk)
    options: dict[str, Any] = {"trunk": shared_trunk, "trunk_hash": "hash"} if joins else {"dtype": "bfloat16"}
    trunk, encoder = load_reward_model(tmp_path, lambda card: ("model", "words"), **options)
    settings = LoraSettings(rank=2) if lora else None
    trunk_options = {
        "lora": settings,
        "roles": ("reward",),
        "pooling": "mean",
        "targets": "targets on model",
        "compute": "bfloat16",
    }
    first = (
        ("reward", {"lora": settings, "targets": "targets on model"}) if joins else (("model", "words"), trunk_options)
    )
    assert done == [first, ("reward", tmp_path, "hash" if lora else ""), "reward"]
    assert trunk.pooling == ("mean" if joins else "last")
    assert encoder == card.encoder("words")
