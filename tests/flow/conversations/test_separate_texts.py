"""Prompts and completions of encoder–decoders as tokens: each is a text of its own, and start tokens are no actions."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest

from preflab.conversations.joining import WARNED_OF_LENGTH
from preflab.conversations.renderer import Renderer
from preflab.errors import PreflabError
from preflab.models.decoder_start import force_first_tokens, start_tokens, target_frame
from preflab.models.generation_defaults import strip_generation_defaults
from preflab.models.kinds import family_of
from preflab.models.language_model import LanguageModel, open_language_model
from preflab.records import Completion, Prompt
from tiny_encoder_decoders import byte_pair_tokenizer, save_encoder_decoder, tiny_bart, tiny_t5, unigram_tokenizer

TEXTS = ["summarize: where is my parcel ?", "the parcel is late .", "please wait until today ."] * 4
PROMPT = Prompt.make(text="summarize: where is my parcel ?")
ANSWER = "the parcel is late ."


@pytest.fixture(scope="module", params=["t5 1.1", "bart"])
def opened(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> LanguageModel:
    """A tiny model opened from its folder."""
    folder = save_encoder_decoder(request.param, tmp_path_factory.mktemp("model"), TEXTS)
    return open_language_model(folder, dtype="float32")


def test_the_encoder_reads_what_the_tokenizer_gives(opened: LanguageModel) -> None:
    assert list(opened.renderer().prompt_ids(PROMPT)) == opened.tokenizer(PROMPT.text)["input_ids"]
    assert opened.renderer().prompt_ids(PROMPT)[-1] == opened.tokenizer.eos_token_id


def test_a_completion_is_a_text_of_its_own_with_its_end(opened: LanguageModel) -> None:
    ids = opened.renderer().completion_ids(PROMPT, ANSWER)
    before, after = target_frame(opened.tokenizer)
    assert [*before, *ids] == opened.tokenizer(ANSWER)["input_ids"]
    assert after == (opened.tokenizer.eos_token_id,)
    assert opened.renderer().text(PROMPT, ids) == ANSWER


def test_start_and_the_tokenizers_first_token_are_no_part_of_a_completion(opened: LanguageModel) -> None:
    start = start_tokens(opened.model)
    bos = opened.tokenizer.bos_token_id
    assert start == ((0,) if bos is None else (1, bos))
    sequence = opened.renderer().sequence(PROMPT, Completion.make(PROMPT.id, ANSWER, "m"))
    batch = family_of(opened.model).collate([sequence], 0)
    assert batch.decoder_input_ids[0, : len(start)].tolist() == list(start)
    assert batch.completion_mask.sum() == len(sequence.completion_ids)
    assert sequence.completion_ids[0] not in start


def test_spelled_special_tokens_stay_text() -> None:
    """T5's vocabulary has no "<": there the text is refused."""
    renderer = Renderer(byte_pair_tokenizer(TEXTS), apart=True)
    ids = renderer.prompt_ids(Prompt.make(text="where </s> is my parcel"))
    assert (ids[0], ids[-1], ids.count(1), ids.count(2)) == (2, 1, 1, 1)
    assert renderer.joining.text(ids) == "where </s> is my parcel"
    written = renderer.completion_ids(PROMPT, "late </s> parcel")
    assert written.count(1) == 1
    assert written[-1] == 1
    assert renderer.joining.text(written) == "late </s> parcel"
    with pytest.raises(PreflabError, match="cannot spell it"):
        Renderer(unigram_tokenizer(TEXTS), apart=True).prompt_ids(Prompt.make(text="where </s> is my parcel"))


def test_an_empty_prompt_is_the_end_token_alone() -> None:
    renderer = Renderer(unigram_tokenizer(TEXTS), apart=True)
    assert renderer.prompt_ids(Prompt.make(text="")) == (1,)


def test_generation_defaults_that_change_the_distribution_are_removed_and_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = save_encoder_decoder("bart", tmp_path / "bart", TEXTS)
    with caplog.at_level(logging.WARNING):
        model = open_language_model(folder, dtype="float32").model
    for name in ("num_beams = 4", "min_length = 56", "no_repeat_ngram_size = 3", "forced_eos_token_id = 1"):
        assert name in caplog.text
    assert model.generation_config.num_beams in (None, 1)
    assert model.generation_config.eos_token_id == 1
    model.save_pretrained(tmp_path / "saved")
    assert "num_beams" not in (tmp_path / "saved" / "generation_config.json").read_text()
    assert strip_generation_defaults(model) == []


