"""An engine over fixed buffers is used again: after larger batches, failures, and in another mode."""

from __future__ import annotations

import functools
from contextlib import nullcontext
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
import torch

from architecture_trials import load_trunk, save
from captured_trials import DECODING, SMALL, differing, engine_of, record_steps, requests
from preflab.errors import PreflabError
from preflab.sampling import bucketed
from preflab.sampling.bucketed import BucketedDecoder
from preflab.sampling.capture import Captured
from preflab.sampling.engine import TransformersEngine
from preflab.training.protocols import SampleRequest
from recorded_graph import RecordedGraph


def doubled(asked: list[SampleRequest]) -> list[SampleRequest]:
    """The same requests with each prompt written twice."""
    return [SampleRequest(request.prompt_ids * 2, request.seed) for request in asked]


@pytest.mark.parametrize("name", ["llama", "qwen3_next", "t5", "bart"])
def test_a_batch_after_a_larger_one_of_the_same_size_as_before(name: str, tmp_path: Path) -> None:
    """Larger buffers replace those that the first batches were written to."""
    trunk, asked = load_trunk(save(name, tmp_path), ("policy",)), requests()
    engine, reference = engine_of(trunk, "on"), engine_of(trunk, "off")
    record_steps(engine)
    longer = DECODING.model_copy(update={"max_new_tokens": 60})
    few, many = (asked[:3], DECODING), (doubled(asked), longer)
    for batch in (few, few, (asked, DECODING), few, many, few, (asked, DECODING)):
        assert differing(trunk, batch[0], reference.sample(*batch), engine.sample(*batch)) == []


@pytest.mark.parametrize("name", ["llama", "qwen3_next", "t5"])
def test_numbers_that_are_not_finite_do_not_outlast_their_batch(name: str, tmp_path: Path) -> None:
    """A masked key has the weight 0, and 0 · NaN is NaN."""
    trunk, asked = load_trunk(save(name, tmp_path), ("policy",)), requests()
    engine, weight = engine_of(trunk, "on"), trunk.model.get_input_embeddings().weight
    engine.sample(doubled(asked), DECODING)
    kept = weight.detach().clone()
    with torch.no_grad():
        weight.fill_(float("nan"))
    with pytest.raises(PreflabError, match="not numbers"):
        engine.sample(doubled(asked), DECODING)
    with torch.no_grad():
        weight.copy_(kept)
    plain_ones = engine_of(trunk, "off").sample(asked, DECODING)
    assert differing(trunk, asked, plain_ones, engine.sample(asked, DECODING)) == []


@pytest.mark.parametrize("name", ["llama", "t5"])
def test_one_engine_serves_with_and_without_autocast(name: str, tmp_path: Path) -> None:
    """Without autocast it samples in inference mode, whose tensors cannot be written to outside it."""
    trunk, asked = load_trunk(save(name, tmp_path), ("policy",)), requests()
    engine = engine_of(trunk, "on")
    record_steps(engine)
    expected = engine_of(trunk, "off").sample(asked, DECODING)
    for half in (False, True, False, True, False):
        with torch.autocast("cpu", torch.bfloat16) if half else nullcontext():
            ours = engine.sample(asked, DECODING)
        assert half or differing(trunk, asked, expected, ours) == []


def test_a_finished_row_without_numbers_does_not_stop_the_others(tmp_path: Path, monkeypatch: Any) -> None:
    """Rows that have ended and rows without a request are decoded on, but nobody reads what they write."""
    trunk = load_trunk(save("llama", tmp_path), ("policy",))
    asked = [SampleRequest((5, 6), seed) for seed in range(3)]
    engine = engine_of(trunk, "on")
    expected = engine.sample(asked, DECODING)
    decoder, draw = engine.fitting_decoder(), bucketed.draw_without_waiting
    assert decoder is not None

    def spoiling(logits: torch.Tensor, numbers: torch.Tensor, **how: Any) -> Any:
        assert decoder.rows is not None
        unread = ~decoder.rows.writing[: len(logits)]
        return draw(logits.masked_fill(unread[:, None], float("nan")), numbers, **how)

    monkeypatch.setattr(bucketed, "draw_without_waiting", spoiling)
    assert engine.sample(asked, DECODING) == expected


class _FailsAtCapture(RecordedGraph):
    """Runs the model's head, then fails."""

    def capture(self, step: Any) -> None:
        with patch.object(BucketedDecoder, "_keep_states", side_effect=RuntimeError("operation not permitted")):
            super().capture(step)


def test_states_are_kept_though_the_capture_fails(tmp_path: Path) -> None:
    """The head's input of the failed capture is not counted as one of the step that is run instead."""
    trunk, asked = load_trunk(save("llama", tmp_path), ("policy",)), requests()
    engine = engine_of(trunk, "on", keep_states=True)
    decoder = engine.fitting_decoder()
    assert decoder is not None
    decoder.captured = Captured(_FailsAtCapture)
    expected = engine_of(trunk, "off", keep_states=True).sample(asked, DECODING)
    for ours, theirs in zip(engine.sample(asked, DECODING), expected, strict=True):
        torch.testing.assert_close(ours.states, theirs.states, atol=1e-5, rtol=1e-4)
    assert decoder.captured.why_not is not None


def test_an_interrupted_call_leaves_nothing_behind(tmp_path: Path) -> None:
    trunk, asked = load_trunk(save("qwen3_next", tmp_path), ("policy",)), requests()
    engine = TransformersEngine(
        trunk.language_model("policy"),
        pad_id=trunk.pad_id,
        stop_token_ids=(),
        role=functools.partial(trunk.role, "policy"),
        capture="on",
        buckets=SMALL,
        keep_states=True,
    )
    record_steps(engine)
    expected = engine.sample(asked, DECODING)

    def interrupt(count: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        engine.sample(asked[:5], DECODING, on_done=interrupt)
    for ours, theirs in zip(engine.sample(asked, DECODING), expected, strict=True):
        assert ours.token_ids == theirs.token_ids
        assert ours.logps == pytest.approx(theirs.logps, abs=1e-5)
