"""Every way of decoding gives the model's own distribution: windows crossed, rows shared, moved and dropped."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from preflab.sampling.engine import TransformersEngine
from preflab.sampling.pass_choice import fitting_pass, reproduces
from preflab.sampling.passes import CachedPass, OwnCachePass
from preflab.sampling.time_steps import limited_time_steps
from preflab.settings.sampling import DecodingSettings
from preflab.training.protocols import SampledCompletion, SampleRequest
from tiny_hybrids import HYBRIDS, tiny_hybrid
from tiny_models import VOCABULARY, tiny_model

STATES = "cache with states, model's own mask"
PATHS = {
    "llama": "cache",
    "mistral": "cache, model's own mask",
    "gemma2": "cache, model's own mask",
    "bloom": "cache, model's own mask",
    **dict.fromkeys(HYBRIDS, STATES),
    "recurrent_gemma": "cache with states, equal lengths",
    "minimax": "model's own cache, equal lengths",
    "rwkv": "plain",
}
LENGTHS = (13, 1, 6, 13, 2, 9)
DECODING = DecodingSettings(max_new_tokens=14, max_batch_rows=12)


def model_of(kind: str) -> Any:
    return tiny_hybrid(kind) if kind in HYBRIDS else tiny_model(kind)


def requests() -> list[SampleRequest]:
    """Two completions of each prompt."""
    generator = torch.Generator().manual_seed(5)
    prompts = [tuple(torch.randint(3, VOCABULARY, (n,), generator=generator).tolist()) for n in LENGTHS]
    return [SampleRequest(prompt, seed) for seed, prompt in enumerate([*prompts, *prompts])]


def engine(model: Any) -> TransformersEngine:
    return TransformersEngine(model, pad_id=0, stop_token_ids=range(0, VOCABULARY, 12))


def difference_to_plain_forward(model: Any, request: SampleRequest, completion: SampledCompletion) -> float:
    """Largest difference of the log-probabilities to one unpadded pass without a cache."""
    ids = torch.tensor([request.prompt_ids + completion.token_ids])
    with torch.no_grad():
        log_p = model(input_ids=ids, use_cache=False).logits[0, len(request.prompt_ids) - 1 : -1].log_softmax(-1)
    expected = log_p.gather(1, torch.tensor(completion.token_ids)[:, None])[:, 0]
    return (expected - torch.tensor(completion.logps)).abs().max().item()


@pytest.mark.parametrize("kind", PATHS)
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_samples_have_the_models_own_probabilities(kind: str) -> None:
    model = model_of(kind)
    sampler = engine(model)
    sampled = sampler.sample(requests(), DECODING)
    assert sampler.decode_path == PATHS[kind]
    assert len({len(completion.token_ids) for completion in sampled}) > 2
    for request, completion in zip(requests(), sampled, strict=True):
        assert difference_to_plain_forward(model, request, completion) < 1e-5
    alone = [engine(model).sample([request], DECODING)[0] for request in requests()[:3]]
    assert [one.token_ids for one in alone] == [one.token_ids for one in sampled[:3]]


def test_a_hybrid_without_attention_layers_counts_its_tokens_itself() -> None:
    """Transformers asks the attention layers of a cache how long rows are; here there are none."""
    model = tiny_hybrid("qwen3_5_text", layer_types=["linear_attention", "linear_attention"])
    sampler = engine(model)
    for request, completion in zip(requests(), sampler.sample(requests(), DECODING), strict=True):
        assert difference_to_plain_forward(model, request, completion) < 1e-5
    assert sampler.decode_path == STATES


@pytest.mark.parametrize("kind", ["mamba2", "qwen3_5_text", "zamba2", "recurrent_gemma", "minimax"])
def test_a_model_that_has_decoded_learns_as_before(kind: str) -> None:
    """No states, hooks or inference tensors stay behind in the modules."""
    model, ids = model_of(kind), torch.tensor([[1, 5, 6, 7, 8]])
    before = model(input_ids=ids, use_cache=False).logits
    engine(model).sample(requests(), DECODING)
    after = model(input_ids=ids, use_cache=False).logits
    assert torch.equal(before, after)
    after.sum().backward()
    assert not any(module._forward_hooks for module in model.modules())


def test_a_way_that_loses_states_is_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if rows of states were left where they were: the next way, and at last the plain one, is taken."""
    model = model_of("qwen3_5_text")
    monkeypatch.setattr("preflab.sampling.cache._selected", lambda states, rows, num_rows, dimension: states[rows * 0])
    assert fitting_pass(model, 0).name == "plain"


def test_a_window_is_crossed_by_the_comparison() -> None:
    """One ready-made mask for all layers is wrong beyond a window of 16, and only there."""
    model = tiny_model("mistral")
    model.config.sliding_window = 16
    with torch.inference_mode():
        assert reproduces(CachedPass(model, 0, "own"), model)
        assert not reproduces(CachedPass(model, 0, "ready-made"), model)
        assert reproduces(OwnCachePass(model), model)
        model.config.sliding_window = None
        assert reproduces(CachedPass(model, 0, "ready-made"), model)


@pytest.mark.parametrize("kind", ["zamba2", "nemotron_h"])
def test_time_steps_keep_to_their_limits_one_token_at_a_time(kind: str) -> None:
    """Transformers clamps them only where many tokens go through at once."""
    model = model_of(kind)
    way = CachedPass(model, 0, "own")
    with torch.inference_mode():
        assert not reproduces(way, model)
        with limited_time_steps(model):
            assert reproduces(way, model)


def test_time_steps_are_clamped_as_softplus_would_be() -> None:
    """Δ = softplus(dt + bias) within (0.5, 2): as they are after softplus."""

    class Layer(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.in_proj = torch.nn.Linear(3, 5)
            self.dt_bias = torch.nn.Parameter(torch.tensor([0.3, -0.2]))
            self.num_heads, self.time_step_limit = 2, (0.5, 2.0)

    layer, inputs = Layer(), 10 * torch.randn(40, 3)
    plain: Tensor = layer.in_proj(inputs)
    with limited_time_steps(layer):
        clamped = layer.in_proj(inputs)
    assert torch.equal(clamped[:, :3], plain[:, :3])
    expected = torch.nn.functional.softplus(plain[:, 3:] + layer.dt_bias).clamp(0.5, 2.0)
    torch.testing.assert_close(torch.nn.functional.softplus(clamped[:, 3:] + layer.dt_bias), expected)
    assert torch.equal(layer.in_proj(inputs), plain)
