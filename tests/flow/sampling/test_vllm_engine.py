"""The vLLM engine against a stand-in server in another process: learning, versions, and wrong weights caught."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from preflab.errors import PreflabError
from preflab.files import read_jsonl
from preflab.models.trunk import Trunk
from preflab.policy.grpo import train_grpo
from preflab.policy.ppo import train_ppo
from preflab.sampling.engines import EngineSource, make_engine
from preflab.sampling.vllm_engine import VllmEngine
from preflab.settings.learning import LoraSettings
from preflab.settings.sampling import DecodingSettings
from preflab.settings.vllm import VllmSettings
from preflab.training.batches import TokenSequence
from preflab.training.protocols import SampleRequest
from tiny_groups import tiny_grpo
from tiny_worlds import tiny_llama, tiny_ppo, tiny_trunk
from vllm_stand_in import serving

LORA = LoraSettings(rank=4, alpha=8)
SIZE = 32
Start = Callable[..., str]
REQUESTS = [SampleRequest((3, 5), seed) for seed in range(6)] + [SampleRequest((4,), seed) for seed in range(6)]


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Start]:
    """A function that returns the address of a new stand-in, with these options, of the model of `trunk_of`."""
    folder = tmp_path_factory.mktemp("served")
    model = tiny_llama(SIZE)
    with torch.no_grad():
        model.get_output_embeddings().weight.mul_(8.0)  # as `tiny_trunk` sharpens it
    model.save_pretrained(folder)
    numbers = itertools.count()
    with serving(folder) as address:
        yield lambda *options: "+".join((f"{address}/{next(numbers)}", *options))


def trunk_of(lora: LoraSettings | None = LORA, *, value: bool = False) -> Trunk:
    roles: Any = ("policy", "reference", "value") if value else ("policy", "reference")
    return tiny_trunk(roles, lora=lora, vocab_size=SIZE)


def engine_of(trunk: Trunk, url: str, **values: Any) -> VllmEngine:
    source = EngineSource.of_trunk(trunk, (2,), server=VllmSettings(url=url), **values)
    engine = make_engine(source, "vllm")
    assert isinstance(engine, VllmEngine)
    return engine


def move(trunk: Trunk, size: float = 0.1, seed: int = 0) -> None:
    """Change the policy's weights, as an update would."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for _, parameter in trunk.parameters_of("policy"):
            parameter.add_(size * torch.randn(parameter.shape, generator=generator))


def train_on(engine: VllmEngine, trunk: Trunk, num_versions: int, size: float) -> None:
    """Move the policy and synchronise, version by version."""
    for version in range(1, num_versions + 1):
        move(trunk, size, version)
        engine.sync(version)


def trainer_logps(trunk: Trunk, requests: list[SampleRequest], sampled: Any, temperature: float = 1.0) -> torch.Tensor:
    rows = [
        TokenSequence(r.prompt_ids, one.token_ids, None, one.kept) for r, one in zip(requests, sampled, strict=True)
    ]
    with torch.no_grad():
        logps = trunk(trunk.collate(rows), ("policy",), temperature=temperature)["policy"].logps
    return torch.cat([logps[row, : len(one.token_ids)] for row, one in enumerate(sampled)])


@pytest.mark.parametrize("lora", [LORA, None], ids=["lora", "full"])
def test_completions_are_those_of_the_synchronised_policy(lora: LoraSettings | None, start: Start) -> None:
    trunk = trunk_of(lora)
    engine = engine_of(trunk, start())
    move(trunk)
    engine.sync(4)
    sampled = engine.sample(REQUESTS, DecodingSettings(max_new_tokens=8, temperature=0.7))
    ours = trainer_logps(trunk, REQUESTS, sampled, 0.7)
    assert torch.allclose(torch.tensor([p for one in sampled for p in one.logps]), ours, atol=1e-4)
    assert {one.policy_version for one in sampled} == {4}
    assert {one.finish_reason for one in sampled} == {"stop" if one.token_ids[-1] == 2 else "length" for one in sampled}
    assert all(2 not in one.token_ids[:-1] for one in sampled)
    alone = engine.sample(REQUESTS[4:6], DecodingSettings(max_new_tokens=8, temperature=0.7))
    assert [one.token_ids for one in alone] == [one.token_ids for one in sampled[4:6]], "by seed, not by batch"
    assert len({one.token_ids for one in sampled[:6]}) > 1


