"""A turn of weight 0 in a file is read by stage sft and not learned, also where every turn is to be learned."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

import pytest

from chat_templates import BY_NAME, byte_tokenizer
from preflab.conversations.renderer import Renderer
from preflab.policy.sft import UNLEARNED, Demonstration, encode_demonstrations
from preflab.stages.data import demonstrations_in
from preflab.store.formats import prompts
from preflab.training.too_long import LongRows


def learned_words(path: Path, told: list[dict[str, Any]], learn: Literal["last", "all"], family: str) -> str:
    """The text of the tokens that are learned."""
    path.write_text(json.dumps({"messages": told}) + "\n", encoding="utf-8")
    renderer = Renderer(byte_tokenizer(BY_NAME[family]))
    rows = [Demonstration(*pair) for pair in demonstrations_in(path)]
    found = []
    for sequence in encode_demonstrations(renderer, rows, LongRows(400, "refuse"), learn=learn):
        mask = sequence.policy_tokens or (True,) * len(sequence.completion_ids)
        found += [token for token, learned in zip(sequence.completion_ids, mask, strict=True) if learned]
    return str(renderer.tokenizer.decode(found))


@pytest.mark.parametrize("family", ["chatml", "thinking"])
@pytest.mark.parametrize(("weights", "expected"), [((1, 1), ["first", "second", "last"]), ((0, 1), ["second", "last"])])
def test_only_turns_with_weight_are_learned(
    tmp_path: Path, family: str, weights: tuple[int, int], expected: list[str]
) -> None:
    told = [
        {"role": "user", "content": "a"},
        {"role": "assistant", "content": "first", "weight": weights[0]},
        {"role": "user", "content": "b"},
        {"role": "assistant", "content": "second", "weight": weights[1]},
        {"role": "user", "content": "c"},
        {"role": "assistant", "content": "last"},
    ]
    words = learned_words(tmp_path / "rows.jsonl", told, "all", family)
    assert [word for word in ("first", "second", "last") if word in words] == expected
    words = learned_words(tmp_path / "rows.jsonl", told, "last", family)
    assert [word for word in ("first", "second", "last") if word in words] == ["last"]


def test_the_column_is_called_alike_where_it_is_written_and_read() -> None:
    assert UNLEARNED == prompts.UNLEARNED
