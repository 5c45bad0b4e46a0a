"""One process or several: the accelerator, and sums over all of them (`accelerate` does the rest)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor


def make_accelerator(*, log_with: tuple[str, ...] = (), folder: Path | None = None, cpu: bool = False) -> Any:
    """The process's accelerator.

    `gradient_accumulation_steps` stays 1: losses already carry the denominator of the whole step, and accelerate would
    divide once more. Unused parameters are looked for, since a critic's warm-up leaves the policy's unused.
    """
    from accelerate import Accelerator, DistributedDataParallelKwargs

    return Accelerator(
        cpu=cpu,
        gradient_accumulation_steps=1,
        log_with=list(log_with) or None,
        project_dir=str(folder) if folder else None,
        kwargs_handlers=[DistributedDataParallelKwargs(find_unused_parameters=True)],
    )


def sum_over_processes(accelerator: Any, values: Tensor) -> Tensor:
    """Elementwise sum of a small tensor over all processes, where it was; itself when there is one process.

    It travels over the accelerator's device: what GPUs talk through does not take tensors of the processor.
    """
    if accelerator.num_processes == 1:
        return values
    return accelerator.reduce(values.to(accelerator.device), reduction="sum").to(values.device)


def max_over_processes(accelerator: Any, value: float) -> float:
    """Largest of one number per process."""
    if accelerator.num_processes == 1:
        return value
    return float(accelerator.gather(torch.tensor([value], device=accelerator.device)).max())


def own_share(num: int, accelerator: Any) -> range:
    """The indices below `num` that fall to this process."""
    return range(accelerator.process_index, num, accelerator.num_processes)
