"""Completions that share their prompt's row: the same log-probabilities and gradients as with a row each."""

from __future__ import annotations

from dataclasses import fields
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor

from preflab.models.prompt_sharing import why_not_shared
from preflab.models.trunk import Trunk
from preflab.settings.learning import LoraSettings
from preflab.training.batches import TokenBatch, TokenSequence
from preflab.training.joined_rows import JoinedRows, join_rows
from preflab.training.shared_prompts import PADDING, PROMPT, packed_rows, share_rows
from tiny_models import VOCABULARY, tiny_model

SHARING = ["llama", "qwen2", "gpt2", "gpt_neox", "opt", "granite"]
NOT_SHARING = ["mistral", "gemma2", "bloom", "mamba"]


def sequences(seed: int = 0) -> list[TokenSequence]:
    """Two prompts with three and two completions of differing lengths, one masked token among them, and one alone."""
    generator = torch.Generator().manual_seed(seed)

    def ids(num: int) -> tuple[int, ...]:
        return tuple(torch.randint(3, VOCABULARY, (num,), generator=generator).tolist())

    first, second = ids(6), ids(3)
    found = [TokenSequence(first, ids(4)), TokenSequence(first, ids(1)), TokenSequence(first, ids(7))]
    return [
        *found,
        TokenSequence(second, ids(5), (True, True, False, True, True)),
        TokenSequence(second, ids(2)),
        TokenSequence(first, ids(3)),
    ]


def test_shared_rows_keep_every_field_of_completions() -> None:
    """What a batch knows about its completions does not depend on the rows, whatever fields there are."""
    plain, shared = join_rows(sequences(), 0), share_rows(sequences(), 0, 100)
    names = {field.name for field in fields(JoinedRows)} - {"input_ids"}
    assert {"completion_ids", "completion_mask", "token_places", "largest_id"} < names
    for name in names:
        ours, theirs = getattr(shared, name), getattr(plain, name)
        assert torch.equal(ours, theirs) if isinstance(theirs, Tensor) else ours == theirs


def trunk_of(kind: str, lora: LoraSettings | None) -> Trunk:
    torch.manual_seed(0)
    trunk = Trunk(tiny_model(kind), SimpleNamespace(pad_token_id=0), lora=lora, roles=("policy", "reference"))
    with torch.no_grad():
        for _, parameter in trunk.parameters_of("policy"):
            parameter.add_(0.02 * torch.randn_like(parameter))
    return trunk


def logps_and_gradient(trunk: Trunk, batch: TokenBatch) -> tuple[Tensor, Tensor]:
    trunk.zero_grad()
    said = trunk(batch, ("policy", "reference"), exact_kl=True)
    weights = torch.linspace(-1, 1, said["policy"].logps.numel()).view_as(said["policy"].logps)
    (weights * said["policy"].logps + 0.1 * said["policy"].kl).sum().backward()
    found = [p.grad.flatten() for _, p in trunk.parameters_of("policy") if p.grad is not None]
    both = torch.cat([said["policy"].logps, said["reference"].logps, said["policy"].kl])
    return both.detach(), torch.cat(found)


