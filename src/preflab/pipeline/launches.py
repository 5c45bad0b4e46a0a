"""Several processes, one pipeline (`accelerate launch -m preflab run`): the main one decides, all train together.

Every process walks through the same stages. The main process holds the lock, writes manifests and runs alone what is
not `distributed`; the others wait for it, and take part in the stages that are.
"""

from __future__ import annotations

import atexit
import os
from typing import Any


class Processes:
    """The processes of this launch, as torchrun and accelerate name them in the environment; usually one."""

    def __init__(self) -> None:
        self.rank = int(os.environ.get("RANK", "0"))
        self.num = int(os.environ.get("WORLD_SIZE", "1"))

    @property
    def main(self) -> bool:
        """True in the one process that writes."""
        return self.rank == 0

    def agree(self, value: Any = None) -> Any:
        """The main process's value, in every process; they all wait here for one another."""
        if self.num == 1:
            return value
        from accelerate.utils import broadcast_object_list

        from preflab.training.processes import make_accelerator

        atexit.register(_leave)
        make_accelerator().wait_for_everyone()  # a broadcast alone does not keep its sender waiting
        box = [value]
        broadcast_object_list(box, from_process=0)
        return box[0]


def _leave() -> None:
    """Leave the process group before the interpreter ends: its threads would otherwise bring the process down."""
    from torch import distributed

    if distributed.is_initialized():
        distributed.destroy_process_group()
