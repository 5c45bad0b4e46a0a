"""Training with one or several processes: the accelerator, and sums and maxima over all processes."""

from __future__ import annotations

import atexit
import functools
import logging
import os
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

logger = logging.getLogger(__name__)


def make_accelerator(*, log_with: tuple[str, ...] = (), folder: Path | None = None, cpu: bool = False) -> Any:
    """The accelerator of this process.

    `gradient_accumulation_steps` stays 1, because losses are already divided by the denominator of the whole step and
    accelerate would divide again. `find_unused_parameters` is set because a critic's warm-up does not use the policy's
    parameters. The trunk sets the precision (`models.precision`), because sampling and scoring need it too and
    accelerate would apply it only to the prepared model.
    """
    from accelerate import Accelerator, DistributedDataParallelKwargs

    _say_unused(os.environ.get("ACCELERATE_MIXED_PRECISION", "no"))
    accelerator = Accelerator(
        cpu=cpu,
        mixed_precision="no",
        gradient_accumulation_steps=1,
        log_with=list(log_with) or None,
        project_dir=str(folder) if folder else None,
        kwargs_handlers=[DistributedDataParallelKwargs(find_unused_parameters=True)],
    )
    if accelerator.num_processes > 1:
        _leave_at_exit()
    return accelerator


def finish_trackers(accelerator: Any) -> None:
    """End a stage's trackers. accelerate's own `end_training` would also leave the group that the next stage needs."""
    for tracker in accelerator.trackers:
        tracker.finish()


@functools.cache
def _leave_at_exit() -> None:
    """Leave the process group before the interpreter exits, because its threads would otherwise crash the process."""
    atexit.register(_leave)


def _leave() -> None:
    from torch import distributed

    if distributed.is_initialized():
        distributed.destroy_process_group()


@functools.cache
def _say_unused(mixed_precision: str) -> None:
    if mixed_precision != "no":
        logger.warning("accelerate's mixed precision %s is ignored: device.precision is used", mixed_precision)


def sum_over_processes(accelerator: Any, values: Tensor) -> Tensor:
    """Elementwise sum of a small tensor over all processes, on the tensor's device; unchanged with one process.

    The tensor is moved to the accelerator's device for the sum, because GPU communication does not accept CPU tensors.
    """
    if accelerator.num_processes == 1:
        return values
    return accelerator.reduce(values.to(accelerator.device), reduction="sum").to(values.device)


def max_over_processes(accelerator: Any, value: float) -> float:
    """Maximum over all processes of one number per process."""
    if accelerator.num_processes == 1:
        return value
    return float(accelerator.gather(torch.tensor([value], device=accelerator.device)).max())


def own_share(num: int, accelerator: Any) -> range:
    """The indices below `num` that this process handles."""
    return range(accelerator.process_index, num, accelerator.num_processes)
