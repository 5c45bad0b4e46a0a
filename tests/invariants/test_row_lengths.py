"""Where rotary frequencies depend on the length of rows, no row depends on its neighbours or on how far it is written.

The oracle is transformers' own model with cosine and sine from the formulas, for one length, laid in by hand.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from math import log, sqrt
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSequenceClassification

from preflab.errors import PreflabError
from preflab.labelers.ai import PairAsked
from preflab.labelers.local import LocalJudge
from preflab.models.tiny import build_tokenizer
from preflab.models.trunk import Role, Trunk
from preflab.records import Prompt
from preflab.rewards.classifier import ClassifierScorer
from preflab.rewards.longest_row import fix_longest
from preflab.rewards.rankings import Encoder
from preflab.rewards.score import RewardModelScorer
from preflab.sampling.engine import TransformersEngine
from preflab.settings.learning import LoraSettings
from preflab.settings.sampling import DecodingSettings
from preflab.training.batches import TokenSequence
from preflab.training.joined_rows import join_rows
from preflab.training.protocols import SampledCompletion, SampleRequest, ScoringItem
from preflab.training.shared_prompts import share_rows

LIMIT, MOST = 32, 128
SHORT, LONG = [1.0, 1.1, 1.3, 1.5], [4.0, 6.0, 8.0, 10.0]
SCALE = sqrt(1 + log(MOST / LIMIT) / log(LIMIT))
LORA = LoraSettings(rank=2, alpha=4)
DECODING = DecodingSettings(max_new_tokens=16)
PROMPTS = [(5,) * 3, tuple(range(3, 23)), tuple(range(40, 70))]
"""Of 3, 20 and 30 tokens: with 16 more they stay below the limit, cross it while they are written, cross it at once."""

KINDS: dict[str, dict[str, Any]] = {
    "phi3": {
        "original_max_position_embeddings": LIMIT,
        "rope_parameters": {
            "rope_type": "longrope",
            "rope_theta": 10_000.0,
            "short_factor": SHORT,
            "long_factor": LONG,
            "original_max_position_embeddings": LIMIT,
        },
        "max_position_embeddings": MOST,
        "sliding_window": None,
    },
    "llama": {
        "rope_parameters": {"rope_type": "dynamic", "rope_theta": 10_000.0, "factor": 8.0},
        "max_position_embeddings": LIMIT,
    },
}


def tiny(kind: str, auto: Any = AutoModelForCausalLM, **changes: Any) -> Any:
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
    special = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
    settings = sizes | special | {"num_key_value_heads": 2, "vocab_size": 97, "initializer_range": 0.3}
    config = AutoConfig.for_model(kind, **{**settings, **KINDS[kind], **changes})
    return auto.from_config(config, dtype=torch.float32).eval()


def frequencies(kind: str, longest: int) -> tuple[list[float], float]:
    """The four frequencies of a head of 8, and the factor of cosine and sine, by the formulas."""
    theta, scale, factors = 10_000.0, 1.0, [1.0] * 4
    if kind == "phi3":
        scale, factors = SCALE, LONG if longest > LIMIT else SHORT
    elif longest > LIMIT:
        theta *= (8.0 * longest / LIMIT - 7.0) ** (8 / 6)
    return [theta ** (-2 * i / 8) / factors[i] for i in range(4)], scale


@contextmanager
def by_hand(model: Any, kind: str, longest: int) -> Iterator[None]:
    """The model's rotary module gives the tables of one length, whatever it is called with."""
    turns, scale = frequencies(kind, longest)

    def forward(x: Tensor, position_ids: Tensor) -> tuple[Tensor, Tensor]:
        angles = position_ids[..., None].float() * torch.tensor([*turns, *turns])
        return scale * angles.cos(), scale * angles.sin()

    model.model.rotary_emb.forward = forward
    try:
        yield
    finally:
        del model.model.rotary_emb.forward


def expected_logps(model: Any, kind: str, longest: int, prompt: tuple[int, ...], tokens: tuple[int, ...]) -> Tensor:
    ids = torch.tensor([prompt + tokens])
    with torch.no_grad(), by_hand(model, kind, longest):
        log_p = model(input_ids=ids, use_cache=False).logits[0, len(prompt) - 1 : -1].log_softmax(-1)
    return log_p.gather(1, torch.tensor(tokens)[:, None])[:, 0]


def sampled_by(model: Any, requests: list[SampleRequest]) -> list[SampledCompletion]:
    return TransformersEngine(model, pad_id=0, stop_token_ids=()).sample(requests, DECODING)


def requests() -> list[SampleRequest]:
    return [SampleRequest(prompt, seed) for seed, prompt in enumerate(PROMPTS)]


def largest(one: Tensor, other: Tensor) -> float:
    return (one - other).abs().max().item()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("lora", [LORA, None], ids=["lora", "full"])
