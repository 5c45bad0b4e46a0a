"""Which encoder states are kept, how many bytes of them, and the numbers that tell one set of weights from another."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from preflab.models import encoded_prompts
from preflab.models.encoded_prompts import KeptStates, _fingerprint, _some_numbers, encode, reading_anew
from tiny_encoder_decoders import tiny_t5

PROMPTS = ((5, 6, 1), (7, 8, 1), (9, 1))
IDS = torch.tensor([[5, 6, 1], [7, 8, 1], [9, 1, 0]])
MASK = torch.tensor([[1, 1, 1], [1, 1, 1], [1, 1, 0]])


def alone(model: torch.nn.Module, prompt: tuple[int, ...]) -> Tensor:
    return model.encoder(input_ids=torch.tensor([prompt])).last_hidden_state[0]


def test_kept_states_are_those_of_their_own_prompt() -> None:
    """Two prompts of one length and a shorter one, in another order when they come from the store."""
    model = tiny_t5().requires_grad_(False)
    for order in ([0, 1, 2], [2, 1, 0], [1, 1, 2]):
        states = encode(model, IDS[order], MASK[order])
        for row, prompt in enumerate(order):
            expected = alone(model, PROMPTS[prompt])
            assert torch.allclose(states[row, : len(expected)], expected, atol=1e-5)


def test_states_kept_while_sampling_serve_in_training() -> None:
    """The gradient of Σ states · w with respect to w is the sum of the states; the states have none."""
    model, weight = tiny_t5().requires_grad_(False), torch.ones(32, requires_grad=True)
    with torch.inference_mode():
        sampled = encode(model, IDS, MASK)
    states = encode(model, IDS, MASK)
    assert torch.equal(states, sampled)
    assert not states.requires_grad
    (states * weight).sum().backward()
    assert weight.grad is not None
    assert torch.allclose(weight.grad, states.sum((0, 1)), atol=1e-5)


def test_states_of_padding_are_zero_if_they_are_kept() -> None:
    """A prompt's states are cut to its length before they are stored, and padded again."""
    model = tiny_t5().requires_grad_(False)
    assert not encode(model, IDS, MASK)[2, 2].any()
    assert encode(model, IDS[2:], MASK[2:]).shape[1] == 2, "the width that its longest prompt needs"


def test_prompts_used_longest_ago_are_dropped_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """Room for 6 states of 32 floats: the second prompt's 3 leave when the third comes, as the first was used since."""
    model = tiny_t5().requires_grad_(False)
    monkeypatch.setattr(encoded_prompts, "MOST_BYTES", 6 * 32 * 4)
    for row in (0, 1, 0, 2):
        encode(model, IDS[row : row + 1], MASK[row : row + 1])
    kept = encoded_prompts._KEPT[model.get_encoder()]
    assert list(kept.states) == [PROMPTS[0], PROMPTS[2]]
    assert kept.num_bytes == (3 + 2) * 32 * 4


def test_states_may_fill_all_of_their_bytes_and_the_last_prompt_always_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encoded_prompts, "MOST_BYTES", 24)
    kept = KeptStates()
    for prompt in ((1,), (2,), (3,)):
        kept.keep(prompt, torch.zeros(2))
    assert (list(kept.states), kept.num_bytes) == ([(1,), (2,), (3,)], 24)
    kept.keep((4,), torch.zeros(10))
    assert (list(kept.states), kept.num_bytes) == ([(4,)], 40)
    kept.start(())
    assert list(kept.states) == [(4,)], "the same fingerprint"
    kept.start(("other",))
    assert (list(kept.states), kept.num_bytes) == ([], 0)


def test_a_fingerprint_reads_at_most_sixteen_numbers_at_equal_distances() -> None:
    """17 numbers: ⌈17 / 16⌉ = 2 apart, which leaves 9 of them; 33: 3 apart, 11."""
    assert _some_numbers(torch.arange(16)).tolist() == list(range(16))
    assert _some_numbers(torch.arange(17)).tolist() == list(range(0, 17, 2))
    assert _some_numbers(torch.arange(33).reshape(3, 11)).tolist() == list(range(0, 33, 3))
    assert _some_numbers(torch.empty(0)).tolist() == []


def test_autocast_changes_the_fingerprint() -> None:
    encoder = tiny_t5().get_encoder()
    plain = _fingerprint(encoder)
    assert plain == _fingerprint(encoder)
    assert plain[0] is None
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert _fingerprint(encoder)[0] == torch.bfloat16
        assert _fingerprint(encoder)[1:] == plain[1:]


def test_a_frozen_encoder_is_read_again_where_a_gradient_is_asked_for() -> None:
    model = tiny_t5().requires_grad_(False)
    num = 0

    def count(module: object, inputs: object, output: object) -> None:
        nonlocal num
        num += 1

    model.encoder.register_forward_hook(count)
    encode(model, IDS, MASK)
    encode(model, IDS, MASK)
    assert num == 1
    with reading_anew():
        encode(model, IDS, MASK)
    assert num == 2
    encode(model, IDS, MASK)
    assert num == 2
