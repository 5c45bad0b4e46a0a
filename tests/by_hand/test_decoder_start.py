"""The tokens before a completion: where they are named, and what a tokenizer puts around a text."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from preflab.conversations.separate_texts import SeparateTexts
from preflab.models.decoder_start import start_tokens, target_frame

Ids = tuple[int, ...]
PLAIN = (9, 8)
"""Tokens of the text `a` in these tests."""
FRAMES: list[tuple[Ids, Ids]] = [((7,), (1,)), ((7,), ()), ((), (1,)), ((), ()), ((7, 6), (1, 2)), ((9,), (8,))]


class Framed:
    """A tokenizer that puts these tokens before and after every text, `a` being 9 8."""

    unk_token_id = 3

    def __init__(self, before: Ids, after: Ids) -> None:
        self.before, self.after = before, after

    def __call__(
        self, text: str = "", text_target: str = "", add_special_tokens: bool = True, **options: Any
    ) -> dict[str, list[int]]:
        frame = (self.before, self.after) if add_special_tokens else ((), ())
        return {"input_ids": [*frame[0], *PLAIN, *frame[1]]}


@pytest.mark.parametrize("frame", FRAMES)
def test_what_stands_around_a_text_is_found_on_both_sides(frame: tuple[Ids, Ids]) -> None:
    assert target_frame(Framed(*frame)) == frame
    assert SeparateTexts(Framed(*frame))._added == frame


def test_a_text_that_is_not_found_has_no_frame_of_a_target() -> None:
    """A tokenizer that merges a text with what stands before it: the tokens of `a` alone are not in it."""

    class Merging(Framed):
        def __call__(self, *texts: str, add_special_tokens: bool = True, **options: Any) -> dict[str, list[int]]:
            return {"input_ids": [7, 5, 1] if add_special_tokens else list(PLAIN)}

    assert target_frame(Merging((), ())) == ((), ())


def model_with(generation: dict[str, Any], config: dict[str, Any], decoder: dict[str, Any] | None) -> Any:
    parts = {} if decoder is None else {"decoder": SimpleNamespace(**decoder)}
    return SimpleNamespace(
        generation_config=SimpleNamespace(**generation), config=SimpleNamespace(model_type="t5", **config, **parts)
    )


@pytest.mark.parametrize(
    ("generation", "config", "decoder", "expected"),
    [
        ({"decoder_start_token_id": 5}, {"decoder_start_token_id": 6}, {"decoder_start_token_id": 7}, (5,)),
        ({"decoder_start_token_id": None}, {"decoder_start_token_id": 6}, {"decoder_start_token_id": 7}, (6,)),
        ({}, {}, {"decoder_start_token_id": 7, "bos_token_id": 2}, (7,)),
        ({}, {}, {"bos_token_id": 2}, (2,)),
        ({"decoder_start_token_id": 0}, {"decoder_start_token_id": 6}, None, (0,)),
        ({"decoder_start_token_id": 1, "forced_bos_token_id": 4}, {"forced_bos_token_id": 5}, None, (1, 4)),
        ({"decoder_start_token_id": 1}, {"forced_bos_token_id": 0}, None, (1, 0)),
        ({"decoder_start_token_id": 1}, {"preflab_decoder_start": [3, 4]}, None, (3, 4)),
    ],
)
def test_generation_settings_come_before_the_configuration_and_its_decoder(
    generation: dict[str, Any], config: dict[str, Any], decoder: dict[str, Any] | None, expected: Ids
) -> None:
    assert start_tokens(model_with(generation, config, decoder)) == expected