def test_sampler_trainer_and_plain_forward_agree_on_a_stages_longest_row(kind: str, lora: LoraSettings | None) -> None:
    """All three prompts get the frequencies of 46 tokens, alone as together; reference and value as the policy."""
    model, roles = tiny(kind), ("policy", "reference", "value")
    trunk = Trunk(model, SimpleNamespace(pad_token_id=0), lora=lora, roles=roles)
    trunk.row_lengths.fix(30 + 16)
    together = sampled_by(model, requests())
    alone = [sampled_by(model, [request])[0] for request in requests()]
    assert [one.token_ids for one in alone] == [one.token_ids for one in together]
    sequences = [TokenSequence(r.prompt_ids, c.token_ids) for r, c in zip(requests(), together, strict=True)]
    asked: tuple[Role, ...] = ("policy", "reference", "value")
    with torch.no_grad():
        batch = trunk(join_rows(sequences, 0), asked, exact_kl=True)
        rows = [trunk(join_rows([sequence], 0), asked, exact_kl=True) for sequence in sequences]
    assert batch["policy"].kl.abs().max() < 1e-6
    for i, request in enumerate(requests()):
        expected = expected_logps(model, kind, 46, request.prompt_ids, together[i].token_ids)
        assert largest(torch.tensor(together[i].logps), expected) < 1e-5
        assert largest(torch.tensor(alone[i].logps), expected) < 1e-5
        for role in ("policy", "reference"):
            assert largest(batch[role].logps[i], expected) < 1e-5
            assert largest(rows[i][role].logps[0], expected) < 1e-5
        assert largest(batch["value"].values[i], rows[i]["value"].values[0]) < 1e-5
    first = expected_logps(model, kind, 19, PROMPTS[0], together[0].token_ids)
    assert largest(torch.tensor(together[0].logps), first) > 0.01  # the frequencies matter


@pytest.mark.parametrize("kind", KINDS)
def test_without_a_stage_each_row_is_as_if_it_were_alone(kind: str) -> None:
    """Sampler: by prompt and max_new_tokens; trainer: by the row. Together as alone."""
    model = tiny(kind)
    together = sampled_by(model, requests())
    for request, one in zip(requests(), together, strict=True):
        alone = sampled_by(model, [request])[0]
        assert alone.token_ids == one.token_ids
        longest = len(request.prompt_ids) + 16
        assert (
            largest(torch.tensor(one.logps), expected_logps(model, kind, longest, request.prompt_ids, one.token_ids))
            < 1e-5
        )
    trunk = Trunk(model, SimpleNamespace(pad_token_id=0), lora=LORA, roles=("policy", "reward"))
    sequences = [TokenSequence(prompt, (7, 8, 9)) for prompt in (*PROMPTS, *PROMPTS[::-1])]
    batch = trunk(join_rows(sequences, 0), ("policy", "reward"))
    for i, sequence in enumerate(sequences):
        expected = expected_logps(model, kind, len(sequence), sequence.prompt_ids, (7, 8, 9))
        assert largest(batch["policy"].logps[i], expected) < 1e-5
        alone = trunk(join_rows([sequence], 0), ("reward",))["reward"].rewards
        assert largest(batch["reward"].rewards[i], alone[0]) < 1e-5
    batch["policy"].logps.sum().backward()
    assert all(parameter.grad is not None for _, parameter in trunk.parameters_of("policy"))


def test_rows_that_share_a_prompt_need_a_length_that_is_fixed() -> None:
    trunk = Trunk(tiny("phi3"), SimpleNamespace(pad_token_id=0), lora=LORA, roles=("policy",))
    sequences = [TokenSequence(PROMPTS[1], (7,) * 3), TokenSequence(PROMPTS[1], (8,) * 14)]
    with pytest.raises(PreflabError, match="23 to 34 tokens share rows"):
        trunk(share_rows(sequences, 0, 64), ("policy",))
    trunk.row_lengths.fix(34)
    with torch.no_grad():
        shared = trunk(share_rows(sequences, 0, 64), ("policy",))["policy"].logps
        plain = trunk(join_rows(sequences, 0), ("policy",))["policy"].logps
    assert largest(shared, plain) < 1e-5


def test_a_request_beyond_the_length_that_is_fixed_is_refused() -> None:
    model = tiny("phi3")
    engine = TransformersEngine(model, pad_id=0, stop_token_ids=())
    engine.row_lengths.fix(40)
    with pytest.raises(PreflabError, match="request 2: 30 prompt tokens and 16 new ones") as refused:
        engine.sample(requests(), DECODING)
    assert "together at most 40" in str(refused.value)


