"""Files of a record: bounded, evenly spread, the same after a restart or a kill."""

from __future__ import annotations

import logging
import random
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from preflab.training.step_files import StepFiles, file_name, step_of

KIB = 2**10


def table(step: int, num_bytes: int) -> pa.Table:
    """A table whose file has about `num_bytes`, which zstd cannot make smaller."""
    return pa.table({"content": pa.array([random.Random(step).randbytes(num_bytes)], pa.binary())})


def steps_in(folder: Path) -> list[int]:
    assert not list(folder.glob(".*")), "nothing is left beside the files"
    return sorted(step_of(path) for path in folder.iterdir())


def written(folder: Path, steps: range, num_bytes: int, *, num_done: int = 0, unit: int = 1) -> list[int]:
    """Write a file for each due step into a folder of at most 1 MiB; the steps that are there in the end."""
    files = StepFiles(folder, num_done=num_done, most_mib=1, unit=unit)
    for step in steps:
        if files.due(step):
            files.write(step, table(step, num_bytes))
    return steps_in(folder)


def test_file_sizes_are_as_planned(tmp_path: Path) -> None:
    """The other tests count on 150 KiB a file, so that six fit into 1 MiB and seven do not."""
    written(tmp_path, range(1), 150 * KIB)
    (file,) = tmp_path.iterdir()
    assert 149 * KIB < file.stat().st_size < 170 * KIB


@pytest.mark.parametrize(
    ("num_steps", "kept"),
    [(6, [0, 1, 2, 3, 4, 5]), (7, [0, 2, 4, 6]), (12, [0, 2, 4, 6, 8, 10]), (13, [0, 4, 8, 12]), (25, [0, 8, 16, 24])],
)
def test_every_second_step_is_dropped_when_the_bound_is_passed(
    tmp_path: Path, num_steps: int, kept: list[int], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        assert written(tmp_path, range(num_steps), 150 * KIB) == kept
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= 2**20
    assert ("over 1 MiB" in caplog.text) == (num_steps > 6)


@pytest.mark.parametrize("done", [1, 3, 6, 7, 9, 13, 20])
def test_resumed_run_keeps_the_same_steps(tmp_path: Path, done: int) -> None:
    written(tmp_path / "cut", range(done), 150 * KIB)
    written(tmp_path / "cut", range(done, 27), 150 * KIB, num_done=done)
    assert steps_in(tmp_path / "cut") == written(tmp_path / "whole", range(27), 150 * KIB) == [0, 8, 16, 24]


@pytest.mark.parametrize("checkpoint", [0, 1, 2, 5, 6, 7])
def test_steps_after_the_checkpoint_are_cut_and_written_again(tmp_path: Path, checkpoint: int) -> None:
    """The killed run had halved its record at step 6, after the checkpoint."""
    written(tmp_path, range(8), 150 * KIB)
    assert written(tmp_path, range(checkpoint, 12), 150 * KIB, num_done=checkpoint) == [0, 2, 4, 6, 8, 10]


def test_file_that_a_kill_left_half_is_removed(tmp_path: Path) -> None:
    """`files.write_files` names it so before it is whole."""
    written(tmp_path, range(2), 150 * KIB)
    (tmp_path / ".step-000002.parquet.123.part").write_bytes(b"PAR1")
    assert pq.read_table(tmp_path).num_rows == 2, "readers pass it over"
    StepFiles(tmp_path, num_done=2, most_mib=1)
    assert steps_in(tmp_path) == [0, 1]


def test_file_that_another_process_deletes_meanwhile_is_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On resuming, every process of a run cuts the record back: step 2 is gone after it was listed."""
    written(tmp_path, range(2), 150 * KIB)
    listed = [tmp_path / file_name(step) for step in range(3)]
    monkeypatch.setattr("preflab.training.step_files.step_files", lambda folder: listed)
    assert StepFiles(tmp_path, num_done=2, most_mib=1).sizes.keys() == {0, 1}


def test_kill_between_two_deletions_is_mended(tmp_path: Path) -> None:
    written(tmp_path, range(6), 150 * KIB)
    (tmp_path / "step-000001.parquet").unlink()
    files = StepFiles(tmp_path, num_done=6, most_mib=1)
    assert files.every == 2
    assert steps_in(tmp_path) == [0, 2, 4]


def test_empty_file_of_a_power_cut_counts_as_missing(tmp_path: Path) -> None:
    written(tmp_path, range(4), 150 * KIB)
    (tmp_path / "step-000003.parquet").write_bytes(b"")
    assert StepFiles(tmp_path, num_done=4, most_mib=1).every == 2
    assert steps_in(tmp_path) == [0, 2]


def test_step_over_the_bound_alone_has_a_file_without_rows(tmp_path: Path) -> None:
    assert written(tmp_path, range(3), 2 * 2**20) == [0, 1, 2]
    assert [pq.read_table(path).num_rows for path in sorted(tmp_path.iterdir())] == [0, 0, 0]


def test_steps_between_two_units_are_never_due(tmp_path: Path) -> None:
    assert written(tmp_path, range(30), 150 * KIB, unit=5) == [0, 5, 10, 15, 20, 25]
    assert written(tmp_path, range(30, 31), 150 * KIB, num_done=30, unit=5) == [0, 10, 20, 30]


@pytest.mark.parametrize(
    ("num_bytes", "num_done", "kept"), [(150 * KIB, 7, [0, 2, 4, 6, 9]), (290 * KIB, 9, [0, 4, 8])]
)
def test_last_step_is_added_where_it_fits(tmp_path: Path, num_bytes: int, num_done: int, kept: list[int]) -> None:
    """Seven files of 150 KiB are too many, and four of 290 KiB: steps 0, 4 and 8 leave no room for step 9."""
    written(tmp_path, range(num_done), num_bytes)
    StepFiles(tmp_path, num_done=num_done, most_mib=1).write(9, table(9, num_bytes))
    assert steps_in(tmp_path) == kept


def test_record_may_begin_later(tmp_path: Path) -> None:
    """A run that was begun by an earlier version has no files of its first steps."""
    assert written(tmp_path, range(60, 64), 150 * KIB, num_done=60) == [60, 61, 62, 63]
    assert written(tmp_path, range(64, 65), 150 * KIB, num_done=64) == [60, 61, 62, 63, 64]
