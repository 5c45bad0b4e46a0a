"""Sampling from a real pretrained model: stop strings, and frequencies that are the model's probabilities."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from preflab.conversations.joining import decode
from preflab.errors import PreflabError
from preflab.models.loading import load_causal_lm, load_tokenizer
from preflab.sampling.engine import TransformersEngine
from preflab.sampling.stops import StopStrings
from preflab.settings.sampling import DecodingSettings
from preflab.training.protocols import SampleRequest


@pytest.fixture(scope="module")
def stories(stories_model: Path) -> tuple[Any, Any]:
    return load_causal_lm(stories_model, dtype="float32"), load_tokenizer(stories_model)


def test_a_completion_ends_with_the_token_that_completes_the_string(stories: tuple[Any, Any]) -> None:
    model, tokenizer = stories
    prompt = tuple(tokenizer("Once upon a time").input_ids)
    requests = [SampleRequest(prompt, seed) for seed in range(12)]
    engine = TransformersEngine(model, pad_id=0, stop_token_ids=(1, 2), tokenizer=tokenizer)
    free = engine.sample(requests, DecodingSettings(max_new_tokens=40))
    strings = ("little girl", "park", "?")
    cut = engine.sample(requests, DecodingSettings(max_new_tokens=40, stop_strings=strings))
    assert {c.finish_reason for c in cut} == {"stop", "length"}
    for long, short in zip(free, cut, strict=True):
        ends = [n for n in range(1, 41) if any(s in decode(tokenizer, long.token_ids[:n]) for s in strings)]
        assert short.token_ids == long.token_ids[: min([*ends, 40])]
        assert short.logps == pytest.approx(long.logps[: len(short.logps)], abs=1e-4)
        assert short.finish_reason == ("stop" if ends else "length")


def test_stop_strings_across_tokens_are_found_in_the_last_ones(stories: tuple[Any, Any]) -> None:
    _, tokenizer = stories
    text = "It was late. So they went home to sleep."
    ids = tokenizer(text, add_special_tokens=False).input_ids
    written = torch.tensor(ids)[:, None]
    for string in ("late.", "e. S", " went home", "sleep.", "ö"):
        first = next((n for n in range(1, len(ids) + 1) if string in decode(tokenizer, ids[:n])), None)
        found = [n for n in range(1, len(ids) + 1) if StopStrings(tokenizer, (string,)).completed(written[:n])[0]]
        assert found[:1] == ([] if first is None else [first])
    with pytest.raises(PreflabError, match="an empty stop string"):
        StopStrings(tokenizer, ("",))


def test_frequencies_are_the_models_probabilities(stories: tuple[Any, Any]) -> None:
    model, tokenizer = stories
    prompt = tuple(tokenizer("Tim saw a").input_ids)
    engine = TransformersEngine(model, pad_id=0, stop_token_ids=(1, 2))
    requests = [SampleRequest(prompt, seed) for seed in range(1000)]
    found = engine.sample(requests, DecodingSettings(max_new_tokens=1, max_batch_rows=1000))
    with torch.no_grad():
        p = model(input_ids=torch.tensor([prompt])).logits[0, -1].double().softmax(-1)
    counts = torch.bincount(torch.tensor([c.token_ids[0] for c in found]), minlength=512)
    spread = (1000 * p * (1 - p)).sqrt()
    likely = p > 0.01
    assert likely.sum() >= 10
    assert ((counts - 1000 * p)[likely].abs() < 4 * spread[likely]).all()
