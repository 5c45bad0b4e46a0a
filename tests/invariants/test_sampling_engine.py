"""What is sampled depends on the model, the prompt and the seed: not on what shares the batch, nor on padding."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch

from preflab.errors import PreflabError
from preflab.sampling.engine import TransformersEngine
from preflab.settings.sampling import DecodingSettings
from preflab.training.protocols import SampledCompletion, SampleRequest
from tiny_models import VOCABULARY, tiny_model

KINDS = ["llama", "gpt2", "gpt_neox", "qwen2", "mistral", "gemma2", "opt", "bloom", "mamba"]
PROMPTS: list[tuple[int, ...]] = [(1, 5, 6, 7, 8, 9, 10), (1, 5), (1, 40, 41, 42), (1, 5, 6, 7, 8, 9, 10), (3,), (1, 5)]
REQUESTS = [SampleRequest(prompt, seed) for seed, prompt in enumerate(PROMPTS)]
DECODING = DecodingSettings(max_new_tokens=9)


def engine(model: Any, **arguments: Any) -> TransformersEngine:
    return TransformersEngine(model, **({"pad_id": 0, "stop_token_ids": (2, 11, 12, 13)} | arguments))


def assert_equal(found: list[SampledCompletion], expected: list[SampledCompletion]) -> None:
    assert [c.token_ids for c in found] == [c.token_ids for c in expected]
    assert [c.finish_reason for c in found] == [c.finish_reason for c in expected]
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.logps == pytest.approx(theirs.logps, abs=1e-4)


def logps_of_the_model(model: Any, request: SampleRequest, token_ids: tuple[int, ...]) -> list[float]:
    """One unpadded pass over prompt and completion."""
    with torch.no_grad():
        logits = model(input_ids=torch.tensor([request.prompt_ids + token_ids]), use_cache=False).logits[0]
    logps = logits[len(request.prompt_ids) - 1 : -1].log_softmax(-1)
    return logps.gather(1, torch.tensor(token_ids)[:, None])[:, 0].tolist()


@pytest.mark.parametrize("kind", KINDS)
def test_a_sample_does_not_depend_on_its_batch(kind: str) -> None:
    model = tiny_model(kind)
    together = engine(model).sample(REQUESTS, DECODING)
    assert len({c.token_ids for c in together}) > 1
    alone = [engine(model).sample([request], DECODING)[0] for request in REQUESTS]
    assert_equal(alone, together)
    assert_equal(engine(model).sample(REQUESTS[::-1], DECODING)[::-1], together)
    assert_equal(engine(model).sample(REQUESTS, DECODING.model_copy(update={"max_batch_rows": 4})), together)
    for request, completion in zip(REQUESTS, together, strict=True):
        assert completion.logps == pytest.approx(logps_of_the_model(model, request, completion.token_ids), abs=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_kept_states_are_those_before_each_token(kind: str) -> None:
    """With shared prefills, paddings and retired rows: the head applied to them gives the model's own logits."""
    model = tiny_model(kind)
    found = engine(model, keep_states=True).sample(REQUESTS, DECODING)
    assert_equal(found, engine(model).sample(REQUESTS, DECODING))
    assert kind != "llama" or len({len(completion.token_ids) for completion in found}) > 1
    for request, completion in zip(REQUESTS, found, strict=True):
        ids = torch.tensor([request.prompt_ids + completion.token_ids])
        with torch.no_grad():
            logits = model(input_ids=ids, use_cache=False).logits[0, len(request.prompt_ids) - 1 : -1]
            assert completion.states is not None
            ours = model.get_output_embeddings()(completion.states)
            if getattr(model.config, "final_logit_softcapping", None):
                ours = torch.tanh(ours / model.config.final_logit_softcapping) * model.config.final_logit_softcapping
        assert torch.allclose(ours, logits, atol=1e-4)


