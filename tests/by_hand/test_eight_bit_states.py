"""AdamW with states in 8 bits, against steps worked out from the published levels (Dettmers et al. 2022).

The signed map has 64 levels between 0.1 and 1 (the middles of 64 equal parts, and 1 itself), the unsigned one 128.
Each block of 256 states is divided by its largest magnitude before the nearest level is taken.
"""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from torch import nn

from preflab.errors import PreflabError
from preflab.models import bitsandbytes_import
from preflab.settings.learning import OptimiserSettings
from preflab.training.optimiser import make_optimiser
from preflab.training.optimiser_state import fill_optimiser, optimiser_tensors
from preflab.training.state import RunState

RATE = 0.5
EIGHT = OptimiserSettings(states="8bit", adam_eps=1e-12)
BLOCKS = 16 * 256
needs_package = pytest.mark.skipif(
    not bitsandbytes_import.is_installed(), reason="needs bitsandbytes: pip install 'preflab[bitsandbytes]'"
)


def optimiser_of(parameter: nn.Parameter, settings: OptimiserSettings = EIGHT) -> torch.optim.Optimizer:
    return make_optimiser([([parameter], RATE)], settings, nn.Module())


def step(optimiser: torch.optim.Optimizer, parameter: nn.Parameter, gradient: torch.Tensor) -> None:
    parameter.grad = gradient.clone()
    optimiser.step()


@needs_package
def test_states_that_are_levels_are_kept_exactly() -> None:
    """A constant positive gradient fills every block with its own maximum, level 1. AdamW then moves by −rate."""
    parameter = nn.Parameter(torch.zeros(BLOCKS))
    optimiser = optimiser_of(parameter)
    for num in range(1, 4):
        step(optimiser, parameter, torch.full((BLOCKS,), 0.25))
        torch.testing.assert_close(parameter.detach(), torch.full((BLOCKS,), -num * RATE))


@needs_package
def test_second_step_uses_the_nearest_levels() -> None:
    """Gradients are 1 in the first place of each block and 1/2 elsewhere, twice.

    Step 1 computes m = g/10 and v = g²/1000 exactly and moves by −rate. Then the states are stored. In units of the
    block's maximum m is 1/2: level 28 of 0.9/64 · k + 0.1 + 0.45/64 is 0.50078125. v is 1/4: level 21 of
    0.9/128 · k + 0.1 + 0.45/128 is 0.251171875.

    Step 2: m = 0.9 · 0.050078125 + 0.05 = 0.0950703125 and v = 0.999 · 0.000251171875 + 0.00025, corrected by
    1 − 0.9² = 0.19 and 1 − 0.999² = 0.001999.
    """
    gradient = torch.full((BLOCKS,), 0.5)
    gradient[::256] = 1.0
    parameter = nn.Parameter(torch.zeros(BLOCKS))
    optimiser = optimiser_of(parameter)
    step(optimiser, parameter, gradient)
    torch.testing.assert_close(parameter.detach(), torch.full((BLOCKS,), -RATE))
    step(optimiser, parameter, gradient)
    mean, square = 0.0950703125 / 0.19, (0.999 * 0.000251171875 + 0.00025) / 0.001999
    expected = torch.full((BLOCKS,), -RATE - RATE * mean / math.sqrt(square))
    expected[::256] = -2 * RATE  # the maxima of their blocks are exact
    torch.testing.assert_close(parameter.detach(), expected)
    assert abs(mean / math.sqrt(square) - 1) < 2e-3, "0.2 % from AdamW's step, which is −rate again"


@needs_package
def test_weight_decay_shrinks_the_weight_not_the_gradient() -> None:
    """2 · (1 − 0.5 · 0.25) − 0.5 = 1.25."""
    parameter = nn.Parameter(torch.full((BLOCKS,), 2.0))
    optimiser = optimiser_of(parameter, EIGHT.model_copy(update={"weight_decay": 0.25}))
    step(optimiser, parameter, torch.ones(BLOCKS))
    torch.testing.assert_close(parameter.detach(), torch.full((BLOCKS,), 1.25))


@needs_package
def test_embeddings_and_small_tensors_keep_float32_states() -> None:
    """bitsandbytes' own rule for embeddings needs their modules; here a head that shares the weight is covered too."""
    embedding, small, large = nn.Embedding(64, 64), nn.Linear(8, 8), nn.Linear(64, 64, bias=False)
    model = nn.ModuleList([embedding, small, large])
    optimiser = make_optimiser([(list(model.parameters()), RATE)], EIGHT, model)
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimiser.step()
    types = {name: tensor.dtype for name, tensor in optimiser_tensors(optimiser).items() if "state" in name}
    assert {name for name, dtype in types.items() if dtype == torch.uint8} == {"3.state1", "3.state2"}
    assert {dtype for name, dtype in types.items() if name[0] != "3"} == {torch.float32}


@needs_package
def test_resumed_states_continue_bit_for_bit(tmp_path: Path) -> None:
    """Four steps, or two, a checkpoint and two: of a tensor in 8 bits, whose table of levels all share, and two not."""
    torch.manual_seed(0)
    first = nn.ModuleList([nn.Linear(64, 64), nn.Linear(64, 128)])
    gradients = [[torch.randn(p.shape) for p in first.parameters()] for _ in range(4)]

    def run(model: nn.Module, state: RunState, rows: list[list[torch.Tensor]]) -> None:
        for row in rows:
            for parameter, gradient in zip(model.parameters(), row, strict=True):
                parameter.grad = gradient.clone()
            state.optimiser.step()
            state.step += 1

    def state_of(model: nn.Module) -> RunState:
        return RunState(model, make_optimiser([(list(model.parameters()), RATE)], EIGHT, model))

    begun = nn.ModuleList([nn.Linear(64, 64), nn.Linear(64, 128)])
    begun.load_state_dict(first.state_dict())
    whole, half = state_of(first), state_of(begun)
    run(first, whole, gradients)
    run(begun, half, gradients[:2])
    half.save(tmp_path)
    resumed = nn.ModuleList([nn.Linear(64, 64), nn.Linear(64, 128)])
    state = state_of(resumed)
    assert state.load(tmp_path)
    run(resumed, state, gradients[2:])
    for name, tensor in first.state_dict().items():
        assert torch.equal(resumed.state_dict()[name], tensor), name
    one, other = optimiser_tensors(whole.optimiser), optimiser_tensors(state.optimiser)
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)


@needs_package
def test_states_of_the_other_precision_are_refused() -> None:
    parameter = nn.Parameter(torch.zeros(BLOCKS))
    optimisers = [optimiser_of(parameter, OptimiserSettings()), optimiser_of(parameter)]
    for optimiser in optimisers:
        step(optimiser, parameter, torch.ones(BLOCKS))
    for optimiser, other in (optimisers, reversed(optimisers)):
        with pytest.raises(PreflabError, match=r"saved with optimiser\.states"):
            fill_optimiser(optimiser, optimiser_tensors(other), "step-000001")


def test_missing_package_is_named_with_its_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bitsandbytes_import, "is_installed", lambda: False)
    with pytest.raises(PreflabError, match="8bit needs the package bitsandbytes") as refused:
        bitsandbytes_import.import_bitsandbytes("optimiser.states: 8bit")
    assert "pip install 'preflab[bitsandbytes]'" in refused.value.do