@pytest.mark.parametrize("lora", [None, LoraSettings(rank=2)], ids=["full", "adapters"])
@pytest.mark.parametrize("kind", SHARING)
def test_same_numbers_and_gradients(kind: str, lora: LoraSettings | None) -> None:
    if kind == "gpt2" and lora is not None:
        lora = LoraSettings(rank=2, target_modules=("c_proj",))
    trunk = trunk_of(kind, lora)
    assert why_not_shared(trunk.model) is None
    expected = logps_and_gradient(trunk, join_rows(sequences(), 0))
    for longest_row in (100, 12):
        found = logps_and_gradient(trunk, share_rows(sequences(), 0, longest_row))
        torch.testing.assert_close(found[0], expected[0], atol=2e-5, rtol=1e-4)
        torch.testing.assert_close(found[1], expected[1], atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("kind", NOT_SHARING)
def test_models_that_do_not_fit_are_known(kind: str) -> None:
    """Windows, distances in the place of positions, and recurrence."""
    assert why_not_shared(tiny_model(kind)) is not None


def test_gradient_checkpointing_keeps_it() -> None:
    plain, checkpointed = trunk_of("llama", LoraSettings(rank=2)), trunk_of("llama", LoraSettings(rank=2))
    checkpointed.enable_gradient_checkpointing()
    batch = share_rows(sequences(), 0, 100)
    for one, other in zip(logps_and_gradient(plain, batch), logps_and_gradient(checkpointed, batch), strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-4)


def test_rows_by_hand() -> None:
    # Prompt 5 6 with completions 7 8 and 9: one row of five tokens; another prompt: a row of its own.
    batch = share_rows([TokenSequence((5, 6), (7, 8)), TokenSequence((5, 6), (9,)), TokenSequence((4,), (3,))], 0, 100)
    assert batch.input_ids.tolist() == [[5, 6, 7, 8, 9], [4, 3, 0, 0, 0]]
    assert batch.position_ids.tolist() == [[0, 1, 2, 3, 2], [0, 1, 0, 0, 0]]
    assert batch.segments.tolist() == [[PROMPT, PROMPT, 0, 0, 1], [PROMPT, 2, PADDING, PADDING, PADDING]]
    assert batch.state_mask.int().tolist() == [[1, 1, 1, 1, 1], [1, 1, 0, 0, 0]]
    assert batch.token_rows.tolist() == [0, 0, 0, 1]
    # 7 is predicted from 6, 8 from 7, 9 from 6, 3 from 4.
    assert batch.state_index[batch.completion_mask].tolist() == [1, 2, 1, 0]
    rows, places = batch.last_places
    assert list(zip(rows.tolist(), places.tolist(), strict=True)) == [(0, 3), (0, 4), (1, 1)], "of 8, 9 and 3"
    sees = batch.model_inputs(torch.float32)["attention_mask"][0, 0] == 0
    assert sees.int().tolist() == [[1, 0, 0, 0, 0], [1, 1, 0, 0, 0], [1, 1, 1, 0, 0], [1, 1, 1, 1, 0], [1, 1, 0, 0, 1]]


def test_places_of_short_and_of_empty_completions_by_hand() -> None:
    """Prompt 5 6 with 7 8 9, with nothing, and with 1: the last two begin where the first one ends."""
    batch = share_rows(
        [TokenSequence((5, 6), (7, 8, 9)), TokenSequence((5, 6), ()), TokenSequence((5, 6), (1,))], 0, 100
    )
    assert batch.input_ids.tolist() == [[5, 6, 7, 8, 9, 1]]
    assert batch.starts.tolist() == [2, 5, 5]
    assert batch.state_index.tolist() == [[1, 2, 3], [1, 5, 5], [1, 5, 5]], "never beyond the row"
    rows, places = batch.last_places
    assert (rows.tolist(), places.tolist()) == ([0, 0, 0], [4, 1, 5]), "of 9, of the prompt's 6, of 1"
    hidden = batch.model_inputs(torch.float32)["attention_mask"]
    assert hidden.shape == (1, 1, 6, 6)
    assert hidden[0, 0, 5].tolist() == [0, 0, *[torch.finfo(torch.float32).min] * 3, 0]


def test_a_row_holds_what_fits() -> None:
    four = [
        TokenSequence((5, 6), (7, 8)),
        TokenSequence((5, 6), (9,)),
        TokenSequence((5, 6), (1, 2, 3)),
        TokenSequence((5,), (1,)),
    ]
    assert packed_rows(four, 100) == [[0, 1, 2], [3]]
    assert packed_rows(four, 6) == packed_rows(four, 5) == [[0, 1], [2], [3]]
    assert packed_rows(four, 4) == [[0], [1], [2], [3]]
    assert packed_rows(four, 2) == [[0], [1], [2], [3]]
