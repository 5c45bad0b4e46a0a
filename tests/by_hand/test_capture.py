"""Capture with a stand-in for the graph: what is run, recorded and replayed, and when."""

from __future__ import annotations

import logging
from contextlib import contextmanager, nullcontext
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from preflab.sampling import capture
from preflab.sampling.capture import Captured
from recorded_graph import RecordedGraph


class Listed:
    """A graph that writes down what happens to it."""

    def __init__(self, log: list[str], fails: bool = False) -> None:
        self.log, self.fails = log, fails

    def warm_up(self, step: object) -> None:
        self.log.append("warm up")

    def capture(self, step: object) -> None:
        self.log.append("capture")
        if self.fails:
            raise RuntimeError("operation not permitted\nand a second line")

    def replay(self) -> None:
        self.log.append("replay")


def test_a_size_is_run_then_captured_then_replayed() -> None:
    log: list[str] = []
    captured = Captured(lambda: Listed(log))
    for _ in range(3):
        captured.run(8, lambda: log.append("step"))
    assert log == ["warm up", "capture", "replay", "replay"], "a capture runs nothing, so it is replayed at once"
    captured.run(4, lambda: log.append("step"))
    assert log[-1] == "warm up", "another size is another graph"
    captured.forget()
    captured.run(8, lambda: log.append("step"))
    assert log[-1] == "warm up"


def test_without_graphs_every_step_runs() -> None:
    log: list[str] = []
    captured = Captured.on(torch.device("cpu"))
    for _ in range(3):
        captured.run(8, lambda: log.append("step"))
    assert log == ["step"] * 3


def test_a_step_that_cannot_be_captured_is_said_once_and_runs(caplog: pytest.LogCaptureFixture) -> None:
    log: list[str] = []
    captured = Captured(lambda: Listed(log, fails=True))
    with caplog.at_level(logging.WARNING):
        for size in (8, 8, 8, 4):
            captured.run(size, lambda: log.append("step"))
    assert log == ["warm up", "capture", "step", "step", "step"]
    assert captured.why_not == "operation not permitted"
    assert [record.getMessage() for record in caplog.records] == [
        "decode steps cannot be captured and are launched one by one: operation not permitted"
    ]


def test_the_stand_in_knows_addresses_and_not_python() -> None:
    total, added, counter = torch.zeros(2), torch.ones(2), []

    def step() -> None:
        counter.append(1)
        total.add_(added * len(counter))

    graph = RecordedGraph()
    graph.capture(step)
    assert total.tolist() == [0.0, 0.0], "a capture changes nothing"
    graph.replay()
    added.fill_(10.0)
    graph.replay()
    assert total.tolist() == [11.0, 11.0], "the tensor is read anew, the number of the host is not"
    assert len(counter) == 1


@pytest.mark.parametrize(
    "step",
    [
        lambda x: x.sum().item(),
        lambda x: x[x > 0],
        lambda x: x.tolist(),
        lambda x: bool((x > 0).all()),
        lambda x: x.nonzero(),
        lambda x: torch.tensor([1.0, 2.0]) + x,
    ],
)
@pytest.mark.parametrize("inference", [True, False])
def test_the_stand_in_refuses_what_waits(step: object, inference: bool) -> None:
    x = torch.tensor([1.0, -1.0])
    with torch.inference_mode(inference), pytest.raises(RuntimeError, match="not permitted"):
        RecordedGraph().capture(lambda: step(x))  # type: ignore[operator]


def test_the_stand_in_gives_back_what_a_failed_capture_wrote() -> None:
    x = torch.tensor([1.0, -1.0])

    def step() -> None:
        x.zero_()
        x.nonzero()

    with pytest.raises(RuntimeError):
        RecordedGraph().capture(step)
    assert x.tolist() == [1.0, -1.0]


class _Cuda:
    """Stands in for `torch.cuda`: gives out numbered pools and says what was captured with which."""

    def __init__(self) -> None:
        self.num_pools, self.log, self.fails = 0, [], False

    def graph_pool_handle(self) -> int:
        self.num_pools += 1
        return self.num_pools

    def Stream(self, device: object) -> SimpleNamespace:
        return SimpleNamespace(name="side", wait_stream=lambda other: None)

    def current_stream(self, device: object) -> SimpleNamespace:
        return SimpleNamespace(name="main", wait_stream=lambda other: None)

    def stream(self, stream: SimpleNamespace) -> Any:
        return nullcontext(self.log.append(f"on {stream.name}"))

    def CUDAGraph(self) -> SimpleNamespace:
        return SimpleNamespace(replay=lambda: self.log.append("replay"))

    @contextmanager
    def graph(self, graph: object, *, stream: Any, pool: Any = None, capture_error_mode: str = "global") -> Any:
        self.log.append(f"capture on {stream.name} into {pool}")
        yield
        if self.fails and pool is not None:
            raise RuntimeError("stream capture is invalid")


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch) -> _Cuda:
    stand_in = _Cuda()
    monkeypatch.setattr(capture, "torch", SimpleNamespace(cuda=stand_in, zeros=lambda *a, **k: None))
    return stand_in


def test_graphs_share_a_pool_until_all_of_them_are_dropped(cuda: _Cuda) -> None:
    """torch asserts that a pool which was used before still belongs to a graph."""
    captured = Captured.on(torch.device("cuda"))
    for size in (8, 8, 4, 4):
        captured.run(size, lambda: None)
    captured.forget()
    for _ in range(2):
        captured.run(8, lambda: None)
    into = [line for line in cuda.log if line.startswith("capture")]
    assert into == ["capture on side into 1", "capture on side into 1", "capture on side into 2"]
    assert cuda.log[0] == "on side", "warmed up where it will be captured"


def test_after_a_failed_capture_another_one_ends_its_state(cuda: _Cuda) -> None:
    cuda.fails, captured, log = True, Captured.on(torch.device("cuda")), []
    for _ in range(3):
        captured.run(8, lambda: log.append("step"))
    assert cuda.log == ["on side", "capture on side into 1", "capture on side into None"]
    assert log == ["step"] * 4, "warmed up, recorded in vain, run twice"
    assert captured.why_not == "stream capture is invalid"


def test_the_reason_is_the_steps_error_and_not_that_of_ending_the_capture() -> None:
    class Ends(Listed):
        def capture(self, step: object) -> None:
            try:
                raise RuntimeError("operation not permitted when stream is capturing")
            finally:
                raise RuntimeError("operation failed due to a previous error during capture")

    captured = Captured(lambda: Ends([]))
    for _ in range(2):
        captured.run(8, lambda: None)
    assert captured.why_not == "operation not permitted when stream is capturing"


def test_a_size_whose_first_run_fails_is_warmed_up_again() -> None:
    log: list[str] = []
    captured = Captured(lambda: Listed(log))

    class Full(Listed):
        def warm_up(self, step: object) -> None:
            raise RuntimeError("out of memory")

    captured.make_graph = lambda: Full(log)
    with pytest.raises(RuntimeError, match="out of memory"):
        captured.run(8, lambda: None)
    captured.make_graph = lambda: Listed(log)
    captured.run(8, lambda: None)
    assert log == ["warm up"]