@pytest.mark.parametrize(
    ("name", "value"),
    [("typical_p", 0.9), ("epsilon_cutoff", 3e-4), ("guidance_scale", 1.5), ("repetition_penalty", 1.1),
     ("suppress_tokens", [5]), ("exponential_decay_length_penalty", (5, 1.1)), ("bad_words_ids", [[0]])],
)  # fmt: skip
def test_every_setting_that_draws_from_another_distribution_is_removed(name: str, value: Any) -> None:
    model = tiny_t5()
    setattr(model.generation_config, name, value)
    model.generation_config.temperature, model.generation_config.top_p = 0.7, 0.9
    (shown,) = strip_generation_defaults(model)
    assert shown.startswith(f"{name} = ")
    assert getattr(model.generation_config, name) is None
    assert (model.generation_config.temperature, model.generation_config.top_p) == (0.7, 0.9)


def test_settings_of_tasks_lose_their_beams_too() -> None:
    model = tiny_t5()
    model.config.task_specific_params = {"summarization": {"num_beams": 4, "prefix": "summarize: ", "min_length": 0}}
    assert strip_generation_defaults(model) == ["summarization.num_beams = 4"]
    assert model.config.task_specific_params == {"summarization": {"prefix": "summarize: ", "min_length": 0}}


def test_a_model_without_a_start_token_is_refused() -> None:
    model = tiny_bart()
    model.config.decoder_start_token_id = model.generation_config.decoder_start_token_id = None
    with pytest.raises(PreflabError, match="no decoder_start_token_id") as caught:
        start_tokens(model)
    assert "generation_config.json" in caught.value.do


class Target:
    """A tokenizer with a target language: `(before, after)` around every target text."""

    unk_token_id = 3

    def __init__(self, before: tuple[Any, ...], after: tuple[int, ...]) -> None:
        self.before, self.after = before, after

    def __call__(self, text_target: str, add_special_tokens: bool = True) -> dict[str, list[Any]]:
        frame = (self.before, self.after) if add_special_tokens else ((), ())
        return {"input_ids": [*frame[0], 9, *frame[1]]}

    def convert_ids_to_tokens(self, token: int) -> str:
        return f"<{token}>"


def test_the_target_language_is_forced_after_the_start_token() -> None:
    """mBART-50 writes `language text end` after the end token; mBART-25 starts with the language itself."""
    model = tiny_bart()
    force_first_tokens(model, Target((7,), (1,)))
    assert start_tokens(model) == (1, 7)
    force_first_tokens(model, Target((8,), (1,)))
    assert start_tokens(model) == (1, 7), "what the checkpoint forces stays"
    cc25 = tiny_bart(decoder_start_token_id=7)
    force_first_tokens(cc25, Target((), (1, 7)))
    assert start_tokens(cc25) == (7,)
    same = tiny_bart()
    force_first_tokens(same, Target((1,), (1,)))
    assert start_tokens(same) == (1,)


@pytest.mark.parametrize("before", [(None,), (3,)])
def test_a_tokenizer_without_its_target_language_is_refused(before: tuple[Any, ...]) -> None:
    with pytest.raises(PreflabError, match="without a target language"):
        force_first_tokens(tiny_bart(), Target(before, (1,)))


def test_several_tokens_before_a_target_text_are_refused() -> None:
    with pytest.raises(PreflabError, match="2 tokens before a target text"):
        force_first_tokens(tiny_bart(), Target((7, 8), (1,)))


def test_texts_that_the_tokenizer_changes_are_known_to_be_changed() -> None:
    assert Renderer(byte_pair_tokenizer(TEXTS), apart=True).joining.is_exact
    assert not Renderer(unigram_tokenizer(TEXTS), apart=True).joining.is_exact, "it knows few letters"


def test_encoder_and_decoder_without_a_head_are_of_the_same_family() -> None:
    model = tiny_t5()
    family = family_of(model)
    body = family.without_head(model)
    assert type(body).__name__ == "T5Model"
    assert body.decoder is model.decoder
    assert family_of(body).name == family.name == "encoder–decoder"
    assert start_tokens(body) == start_tokens(model)
    assert not hasattr(model.config, "preflab_decoder_start")


def test_transformers_does_not_warn_of_long_texts_that_preflab_names() -> None:
    """It warns unless a tokenizer remembers that it has warned."""
    tokenizer, long = unigram_tokenizer(TEXTS), "where is my parcel ? " * 40
    assert len(Renderer(tokenizer, apart=True).prompt_ids(Prompt.make(text=long))) > tokenizer.model_max_length
    assert tokenizer.deprecation_warnings[WARNED_OF_LENGTH]
    other = unigram_tokenizer(TEXTS)
    assert WARNED_OF_LENGTH not in other.deprecation_warnings
    other(long)
    assert other.deprecation_warnings[WARNED_OF_LENGTH], "the name under which transformers remembers it"
