"""A pipeline with several processes (`accelerate launch -m preflab run`): the main process decides, all train together.

Every process goes through the same stages. The main process holds the lock, writes the manifests, and alone runs the
stages that are not `distributed`, while the others wait. All processes take part in `distributed` stages.
"""

from __future__ import annotations

import os
from typing import Any


class Processes:
    """The processes of this launch, read from the environment that torchrun and accelerate set; usually one."""

    def __init__(self) -> None:
        self.rank = int(os.environ.get("RANK", "0"))
        self.num = int(os.environ.get("WORLD_SIZE", "1"))

    @property
    def main(self) -> bool:
        """Whether this is the main process, the only one that writes files."""
        return self.rank == 0

    def agree(self, value: Any = None) -> Any:
        """Return the main process's value in every process. A collective call: all processes wait for one another."""
        if self.num == 1:
            return value
        from accelerate.utils import broadcast_object_list

        from preflab.training.processes import make_accelerator

        make_accelerator().wait_for_everyone()  # a broadcast alone does not make its sender wait
        box = [value]
        broadcast_object_list(box, from_process=0)
        return box[0]
