"""Sums, maxima and shares over processes, by hand, in one process and in one of two."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from paper_trunk import PaperAccelerator
from preflab.training.processes import make_accelerator, max_over_processes, own_share, sum_over_processes


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
