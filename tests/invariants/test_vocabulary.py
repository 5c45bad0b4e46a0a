"""Only ids that the tokenizer has are drawn and learned: as if the model had no other rows."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from preflab.errors import PreflabError
from preflab.models.trunk import Role, Trunk
from preflab.models.vocabulary import Vocabulary, fitting_vocabulary
from preflab.rewards.classifier import ClassifierScorer
from preflab.sampling.engine import TransformersEngine
from preflab.settings.learning import LoraSettings
from preflab.settings.sampling import DecodingSettings
from preflab.training.batches import TokenBatch, TokenSequence
from preflab.training.joined_rows import join_rows
from preflab.training.protocols import SampleRequest
from tiny_models import VOCABULARY, tiny_model

NUM_IDS = 60  # of 97 rows
HOLES = (7, 30, 31)
LORA = LoraSettings(rank=2, alpha=4)
SEQUENCES = [TokenSequence((3, 1), (2, 0, 59)), TokenSequence((5,), (1,)), TokenSequence((3, 2, 2), (58, 4))]


def tokenizer(holes: tuple[int, ...] = (), num_ids: int = NUM_IDS) -> Any:
    """As much of one as a trunk asks for; without an id for each of the holes."""
    ids = {f"token {i}": i for i in range(num_ids) if i not in holes}
    return SimpleNamespace(pad_token_id=0, get_vocab=lambda: ids, all_special_ids=[0, 1, 2])


def batch() -> TokenBatch:
    return join_rows(SEQUENCES, 0)


def existing(logits: Tensor, holes: tuple[int, ...]) -> Tensor:
    """(N, n − holes): by hand, the columns of the ids that exist."""
    return logits[:, [i for i in range(NUM_IDS) if i not in holes]]


def shaken(trunk: Trunk) -> Trunk:
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for _, parameter in trunk.named_parameters():
            if parameter.requires_grad:
                parameter.add_(0.05 * torch.randn(parameter.shape, generator=generator))
    return trunk


def by_hand(trunk: Trunk, role: Role, holes: tuple[int, ...], temperature: float) -> tuple[Tensor, Tensor]:
    """Log-probabilities (N, ids that exist) before the completion tokens, and the columns of those tokens."""
    rows = []
    with trunk.role(role):
        for sequence in SEQUENCES:
            ids = torch.tensor([sequence.prompt_ids + sequence.completion_ids])
            logits = trunk.language_model(role)(input_ids=ids, use_cache=False).logits[0]
            rows.append(logits[len(sequence.prompt_ids) - 1 : -1])
    log_p = (existing(torch.cat(rows), holes) / temperature).log_softmax(-1)
    targets = [token - sum(hole < token for hole in holes) for s in SEQUENCES for token in s.completion_ids]
    return log_p, torch.tensor(targets)


@pytest.mark.parametrize("lora", [LORA, None], ids=["lora", "full"])
@pytest.mark.parametrize("holes", [(), HOLES], ids=["padded", "holes"])
@pytest.mark.parametrize(
    ("kind", "settings"),
    [("llama", {}), ("llama", {"tie_word_embeddings": True}), ("gpt_neox", {}), ("gemma2", {})],
    ids=["untied", "tied", "other", "whole logits"],
)
def test_statistics_and_gradients_are_those_of_the_ids_that_exist(
    kind: str, settings: dict[str, Any], holes: tuple[int, ...], lora: LoraSettings | None
) -> None:
    roles: tuple[Role, ...] = ("policy", "reference")
    trunk = shaken(Trunk(tiny_model(kind, **settings), tokenizer(holes), lora=lora, roles=roles))
    assert (trunk.plain_because is not None) == (kind == "gemma2")
    parameters = [parameter for _, parameter in trunk.parameters_of("policy")]
    log_p, targets = by_hand(trunk, "policy", holes, 0.7)
    log_q = by_hand(trunk, "reference", holes, 0.7)[0].detach()
    entropy, kl = -(log_p.exp() * log_p).sum(-1), (log_p.exp() * (log_p - log_q)).sum(-1)
    logps = log_p.gather(1, targets[:, None])[:, 0]
    weights = torch.arange(1.0, 1.0 + len(logps))
    expected = torch.autograd.grad((weights * (logps + 0.3 * entropy - 0.2 * kl)).sum(), parameters)

    out = trunk(batch(), ("policy", "reference"), temperature=0.7, entropy=True, exact_kl=True)
    mask = batch().completion_mask
    found = out["policy"]
    torch.testing.assert_close(found.logps[mask], logps, atol=1e-5, rtol=0)
    torch.testing.assert_close(found.entropy[mask], entropy, atol=1e-5, rtol=0)
    torch.testing.assert_close(found.kl[mask], kl, atol=1e-5, rtol=0)
    torch.testing.assert_close(out["reference"].logps[mask], log_q.gather(1, targets[:, None])[:, 0], atol=1e-5, rtol=0)
    loss = (weights * (found.logps + 0.3 * found.entropy - 0.2 * found.kl)[mask]).sum()
    assert_close(torch.autograd.grad(loss, parameters), expected)

    taken = trunk(
        batch(),
        ("policy",),
        temperature=0.7,
        entropy=True,
        exact_kl=True,
        loss=lambda said, part: (weights[part] * (said.logps + 0.3 * said.entropy - 0.2 * said.kl)).sum(),
    )["policy"]
    assert_close(torch.autograd.grad(taken.loss, parameters), expected)


def assert_close(found: tuple[Tensor, ...], expected: tuple[Tensor, ...]) -> None:
    size = max(one.abs().max().item() for one in expected)
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs, atol=2e-5 * size, rtol=0)


@pytest.mark.parametrize("kind", ["llama", "gemma2"])
def test_ids_without_a_token_are_never_drawn(kind: str) -> None:
    """3,000 draws from a model of 97 rows; without the cut a third of them would fall beyond the 60 ids."""
    model = tiny_model(kind)
    engine = TransformersEngine(model, pad_id=0, stop_token_ids=(), tokenizer=tokenizer(HOLES))
    requests = [SampleRequest((1, 5, 6) if seed % 2 else (3,), seed) for seed in range(100)]
    decoding = DecodingSettings(max_new_tokens=30, max_batch_rows=100)
    sampled = engine.sample(requests, decoding)
    drawn = [token for completion in sampled for token in completion.token_ids]
    assert len(drawn) == 3000
    assert max(drawn) < NUM_IDS
    assert not set(drawn) & set(HOLES)
    everything = TransformersEngine(model, pad_id=0, stop_token_ids=()).sample(requests, decoding)
    assert max(token for completion in everything for token in completion.token_ids) >= NUM_IDS

    trunk = Trunk(model, tokenizer(HOLES), lora=LORA, roles=("policy",))
    sequences = [TokenSequence(r.prompt_ids, c.token_ids) for r, c in zip(requests, sampled, strict=True)]
    with torch.no_grad():
        logps = trunk(join_rows(sequences, 0), ("policy",))["policy"].logps
    torch.testing.assert_close(logps, torch.tensor([c.logps for c in sampled]), atol=1e-5, rtol=0)


def test_a_stop_token_beyond_the_ids_is_never_drawn_and_does_no_harm() -> None:
    engine = TransformersEngine(tiny_model("llama"), pad_id=0, stop_token_ids=(2, 90), tokenizer=tokenizer())
    [one] = engine.sample([SampleRequest((1, 5), 0)], DecodingSettings(max_new_tokens=20))
    assert one.finish_reason == ("stop" if one.token_ids[-1] == 2 else "length")


def test_likeliest_token_exists() -> None:
    model = tiny_model("llama")
    with torch.no_grad():
        model.lm_head.weight[NUM_IDS:] *= 100
        model.lm_head.weight[7] *= 100
    engine = TransformersEngine(model, pad_id=0, stop_token_ids=(), tokenizer=tokenizer(HOLES))
    requests = [SampleRequest((1, 5 + i), 0) for i in range(9)]
    for one in engine.sample(requests, DecodingSettings(max_new_tokens=9, temperature=0.0)):
        assert max(one.token_ids) < NUM_IDS
        assert not set(one.token_ids) & set(HOLES)


def test_states_of_the_sampler_serve_the_trainer() -> None:
    model = tiny_model("llama")
    engine = TransformersEngine(model, pad_id=0, stop_token_ids=(), tokenizer=tokenizer(), keep_states=True)
    requests = [SampleRequest((1, 5), seed) for seed in range(4)]
    sampled = engine.sample(requests, DecodingSettings(max_new_tokens=6))
    trunk = Trunk(model, tokenizer(), lora=LORA, roles=("policy",))
    rows = join_rows([TokenSequence((1, 5), one.token_ids) for one in sampled], 0)
    with torch.no_grad():
        states = torch.cat([one.states for one in sampled])
        found = trunk(rows, ("policy",), policy_states=states)["policy"].logps
    torch.testing.assert_close(found, torch.tensor([one.logps for one in sampled]), atol=1e-5, rtol=0)


def test_a_completion_with_an_id_that_does_not_exist_is_refused() -> None:
    trunk = Trunk(tiny_model("llama"), tokenizer(), lora=LORA, roles=("policy",))
    rows = join_rows([TokenSequence((1,), (2, NUM_IDS))], 0)
    with pytest.raises(PreflabError, match="a completion contains the token 60") as refused:
        trunk(rows, ("policy",))
    assert "ids, 0 to 59" in str(refused.value)


def test_a_tokenizer_larger_than_the_embedding_is_refused() -> None:
    """One id too many: by trunk, sampler and classifier alike, in the words of `preflab check`."""
    larger = tokenizer(num_ids=VOCABULARY + 1)
    assert fitting_vocabulary(tiny_model("llama"), tokenizer(num_ids=VOCABULARY)) == Vocabulary(VOCABULARY)
    words = "the tokenizer does not fit the embedding: 98 tokens, 97 rows"
    with pytest.raises(PreflabError, match=words):
        Trunk(tiny_model("llama"), larger, lora=LORA, roles=("policy",))
    with pytest.raises(PreflabError, match=words):
        TransformersEngine(tiny_model("llama"), pad_id=0, stop_token_ids=(), tokenizer=larger)
    with pytest.raises(PreflabError, match=words):
        ClassifierScorer(tiny_model("llama"), larger, 0)


def test_a_reference_with_fewer_rows_than_ids_is_refused() -> None:
    smaller = tiny_model("llama")
    smaller.resize_token_embeddings(NUM_IDS - 1)
    with pytest.raises(PreflabError, match="60 tokens, 59 rows"):
        Trunk(tiny_model("llama"), tokenizer(), lora=LORA, roles=("policy", "reference"), reference=smaller)
