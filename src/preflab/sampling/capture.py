"""Replays a step as one graph instead of launching its kernels one by one.

A decode step of a small model takes 35 to 100 ms of launches and 4 ms of work. A CUDA graph holds all launches of a
step and is started by one call; its kernels read and write the same addresses each time. Capture itself runs nothing.
The first time a step of some size is run, it is run as it is, so that libraries choose and allocate what they need; the
second time it is captured, then replayed. A graph is made by a function, so that another kind can stand in for it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Hashable
from typing import Any, Protocol

import torch

logger = logging.getLogger(__name__)

Step = Callable[[], None]
"""A step without arguments and results: it reads and writes tensors whose addresses do not change."""


class Graph(Protocol):
    """One captured step."""

    def warm_up(self, step: Step) -> None:
        """Run the step as it is."""

    def capture(self, step: Step) -> None:
        """Record the step without running it.

        Raises:
            RuntimeError: the step waits for the device, or does something else that a graph cannot hold.
        """

    def replay(self) -> None:
        """Run what was recorded."""


class CudaGraph:
    """A step as a CUDA graph. All graphs of an engine share the memory of their intermediate results.

    Sharing is safe because one graph is replayed at a time and nothing is read from a step's intermediate results.
    """

    def __init__(self, pool: Any) -> None:
        self.graph, self.pool = torch.cuda.CUDAGraph(), pool

    def warm_up(self, step: Step) -> None:
        """Run the step on another stream, as `torch.cuda.graph` will."""
        current, other = torch.cuda.current_stream(), torch.cuda.Stream()
        other.wait_stream(current)
        with torch.cuda.stream(other):
            step()
        current.wait_stream(other)

    def capture(self, step: Step) -> None:
        """Record the step."""
        with torch.cuda.graph(self.graph, pool=self.pool):
            step()

    def replay(self) -> None:
        """Run the graph."""
        self.graph.replay()


class Captured:
    """Runs steps by size: as they are, or from graphs.

    Args:
        make_graph: makes an empty graph; None runs every step as it is.
    """

    def __init__(self, make_graph: Callable[[], Graph] | None) -> None:
        self.make_graph = make_graph
        self.ready: dict[Hashable, Graph] = {}
        self.warm: dict[Hashable, Graph] = {}
        self.why_not: str | None = None

    @classmethod
    def on(cls, device: torch.device) -> Captured:
        """Graphs where the device has them."""
        if device.type != "cuda":
            return cls(None)
        pool = torch.cuda.graph_pool_handle()
        return cls(lambda: CudaGraph(pool))

    def run(self, size: Hashable, step: Step) -> None:
        """Run the step of this size once. A step that cannot be captured is run as it is from then on."""
        if self.make_graph is None or self.why_not is not None:
            step()
        elif size in self.ready:
            self.ready[size].replay()
        elif size not in self.warm:
            self.warm[size] = self.make_graph()
            self.warm[size].warm_up(step)
        else:
            self._capture(size, self.warm[size], step)

    def _capture(self, size: Hashable, graph: Graph, step: Step) -> None:
        try:
            graph.capture(step)
        except RuntimeError as error:
            self.forget()
            self.why_not = str(error).partition("\n")[0]
            logger.warning("decode steps cannot be captured and are launched one by one: %s", self.why_not)
            step()
            return
        self.ready[size] = graph
        graph.replay()

    def forget(self) -> None:
        """Drop all graphs, because addresses, roles or settings have changed."""
        self.ready.clear()
        self.warm.clear()
