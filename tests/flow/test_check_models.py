"""`preflab check` passes sound models of several kinds, and finds each fault that is built into one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from preflab.models.check import CheckRow, check_facts, check_model
from preflab.models.check_numbers import check_numbers
from preflab.models.facts import model_facts
from preflab.models.tiny import build_tokenizer
from preflab.sampling.engine import TransformersEngine
from tiny_models import VOCABULARY, tiny_model

INVARIANTS = {
    "the same twice", "padding amount", "padding side", "samples whatever shares the batch", "first ratio is 1",
    "first KL is 0", "chunked log-probabilities", "micro-batch split", "head saved and loaded", "adapter merged",
}  # fmt: skip


def tokenizer() -> Any:
    return build_tokenizer([" ".join(f"word{i}" for i in range(VOCABULARY - 4))], context=64)


def failing(rows: list[CheckRow]) -> set[str]:
    return {row.name for row in rows if not row.holds}


def checked(model: Any, sampler_of: Callable[..., Any] = TransformersEngine) -> set[str]:
    tokens = tokenizer()
    rows = check_numbers(model, tokens, model_facts(model, tokens), sampler_of)
    assert {row.name for row in rows} == INVARIANTS
    assert all(row.measured and row.allowed for row in rows)
    assert all(row.advice for row in rows if not row.holds)
    return failing(rows)


@pytest.mark.parametrize("kind", ["llama", "gpt2", "gpt_neox", "qwen2", "mistral", "opt"])
def test_sound_models_pass(kind: str) -> None:
    assert checked(tiny_model(kind)) == set()


def test_a_folder_with_a_real_model_passes(stories_model: Path) -> None:
    rows = check_model(stories_model, TransformersEngine)
    assert failing(rows) == set()
    assert {"stop tokens", "BOS once", "chat template", "padding apart from the end"} < {row.name for row in rows}


def test_a_model_that_caps_its_logits_is_said_to_take_the_plain_path() -> None:
    model, tokens = tiny_model("gemma2"), tokenizer()
    rows = check_numbers(model, tokens, model_facts(model, tokens), TransformersEngine)
    [row] = [row for row in rows if row.name == "chunked log-probabilities"]
    assert row.holds
    assert "final_logit_softcapping" in row.advice


def test_rows_that_see_each_other_are_found() -> None:
    model = tiny_model("llama")
    model.model.layers[0].register_forward_hook(lambda _, args, output: output - output.mean(0, keepdim=True))
    assert {"padding amount", "micro-batch split", "samples whatever shares the batch"} <= checked(model)


def test_dropout_that_stays_on_is_found() -> None:
    model = tiny_model("llama")
    model.model.layers[0].register_forward_hook(lambda _, args, output: output + 0.1 * torch.rand_like(output))
    assert {"the same twice", "first ratio is 1", "first KL is 0"} <= checked(model)


def test_a_model_that_looks_ahead_is_found() -> None:
    model = tiny_model("llama")
    model.model.layers[0].register_forward_hook(lambda _, args, output: output - output.mean(1, keepdim=True))
    assert "padding amount" in checked(model)


def test_a_sampler_with_another_temperature_is_found() -> None:
    class Warmer(TransformersEngine):
        def sample(self, requests: Any, decoding: Any, **other: Any) -> Any:
            return super().sample(requests, decoding.model_copy(update={"temperature": 1.1}), **other)

    assert checked(tiny_model("llama"), Warmer) == {"first ratio is 1"}


def test_a_head_that_is_not_loaded_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("preflab.models.check_numbers.load_role", lambda *args: None)
    assert checked(tiny_model("llama")) == {"head saved and loaded"}


def test_an_adapter_that_is_not_merged_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "preflab.models.check_numbers.merged_language_model", lambda trunk, role: trunk.language_model(role)
    )
    assert checked(tiny_model("llama")) == {"adapter merged"}


def test_a_chunked_path_with_another_scale_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    # As if the comparison on loading had missed a factor that only large logits show.
    monkeypatch.setattr("preflab.models.trunk.why_not_chunked", lambda model: None)
    model = tiny_model("granite", logits_scaling=1.5)
    assert "chunked log-probabilities" in checked(model)


def test_facts_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    model, tokens = tiny_model("llama"), tokenizer()
    facts = model_facts(model, tokens)
    assert failing(check_facts(facts)) == set()
    assert failing(check_facts(replace(facts, num_token_ids=facts.vocabulary_size + 1))) == {
        "tokenizer fits the embedding"
    }
    assert failing(check_facts(replace(facts, stop_token_ids=()))) == {"stop tokens"}
    assert failing(check_facts(replace(facts, stop_token_ids=(2, facts.vocabulary_size)))) == {"stop tokens"}
    advice = {row.name: row.advice for row in check_facts(replace(facts, pad_id=2, adds_end=True, doubles_bos=True))}
    assert "pad is an end token" in advice["padding apart from the end"]
    assert "takes one off" in advice["BOS once"]
    assert "takes it off" in advice["prompts stay open"]
    assert "plain text" in advice["chat template"]