@pytest.mark.parametrize(("trouble", "says"), [("stale", "stale"), ("empty", "empty"), ("twice", "times too large")])
def test_probe_refuses_wrong_adapters(trouble: str, says: str, start: Start) -> None:
    trunk = trunk_of()
    engine = engine_of(trunk, start(trouble))
    with pytest.raises(PreflabError, match=says) as caught:
        train_on(engine, trunk, 2, 0.03)
    assert "nats per token" in caught.value.found, "both numbers"
    assert "preflab serve-engine MODEL" in caught.value.do


def test_probe_refuses_stale_full_weights(start: Start) -> None:
    trunk = trunk_of(None)
    engine = engine_of(trunk, start("stale"))
    move(trunk)
    with pytest.raises(PreflabError, match="stale"):
        engine.sync(1)


def another_trunk() -> Trunk:
    return tiny_trunk(("policy", "reference"), lora=LORA, vocab_size=SIZE, seed=1)


def test_probe_refuses_another_base_model(start: Start) -> None:
    with pytest.raises(PreflabError, match="before any training"):
        engine_of(another_trunk(), start("production"))


def test_base_model_that_another_stage_replaced_is_loaded_again(start: Start) -> None:
    trunk = another_trunk()
    engine = engine_of(trunk, start())
    move(trunk)
    engine.sync(1)
    sampled = engine.sample(REQUESTS, DecodingSettings(max_new_tokens=4))
    ours = trainer_logps(trunk, REQUESTS, sampled)
    assert torch.allclose(torch.tensor([p for one in sampled for p in one.logps]), ours, atol=1e-4)


def test_server_sleeps_between_release_and_sync(start: Start) -> None:
    trunk = trunk_of()
    source = EngineSource.of_trunk(trunk, (2,), server=VllmSettings(url=start(), sleep=True))
    engine: Any = make_engine(source, "vllm")
    engine.release()
    with pytest.raises(PreflabError, match="sleeping"):
        engine.sample(REQUESTS[:1], DecodingSettings(max_new_tokens=2))
    engine.sync(1)
    assert len(engine.sample(REQUESTS[:1], DecodingSettings(max_new_tokens=2))) == 1


def test_rounding_of_a_server_in_bfloat16_is_no_alarm(start: Start) -> None:
    trunk = trunk_of()
    engine = engine_of(trunk, start("bfloat16"))
    train_on(engine, trunk, 5, 0.01)
    assert engine.probe.rounding > 1e-3, "it does round"


def test_stale_weights_behind_bfloat16_are_caught(start: Start) -> None:
    trunk = trunk_of()
    engine = engine_of(trunk, start("bfloat16", "stale"))
    with pytest.raises(PreflabError, match="stale|other numbers whenever"):
        train_on(engine, trunk, 8, 0.02)


def likes_ones(ids: tuple[int, ...]) -> float:
    return float(ids.count(1))


def run_of(kind: str, folder: Path, url: str, **changes: Any) -> Any:
    trunk = trunk_of(value=kind == "ppo")
    values: dict[str, Any] = {
        "num_steps": 8, "decoding": {"max_new_tokens": 6}, "kl_coef": 0.0,
        "optimiser": {"learning_rate": 1e-2, "schedule": "constant"}, **changes,
    }  # fmt: skip
    if kind == "ppo":
        run: Any = tiny_ppo(folder, trunk, likes_ones, num_completions_per_step=16, **values)
    else:
        run = tiny_grpo(folder, trunk, likes_ones, **values)
    run.sampler = engine_of(trunk, url, keep_masks=True)
    return run


@pytest.mark.parametrize("kind", ["grpo", "ppo"])
def test_loops_learn_through_the_server(kind: str, start: Start, tmp_path: Path) -> None:
    run = run_of(kind, tmp_path / "run", start(), truncated_importance=2.0)
    versions: list[int] = []
    push = run.sampler.sync
    run.sampler.sync = lambda version: (versions.append(version), push(version))[1]
    result = (train_ppo if kind == "ppo" else train_grpo)(run)
    rows = read_jsonl(tmp_path / "run" / "metrics.jsonl")
    assert versions == [step * int(rows[0]["num/updates"]) for step in range(8)]
    assert rows[-1]["reward/mean"] > rows[0]["reward/mean"] + 0.5, "it learns"
    assert all(row["ratio/first_deviation"] == 0 for row in rows), "the trainer's pass gives π_old"
    assert all(row["mismatch/logps_mean"] < 1e-4 for row in rows)
    assert all(abs(row["importance/mean"] - 1) < 1e-3 and row["importance/num_cut"] == 0 for row in rows)
    assert not {alarm.alarm for alarm in result.alarms} & {"first ratio is not 1", "sampler holds other weights"}


