"""Checkpoints of a parameter or two: which one is taken over, what is refused, and tensors that share their memory."""

from __future__ import annotations

import errno
import random
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from preflab.errors import PreflabError
from preflab.files import read_json, write_json
from preflab.training.state import RunState, checkpoints, saved_step
from preflab.training.tensor_files import read_tensors, system_errors, tensor_names, write_tensors


class Toy(nn.Module):
    """A parameter that learns, one that does not, and a buffer."""

    def __init__(self, value: float) -> None:
        super().__init__()
        self.learns = nn.Parameter(torch.full((2,), value))
        self.frozen = nn.Parameter(torch.full((2,), value), requires_grad=False)
        self.register_buffer("seen", torch.full((), value))


class Counter:
    """A part with a number."""

    def __init__(self, number: int) -> None:
        self.number = number

    def state_dict(self) -> dict[str, int]:
        return {"number": self.number}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self.number = state["number"]


def run_state(value: float, number: int = 0, step: int = 0) -> RunState:
    """A run whose parameters have this value, after a step of AdamW without effect on them."""
    model = Toy(value)
    optimiser = torch.optim.AdamW([model.learns], lr=0.0, weight_decay=0.0)
    model.learns.sum().backward()
    optimiser.step()
    return RunState(model, optimiser, {"counter": Counter(number)}, step)


def test_a_new_run_has_done_no_step() -> None:
    state = run_state(1.0)
    assert RunState(state.model, state.optimiser).step == 0


def test_newest_checkpoint_is_taken_over_and_older_ones_go(tmp_path: Path) -> None:
    run_state(1.0, 7, step=1).save(tmp_path)
    shutil.copytree(tmp_path / "step-000001", tmp_path / "kept")
    (tmp_path / ".step-000009").mkdir()
    run_state(2.0, 8, step=2).save(tmp_path)
    assert [path.name for path in tmp_path.iterdir() if "step" in path.name] == ["step-000002"]
    shutil.copytree(tmp_path / "kept", tmp_path / "step-000000")
    shutil.move(tmp_path / "kept", tmp_path / "step-000001")
    (tmp_path / "step-000003").mkdir()  # without its card: not a whole one
    assert [path.name for path in checkpoints(tmp_path)] == [f"step-00000{step}" for step in range(3)]
    assert saved_step(tmp_path) == 2
    assert saved_step(tmp_path / "nowhere") == 0
    other = run_state(5.0)
    assert other.load(tmp_path)
    assert isinstance(other.model, Toy)
    assert (other.step, other.parts["counter"].state_dict()) == (2, {"number": 8})
    assert other.model.learns.tolist() == [2.0, 2.0]
    assert other.model.seen.item() == 2.0
    assert other.model.frozen.tolist() == [5.0, 5.0], "not part of it"
    assert not other.load(tmp_path / "nowhere")


def test_optimiser_and_random_numbers_go_on_where_they_were(tmp_path: Path) -> None:
    saved = run_state(1.0, step=1)
    saved.save(tmp_path)
    drawn = [torch.rand(3).tolist(), np.random.rand(3).tolist(), [random.random() for _ in range(3)]]
    np.random.rand(7)
    other = run_state(1.0)
    other.optimiser.state.clear()
    other.load(tmp_path)
    assert [torch.rand(3).tolist(), np.random.rand(3).tolist(), [random.random() for _ in range(3)]] == drawn
    (moments,) = other.optimiser.state.values()
    assert float(moments["step"]) == 1
    assert moments["exp_avg"].tolist() == pytest.approx([0.1, 0.1])


@pytest.mark.parametrize(("num_steps", "refused"), [(None, False), (3, False), (2, False), (1, True)])
def test_checkpoint_beyond_the_steps_is_refused(num_steps: int | None, refused: bool, tmp_path: Path) -> None:
    run_state(1.0, step=2).save(tmp_path)
    if refused:
        with pytest.raises(PreflabError, match="2 steps are done, and num_steps is 1"):
            run_state(3.0).load(tmp_path, num_steps=num_steps)
    else:
        assert run_state(3.0).load(tmp_path, num_steps=num_steps)


def test_files_that_are_gone_or_changed_are_refused(tmp_path: Path) -> None:
    run_state(1.0, step=2).save(tmp_path)
    place = tmp_path / "step-000002"
    shutil.copytree(place, tmp_path / "whole")
    (place / "optimiser.safetensors").unlink()
    with pytest.raises(PreflabError, match="optimiser.safetensors: corrupted"):
        run_state(3.0).load(tmp_path)
    shutil.rmtree(place)
    shutil.copytree(tmp_path / "whole", place)
    card = read_json(place / "state.json")
    card["files"]["model.safetensors"] = "0"
    write_json(place / "state.json", card)
    with pytest.raises(PreflabError, match="model.safetensors: corrupted"):
        run_state(3.0).load(tmp_path)


def test_checkpoint_of_another_model_is_refused_before_anything_is_loaded(tmp_path: Path) -> None:
    run_state(1.0, step=2).save(tmp_path)
    state = run_state(3.0)
    state.model.register_buffer("more", torch.zeros(2))
    with pytest.raises(PreflabError, match=r"1 tensor does not belong to this model \(first: more\)"):
        state.load(tmp_path)
    assert (state.step, state.model.learns.tolist()) == (0, [3.0, 3.0])  # type: ignore[union-attr, operator]


def test_a_tensor_that_shares_another_ones_memory_is_no_stranger(tmp_path: Path) -> None:
    """Written once, under its first name; an empty tensor shares with nobody."""
    run = run_state(1.0, step=1)
    run.model.register_buffer("tied", run.model.learns.data)  # type: ignore[arg-type, union-attr]
    run.save(tmp_path)
    assert tensor_names(tmp_path / "step-000001" / "model.safetensors") == ("learns", "seen")
    other = run_state(4.0)
    other.model.register_buffer("tied", other.model.learns.data)  # type: ignore[arg-type, union-attr]
    assert other.load(tmp_path)
    assert other.model.tied.tolist() == [1.0, 1.0]  # type: ignore[union-attr, operator]


def test_tensors_are_written_once_and_empty_ones_all(tmp_path: Path) -> None:
    one = torch.arange(6.0).view(2, 3)
    path = tmp_path / "a.safetensors"
    write_tensors(path, {"a": one, "same": one, "turned": one.T.clone().T, "none": one[:0], "nothing": one[:0]})
    tensors = read_tensors(path)
    assert set(tensors) == {"a", "turned", "none", "nothing"}
    assert tensors["turned"].tolist() == one.tolist()
    assert tensors["nothing"].shape == (0, 3)


@pytest.mark.parametrize(
    ("text", "number"),
    [("I/O error: (os error 28)", errno.ENOSPC), ("No space left", errno.ENOSPC), ("(os error 5)", errno.EIO)],
)
def test_errors_of_the_system_keep_their_number(text: str, number: int, tmp_path: Path) -> None:
    from safetensors import SafetensorError

    with pytest.raises(OSError, match="error|space") as raised, system_errors(tmp_path):
        raise SafetensorError(text)
    assert raised.value.errno == number
