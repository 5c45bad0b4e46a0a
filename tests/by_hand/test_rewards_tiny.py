"""The word-level tokenizer and the small random model: exact round trips, four special tokens, equal seeds."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import AutoTokenizer

from preflab.errors import PreflabError
from preflab.models.tiny import build_model, build_tokenizer

TEXTS = ["q: where is my parcel? a: it's on its way, sorry.", "well-known words , spaced ."]


@pytest.mark.parametrize("text", [*TEXTS, "words , spaced. where?", ", sorry", "parcel"])
def test_known_text_comes_back_as_it_was(text: str) -> None:
    tokenizer = build_tokenizer(TEXTS, context=32)
    assert tokenizer.decode(tokenizer(text)["input_ids"], skip_special_tokens=True) == text


def test_punctuation_is_a_word_of_its_own() -> None:
    tokenizer = build_tokenizer(TEXTS, context=32)
    # <s> q ##: where is my parcel ##?
    assert len(tokenizer("q: where is my parcel?")["input_ids"]) == 1 + 7


def test_prompt_and_completion_tokens_join_to_those_of_the_whole() -> None:
    tokenizer = build_tokenizer(TEXTS, context=32)
    prompt = tokenizer("q: where is my parcel? a:")["input_ids"]
    completion = tokenizer("sorry.", add_special_tokens=False)["input_ids"]
    assert prompt + completion == tokenizer("q: where is my parcel? a: sorry.")["input_ids"]


def test_special_tokens_are_four_and_survive_saving(tmp_path: Path) -> None:
    build_tokenizer(TEXTS, context=32).save_pretrained(tmp_path)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    ids = [tokenizer.pad_token_id, tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.unk_token_id]
    assert len(set(ids)) == 4
    encoded = tokenizer("parcel zebra")["input_ids"]
    assert encoded[0] == tokenizer.bos_token_id
    assert encoded[-1] == tokenizer.unk_token_id
    assert tokenizer.model_max_length == 32


def test_a_text_without_words_is_refused() -> None:
    with pytest.raises(PreflabError, match="no word"):
        build_tokenizer(["  "], context=32)


def test_equal_seeds_give_equal_models_and_leave_the_generator_alone() -> None:
    tokenizer = build_tokenizer(TEXTS, context=32)
    sizes = {"num_layers": 1, "hidden_size": 16, "num_heads": 2, "context": 32}
    before = torch.get_rng_state()
    one, same, other = (build_model(tokenizer, **sizes, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(one.lm_head.weight, same.lm_head.weight)
    assert not torch.equal(one.lm_head.weight, other.lm_head.weight)
    assert one.lm_head.weight is one.model.embed_tokens.weight


def test_a_width_that_heads_cannot_share_is_refused() -> None:
    with pytest.raises(PreflabError, match="hidden_size 20"):
        build_model(build_tokenizer(TEXTS, context=8), num_layers=1, hidden_size=20, num_heads=4, context=8, seed=0)
