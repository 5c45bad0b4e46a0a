"""Compiled blocks: the trunk's passes use them under every role, sampling does not, and the numbers are the same."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import nn

from preflab.errors import PreflabError
from preflab.models import compiled_blocks
from preflab.models.compiled_blocks import CompiledBlocks, blocks_of
from preflab.models.merge import merged_language_model
from preflab.models.trunk import Role, Trunk
from preflab.pipeline import run
from preflab.recipe import load_recipe
from preflab.settings.learning import LoraSettings, OptimiserSettings
from preflab.settings.text_classifier import TextClassifierSettings
from preflab.training.batches import TokenSequence
from tiny_models import tiny_model

ROWS = [TokenSequence((3, 1, 5), (20, 10, 41, 7)), TokenSequence((3,), (1, 60))]
MORE = [TokenSequence((3, 8), (20, 30, 41, 7, 9, 9)), TokenSequence((3,), (1,)), TokenSequence((5, 5), (2, 3))]
ALL: tuple[Role, ...] = ("policy", "reference", "value")
LORA = LoraSettings(rank=2, alpha=4)


def made(lora: LoraSettings | None = LORA, compute: str = "float32") -> Trunk:
    torch.manual_seed(0)
    model = tiny_model("llama")
    if lora is not None:
        model.to(getattr(torch, compute))
    return Trunk(model, SimpleNamespace(pad_token_id=0), lora=lora, roles=ALL, seed=1, zero_value=False,
                 compute=compute)  # fmt: skip


def move(trunk: Trunk) -> None:
    """As if trained, so that the roles differ."""
    generator = torch.Generator().manual_seed(3)
    for role in ("policy", "value"):
        for _, parameter in trunk.parameters_of(role):
            parameter.data += 0.1 * torch.randn(parameter.shape, generator=generator)


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """One entry for each call of a compiled block; torch's compiler is replaced by a counter."""
    counted: list[str] = []

    def compile_(function: Callable[..., Any], **settings: Any) -> Callable[..., Any]:
        assert settings["dynamic"] is True

        def call(*args: Any, **kwargs: Any) -> Any:
            counted.append("block")
            return function(*args, **kwargs)

        return call

    monkeypatch.setattr(torch, "compile", compile_)
    return counted


@pytest.mark.parametrize("lora", [None, LORA], ids=["full", "lora"])
def test_every_pass_of_the_trunk_uses_them_and_sampling_does_not(lora: LoraSettings | None, calls: list[str]) -> None:
    """2 blocks for each of 3 roles; a model called in its role, as engines do, runs as it is."""
    trunk = made(lora)
    trunk.blocks.compile(trunk.models.values())
    trunk(trunk.collate(ROWS), ALL)
    assert len(calls) == 6
    with torch.no_grad(), trunk.role("policy"):
        trunk.language_model("policy")(input_ids=torch.tensor([[3, 1]]))
    assert len(calls) == 6
    merged = merged_language_model(trunk, "policy")
    merged(input_ids=torch.tensor([[3, 1]]))
    assert len(calls) == 6


def test_trunk_without_compiled_blocks_is_left_alone(calls: list[str]) -> None:
    trunk = made()
    trunk(trunk.collate(ROWS), ALL)
    assert calls == []
    assert [block._compiled_call_impl for block in blocks_of(trunk.model)] == [None, None]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # torch's own deprecated functions, which its compiler calls
@pytest.mark.skipif(shutil.which("g++") is None, reason="needs a C++ compiler")
@pytest.mark.parametrize(("lora", "compute"), [(LORA, "bfloat16"), (None, "float32")], ids=["lora, half", "full"])
def test_compiled_passes_are_the_plain_ones(lora: LoraSettings | None, compute: str) -> None:
    """Rounding apart, and a pass without gradients is the one with them: the first ratio is 1. A second batch of other
    lengths and every role again compile nothing more."""
    import torch._dynamo

    torch._dynamo.reset()
    plain, compiled = made(lora, compute), made(lora, compute)
    compiled.blocks.compile(compiled.models.values())
    for trunk in (plain, compiled):
        move(trunk)
    graphs = []
    for rows in (ROWS, MORE):
        found = []
        for trunk in (plain, compiled):
            trunk.zero_grad()
            batch = trunk.collate(rows)
            with torch.no_grad():
                old = trunk(batch, ("policy",))["policy"].logps
            output = trunk(batch, ALL)
            (output["policy"].logps.sum() + output["value"].values.sum()).backward()
            assert (old - output["policy"].logps).abs().max() <= 1e-5
            learned = [p for role in ("policy", "value") for _, p in trunk.parameters_of(role) if p.grad is not None]
            gradient = torch.cat([p.grad.flatten() for p in learned])
            found.append((output["policy"].logps, output["reference"].logps, output["value"].values, gradient))
        for one, other in zip(*found, strict=True):
            scale = float(one.detach().abs().max())
            assert (one - other).abs().max() <= (1e-5 if compute == "float32" else 0.02) * max(1.0, scale)
        graphs.append(torch._dynamo.utils.counters["stats"]["unique_graphs"])
    assert graphs[0] > 0
    assert graphs[0] == graphs[1]


def test_refused_without_a_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(PreflabError, match="no C\\+\\+ compiler"):
        compiled_blocks.check_compiler()


def test_refused_for_a_model_without_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiled_blocks, "check_compiler", lambda: None)
    with pytest.raises(PreflabError, match="Linear, which has no GradientCheckpointingLayer"):
        CompiledBlocks().compile([nn.Linear(2, 2)])


def test_refused_on_a_quantised_base(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiled_blocks, "check_compiler", lambda: None)
    model = tiny_model("llama")
    model.model.layers[0].mlp.up_proj.dequantised = lambda: None  # the mark of a quantised layer
    with pytest.raises(PreflabError, match=r"optimiser\.compile: true together with lora\.base: nf4"):
        CompiledBlocks().compile([model])


def test_quantised_base_is_refused_before_any_stage_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("preflab.stages.check_installed", lambda wanted: None)
    (tmp_path / "demos.jsonl").write_text('{"prompt": "one", "completion": " two"}\n', encoding="utf-8")
    (tmp_path / "recipe.yaml").write_text(
        "recipe: 1\ndata: {demos: {path: demos.jsonl}}\nstages:\n"
        "  tiny: {kind: tiny, text: demos, architecture: t5, num_layers: 1, hidden_size: 16}\n"
        "  sft: {kind: sft, model: tiny, data: demos, lora: {base: nf4}, optimiser: {compile: true}}\n",
        encoding="utf-8",
    )
    with pytest.raises(PreflabError, match=r"stages\.sft: optimiser\.compile: true together with lora\.base: nf4"):
        run(load_recipe(tmp_path / "recipe.yaml"))
    assert not list((tmp_path / "runs").glob("tiny-*"))


def test_settings_that_exclude_it_are_refused() -> None:
    with pytest.raises(ValidationError, match="compile and gradient_checkpointing exclude each other"):
        OptimiserSettings(compile=True, gradient_checkpointing=True)
    with pytest.raises(ValidationError, match=r"optimiser\.compile is for stages"):
        TextClassifierSettings(labels="-", optimiser=OptimiserSettings(compile=True))