@pytest.mark.parametrize("kind", ["grpo", "ppo"])
def test_loops_stop_at_stale_weights(kind: str, start: Start, tmp_path: Path) -> None:
    run = run_of(kind, tmp_path / "run", start("stale"))
    with pytest.raises(PreflabError, match="version [1-9].*stale"):
        (train_ppo if kind == "ppo" else train_grpo)(run)
    assert len(read_jsonl(tmp_path / "run" / "metrics.jsonl")) == 1, "no step on rollouts of old weights"


def test_sampling_masks_make_ratios_exact(start: Start, tmp_path: Path) -> None:
    changes = {"decoding": {"max_new_tokens": 6, "top_p": 0.6, "top_k": 12}, "num_steps": 2}
    run = run_of("grpo", tmp_path / "run", start("masks"), **changes)
    sampled = run.sampler.sample(REQUESTS, run.settings.decoding)
    assert all(len(row) <= 12 for one in sampled for row in one.kept.rows())
    ours = trainer_logps(run.trunk, REQUESTS, sampled)
    assert torch.allclose(torch.tensor([p for one in sampled for p in one.logps]), ours, atol=1e-4)
    train_grpo(run)
    rows = read_jsonl(tmp_path / "run" / "metrics.jsonl")
    assert all(row["mismatch/logps"] < 1e-4 for row in rows)


def test_truncated_training_without_masks_is_refused(start: Start, tmp_path: Path) -> None:
    changes = {"decoding": {"max_new_tokens": 6, "top_p": 0.6, "top_k": 12}}
    run = run_of("grpo", tmp_path / "run", start(), **changes)
    with pytest.raises(PreflabError, match="without sampling masks"):
        train_grpo(run)


def test_completion_of_another_version_is_refused(start: Start) -> None:
    engine = engine_of(trunk_of(), start())
    engine.client.name_version("another run's")
    with pytest.raises(PreflabError, match="another run's"):
        engine.sample(REQUESTS[:1], DecodingSettings(max_new_tokens=2))


def test_server_without_versions_is_checked_by_the_adapters_name(start: Start) -> None:
    engine = engine_of(trunk_of(), start("production"))
    assert not engine.reports_versions
    assert len(engine.sample(REQUESTS, DecodingSettings(max_new_tokens=2))) == len(REQUESTS)


@pytest.mark.parametrize(
    ("decoding", "prompt", "says"),
    [({"max_new_tokens": 60}, (1,) * 5, "at most 64"), ({"temperature": 2.5}, (1,), "at most 2.0")],
)
def test_requests_that_do_not_fit_are_refused(
    decoding: dict[str, Any], prompt: tuple[int, ...], says: str, start: Start
) -> None:
    engine = engine_of(trunk_of(), start())
    with pytest.raises(PreflabError) as caught:
        engine.sample([SampleRequest(prompt, 0)], DecodingSettings(**decoding))
    assert says in str(caught.value)


def test_former_versions_are_removed(start: Start) -> None:
    trunk = trunk_of()
    engine = engine_of(trunk, start())
    engine.sync(1)
    engine.sync(1)
    folders = list(engine.weights.folder.iterdir())
    assert [folder.name for folder in folders] == [engine.weights.model]
    engine.close()
    assert not engine.weights.folder.exists()
    cards = engine.client.call("GET", "/v1/models").json()["data"]
    assert len(cards) == 1, "the base model alone"


def test_no_server_at_the_address_is_an_error() -> None:
    with pytest.raises(PreflabError, match="http://127.0.0.1:9/v1/models"):
        engine_of(trunk_of(), "http://127.0.0.1:9")


@pytest.mark.parametrize("url", ["http://example.org", "http://127.0.0.1:1@example.org", "https://127.0.0.1"])
def test_address_on_another_machine_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="not on this machine"):
        VllmSettings(url=url)