def test_states_are_kept_only_when_asked_for_and_while_they_are_few(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny_model("llama")
    assert engine(model).sample(REQUESTS, DECODING)[0].states is None
    size = len(REQUESTS) * 9 * model.config.hidden_size * 4
    for limit, kept in ((size, True), (size - 1, False)):
        monkeypatch.setattr("preflab.sampling.engine.MAX_STATES", limit)
        found = engine(model, keep_states=True).sample(REQUESTS, DECODING)
        assert [completion.states is not None for completion in found] == [kept] * len(REQUESTS)
    assert engine(model.bfloat16(), keep_states=True).sample(REQUESTS, DECODING)[0].states is None
    assert not model.get_output_embeddings()._forward_pre_hooks


def test_decode_path_is_said_and_a_slow_one_warned_of(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert engine(tiny_model("llama")).decode_path == "cache"
    assert engine(tiny_model("mamba")).decode_path == "cache with states, model's own mask"
    assert not caplog.text
    monkeypatch.setattr("preflab.sampling.pass_choice.reproduces", lambda way, model: False)
    slow = engine(tiny_model("mamba"))
    slow.sample(REQUESTS[:1], DecodingSettings(max_new_tokens=1))
    assert slow.decode_path == "plain"
    assert "MambaForCausalLM does not work with preflab's cache" in caplog.text


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_attention_implementations_agree(attention: str) -> None:
    model = tiny_model("llama")
    expected = engine(model).sample(REQUESTS, DECODING)
    model.set_attn_implementation(attention)
    assert_equal(engine(model).sample(REQUESTS, DECODING), expected)


def test_logps_are_those_of_the_distribution_drawn_from() -> None:
    model = tiny_model("llama")
    [warm] = engine(model).sample(REQUESTS[:1], DecodingSettings(max_new_tokens=5, temperature=1.7))
    with torch.no_grad():
        logits = model(input_ids=torch.tensor([PROMPTS[0]])).logits[0, -1] / 1.7
    assert warm.logps[0] == pytest.approx(logits.log_softmax(-1)[warm.token_ids[0]].item(), abs=1e-5)
    [cut] = engine(model).sample(REQUESTS[:1], DecodingSettings(max_new_tokens=5, temperature=1.7, top_k=3))
    kept = logits.topk(3)
    assert cut.token_ids[0] in kept.indices.tolist()
    place = kept.indices.tolist().index(cut.token_ids[0])
    assert cut.logps[0] == pytest.approx(kept.values.log_softmax(-1)[place].item(), abs=1e-5)


def test_the_likeliest_tokens_are_those_of_transformers_generate() -> None:
    model = tiny_model("llama")
    model.generation_config.eos_token_id = None
    ours = engine(model, stop_token_ids=()).sample(REQUESTS, DecodingSettings(max_new_tokens=9, temperature=0.0))
    for request, completion in zip(REQUESTS, ours, strict=True):
        ids = torch.tensor([request.prompt_ids])
        theirs = model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=9, do_sample=False)
        assert completion.token_ids == tuple(theirs[0, len(request.prompt_ids) :].tolist())
        assert completion.logps == (0.0,) * 9


def test_stop_tokens_end_a_completion_and_belong_to_it() -> None:
    model = tiny_model("llama")
    free = engine(model, stop_token_ids=()).sample(REQUESTS, DECODING)
    assert all(c.finish_reason == "length" and len(c.token_ids) == 9 for c in free)
    stop = free[0].token_ids[3]
    stopped = engine(model).sample(REQUESTS, DECODING.model_copy(update={"stop_token_ids": (stop,)}))
    for long, short in zip(free, stopped, strict=True):
        num = long.token_ids.index(stop) + 1 if stop in long.token_ids else 9
        assert short.token_ids == long.token_ids[:num]
        assert len(short.logps) == num
        assert short.finish_reason == ("stop" if stop in long.token_ids else "length")


def test_equal_prompts_share_a_prefill_and_finished_rows_are_retired() -> None:
    model = tiny_model("llama")
    shapes: list[tuple[int, ...]] = []
    with_cache = engine(model, stop_token_ids=range(0, VOCABULARY, 3))  # a third of all tokens
    with_cache.sample(REQUESTS[:1], DECODING)
    model.register_forward_pre_hook(
        lambda _, args, kwargs: shapes.append(tuple(kwargs["input_ids"].shape)), with_kwargs=True
    )
    requests = [SampleRequest(prompt, seed) for prompt in PROMPTS[:3] for seed in range(16)]
    with_cache.sample(requests, DecodingSettings(max_new_tokens=40, max_batch_rows=48))
    assert shapes[0] == (3, 7)
    rows = [shape[0] for shape in shapes[1:]]
    assert all(shape[1] == 1 for shape in shapes[1:])
    assert rows[0] <= 0.75 * 48
    assert rows == sorted(rows, reverse=True)
    assert rows[-1] <= 3


def test_many_rows_that_end_at_different_times_stay_themselves() -> None:
    model = tiny_model("llama")
    stops = tuple(range(0, VOCABULARY, 9))
    requests = [SampleRequest(PROMPTS[i % 6], i) for i in range(50)]
    decoding = DecodingSettings(max_new_tokens=30, max_batch_rows=50)
    together = engine(model, stop_token_ids=stops).sample(requests, decoding)
    assert len({len(c.token_ids) for c in together}) > 10
    alone = [engine(model, stop_token_ids=stops).sample([request], decoding)[0] for request in requests]
    assert_equal(alone, together)


def test_a_cache_that_outgrows_its_room_keeps_what_it_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny_model("llama")
    expected = engine(model).sample(REQUESTS, DECODING)
    monkeypatch.setattr("preflab.sampling.cache.ROOM", 2)
    assert_equal(engine(model).sample(REQUESTS, DECODING), expected)


def test_every_completion_is_told_of_once_and_carries_the_policy_version() -> None:
    model, told = tiny_model("llama"), []
    sampler = engine(model)
    sampler.sync(17)
    found = sampler.sample(REQUESTS, DECODING, on_done=told.append)
    assert sum(told) == len(REQUESTS)
    assert {c.policy_version for c in found} == {17}
    assert engine(model).sample([], DECODING) == []


def test_sampling_happens_in_the_role_without_dropout_and_leaves_the_model_as_it_was() -> None:
    model = tiny_model("gpt2", resid_pdrop=0.5, embd_pdrop=0.5)
    expected = engine(model).sample(REQUESTS, DECODING)
    entered = []

    @contextmanager
    def role() -> Iterator[None]:
        entered.append("in")
        yield
        entered.append("out")

    model.train()
    model.transformer.h[0].eval()
    assert_equal(engine(model, role=role).sample(REQUESTS, DECODING), expected)
    assert entered == ["in", "out"]
    assert model.training
    assert not model.transformer.h[0].training
    assert model.transformer.h[1].mlp.dropout.training
    loss = model(input_ids=torch.tensor([[1, 2, 3]])).logits.sum()
    loss.backward()  # nothing that sampling made lies in the way of training


def test_a_prompt_that_leaves_no_room_is_refused() -> None:
    model = tiny_model("llama")  # 64 positions
    fits = [SampleRequest((1,) * 60, 0)]
    assert len(engine(model, stop_token_ids=()).sample(fits, DecodingSettings(max_new_tokens=4))[0].token_ids) == 4
    with pytest.raises(PreflabError) as error:
        engine(model).sample([REQUESTS[0], *fits], DecodingSettings(max_new_tokens=5))
    assert "request 1: 60 prompt tokens and 5 new ones" in str(error.value)
    assert "at most 64" in str(error.value)


def test_bad_requests_are_refused() -> None:
    model = tiny_model("llama")
    with pytest.raises(PreflabError, match="request 0: the prompt has no tokens"):
        engine(model).sample([SampleRequest((), 0)], DECODING)
    with pytest.raises(PreflabError, match="stop token 97 is not in the vocabulary"):
        engine(model, stop_token_ids=(97,)).sample(REQUESTS, DECODING)
    with pytest.raises(PreflabError, match="the sampler has no tokenizer"):
        engine(model).sample(REQUESTS, DecodingSettings(stop_strings=("x",)))
