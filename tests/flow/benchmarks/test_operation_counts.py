"""One step of every loop computes exactly what `benchmarks/smoke_table.py` derives, and what is counted is counted."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch

from preflab.models.chunk import Head
from preflab.models.chunked import token_statistics


@pytest.fixture
def benchmarks(repository: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(repository / "benchmarks"))
    import smoke  # type: ignore[import-not-found]
    import smoke_counter  # type: ignore[import-not-found]
    import smoke_table  # type: ignore[import-not-found]
    import smoke_worlds  # type: ignore[import-not-found]

    return SimpleNamespace(smoke=smoke, counter=smoke_counter, table=smoke_table, worlds=smoke_worlds)


def test_every_operation_count_is_as_derived(benchmarks: Any) -> None:
    counted = benchmarks.smoke.count_everything()
    assert benchmarks.smoke.differences(counted) == []
    assert len(counted) == len(benchmarks.table.expected())


def test_derived_numbers_of_the_batch_are_those_of_this_arithmetic(benchmarks: Any) -> None:
    """Prompts of 5 and 3 tokens, 4 completions of 6 tokens each: 8 rows of at most 11 tokens, 48 completion tokens."""
    numbers = {key: value for key, (value, _) in benchmarks.table.expected().items()}
    # Two prompts padded to 5, then five more steps of 8 rows; the first token needs no step of its own.
    assert numbers["sampling", "trunk tokens, sampling"] == 2 * 5 + 5 * 8
    assert numbers["sampling", "head rows, sampling"] == 2 + 5 * 8
    # Reference and value read 8 rows of 11; policy and value learn from them.
    assert numbers["PPO, LoRA", "trunk tokens, rollouts"] == 176
    assert numbers["PPO, LoRA", "trunk tokens, update"] == 176
    # 4 rows of 11 and 4 rows of 3 + 6 = 9.
    assert numbers["GRPO, LoRA", "trunk tokens, update in two micro-batches"] == 80
    # Rows of 9, 5, 10 and 5 tokens; completions of 4, 2, 6 and 3.
    assert numbers["SFT, LoRA", "trunk tokens, update"] == 40
    assert numbers["SFT, LoRA", "head rows, update"] == 15
    # Pairs 5 + 6 + 4 and 3 + 2 + 5 in one row each; separately four rows of at most 11.
    assert numbers["DPO, LoRA", "trunk tokens, update"] == 30
    assert numbers["DPO, LoRA", "trunk tokens, reference"] == 44


def test_a_step_that_does_more_is_named(benchmarks: Any) -> None:
    counted = {key: value for key, (value, _) in benchmarks.table.expected().items()}
    counted["GRPO, LoRA", "head rows, update"] = 96
    counted["reward, LoRA", "head rows, update"] = 1
    assert [row[:4] for row in benchmarks.smoke.differences(counted)] == [
        ("GRPO, LoRA", "head rows, update", 48, 96),
        ("reward, LoRA", "head rows, update", 0, 1),
    ]


def test_main_exits_with_1_if_a_number_differs(
    benchmarks: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    smoke: ModuleType = benchmarks.smoke
    monkeypatch.setattr(smoke, "count_everything", dict)
    monkeypatch.setattr("sys.argv", ["smoke.py"])
    assert smoke.main() == 1
    printed = capsys.readouterr()
    assert "GRPO, full: head rows, update: 0, expected 48" in printed.out
    assert "change the formula" in printed.err


def test_waits_are_counted_by_kind(benchmarks: Any) -> None:
    counting, x = benchmarks.counter.Counting(), torch.arange(4.0)
    with counting.on([]), counting.phase("here"):
        float(x.sum())
        bool((x > 0).any())
        _ = x[x > 1]
        x[x > 2] = torch.tensor([5.0])
        _ = x[torch.tensor([0, 1])]  # places wait for nothing
        (x > 0).nonzero()
        x.cpu()
        x.tolist()
        with torch.inference_mode():
            int(x.sum())
            bool((x > 0).all())
    waits = {kind: number for (phase, kind), number in counting.counts.kinds_of_waits.items() if phase == "here"}
    assert waits == {"item": 4, "mask index": 2, "nonzero": 1, "cpu": 1, "tolist": 1}
    assert counting.counts.waits == Counter({"here": 9})


def test_rows_of_a_chunked_head_are_counted_forwards_and_backwards(benchmarks: Any) -> None:
    counting, weight = benchmarks.counter.Counting(), torch.randn(8, 4, requires_grad=True)
    hidden, targets = torch.randn(5, 4), torch.tensor([0, 1, 2, 3, 4])
    with counting.on([]):
        logps = token_statistics(hidden, Head(weight), targets).logps
        assert counting.counts.head_rows == {"other": 5}
        logps.sum().backward()
    assert counting.counts.head_rows == {"other": 10}
    assert benchmarks.worlds.BATCH.new == 6


def test_nothing_is_counted_after_the_block(benchmarks: Any) -> None:
    counting = benchmarks.counter.Counting()
    with counting.on([]):
        pass
    torch.ones(1).cpu()
    torch.ones(1).tolist()
    assert "cpu" not in vars(torch.Tensor)
    assert not counting.counts.waits
