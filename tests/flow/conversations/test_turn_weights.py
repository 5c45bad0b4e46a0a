"""A turn of weight 0 in a file is read by stage sft and not learned, also where every turn is to be learned."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, Literal

import pytest

from chat_templates import BY_NAME, byte_tokenizer
from preflab.conversations.renderer import Renderer
from preflab.policy.sft import UNLEARNED, Demonstration, encode_demonstrations
from preflab.settings.learning import SftSettings
from preflab.stages.common.data import demonstrations_in
from preflab.stages.sft import _unlearned as told_of_unlearned
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


OPENING = {"role": "assistant", "content": "opening"}
TOLD = [
    OPENING, {"role": "user", "content": "a"}, {"role": "assistant", "content": "second"},
    {"role": "user", "content": "b"}, {"role": "assistant", "content": "third", "weight": 0},
    {"role": "user", "content": "c"}, {"role": "assistant", "content": "last"},
]  # fmt: skip
FIRST, SAYS = "because nothing precedes it", "because the data exclude it"


@pytest.mark.parametrize(
    ("told", "learn", "expected", "said"),
    [
        (TOLD, "last", ["last"], "; 3 earlier turns of the assistant not trained on (set learn: all to include them)"),
        (TOLD, "all", ["second", "last"],
         f"; 1 turn of the assistant not trained on, {FIRST}; 1 turn of the assistant not trained on, {SAYS}"),
        (TOLD[:3], "all", ["second"], f"; 1 turn of the assistant not trained on, {FIRST}"),
        (TOLD[1:3], "all", ["second"], ""),
        ([{**OPENING, "weight": 0}, *TOLD[1:3]], "all", ["second"],
         f"; 1 turn of the assistant not trained on, {FIRST}"),
        ([{"role": "system", "content": "s"}, *TOLD[:3]], "all", ["opening", "second"], ""),
    ],
)  # fmt: skip
@pytest.mark.parametrize("family", ["chatml", "thinking"])
def test_turns_that_are_not_learned_are_counted(
    tmp_path: Path,
    family: str,
    told: list[dict[str, Any]],
    learn: Literal["last", "all"],
    expected: list[str],
    said: str,
) -> None:
    path = tmp_path / "rows.jsonl"
    words = learned_words(path, told, learn, family)
    assert [word for word in ("opening", "second", "third", "last") if word in words] == expected
    rows = [Demonstration(*pair) for pair in demonstrations_in(path)]
    summary, figures = told_of_unlearned(rows * 2, SftSettings(model="-", data="-", learn=learn))
    num = sum(int(number) for number in re.findall(r"\d+", said))
    twice = re.sub(r"(\d+)( earlier)? turns?", lambda found: f"{2 * int(found[1])}{found[2] or ''} turns", said)
    assert summary == twice
    assert figures == ({"num_turns_not_learned": 2.0 * num} if num else {})


def test_turns_before_one_that_is_continued_are_learned(tmp_path: Path) -> None:
    """With `learn: all`; the beginning that the prompt gives is read, and has no end before its rest."""
    turns = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "first"},
             {"role": "user", "content": "b"}, {"role": "assistant", "content": "It is "}]  # fmt: skip
    row = {"prompt": turns, "continue_final_message": True, "completion": "monday"}
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps(row) + "\n", encoding="utf-8")
    renderer = Renderer(byte_tokenizer(BY_NAME["chatml"]))
    rows = [Demonstration(*pair) for pair in demonstrations_in(path)]
    cases: tuple[tuple[Literal["last", "all"], list[str]], ...] = (
        ("last", ["monday<|im_end|>"]), ("all", ["first<|im_end|>", "monday<|im_end|>"]),
    )  # fmt: skip
    for learn, expected in cases:
        found = encode_demonstrations(renderer, rows, LongRows(400, "refuse"), learn=learn)
        assert [renderer.tokenizer.decode(sequence.completion_ids) for sequence in found] == expected
        assert all(sequence.policy_tokens is None for sequence in found)
    last, every = (told_of_unlearned(rows, SftSettings(model="-", data="-", learn=each))[1] for each, _ in cases)
    assert (last, every) == ({"num_turns_not_learned": 1.0}, {})
