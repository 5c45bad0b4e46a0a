"""Replays a step as one graph instead of launching its kernels one by one.

A decode step of a small model takes 35 to 100 ms of launches and 4 ms of work. A CUDA graph holds all launches of a
step and is started by one call; its kernels read and write the same addresses each time. Capture itself runs nothing.
The first time a step of some size is run, it is run as it is, so that libraries choose and allocate what they need; the
second time it is captured, then replayed. A graph is made by a function, so that another kind can stand in for it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Hashable
from contextlib import suppress
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


class CudaGraphs:
    """Makes CUDA graphs for one device. They share a stream and the memory of intermediate results.

    Sharing is safe because one graph is replayed at a time and nothing is read from a step's intermediate results.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.stream = torch.cuda.Stream(device)
        self.pool = torch.cuda.graph_pool_handle()

    def __call__(self) -> CudaGraph:
        """An empty graph."""
        return CudaGraph(self.device, self.stream, self.pool)

    def renew(self) -> None:
        """Use other memory from now on: torch refuses to capture into a pool whose graphs were all deleted."""
        self.pool = torch.cuda.graph_pool_handle()


class CudaGraph:
    """A step as a CUDA graph. Its stream lies on the model's device, which need not be torch's current one."""

    def __init__(self, device: torch.device, stream: Any, pool: Any) -> None:
        self.device, self.stream, self.pool = device, stream, pool
        self.graph: Any = None

    def warm_up(self, step: Step) -> None:
        """Run the step on the stream that it will be captured on."""
        current = torch.cuda.current_stream(self.device)
        self.stream.wait_stream(current)
        with torch.cuda.stream(self.stream):
            step()
        current.wait_stream(self.stream)

    def capture(self, step: Step) -> None:
        """Record the step. Other threads (a communication watchdog, a reward model) may use the device meanwhile."""
        graph = torch.cuda.CUDAGraph()
        try:
            with torch.cuda.graph(graph, pool=self.pool, stream=self.stream, capture_error_mode="thread_local"):
                step()
        except RuntimeError:
            self._capture_something_else()
            raise
        self.graph = graph

    def _capture_something_else(self) -> None:
        """End the state of capture. After a failed one, torch refuses to draw random numbers until another one ends."""
        with suppress(RuntimeError), torch.cuda.graph(torch.cuda.CUDAGraph(), stream=self.stream):
            torch.zeros(1, device=self.device)

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
        return cls(CudaGraphs(device) if device.type == "cuda" else None)

    def run(self, size: Hashable, step: Step) -> None:
        """Run the step of this size once. A step that cannot be captured is run as it is from then on."""
        if self.make_graph is None or self.why_not is not None:
            step()
        elif size in self.ready:
            self.ready[size].replay()
        elif size not in self.warm:
            graph = self.make_graph()
            graph.warm_up(step)
            self.warm[size] = graph
        else:
            self._capture(size, self.warm[size], step)

    def _capture(self, size: Hashable, graph: Graph, step: Step) -> None:
        try:
            graph.capture(step)
        except RuntimeError as error:
            self.forget()
            # Ending a capture that failed raises an error of its own; the step's error is its context.
            first = error.__context__ if isinstance(error.__context__, RuntimeError) else error
            self.why_not = str(first).partition("\n")[0]
            logger.warning("decode steps cannot be captured and are launched one by one: %s", self.why_not)
            step()
            return
        self.ready[size] = graph
        graph.replay()

    def forget(self) -> None:
        """Drop all graphs, because addresses, roles or settings have changed."""
        self.ready.clear()
        self.warm.clear()
        if isinstance(self.make_graph, CudaGraphs):
            self.make_graph.renew()
