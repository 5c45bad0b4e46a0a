"""Sums, maxima and shares over processes, by hand, in one process and in one of two."""

from __future__ import annotations

import atexit
import os
from pathlib import Path
from typing import Any

import torch
from torch import distributed

from paper_trunk import PaperAccelerator
from preflab.training.processes import make_accelerator, max_over_processes, own_share, sum_over_processes
from two_processes import call_in_two_processes


def test_numbers_of_one_process_stay_as_they_are() -> None:
    one: Any = make_accelerator(cpu=True)
    values = torch.tensor([1.5, -2.0])
    assert sum_over_processes(one, values) is values
    assert max_over_processes(one, 0.1) == 0.1, "not rounded to float32"
    assert list(own_share(3, one)) == [0, 1, 2]
    assert one.gradient_accumulation_steps == 1
    assert one.mixed_precision == "no"


def test_accelerator_looks_for_unused_parameters_and_writes_into_its_folder(tmp_path: Path) -> None:
    assert make_accelerator(cpu=True).ddp_handler.find_unused_parameters
    assert make_accelerator(cpu=True).project_dir is None
    assert make_accelerator(cpu=True, folder=tmp_path).project_dir == str(tmp_path)


def test_accelerator_tells_the_trackers_that_are_named(tmp_path: Path) -> None:
    one = make_accelerator(cpu=True, log_with=("tensorboard",), folder=tmp_path)
    assert [str(tracker) for tracker in one.log_with] == ["tensorboard"]
    assert make_accelerator(cpu=True, folder=tmp_path).log_with == []


def test_numbers_of_two_processes_come_together() -> None:
    """The other process holds the same, and of gathered numbers 1 more."""
    first, second = PaperAccelerator(0), PaperAccelerator(1)
    assert sum_over_processes(first, torch.tensor([1.5, -2.0])).tolist() == [3.0, -4.0]
    assert max_over_processes(first, 0.25) == 1.25
    assert list(own_share(5, first)) == [0, 2, 4]
    assert list(own_share(5, second)) == [1, 3]


def note_whether_the_group_is_left(folder: Path) -> None:
    """What runs at exit runs in reverse, so this note is written after the accelerator's own exit."""
    note = folder / f"{os.environ['RANK']}.txt"
    atexit.register(lambda: note.write_text(str(distributed.is_initialized())))
    accelerator = make_accelerator()
    assert distributed.is_initialized()
    assert max_over_processes(accelerator, float(accelerator.process_index)) == 1.0


def test_processes_leave_their_group_before_they_exit(tmp_path: Path) -> None:
    """A process that exits inside its group is ended now and then by the group's own threads (std::terminate)."""
    call_in_two_processes("by_hand.test_training_processes:note_whether_the_group_is_left", tmp_path)
    assert [(tmp_path / f"{rank}.txt").read_text() for rank in range(2)] == ["False", "False"]
