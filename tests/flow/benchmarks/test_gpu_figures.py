"""Floors and MFU of the GPU jobs, computed by hand for small shapes, and the plan's budgets."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest


@pytest.fixture
def gpu(repository: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(repository / "benchmarks"))
    import gpu_figures  # type: ignore[import-not-found]
    import gpu_models  # type: ignore[import-not-found]
    import gpu_plan  # type: ignore[import-not-found]
    import gpu_tables  # type: ignore[import-not-found]

    return SimpleNamespace(figures=gpu_figures, models=gpu_models, plan=gpu_plan, tables=gpu_tables)


@pytest.fixture
def shape(gpu: Any) -> Any:
    """Width 8, 2 layers, 4 heads of width 2, 2 of them with keys and values (D = 4), I = 10, V = 100.

    A layer: queries and output 2 · 64, keys and values 2 · 32, feed-forward 3 · 80: 432. M = 864, V · H = 800.
    """
    return gpu.models.Shape(8, 2, 4, 2, 10, 100)


def test_weights_of_a_shape(gpu: Any, shape: Any) -> None:
    assert shape.kv_width == 4
    assert shape.layer_weights == 864
    assert shape.head_weights == 800


@pytest.mark.parametrize(("name", "billions"), [("0.5b", 0.494), ("1.5b", 1.54), ("8b", 8.03)])
def test_shapes_have_as_many_weights_as_their_models(gpu: Any, name: str, billions: float) -> None:
    """As published: 0.49 and 1.54 billion for Qwen2.5 (0.36 and 1.31 without the embedding), 8.03 for Llama 3 8B."""
    shape = gpu.models.SHAPES[name]
    embedding = 0 if shape.tied else shape.head_weights
    assert (shape.layer_weights + shape.head_weights + embedding) / 1e9 == pytest.approx(billions, abs=0.006)


def test_a_model_has_the_matrices_of_its_shape(gpu: Any) -> None:
    import torch

    shape, model = gpu.models.SHAPES["tiny"], gpu.models.make_model("tiny", torch.float32, "cpu")
    sizes = {name: p.numel() for name, p in model.named_parameters() if p.ndim == 2}
    assert sum(n for name, n in sizes.items() if "layers" in name) == shape.layer_weights
    assert sizes["model.embed_tokens.weight"] == shape.head_weights
    assert set(map(torch.Tensor.dim, model.parameters())) == {1, 2}


def test_decoding_reads_weights_per_step_and_keys_so_far(gpu: Any, shape: Any) -> None:
    """Four rows, prompts of 5 tokens, 3 new tokens, 2 bytes per number.

    Weights: 3 · 2 · 1,664 = 9,984. Keys and values: per token 2 · 2 layers · 4 = 16 numbers or 32 bytes; the steps see
    5, 6 and 7 tokens of each row: 18 · 4 · 32 = 2,304.
    """
    size = gpu.figures.Decoding(prompts=2, prompt_tokens=5, rows=4, new=3)
    assert gpu.figures.decode_bytes(shape, size, 2) == 9984 + 2304
    # Prefill 2 · 864 · 2 · 5 = 17,280; steps 2 · 1,664 · 4 · 3 = 39,936.
    assert gpu.figures.decode_operations(shape, size) == 17280 + 39936


def test_floors_and_mfu(gpu: Any, shape: Any) -> None:
    """100 tokens, 40 of them completion tokens: M · 100 + V · H · 40 = 86,400 + 32,000 = 118,400."""
    full = gpu.figures.update_operations(shape, 100, 40, lora=False)
    assert full == 6 * 118400
    assert gpu.figures.update_operations(shape, 100, 40, lora=True) == 4 * 118400
    assert gpu.figures.pass_operations(shape, 100, 40) == 2 * 118400
    speeds = gpu.figures.Speeds(bandwidth=1e6, operations=1e6)
    assert gpu.figures.seconds_by_operations(full, speeds) == pytest.approx(0.7104)
    assert gpu.figures.seconds_by_bytes(12288, speeds) == pytest.approx(0.012288)
    assert gpu.figures.mfu(full, 2.0, speeds) == pytest.approx(0.3552)


def test_work_of_a_ppo_step(gpu: Any, monkeypatch: pytest.MonkeyPatch, shape: Any) -> None:
    """Four rows with prompts of their own, 5 + 3 tokens each, 4-byte numbers, adapters.

    Sampling: 3 · 4 · 1,664 + 18 · 4 · 64 = 24,576 bytes; prefill 2 · 864 · 4 · 5 = 34,560, steps 39,936 operations.
    Reference, value and reward read 32 tokens each, two heads 12 rows each: 2 · (864 · 96 + 800 · 24) = 204,288.
    Update of two roles: 4 · (864 · 64 + 800 · 12) = 259,584.
    """
    monkeypatch.setitem(gpu.models.SHAPES, "small", shape)
    job = gpu.plan.Planned(
        "ppo", "gpu_learn.py", 1, "small", gpu.plan.Size(4, 5, 3), job="ppo", lora=True, dtype="float32"
    )
    work = gpu.plan.work_of(job, {"tokens": 64, "completion_tokens": 12})
    assert work.bytes == 24576
    assert work.update == 259584
    assert work.operations == 34560 + 39936 + 204288 + 259584


@pytest.mark.parametrize(
    ("name", "bandwidth"),
    [
        ("NVIDIA H100 80GB HBM3", 3.35e12),
        ("NVIDIA H100 PCIe", 2.0e12),
        ("NVIDIA H200", 4.8e12),
        ("NVIDIA A100-SXM4-80GB", 2.04e12),
        ("NVIDIA A100 80GB PCIe", 1.94e12),
        ("NVIDIA A100-SXM4-40GB", 1.56e12),
        ("NVIDIA L4", 0.3e12),
        ("NVIDIA L40S", 0.864e12),
        ("NVIDIA GeForce RTX 4090", 1.008e12),
    ],
)
def test_a_card_is_found_by_its_name(gpu: Any, name: str, bandwidth: float) -> None:
    assert gpu.figures.data_sheet(name).bandwidth == bandwidth


def test_an_unknown_card_has_no_data_sheet(gpu: Any) -> None:
    assert gpu.figures.data_sheet("CPU") is None


def test_all_jobs_fit_into_eight_minutes(gpu: Any) -> None:
    assert sum(job.budget_s for job in gpu.plan.planned("", "", ())) <= 480


def test_every_job_of_preflab_needs_checks_and_every_peer_none(gpu: Any) -> None:
    for job in gpu.plan.JOBS:
        assert bool(job.needs) != job.is_peer
        assert set(job.needs) <= set(gpu.plan.CHECKS)


def test_a_chosen_job_brings_checks_and_its_peer(gpu: Any) -> None:
    assert [job.name for job in gpu.plan.planned("", "", ("sample",))] == ["card", "check", "sample", "generate"]
    names = [job.name for job in gpu.plan.planned("tiny", "float32", ("grpo",))]
    assert names == ["card", "check", "grpo-lora", "trl-grpo-lora", "grpo-full", "trl-grpo-full"]


def test_shares_of_a_step(gpu: Any) -> None:
    result = {"seconds": 4.0, "sampling_seconds": 2.0, "rollout_seconds": 0.4, "scoring_seconds": 0.2,
              "update_seconds": 1.0}  # fmt: skip
    expected = {"sampling": 0.5, "rollout passes": 0.1, "scoring": 0.05, "update": 0.25, "other": 0.1}
    assert gpu.tables.shares(result) == pytest.approx(expected)


def test_texts_have_as_many_tokens_as_words(gpu: Any) -> None:
    tokenizer = gpu.models.make_tokenizer()
    texts = gpu.models.texts(3, 7)
    assert [tuple(tokenizer(text)["input_ids"]) for text in texts] == gpu.models.token_rows(3, 7)
    assert {len(row) for row in gpu.models.token_rows(3, 7)} == {7}
    assert gpu.models.token_rows(2, 7, first=1) == gpu.models.token_rows(3, 7)[1:]
