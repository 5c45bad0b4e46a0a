"""What a precision means, product by product and setting by setting; and the old name it had."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
import torch
from torch import nn

from preflab.errors import PreflabError
from preflab.models.precision import half_precision, resolved, weights_dtype
from preflab.models.products import product
from preflab.recipe import Recipe, load_recipe
from preflab.settings.learning import OptimiserSettings
from preflab.stages.base import computed_precision
from preflab.training.optimiser import make_optimiser
from preflab.training.processes import _say_unused, make_accelerator

STAGES = "data: {p: {path: p.jsonl}}\nstages: {a: {kind: sample, model: m, prompts: p}}\n"


def recipe(folder: Path, device: str, *overrides: str) -> Recipe:
    """A recipe with this `device` section."""
    (folder / "p.jsonl").write_text('{"prompt": "Hi"}\n', encoding="utf-8")
    (folder / "recipe.yaml").write_text(f"recipe: 1\n{device}\n{STAGES}", encoding="utf-8")
    return load_recipe(folder / "recipe.yaml", overrides)


@pytest.mark.parametrize(
    ("there", "computes", "expected"), [(False, True, "float32"), (True, False, "float32"), (True, True, "bfloat16")]
)
def test_auto_is_bfloat16_where_a_gpu_computes_in_it(
    there: bool, computes: bool, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: there)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: computes)
    assert resolved("auto") == expected
    assert [resolved(name) for name in ("float32", "bfloat16", "float16")] == ["float32", "bfloat16", "float16"]


def test_what_learns_is_float32_and_what_is_frozen_has_the_precision() -> None:
    half = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
    for name, dtype in half.items():
        assert weights_dtype(name, learns=True) == torch.float32
        assert weights_dtype(name, learns=False) == dtype
    assert half_precision("bfloat16") == torch.bfloat16
    assert half_precision(torch.float16) == torch.float16
    assert half_precision("float32") is half_precision(None) is None
    with pytest.raises(PreflabError, match="unknown precision: bfloat17"):
        weights_dtype("bfloat17", learns=False)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_product_keeps_the_sum_in_float32(dtype: torch.dtype) -> None:
    """256 + 1 + 1 + 1 = 259 needs 9 bits, of which bfloat16 has 8: there it would be 260; 2048 + 3 needs 12."""
    found = product(
        torch.tensor([[1.0, 1, 1, 1], [8, 1, 1, 1]], dtype=dtype), torch.tensor([[256.0], [1], [1], [1]], dtype=dtype)
    )
    assert found.dtype == torch.float32
    assert found.tolist() == [[259.0], [2051.0]]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_optimiser_refuses_weights_in_which_steps_round_away(dtype: torch.dtype) -> None:
    """1 + 1e-5 is 1 in 16 bits, whatever the gradient."""
    assert torch.tensor(1.0, dtype=dtype) + 1e-5 == 1
    parameters = [nn.Parameter(torch.ones(2)), nn.Parameter(torch.ones(2, dtype=dtype))]
    with pytest.raises(PreflabError, match="1 of 2 trained parameters are b?float16") as refused:
        make_optimiser([(parameters, 1e-5)], OptimiserSettings(), nn.Module())
    assert "float32" in refused.value.expected
    make_optimiser([(parameters[:1], 1e-5)], OptimiserSettings(), nn.Module())


@pytest.mark.parametrize("name", ["float32", "bfloat16", "float16"])
def test_old_name_of_the_setting_is_read_and_said(name: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert recipe(tmp_path, f"device: {{threads: 1, dtype: {name}}}").device.precision == name
    [line] = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert line == f"{tmp_path / 'recipe.yaml'}: device.dtype is now called device.precision; it is read as such"


def test_old_name_in_an_override_is_read_and_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert recipe(tmp_path, "", "device.dtype=bfloat16").device.precision == "bfloat16"
    assert caplog.messages == ["--set device.dtype is now called device.precision; it is read as such"]
    assert recipe(tmp_path, "", "device={threads: 2, dtype: bfloat16}").device.precision == "bfloat16"


@pytest.mark.parametrize("override", ["device.precision=bfloat16", "device.dtype=bfloat16"])
@pytest.mark.parametrize("name", ["dtype", "precision"])
def test_override_wins_over_the_file_under_either_name(override: str, name: str, tmp_path: Path) -> None:
    assert recipe(tmp_path, f"device: {{{name}: float16}}", override).device.precision == "bfloat16"


def test_two_names_with_two_values_are_refused(tmp_path: Path) -> None:
    assert recipe(tmp_path, "device: {dtype: bfloat16, precision: bfloat16}").device.precision == "bfloat16"
    with pytest.raises(PreflabError, match="device: dtype float32 and precision bfloat16") as refused:
        recipe(tmp_path, "device: {dtype: float32, precision: bfloat16}")
    assert refused.value.do == "remove dtype"
    with pytest.raises(PreflabError, match="--set device: dtype float32 and precision auto"):
        recipe(tmp_path, "", "device.precision=auto", "device.dtype=float32")


def test_a_precision_that_is_none_is_refused_by_its_new_name(tmp_path: Path) -> None:
    for device in ("device: {precision: half}", "device: {dtype: half}"):
        with pytest.raises(PreflabError, match=r"device\.precision: the text `half`") as refused:
            recipe(tmp_path, device)
        assert "'float32', 'bfloat16', 'float16' or 'auto'" in refused.value.expected


def test_default_is_float32_and_auto_is_kept_as_it_was_written(tmp_path: Path) -> None:
    assert recipe(tmp_path, "").device.precision == "float32"
    found = recipe(tmp_path, "device: {precision: auto}")
    assert found.resolved()["device"]["precision"] == "auto"
    assert computed_precision(found.device) == "float32"  # the tests see no GPU


def test_mixed_precision_of_accelerate_is_not_used_and_said(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "bf16")
    _say_unused.cache_clear()
    assert make_accelerator(cpu=True).mixed_precision == "no"
    assert make_accelerator(cpu=True).mixed_precision == "no"
    assert caplog.messages == ["accelerate's mixed precision bf16 is ignored: device.precision is used"]
