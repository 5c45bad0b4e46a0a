"""A reward model trained on a tiny real model: splits, restarts, saving, loading, scoring and sharing a trunk."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from transformers import BertConfig, BertModel

from preflab.errors import PreflabError
from preflab.models.tiny import build_model, build_tokenizer
from preflab.models.trunk import Trunk
from preflab.models.weights_id import base_hash
from preflab.records import Prompt
from preflab.rewards.rankings import Encoder, LabelledPair, Ranking
from preflab.rewards.score import (
    RewardModelScorer,
    load_reward_model,
    reward_scores,
    same_tokenizer,
    save_reward_model,
    shares_base,
)
from preflab.rewards.train import accumulate, normalise, score_rankings, train_reward_model
from preflab.settings.learning import LoraSettings, OptimiserSettings, RewardSettings, RunSettings
from preflab.training.batches import TokenSequence
from preflab.training.protocols import ScoringItem

WORDS = "one two three four five six seven eight"
LORA = LoraSettings(rank=2)


def base(folder: Path) -> Path:
    """A random tiny language model as a Hugging Face folder."""
    tokenizer = build_tokenizer([WORDS], context=24)
    model = build_model(tokenizer, num_layers=2, hidden_size=16, num_heads=2, context=24, seed=0)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def trunk(lora: LoraSettings | None) -> Trunk:
    tokenizer = build_tokenizer([WORDS], context=24)
    model = build_model(tokenizer, num_layers=2, hidden_size=16, num_heads=2, context=24, seed=0)
    return Trunk(model, tokenizer, lora=lora, roles=("reward",), seed=1)


def rankings(num: int = 6, largest: int = 4) -> list[Ranking]:
    """Rankings of two to `largest` completions of differing lengths, all pairs labelled, weights 1/pairs."""
    rng = random.Random(0)
    made = []
    for number in range(num):
        k = rng.randint(2, largest)
        sequences = tuple(
            TokenSequence((1, 4 + number % 8), tuple(rng.randint(4, 11) for _ in range(rng.randint(1, 9))))
            for _ in range(k)
        )
        pairs = [(i, j) for i in range(k) for j in range(i + 1, k)]
        labelled = tuple(LabelledPair(i, j, rng.choice([1.0, 0.75]), 1 / len(pairs)) for i, j in pairs)
        made.append(Ranking(f"p{number}", sequences, labelled, (1,) * k, (1,) * k))
    return made


def settings(**changes: Any) -> RewardSettings:
    optimiser = OptimiserSettings(learning_rate=3e-3, **changes.pop("optimiser", {}))
    chosen = {"model": "-", "preferences": "-", "num_rankings_per_step": 3, "optimiser": optimiser, **changes}
    return RewardSettings(**chosen)


def train(made: Trunk, folder: Path, num_steps: int, chosen: RewardSettings) -> list[dict[str, Any]]:
    accelerator = Accelerator(cpu=True)
    return train_reward_model(
        made, rankings(), chosen, num_steps=num_steps, folder=folder, seed=3, accelerator=accelerator
    )


@pytest.mark.parametrize("score_l2", [0.0, 0.3])
def test_the_budget_of_a_micro_batch_changes_nothing(score_l2: float) -> None:
    made = trunk(None)
    found = []
    # 10,000: one micro-batch; 30: whole rankings apart; 12: rankings larger than the budget, scored in parts; 1: rows.
    for budget in (10_000, 30, 12, 1):
        made.zero_grad()
        chosen = settings(score_l2=score_l2, optimiser={"tokens_per_micro_batch": budget})
        figures = accumulate(made, rankings(), chosen, collate=made.collate, accelerator=Accelerator(cpu=True))
        found.append((figures, [p.grad.clone() for _, p in made.parameters_of("reward") if p.grad is not None]))
    (figures, gradients), *others = found
    for other_figures, other_gradients in others:
        assert other_figures == pytest.approx(figures, abs=1e-6)
        for one, other in zip(gradients, other_gradients, strict=True):
            torch.testing.assert_close(one, other, atol=2e-6, rtol=1e-4)


def test_each_completion_goes_through_the_model_once_per_step() -> None:
    made = trunk(LORA)
    rows: list[int] = []
    made.register_forward_pre_hook(lambda module, arguments: rows.append(len(arguments[0].lengths)))
    accumulate(made, rankings(), settings(), collate=made.collate, accelerator=Accelerator(cpu=True))
    assert sum(rows) == sum(len(ranking.sequences) for ranking in rankings())


@pytest.mark.parametrize("lora", [None, LORA])
def test_a_restart_in_the_middle_changes_no_bit(tmp_path: Path, lora: LoraSettings | None) -> None:
    chosen = settings(run=RunSettings(save_every=4))
    through, interrupted, resumed = trunk(lora), trunk(lora), trunk(lora)
    whole = train(through, tmp_path / "whole", 8, chosen)

    class Killed(Exception):
        pass

    def log(accelerator: Accelerator, values: dict[str, float], step: int | None = None, **kwargs: Any) -> None:
        if step == 6:
            raise Killed

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Accelerator, "log", log)
        with pytest.raises(Killed):
            train(interrupted, tmp_path / "parts", 8, chosen)
    assert [place.name for place in (tmp_path / "parts" / "checkpoint").iterdir()] == ["step-000004"]
    rows = train(resumed, tmp_path / "parts", 8, chosen)
    for (_, one), (_, other) in zip(through.parameters_of("reward"), resumed.parameters_of("reward"), strict=True):
        assert torch.equal(one, other)
    timeless = [[{key: v for key, v in row.items() if key != "time/step"} for row in part] for part in (whole, rows)]
    assert timeless[0] == timeless[1]
    assert [row["step"] for row in whole] == list(range(8))
    assert 0 < sum(row["time/step"] for row in whole) < 60  # and not seconds since the machine was started


def test_reference_samples_get_mean_zero_and_variance_one(tmp_path: Path) -> None:
    made = trunk(LORA)
    train(made, tmp_path, 4, settings())
    raw = torch.cat(score_rankings(made, rankings(), 100))
    normalise(made, raw)
    scores = torch.cat(score_rankings(made, rankings(), 100)).double()
    assert float(scores.mean()) == pytest.approx(0.0, abs=1e-5)
    assert float(scores.std(correction=0)) == pytest.approx(1.0, abs=1e-5)
    assert torch.equal(scores.argsort(), raw.argsort())
    with pytest.raises(PreflabError, match="spread"):
        normalise(made, torch.ones(5))


@pytest.mark.parametrize("lora", [None, LORA])
def test_a_saved_model_scores_as_before_and_lacks_no_tensor(tmp_path: Path, lora: LoraSettings | None) -> None:
    folder, saved = base(tmp_path / "base"), tmp_path / "runs" / "reward"
    made = trunk(lora)
    train(made, tmp_path, 4, settings())
    normalise(made, torch.cat(score_rankings(made, rankings(), 100)))
    encoder = Encoder(made.tokenizer, True, 24)
    save_reward_model(made, saved, base="../../base", weights_hash=base_hash(folder, None), encoder=encoder)
    before = torch.cat(score_rankings(made, rankings(), 100))
    again, loaded_encoder = load_reward_model(saved)
    torch.testing.assert_close(torch.cat(score_rankings(again, rankings(), 100)), before, atol=1e-5, rtol=1e-5)
    assert (loaded_encoder.causal, loaded_encoder.max_tokens) == (True, 24)
    assert not any(p.requires_grad for name, p in again.named_parameters() if "reward" in name)
    (saved / "head.safetensors").unlink()
    with pytest.raises(PreflabError, match=r"head\.safetensors"):
        load_reward_model(saved)


def test_an_adapter_is_refused_on_other_weights(tmp_path: Path) -> None:
    folder, saved = base(tmp_path / "base"), tmp_path / "reward"
    made = trunk(LORA)
    encoder = Encoder(made.tokenizer, True, 24)
    save_reward_model(made, saved, base="../base", weights_hash=base_hash(folder, None), encoder=encoder)
    other = build_model(made.tokenizer, num_layers=2, hidden_size=16, num_heads=2, context=24, seed=9)
    other.save_pretrained(folder)
    with pytest.raises(PreflabError, match="adapter for the base model-"):
        load_reward_model(saved)
    with pytest.raises(PreflabError, match=r"reward_model\.json"):
        load_reward_model(folder)


def test_on_the_policys_base_the_adapter_joins_the_policys_trunk(tmp_path: Path) -> None:
    folder, saved = base(tmp_path / "base"), tmp_path / "reward"
    made = trunk(LORA)
    train(made, tmp_path, 4, settings())
    encoder = Encoder(made.tokenizer, True, 24)
    save_reward_model(made, saved, base="../base", weights_hash=base_hash(folder, None), encoder=encoder)
    alone = torch.cat(score_rankings(made, rankings(), 100))

    tokenizer = build_tokenizer([WORDS], context=24)
    model = build_model(tokenizer, num_layers=2, hidden_size=16, num_heads=2, context=24, seed=0)
    policy_hash = base_hash("-", model)
    assert shares_base(saved, policy_hash)
    assert not shares_base(saved, "model-of-something-else")
    policy = Trunk(model, tokenizer, lora=LoraSettings(rank=4), roles=("policy", "value"), seed=2)
    joined, _ = load_reward_model(saved, trunk=policy, trunk_hash=policy_hash)
    assert joined is policy
    torch.testing.assert_close(torch.cat(score_rankings(policy, rankings(), 100)), alone, atol=1e-6, rtol=1e-5)
    assert {"policy", "value"} == {role for role in ("policy", "value", "reward") if policy.parameters_of(role)}


def items(tokenizer: Any) -> list[ScoringItem]:
    texts = ["two", "three four five six seven", "eight one", "", "one two three"]
    eos = (tokenizer.eos_token_id,)
    return [
        ScoringItem(
            Prompt.make("one two"),
            text,
            tuple(tokenizer("one two")["input_ids"]),
            tuple(tokenizer(text, add_special_tokens=False)["input_ids"]) + eos,
        )
        for text in texts
    ]


def test_a_score_does_not_depend_on_its_batch_and_tokens_score_as_their_text() -> None:
    made = trunk(LORA)
    encoder = Encoder(made.tokenizer, True, 24)
    scorers = [
        RewardModelScorer(made, encoder, "rm", takes_tokens=takes_tokens, tokens_per_batch=budget)
        for takes_tokens, budget in ((True, 4096), (True, 1), (True, 20), (False, 4096))
    ]
    together = items(made.tokenizer)
    expected = torch.cat([scorers[0].score([item]).total for item in together])
    for scorer in scorers:
        torch.testing.assert_close(scorer.score(together).total, expected, atol=1e-6, rtol=1e-5)
        assert set(scorer.score(together).terms) == {"rm"}


def test_tokenizers_are_the_same_or_not() -> None:
    one, same, other = (build_tokenizer([text], context=8) for text in (WORDS, WORDS, WORDS + " nine"))
    assert same_tokenizer(one, same)
    assert not same_tokenizer(one, other)


@pytest.mark.parametrize("pooling", ["mean", "first"])
def test_encoders_pool_over_real_tokens_only(pooling: Any) -> None:
    tokenizer = build_tokenizer([WORDS], context=24)
    config = BertConfig(
        vocab_size=len(tokenizer), hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32,
        max_position_embeddings=24,
    )  # fmt: skip
    made = Trunk(BertModel(config), tokenizer, lora=None, roles=("reward",), pooling=pooling)
    sequences = [sequence for ranking in rankings() for sequence in ranking.sequences]
    together = reward_scores(made, sequences, 4096)
    torch.testing.assert_close(reward_scores(made, sequences, 1), together, atol=1e-6, rtol=1e-5)
    sequence = sequences[0]
    ids = torch.tensor([sequence.prompt_ids + sequence.completion_ids])
    hidden = made.models["reward"](input_ids=ids).last_hidden_state[0]
    state = hidden.mean(0) if pooling == "mean" else hidden[0]
    head = made.head("reward").linear
    expected = float((state @ head.weight[0] + head.bias[0]).detach())
    assert float(together[0]) == pytest.approx(expected, abs=1e-5)


def test_rankings_without_a_decision_are_refused(tmp_path: Path) -> None:
    undecided = [Ranking("p", (TokenSequence((1,), (2,)),) * 2, (), (1, 1), (1, 1))]
    with pytest.raises(PreflabError, match="without a single decided pair"):
        train_reward_model(
            trunk(LORA), undecided, settings(), num_steps=1, folder=tmp_path, seed=0, accelerator=Accelerator(cpu=True)
        )
