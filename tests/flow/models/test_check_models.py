"""`preflab check` passes sound models of several kinds, and finds each fault that is built into one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from architectures import build
from chat_templates import BY_NAME, FALCON, GEMMA, byte_tokenizer
from preflab.conversations.renderer import Renderer
from preflab.models.check import check_facts, check_model
from preflab.models.check_numbers import check_numbers
from preflab.models.check_rows import CheckRow
from preflab.models.check_turns import check_turns
from preflab.models.facts import model_facts
from preflab.models.tiny import build_tokenizer
from preflab.sampling.engine import TransformersEngine
from preflab.sampling.passes import CachedPass
from tiny_hybrids import tiny_hybrid
from tiny_models import VOCABULARY, tiny_model

INVARIANTS = {
    "repeatable", "padding amount", "padding side", "samples independent of the batch", "first ratio is 1",
    "first KL is 0", "chunked log-probabilities", "micro-batch split", "packed passes", "head saved and loaded",
    "adapter merged", "limits crossed", "decoding", "adapters",
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


@pytest.mark.parametrize(
    ("kind", "measured"), [("mistral", "nats, gradient"), ("gemma2", "not used"), ("mamba", "not used")]
)
def test_a_model_that_keeps_its_padding_is_said_to(kind: str, measured: str) -> None:
    model, tokens = tiny_model(kind), tokenizer()
    rows = check_numbers(model, tokens, model_facts(model, tokens), TransformersEngine)
    [row] = [row for row in rows if row.name == "packed passes"]
    assert row.holds
    assert measured in row.measured
    assert row.advice.startswith("learning passes keep their padding: ") == (measured == "not used")


@pytest.mark.parametrize(
    ("name", "advice"), [("t5", ""), ("bart", "in other programs, pad prompts on the right as well")]
)
def test_sound_encoder_decoders_pass(name: str, advice: str) -> None:
    """T5 knows distances only, so padding on the left changes nothing; BART's positions count it."""
    model, tokens = build(name), tokenizer()
    rows = check_numbers(model, tokens, model_facts(model, tokens), TransformersEngine)
    assert failing(rows) == set()
    assert next(row for row in rows if row.name == "padding side").advice == advice


def test_an_encoder_that_reads_padding_is_found() -> None:
    model = build("t5")

    def without_mask(module: Any, args: Any, given: dict[str, Any]) -> Any:
        return args, given | {"attention_mask": None}

    model.get_encoder().register_forward_pre_hook(without_mask, with_kwargs=True)
    assert {"padding amount", "padding side"} <= checked(model)


def test_rows_that_see_each_other_are_found() -> None:
    model = tiny_model("llama")
    model.model.layers[0].register_forward_hook(lambda _, args, output: output - output.mean(0, keepdim=True))
    assert {"padding amount", "micro-batch split", "samples independent of the batch"} <= checked(model)


def test_dropout_that_stays_on_is_found() -> None:
    model = tiny_model("llama")
    model.model.layers[0].register_forward_hook(lambda _, args, output: output + 0.1 * torch.rand_like(output))
    assert {"repeatable", "first ratio is 1", "first KL is 0"} <= checked(model)


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
    assert "removes it" in advice["BOS once"]
    assert "removes it" in advice["prompts stay open"]
    assert "plain-text prompts" in advice["chat template"]


def rows_of(model: Any, sampler_of: Callable[..., Any] = TransformersEngine) -> dict[str, CheckRow]:
    tokens = tokenizer()
    return {row.name: row for row in check_numbers(model, tokens, model_facts(model, tokens), sampler_of)}


def test_rows_cross_windows_and_scaling_limits() -> None:
    rows = rows_of(tiny_model("mistral"))
    assert rows["limits crossed"].measured == "sliding_window 6"
    assert failing(list(rows.values())) == set()
    scaled = {
        "rope_type": "longrope",
        "rope_theta": 10_000.0,
        "short_factor": [1.0, 1.1, 1.3, 1.5],
        "long_factor": [4.0, 6.0, 8.0, 10.0],
        "original_max_position_embeddings": 32,
    }
    rows = rows_of(tiny_model("llama", rope_parameters=scaled))
    assert rows["limits crossed"].measured == "LongRoPE 32"
    assert failing(list(rows.values())) == set()


