"""Every engine, layout and precision gives the numbers of the plainest way to them, within the stated bounds.

The bounds are in the table of `benchmarks/gpu_checks.py`.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch

from preflab.sampling.passes import CachedPass

PRECISIONS = ("float32", "bfloat16")


def failed(found: list[Any]) -> list[Any]:
    """The checks that do not hold; there has to be at least one check."""
    assert found
    return [check for check in found if not check.holds]


def test_engines_write_the_tokens_of_a_pass_over_the_whole_sequence(checks: Any, device: str) -> None:
    assert failed(checks.decoding_checks("tiny", device)) == []


@pytest.mark.parametrize("precision", PRECISIONS)
def test_sampler_and_trainer_give_a_token_the_same_probability(checks: Any, device: str, precision: str) -> None:
    assert failed(checks.logps_checks("tiny", device, precision)) == []


@pytest.mark.parametrize("precision", PRECISIONS)
def test_first_ratio_is_1(checks: Any, device: str, precision: str) -> None:
    assert failed(checks.first_ratio_checks("tiny", device, precision)) == []


@pytest.mark.parametrize("precision", PRECISIONS)
def test_layouts_of_rows_have_the_gradient_of_padded_rows(checks: Any, device: str, precision: str) -> None:
    assert failed(checks.packing_checks("tiny", device, precision)) == []


def test_bfloat16_is_close_to_float32(checks: Any, device: str) -> None:
    assert failed(checks.precision_checks("tiny", device)) == []


def test_the_head_never_holds_all_its_logits(checks: Any, device: str) -> None:
    """512 × 32,768 logits in float32 are 64 MiB; a packed chunk on a CPU holds 16 MiB. A chunk on a GPU is 64 MiB."""
    num_tokens = 16384 if device.startswith("cuda") else 512
    assert failed(checks.memory_checks(device, num_tokens)) == []


def test_a_cache_that_is_one_position_off_writes_other_tokens(
    checks: Any, device: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Most of the 288 tokens: from the second on, every position is wrong."""
    right = CachedPass.step

    def one_further(self: CachedPass, tokens: torch.Tensor) -> torch.Tensor:
        self.next_positions = self.next_positions + 1
        return right(self, tokens)

    trunk = checks.learned_policy("tiny", device, "float32")
    asked = checks.requests(3, 4, 12)
    whole = checks.samples(trunk, "plain", asked, anew=True)
    sampler = checks.make_engine(trunk, "plain")
    assert sampler.decode_path == "cache"  # chosen by a test of its own, before it is broken
    monkeypatch.setattr(CachedPass, "step", one_further)
    ours = sampler.sample(asked, checks.decoding(checks.NEW, 64))
    assert checks.num_differing(ours, whole) > 100


def test_a_layout_that_leaks_has_another_gradient(checks: Any, device: str) -> None:
    """The control of the packing check: prompts that are two tokens longer change the gradient by far more."""
    trunk = checks.make_trunk("tiny", device, ("policy",), lora=checks.LORA)
    checks.move_adapters(trunk)
    rows = checks.sequences(3, 4, 12, 24)
    longer = [checks.TokenSequence((11, 12, *row.prompt_ids), row.completion_ids) for row in rows]
    ours, other = (checks.gradient(trunk, trunk.collate(some)) for some in (rows, longer))
    assert checks.relative_distance(other, ours) > 0.01


def test_a_check_of_nan_does_not_hold(checks: Any) -> None:
    assert not checks.Check("logps", "a number that is none", float("nan"), 1.0).holds
    assert checks.Check("logps", "a number at its bound", 1.0, 1.0).holds
