"""The sampler of a re-weighted reference draws with π_ref · exp(beta · Q) for any prompts, temperature and role."""

from __future__ import annotations

import pytest
import torch

from ilql_world import reweighted
from preflab.models.action_values import add_q_head, q_head
from preflab.models.families import token_logits, token_states
from preflab.models.merge import merged_language_model
from preflab.models.trunk import Trunk
from preflab.settings.learning import LoraSettings
from preflab.settings.sampling import DecodingSettings
from preflab.training.batches import TokenSequence
from preflab.training.protocols import SampleRequest
from tiny_worlds import tiny_trunk

BETA = 1.5
PROMPTS = [(3,), (1, 2, 0, 3), (2, 1), (0, 0, 1)]


def trunk_with_values(lora: LoraSettings | None) -> Trunk:
    """A trunk whose value role and Q head are random, so that both differ from the reference."""
    trunk = tiny_trunk(("value",) if lora else ("reference", "value"), lora=lora, vocab_size=6)
    add_q_head(trunk)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for role in ("value", "q"):
            for _, parameter in trunk.parameters_of(role):
                parameter += 0.5 * torch.randn(parameter.shape, generator=generator)
    return trunk


def expected_logps(trunk: Trunk, sequence: TokenSequence, temperature: float) -> torch.Tensor:
    """(tokens,) log-probabilities from one pass of each model over the whole sequence, without a cache."""
    with torch.no_grad(), trunk.role("reference"):
        reference = token_logits(trunk.family, trunk.language_model("reference"), [sequence])
    if trunk.lora is None:
        batch = trunk.collate([sequence])
        with torch.no_grad():
            hidden = trunk.models["value"](**trunk.family.inputs(batch, torch.float32)).last_hidden_state
        states = hidden[0, len(sequence.prompt_ids) - 1 : -1]
    else:
        with torch.no_grad():
            states = token_states(trunk.family, merged_language_model(trunk, "value"), [sequence])
    weight, bias = q_head(trunk).linear()
    logits = (reference + BETA * (states @ weight.T + bias)) / temperature
    return logits.log_softmax(-1).gather(1, torch.tensor(sequence.completion_ids)[:, None])[:, 0].detach()


@pytest.mark.parametrize("lora", [None, LoraSettings(rank=4, alpha=8)], ids=["full", "lora"])
@pytest.mark.parametrize("temperature", [1.0, 0.5])
def test_log_probabilities_are_those_of_uncached_passes(lora: LoraSettings | None, temperature: float) -> None:
    trunk = trunk_with_values(lora)
    requests = [SampleRequest(prompt, seed) for seed in range(5) for prompt in PROMPTS]
    decoding = DecodingSettings(max_new_tokens=7, temperature=temperature, stop_token_ids=(5,))
    sampled = reweighted(trunk, BETA).sample(requests, decoding)
    assert len({len(one.token_ids) for one in sampled}) > 1
    differs = 0.0
    for request, one in zip(requests, sampled, strict=True):
        sequence = TokenSequence(request.prompt_ids, one.token_ids)
        expected = expected_logps(trunk, sequence, temperature)
        torch.testing.assert_close(torch.tensor(one.logps), expected, atol=2e-4, rtol=1e-4)
        with torch.no_grad():
            batch = trunk.collate([sequence])
            reference = trunk(batch, ("reference",), temperature=temperature)["reference"].logps[0]
        differs = max(differs, float((expected - reference).abs().max()))
    assert differs > 0.5, "the reference alone would not pass"
