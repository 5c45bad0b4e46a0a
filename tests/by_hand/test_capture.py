"""Capture with a stand-in for the graph: what is run, recorded and replayed, and when."""

from __future__ import annotations

import logging

import pytest
import torch

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