def test_dynamic_scaling_reaches_beyond_the_positions_it_begins_at() -> None:
    """Factor 8 on 32 positions: 256 tokens fit, 257 do not."""
    model = tiny("llama")
    fits = [SampleRequest((1,) * 254, 0)]
    engine = TransformersEngine(model, pad_id=0, stop_token_ids=())
    assert len(engine.sample(fits, DecodingSettings(max_new_tokens=2))[0].token_ids) == 2
    with pytest.raises(PreflabError, match="together at most 256"):
        engine.sample(fits, DecodingSettings(max_new_tokens=3))


def test_scores_of_a_classifier_do_not_depend_on_other_texts() -> None:
    model = tiny("phi3", AutoModelForSequenceClassification, num_labels=2)

    class Letters:
        """A token per letter."""

        model_max_length = MOST

        def __call__(self, text: str, **_: Any) -> dict[str, list[int]]:
            return {"input_ids": [3 + ord(letter) % 90 for letter in text]}

        def pad(self, rows: list[dict[str, list[int]]], **_: Any) -> Any:
            width = max(len(row["input_ids"]) for row in rows)
            ids = torch.tensor([row["input_ids"] + [0] * (width - len(row["input_ids"])) for row in rows])
            batch = {"input_ids": ids, "attention_mask": (ids > 0).long()}
            return type("Batch", (dict,), {"to": lambda self, device: self})(batch)

    scorer = ClassifierScorer(model, Letters(), 0)
    items = [ScoringItem(None, "a text " * n) for n in (1, 9, 3, 8)]
    together = scorer.score(items).total
    alone = torch.cat([scorer.score([item]).total for item in items])
    assert largest(together, alone) < 1e-5


WORDS = "where is my parcel late it here score : 1 2 3 4 5 a b"


def worded() -> tuple[Any, Any]:
    """A model with LongRoPE and a tokenizer that knows some words, each a token."""
    tokenizer = build_tokenizer([WORDS], context=MOST)
    return tiny("phi3", vocab_size=len(tokenizer)), tokenizer


def test_a_local_judge_answers_a_question_alone_as_among_others() -> None:
    model, tokenizer = worded()
    judge = LocalJudge(model, tokenizer)
    asked = [PairAsked("is it late ?", "where " * n, "it is here " * n, "late " * n) for n in (1, 9, 3)]
    alone = [judge.compare([one])[0].confidence for one in asked]
    assert [said.confidence for said in judge.compare(asked)] == pytest.approx(alone, abs=1e-5)
    judge.fix_longest(asked, room=5)
    labels = [row for one in asked for row in judge.label_rows(judge._pair(one), judge.wording.labels)]
    assert judge.trunk.row_lengths.longest == max(map(len, labels)) + 5
    fixed = [judge.compare([one])[0].confidence for one in asked]
    assert [said.confidence for said in judge.compare(asked)] == pytest.approx(fixed, abs=1e-5)


@pytest.mark.parametrize(("takes_tokens", "longest"), [(True, 30 + 16), (False, 7 + 16)])
def test_a_rewards_length_is_counted_in_the_tokens_it_reads(takes_tokens: bool, longest: int) -> None:
    """30 tokens of the policy's; as text <s> and six words. A row of 40 words that is scored beside counts, too."""
    model, tokenizer = worded()
    trunk = Trunk(model, tokenizer, lora=LORA, roles=("reward",))
    scorer = RewardModelScorer(trunk, Encoder(tokenizer, True, MOST), "rm", takes_tokens=takes_tokens)
    prompts = [(Prompt.make(text="where is my parcel"), PROMPTS[2]), (Prompt.make(text="is it late where is it"), (5,))]
    fix_longest(scorer, prompts, 16)
    assert trunk.row_lengths.longest == longest
    beside = ScoringItem(prompts[0][0], " late" * 60, finish_reason="length")
    fix_longest(scorer, prompts, 16, [beside])
    assert trunk.row_lengths.longest == 1 + 4 + 60
    items = [ScoringItem(prompts[0][0], " late" * n, finish_reason="length") for n in (1, 40, 2)]
    alone = torch.cat([scorer.score([item]).total for item in items])
    assert largest(scorer.score(items).total, alone) < 1e-5


def test_a_saved_model_is_what_it_was(tmp_path: Any) -> None:
    model = tiny("phi3")
    TransformersEngine(model, pad_id=0, stop_token_ids=()).row_lengths.fix(100)
    model.save_pretrained(tmp_path)
    opened = AutoModelForCausalLM.from_pretrained(tmp_path)
    assert opened.config.rope_parameters == KINDS["phi3"]["rope_parameters"] | {"partial_rotary_factor": 1.0}
    ids = torch.tensor([PROMPTS[1]])
    with torch.no_grad(), by_hand(model, "phi3", 20):
        expected = model(input_ids=ids).logits
    assert largest(opened(input_ids=ids).logits, expected) < 1e-5
