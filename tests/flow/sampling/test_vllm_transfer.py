"""All weights through memory that trainer and vLLM share: the calls, the names, and what happens without it.

There is no GPU here. A handle has a tensor's bytes instead of its place on a GPU; everything else is as on a GPU.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from architectures import build
from preflab.errors import PreflabError
from preflab.models.trunk import Trunk
from preflab.sampling import vllm_transfer
from preflab.sampling.engines import EngineSource, make_engine
from preflab.sampling.vllm_engine import VllmEngine
from preflab.sampling.vllm_transfer import checkpoint_tensors
from preflab.settings.learning import LoraSettings
from preflab.settings.vllm import VllmSettings
from tiny_worlds import tiny_llama, tiny_trunk
from vllm_stand_in import serving

SIZE = 32


def numbers_of(tensor: torch.Tensor) -> dict[str, tuple[Any, ...]]:
    return {"GPU-0": (tensor.numpy().tobytes(),)}


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("served")
    tiny_llama(SIZE).save_pretrained(folder)
    with serving(folder) as url:
        yield url


@pytest.fixture
def as_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vllm_transfer, "on_gpu", lambda model: True)
    monkeypatch.setattr(vllm_transfer, "shared_memory", numbers_of)


def engine_of(trunk: Trunk, url: str) -> VllmEngine:
    engine = make_engine(EngineSource.of_trunk(trunk, (2,), server=VllmSettings(url=url)), "vllm")
    assert isinstance(engine, VllmEngine)
    return engine


def move(trunk: Trunk) -> None:
    with torch.no_grad():
        for _, parameter in trunk.parameters_of("policy"):
            parameter.add_(0.1 * torch.randn_like(parameter))


@pytest.mark.usefixtures("as_on_a_gpu")
def test_every_version_reaches_the_server_without_a_file(address: str, caplog: pytest.LogCaptureFixture) -> None:
    trunk = tiny_trunk(("policy", "reference"), lora=None, vocab_size=SIZE)
    with caplog.at_level(logging.WARNING):  # commands show no other messages
        engine = engine_of(trunk, f"{address}/every+transfer")
        for version in (1, 2):
            move(trunk)
            engine.sync(version)  # compares the probe's log-probabilities
    assert list(engine.weights.folder.iterdir()) == []
    assert [r.message for r in caplog.records if "policy's weights" in r.message] == [
        f"{engine.client.url} gets the policy's weights through the GPU's memory"
    ]


@pytest.mark.usefixtures("as_on_a_gpu")
def test_a_server_without_it_gets_files(address: str, caplog: pytest.LogCaptureFixture) -> None:
    trunk = tiny_trunk(("policy", "reference"), lora=None, vocab_size=SIZE)
    with caplog.at_level(logging.WARNING):  # commands show no other messages
        engine = engine_of(trunk, f"{address}/without")
        move(trunk)
        engine.sync(1)
    assert len(list(engine.weights.folder.iterdir())) == 1
    assert "through files in" in caplog.text


@pytest.mark.usefixtures("as_on_a_gpu")
def test_adapters_and_weights_that_are_not_on_a_gpu_go_through_files(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    adapters = engine_of(
        tiny_trunk(("policy", "reference"), lora=LoraSettings(rank=4), vocab_size=SIZE), f"{address}/a+transfer"
    )
    assert len(list(adapters.weights.folder.iterdir())) == 1
    monkeypatch.setattr(vllm_transfer, "on_gpu", lambda model: False)
    on_cpu = engine_of(tiny_trunk(("policy", "reference"), lora=None, vocab_size=SIZE), f"{address}/b+transfer")
    assert len(list(on_cpu.weights.folder.iterdir())) == 1


@pytest.mark.usefixtures("as_on_a_gpu")
def test_weights_that_the_server_refuses_stop_the_run(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    trunk = tiny_trunk(("policy", "reference"), lora=None, vocab_size=SIZE)
    engine = engine_of(trunk, f"{address}/refuses+transfer")
    monkeypatch.setattr(vllm_transfer, "checkpoint_tensors", lambda model: {"wrong.weight": torch.ones(2)})
    with pytest.raises(PreflabError, match=r"update_weights refused with status 400: unknown .*wrong\.weight"):
        engine.sync(1)


@pytest.mark.usefixtures("as_on_a_gpu")
def test_an_update_that_an_earlier_run_left_unfinished_is_named(address: str) -> None:
    trunk = tiny_trunk(("policy", "reference"), lora=None, vocab_size=SIZE)
    engine = engine_of(trunk, f"{address}/unfinished+transfer")
    engine.client.post("/start_weight_update", None, "")
    with pytest.raises(PreflabError, match=r"already active(.|\n)*start the server again"):
        engine.sync(1)


def test_weights_of_models_on_this_machine_are_not_on_a_gpu() -> None:
    assert vllm_transfer.on_gpu(tiny_llama(SIZE)) is False


@pytest.mark.parametrize("kind", ["llama", "mixtral", "qwen3_moe", "gpt2"])
def test_names_and_numbers_are_those_of_a_saved_checkpoint(kind: str, tmp_path: Path) -> None:
    model = build(kind)
    model.save_pretrained(tmp_path)
    saved = load_file(tmp_path / "model.safetensors")
    tensors = checkpoint_tensors(model)
    assert set(tensors) == set(saved)
    assert all(torch.equal(tensors[name], saved[name]) for name in saved)
