"""The engine against vLLM itself; runs where `preflab serve-engine --install` has made the environment."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import LlamaConfig, LlamaForCausalLM

from preflab.errors import PreflabError
from preflab.files import read_jsonl
from preflab.models.tiny import build_tokenizer
from preflab.models.trunk import Trunk
from preflab.policy.grpo import train_grpo
from preflab.policy.ppo import train_ppo
from preflab.sampling import vllm_transfer
from preflab.sampling.engines import EngineSource, make_engine
from preflab.sampling.vllm_client import VllmClient
from preflab.sampling.vllm_engine import VllmEngine
from preflab.sampling.vllm_weights import ServedWeights
from preflab.serving.environment import CPU, default_folder, fitting_build, is_installed, python_of
from preflab.serving.server import ServerOptions, running, server_command, server_environment
from preflab.settings.learning import LoraSettings
from preflab.settings.sampling import DecodingSettings
from preflab.settings.vllm import VllmSettings
from preflab.training.batches import TokenSequence
from preflab.training.protocols import SampleRequest
from tiny_groups import tiny_grpo
from tiny_worlds import tiny_ppo

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not is_installed(default_folder()), reason=f"no vLLM in {default_folder()}: `preflab serve-engine --install`"
    ),
]
LORA = LoraSettings(rank=4, alpha=8)
REQUESTS = [SampleRequest((1, 4, 5), seed) for seed in range(8)]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, str]]:
    """The folder of a tiny model with five rows that belong to no token, and the address of the server that has it."""
    folder = tmp_path_factory.mktemp("served")
    tokenizer = build_tokenizer(["a b c d e f g h i j k l m n o p q r s t u v w x y z . , ?"], context=64)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer) + 5, hidden_size=64, intermediate_size=128, num_hidden_layers=2,
        num_attention_heads=2, num_key_value_heads=2, max_position_embeddings=64, tie_word_embeddings=False,
        bos_token_id=1, eos_token_id=2, pad_token_id=0, initializer_range=0.3,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    on_cpu = fitting_build() is CPU
    options = ServerOptions(str(folder), port, lora_rank=8, dtype="float32", max_length=64, memory=0.1, on_cpu=on_cpu)
    command = server_command(python_of(default_folder()), options)
    log = tmp_path_factory.mktemp("log") / "vllm.log"
    with running(command, options.url, server_environment(os.environ, on_cpu=on_cpu), log):
        yield folder, options.url


def engine_of(world: tuple[Path, str], lora: LoraSettings | None = LORA, *, value: bool = False) -> VllmEngine:
    from transformers import AutoTokenizer

    folder, url = world
    roles: Any = ("policy", "reference", "value") if value else ("policy", "reference")
    model = LlamaForCausalLM.from_pretrained(folder, dtype=torch.float32)
    trunk = Trunk(model, AutoTokenizer.from_pretrained(folder), lora=lora, roles=roles)
    engine = make_engine(EngineSource.of_trunk(trunk, (2,), server=VllmSettings(url=url)), "vllm")
    assert isinstance(engine, VllmEngine)
    return engine


def trunk_of(engine: VllmEngine) -> Trunk:
    assert engine.source.trunk is not None
    return engine.source.trunk


def move(engine: VllmEngine, seed: int = 0, size: float = 0.03) -> None:
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for _, parameter in trunk_of(engine).parameters_of("policy"):
            parameter.add_(size * torch.randn(parameter.shape, generator=generator))


def check_samples(engine: VllmEngine) -> None:
    decoding = DecodingSettings(max_new_tokens=12, temperature=0.8)
    sampled = engine.sample(REQUESTS, decoding)
    rows = [TokenSequence(r.prompt_ids, one.token_ids) for r, one in zip(REQUESTS, sampled, strict=True)]
    trunk = trunk_of(engine)
    with torch.no_grad():
        logps = trunk(trunk.collate(rows), ("policy",), temperature=0.8)["policy"].logps
    for row, one in enumerate(sampled):
        assert max(one.token_ids) < 33, "no id without a token"
        assert torch.allclose(logps[row, : len(one.token_ids)], torch.tensor(one.logps), atol=1e-3)
    assert [one.token_ids for one in engine.sample(REQUESTS[3:5], decoding)] == [one.token_ids for one in sampled[3:5]]
    assert {one.policy_version for one in sampled} == {engine.version}


def test_server_without_weight_transfer_says_so(world: tuple[Path, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vllm_transfer, "on_gpu", lambda model: True)
    assert not vllm_transfer.WeightTransfer(VllmClient(world[1], 60.0)).can_send(torch.nn.Linear(1, 1))


def test_adapters_are_synchronised_version_by_version(world: tuple[Path, str]) -> None:
    engine = engine_of(world)
    for version in (1, 2, 3):
        move(engine, version)
        engine.sync(version)
        check_samples(engine)
    engine.close()


@pytest.mark.parametrize("kind", ["grpo", "ppo"])
def test_loops_learn_through_vllm(kind: str, world: tuple[Path, str], tmp_path: Path) -> None:
    engine = engine_of(world, value=kind == "ppo")
    values: dict[str, Any] = {
        "num_steps": 12, "decoding": {"max_new_tokens": 8}, "kl_coef": 0.0, "truncated_importance": 2.0,
        "optimiser": {"learning_rate": 1e-2, "schedule": "constant"}, "lora": LORA.model_dump(),
    }  # fmt: skip
    make: Any = tiny_ppo if kind == "ppo" else tiny_grpo
    run = make(tmp_path, trunk_of(engine), lambda ids: sum(token < 16 for token in ids) / 1.0, **values)
    run.sampler = engine
    (train_ppo if kind == "ppo" else train_grpo)(run)
    rows = read_jsonl(tmp_path / "metrics.jsonl")
    assert rows[-1]["reward/mean"] > rows[0]["reward/mean"] + 0.5, "it learns"
    assert all(row["mismatch/logps_mean"] < 1e-3 for row in rows)
    assert all(row["ratio/first_deviation"] == 0 for row in rows)
    engine.close()


class Rewritten:
    """Changes the files of an adapter before the server reads them: each tensor of `lora_B` is multiplied."""

    def __init__(self, factor: float) -> None:
        self.factor, self.write = factor, ServedWeights._write

    def __call__(self, weights: ServedWeights, folder: Path) -> None:
        self.write(weights, folder)
        path = folder / "adapter_model.safetensors"
        state = {name: self.factor * t if "lora_B" in name else t for name, t in load_file(path).items()}
        save_file(state, path)


@pytest.mark.parametrize(("factor", "says"), [(0.0, "empty"), (2.0, "times too large")])
def test_wrong_adapters_are_caught(
    factor: float, says: str, world: tuple[Path, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = engine_of(world)
    move(engine)
    rewritten = Rewritten(factor)
    monkeypatch.setattr(ServedWeights, "_write", lambda weights, folder: rewritten(weights, folder))
    with pytest.raises(PreflabError, match=says):
        engine.sync(1)


def test_stale_adapters_are_caught(world: tuple[Path, str], monkeypatch: pytest.MonkeyPatch) -> None:
    engine = engine_of(world)
    move(engine)
    monkeypatch.setattr(engine.weights, "push", lambda version: None)
    with pytest.raises(PreflabError, match="stale"):
        engine.sync(1)


def test_all_weights_are_synchronised(world: tuple[Path, str]) -> None:
    """A run with adapters after it finds other weights on the server, and loads its base model again."""
    engine = engine_of(world, None)
    for version in (1, 2):
        move(engine, version)
        engine.sync(version)
        check_samples(engine)
    adapters = engine_of(world)
    move(adapters)
    adapters.sync(1)
    check_samples(adapters)
    adapters.close()
