"""A folder with one Parquet file per kept step of a run, bounded in size and cut back to the checkpoint on resuming."""

from __future__ import annotations

import logging
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from preflab.files import readable_disk_errors, write_files

logger = logging.getLogger(__name__)

PATTERN = "step-*.parquet"


class StepFiles:
    """The files of one record.

    The kept steps are the multiples of `every`. While the files are larger than the bound, `every` is doubled and every
    second file is deleted. The kept steps are therefore spread evenly over the run, and depend on the sizes alone: a
    resumed run keeps the same ones.

    Args:
        folder: of the files; made with the first one.
        num_done: steps that the checkpoint has done; files of later steps are deleted, and empty ones, which a power
            cut leaves.
        most_mib: the bound of all files together.
        unit: steps between two that may be kept.
    """

    def __init__(self, folder: Path, *, num_done: int, most_mib: float, unit: int = 1) -> None:
        self.folder, self.most, self.unit = folder, int(most_mib * 2**20), unit
        for torn in folder.glob(f".{PATTERN}.*.part"):  # of a process that was killed
            torn.unlink(missing_ok=True)
        self.sizes = _sizes(folder)
        self._delete([step for step, size in self.sizes.items() if step >= num_done or size == 0])
        self.every = unit * _spacing({step // unit for step in self.sizes}, -(-num_done // unit))
        self._delete([step for step in self.sizes if not self.due(step)])

    def due(self, step: int) -> bool:
        """True if a step is kept."""
        return step % self.every == 0

    def write(self, step: int, table: pa.Table) -> None:
        """Write the rows of a step, whole or not at all; a file that alone is over the bound has no rows.

        A step that is not due, such as the last one, is written if it fits beside the others.

        Raises:
            PreflabError: the disk is full or the folder cannot be written.
        """
        content = _parquet(table)
        if len(content) > self.most:
            logger.warning("%s: the rows of step %d are over the bound and are left out", self.folder, step)
            content = _parquet(table.slice(0, 0))
        if not self.due(step) and sum(self.sizes.values()) + len(content) > self.most:
            return
        write_files({self.folder / file_name(step): content}, sync=False)
        self.sizes[step] = len(content)
        while sum(self.sizes.values()) > self.most:
            self.every *= 2
            logger.warning(
                "%s: over %d MiB, so every second file is deleted; from now on every %d. step is kept",
                self.folder, self.most // 2**20, self.every,
            )  # fmt: skip
            self._delete([kept for kept in self.sizes if not self.due(kept)])

    def _delete(self, steps: list[int]) -> None:
        with readable_disk_errors(self.folder):
            for step in steps:
                (self.folder / file_name(step)).unlink(missing_ok=True)
                del self.sizes[step]


def _sizes(folder: Path) -> dict[int, int]:
    """Step → size of its file. On resuming, another process of the run may delete a file meanwhile."""
    sizes = {}
    for path in step_files(folder):
        with suppress(FileNotFoundError):
            sizes[step_of(path)] = path.stat().st_size
    return sizes


def step_files(folder: Path) -> list[Path]:
    """The files of a record, in the order of their steps."""
    return sorted(folder.glob(PATTERN), key=step_of)


def step_of(path: Path) -> int:
    """The step that a file's name gives."""
    return int(path.stem.removeprefix("step-"))


def file_name(step: int) -> str:
    """The name of a step's file."""
    return f"step-{step:06d}.parquet"


def _parquet(table: pa.Table) -> bytes:
    """Without dictionaries and statistics, which cost floats that hardly repeat time and a third of the size."""
    out = pa.BufferOutputStream()
    pq.write_table(table, out, compression="zstd", use_dictionary=False, write_statistics=False)
    return out.getvalue().to_pybytes()


def _spacing(kept: Collection[int], num_done: int) -> int:
    """The smallest power of two of which every multiple from the first kept step on is kept.

    A kill may have come between two deletions, so further steps may be there. Steps before the first kept one are of an
    earlier version, which wrote other files.
    """
    first, every = min(kept, default=num_done), 1
    while any(step not in kept for step in range(-(-first // every) * every, num_done, every)):
        every *= 2
    return every
