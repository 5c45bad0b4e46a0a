"""Limits of tokens: together for decoders, for prompt and completion apart for encoder–decoders."""

from __future__ import annotations

import pytest
from transformers import BartConfig, LEDConfig, LlamaConfig, PreTrainedConfig, T5Config

from preflab.errors import PreflabError
from preflab.models.facts import token_limits
from preflab.training.batches import TokenSequence
from preflab.training.token_limits import NO_LIMIT, TokenLimits
from preflab.training.too_long import LongRows

ROW = TokenSequence((9, 8, 7, 6, 1), (4, 4, 4))


@pytest.mark.parametrize(
    ("limits", "room", "surplus", "fits"),
    [
        (TokenLimits(both=8), 0, 0, True),
        (TokenLimits(both=8), 1, 1, False),
        (TokenLimits(prompt=5, completion=3), 0, 0, True),
        (TokenLimits(prompt=4, completion=9), 0, 1, False),
        (TokenLimits(prompt=5, completion=4), 2, 0, False),
        (TokenLimits(both=6, prompt=4, completion=3), 0, 2, False),
        (TokenLimits(), 100, 8 + 100 - NO_LIMIT, True),
    ],
)
def test_surplus_of_a_prompt_of_five_and_a_completion_of_three(
    limits: TokenLimits, room: int, surplus: int, fits: bool
) -> None:
    assert limits.surplus(ROW, room) == surplus
    assert limits.fits(ROW, room) == fits


@pytest.mark.parametrize(
    ("limits", "num_prompt", "room"),
    [(TokenLimits(both=8), 5, 3), (TokenLimits(prompt=5, completion=4), 5, 4), (TokenLimits(prompt=4), 5, 0)],
)
def test_room_after_a_prompt(limits: TokenLimits, num_prompt: int, room: int) -> None:
    assert limits.room(num_prompt) == room


@pytest.mark.parametrize(
    ("limits", "room", "writes"),
    [
        (TokenLimits(both=4), 0, True),  # three tokens beside a prompt of one
        (TokenLimits(both=3), 0, False),
        (TokenLimits(both=4), 1, False),
        (TokenLimits(completion=3), 0, True),
        (TokenLimits(completion=3), 1, False),
        (TokenLimits(both=9, completion=2), 0, False),
    ],
)
def test_a_completion_is_written_beside_a_prompt_of_one_token(limits: TokenLimits, room: int, writes: bool) -> None:
    assert limits.writes(ROW, room) is writes
    assert TokenLimits(both=4).writes(ROW)
    assert TokenLimits(both=8).fits(ROW)
    assert TokenLimits(both=8).surplus(ROW) == 0


def test_a_limit_of_both_only_becomes_smaller() -> None:
    assert TokenLimits(both=64, prompt=9).at_most(100) == TokenLimits(both=64, prompt=9)
    assert TokenLimits(both=64, prompt=9).at_most(8) == TokenLimits(both=8, prompt=9)
    assert TokenLimits(prompt=8, both=6).room(5) == 1


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (LlamaConfig(max_position_embeddings=64), TokenLimits(both=64)),
        # A start token and a forced one take two of the decoder's positions.
        (BartConfig(max_position_embeddings=64), TokenLimits(prompt=64, completion=62)),
        (
            LEDConfig(max_encoder_position_embeddings=128, max_decoder_position_embeddings=66),
            TokenLimits(prompt=128, completion=64),
        ),
        (T5Config(n_positions=512), TokenLimits(prompt=512)),
    ],
    ids=["llama", "bart", "led", "t5"],
)
def test_limits_of_configurations(config: PreTrainedConfig, expected: TokenLimits) -> None:
    assert token_limits(config) == expected


def test_limits_in_words() -> None:
    assert TokenLimits(both=8).describe() == "8 tokens"
    assert TokenLimits(both=8).with_room() == "together at most 8"
    apart = TokenLimits(prompt=512, completion=62)
    assert apart.describe() == "512 tokens in the prompt and 62 tokens in the completion"
    assert apart.at_most(40).with_room() == f"at most {apart.describe()} and 40 tokens together"
    assert apart.at_most(None) == apart


def test_a_prompt_too_long_for_the_encoder_is_cut_after_its_first_token() -> None:
    long = LongRows(TokenLimits(prompt=3, completion=9), "cut_prompt")
    assert long.fitted([ROW], "a.jsonl 1") == (TokenSequence((9, 6, 1), (4, 4, 4)),)
    long.check(1)
    assert "1 row longer than 3 tokens in the prompt and 9 tokens in the completion" in long.said


def test_a_completion_too_long_for_the_decoder_is_not_cut() -> None:
    long = LongRows(TokenLimits(prompt=9, completion=2), "cut_prompt")
    assert long.fitted([ROW], "a.jsonl 1") is None
    with pytest.raises(PreflabError, match="a.jsonl 1") as caught:
        long.check(0)
    assert caught.value.expected == "at most 9 tokens in the prompt and 2 tokens in the completion"


def test_a_dialogue_longer_than_the_encoder_is_refused_by_its_line() -> None:
    long = LongRows(TokenLimits(prompt=4, completion=62), "refuse", room=10)
    assert long.fitted([TokenSequence((5, 6, 7, 8, 1), ())], "dialogues.jsonl 7") is None
    with pytest.raises(PreflabError, match=r"dialogues.jsonl 7: a prompt of 5 tokens") as caught:
        long.check(1)
    assert "at most 4 tokens in the prompt" in caught.value.expected