def test_an_error_beyond_a_window_is_found() -> None:
    """A sampler that looks at everything: right in the short rows, wrong in those beyond a window of 16."""

    class SeesEverything(TransformersEngine):
        def __init__(self, model: Any, **other: Any) -> None:
            super().__init__(model, **other)
            self._pass = CachedPass(model, 0, "ready-made")

    model = tiny_model("mistral")
    model.config.sliding_window = 20
    assert "first ratio is 1" in failing(list(rows_of(model, SeesEverything).values()))
    model.config.sliding_window = None
    assert failing(list(rows_of(model, SeesEverything).values())) == set()


def test_limits_that_would_take_too_long_are_said(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny_model("mistral")
    model.config.sliding_window = 30
    assert rows_of(model)["limits crossed"].measured == "sliding_window 30"
    monkeypatch.setattr("preflab.models.check_limits.WORK", 1.0)
    row = rows_of(model)["limits crossed"]
    assert (row.measured, row.holds) == ("none", True)
    assert (
        row.advice == "sliding_window 30 not tested: for this model size, the rows of the check have at most 32 tokens"
    )
    model.config.sliding_window = 64  # as long as the context: no row can cross it
    assert rows_of(model)["limits crossed"].advice.startswith("rows of up to")


@pytest.mark.parametrize("kind", ["qwen3_5_text", "recurrent_gemma"])
def test_models_with_states_pass(kind: str) -> None:
    """RecurrentGemma does not mask padding out of its states; preflab decodes it unpadded, and says so."""
    model = tiny_hybrid(kind)
    with torch.no_grad():
        model.get_input_embeddings().weight[0] = 1.0  # of the padding token: zeros would hide it
    rows = rows_of(model)
    assert failing(list(rows.values())) == set()
    assert rows["decoding"].measured.startswith("cache with states")
    assert ("preflab does not pad it" in rows["padding side"].advice) == (kind == "recurrent_gemma")


def test_ids_beyond_the_tokenizers_are_left_alone() -> None:
    """97 rows, 60 ids: the checks look at the distribution over the 60."""
    model = tiny_model("llama")
    tokens = build_tokenizer([" ".join(f"word{i}" for i in range(56))], context=64)
    rows = check_numbers(model, tokens, model_facts(model, tokens), TransformersEngine)
    assert failing(rows) == set()


def test_a_model_that_cannot_be_asked_is_told_in_a_row(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*args: Any, **kwargs: Any) -> None:
        raise RuntimeError("no such kernel\nand more")

    model, tokens = tiny_model("llama"), tokenizer()
    facts = model_facts(model, tokens)
    monkeypatch.setattr("preflab.models.check_numbers.merged_language_model", fails)
    [row] = [row for row in check_numbers(model, tokens, facts, TransformersEngine) if not row.holds]
    assert (row.name, row.measured, row.advice) == ("merged", "RuntimeError", "the model raises: no such kernel")
    monkeypatch.setattr(TransformersEngine, "sample", fails)
    [row] = check_numbers(model, tokens, facts, TransformersEngine)
    assert (row.name, row.holds) == ("writing with an adapter", False)


def turns_row(template: str) -> CheckRow:
    """What is said of the conversations of a template, with the tokens of Gemma's."""
    tokens = byte_tokenizer(replace(BY_NAME["gemma"], template=template))
    [row] = [row for row in check_turns(Renderer(tokens)) if row.name == "turns equal the template's"]
    return row


def test_conversations_that_are_refused_are_counted_as_such() -> None:
    """Gemma's template has no system turn, no thinking and no tools: two of six conversations can be written."""
    row = turns_row(GEMMA)
    assert (row.holds, row.measured) == (True, "2 of 6, 4 refused")
    assert row.advice == (
        "rows with these are refused: a system turn (System role not supported), "
        "thinking (does not write the completion's thinking), a call of a tool (does not write the tool probe), "
        "a tool's answer (does not write the tool probe)"
    )


def test_conversations_that_differ_are_told_apart_from_refused_ones() -> None:
    """A template that ends no turn: three conversations get an end, three are refused."""
    row = turns_row(FALCON)
    assert (row.holds, row.measured) == (True, "0 of 6, 3 refused")
    said, refused = row.advice.split("; rows with these are refused: ")
    assert said == "one exchange, a system turn, two exchanges: its end is added"
    assert refused.startswith("thinking (")


def test_a_template_that_refuses_one_exchange_does_not_hold() -> None:
    row = turns_row("{% if not tools %}{{ raise_exception('tools alone') }}{% endif %}" + FALCON)
    assert not row.holds
    assert "one exchange (tools alone)" in row.advice
