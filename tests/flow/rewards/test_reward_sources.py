"""Rewards as a recipe names them: classifiers by class, reward models by folder, functions by path."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import LlamaConfig, LlamaForSequenceClassification

from preflab.errors import PreflabError
from preflab.models.tiny import build_model, build_tokenizer
from preflab.models.trunk import Trunk
from preflab.models.weights_id import base_hash
from preflab.records import Prompt
from preflab.rewards.classifier import ClassifierScorer, class_index
from preflab.rewards.rankings import Encoder
from preflab.rewards.score import save_reward_model
from preflab.rewards.sources import PolicySide, make_scorer
from preflab.settings.learning import LoraSettings
from preflab.settings.rewards import RewardSource
from preflab.training.protocols import ScoringItem

WORDS = "you are kind rude and very"
CLASSES = {0: "nothate", 1: "hate", 2: "unsure"}


def classifier() -> tuple[Any, Any]:
    tokenizer = build_tokenizer([WORDS], context=16)
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2,
        max_position_embeddings=16, pad_token_id=tokenizer.pad_token_id, id2label=CLASSES,
        label2id={label: index for index, label in CLASSES.items()},
    )  # fmt: skip
    torch.manual_seed(0)
    return LlamaForSequenceClassification(config).eval(), tokenizer


def items() -> list[ScoringItem]:
    return [ScoringItem(Prompt.make("you"), text) for text in ("kind", "very very rude and rude", "are kind")]


def test_the_reward_is_the_logit_or_the_probability_of_the_class() -> None:
    model, tokenizer = classifier()
    # The oracle: the model's own logits, one text at a time, without padding.
    logits = torch.cat([model(**tokenizer(item.text, return_tensors="pt")).logits for item in items()]).detach()
    scorer = ClassifierScorer(model, tokenizer, "nothate")
    torch.testing.assert_close(scorer.score(items()).total, logits[:, 0], atol=1e-5, rtol=1e-5)
    assert set(scorer.score(items()).terms) == {"nothate"}
    exponentials = logits.exp()
    for budget in (4096, 1):
        scorer = ClassifierScorer(model, tokenizer, 1, output="probability", tokens_per_batch=budget)
        expected = exponentials[:, 1] / exponentials.sum(1)
        torch.testing.assert_close(scorer.score(items()).total, expected, atol=1e-5, rtol=1e-5)


def test_classes_are_found_by_name_or_number_and_misspelt_ones_refused() -> None:
    assert class_index(CLASSES, "Hate") == 1
    assert class_index(CLASSES, "2") == 2
    with pytest.raises(PreflabError, match="'nothat'") as error:
        class_index(CLASSES, "nothat")
    assert "nothate" in error.value.expected
    with pytest.raises(PreflabError):
        class_index(CLASSES, 3)


def test_a_recipe_mixes_all_three_kinds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, tokenizer = classifier()
    for saved in (model, tokenizer):
        saved.save_pretrained(tmp_path / "classifier")
    (tmp_path / "rewards_of_a_recipe.py").write_text("def brevity(completion):\n    return -len(completion)\n")
    monkeypatch.chdir(tmp_path)
    language_model = build_model(tokenizer, num_layers=1, hidden_size=16, num_heads=2, context=16, seed=0)
    for saved in (language_model, tokenizer):
        saved.save_pretrained(tmp_path / "base")
    trunk = Trunk(language_model, tokenizer, lora=LoraSettings(rank=2), roles=("reward",), seed=3)
    weights = base_hash(tmp_path / "base", None)
    save_reward_model(
        trunk, tmp_path / "rm", base="../base", weights_hash=weights, encoder=Encoder(tokenizer, True, 16)
    )

    sources = [
        RewardSource(model="rm"),
        RewardSource(model="classifier", class_label="hate", weight=-2.0),
        RewardSource(function="rewards_of_a_recipe:brevity", weight=0.5),
    ]
    policy_model = build_model(tokenizer, num_layers=1, hidden_size=16, num_heads=2, context=16, seed=0)
    policy = Trunk(policy_model, tokenizer, lora=LoraSettings(rank=2), roles=("policy",))
    alone = make_scorer(sources, lambda ref: tmp_path / ref, PolicySide(tokenizer)).score(items())
    assert list(alone.terms) == ["rm", "hate", "brevity"]
    assert alone.terms["brevity"].tolist() == [-2.0, -11.5, -4.0]
    torch.testing.assert_close(alone.total, sum(alone.terms.values(), torch.zeros(3)))
    shared = make_scorer(sources, lambda ref: tmp_path / ref, PolicySide(tokenizer, policy, weights)).score(items())
    torch.testing.assert_close(shared.total, alone.total, atol=1e-5, rtol=1e-5)
    assert "reward" in policy.heads


def test_a_classifier_needs_its_class() -> None:
    with pytest.raises(PreflabError, match="class_label"):
        make_scorer([RewardSource(model="somewhere")], lambda ref: ref, PolicySide(None))
