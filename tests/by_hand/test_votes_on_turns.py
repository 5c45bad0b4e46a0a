"""Votes on one turn of two conversations: MT-bench judges the first exchange, and the whole, apart."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from layout_words import groups
from preflab.errors import PreflabError
from preflab.store.formats import read_file


def talk(*words: str) -> list[dict[str, str]]:
    roles = ("user", "assistant") * len(words)
    return [{"role": role, "content": each} for role, each in zip(roles, words, strict=False)]


ONE, OTHER = talk("Who?", "We.", "When?", "Now."), talk("Who?", "They.", "When?", "Soon.")
SYSTEM = {"role": "system", "content": "Be brief."}


def read(path: Path, *votes: dict[str, Any], one: Any = ONE, other: Any = OTHER) -> Any:
    file = path / "rows.jsonl"
    rows = [{"conversation_a": one, "conversation_b": other, **vote} for vote in votes]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return read_file(file)


FIRST = {"prompt": "user: Who?", "ranks": {"We.": 1, "They.": 2}, "pairs": {("We.", "They."): 1.0}}
WE, THEY = (
    f"assistant: {who}\n\nuser: When?\n\nassistant: {when}" for who, when in (("We.", "Now."), ("They.", "Soon."))
)
WHOLE = {"prompt": "user: Who?", "ranks": {WE: 2, THEY: 1}, "pairs": {(THEY, WE): 1.0}}


def by_prompt_and_texts(found: Any) -> list[dict[str, Any]]:
    return sorted(groups(found), key=lambda group: max(map(len, group["ranks"])))


def test_votes_on_two_turns_are_two_groups(tmp_path: Path) -> None:
    found = read(tmp_path, {"turn": 1, "winner": "model_a"}, {"turn": 2, "winner": "model_b"})
    assert by_prompt_and_texts(found) == [FIRST, WHOLE]
    found = read(tmp_path, {"turn": "1", "winner": "model_a"}, {"turn": 1.0, "winner": "model_a"})
    assert [(p.num_for, p.num_against) for p in found.preferences[0].pairs] in ([(2.0, 0.0)], [(0.0, 2.0)])
    found = read(tmp_path, {"turn": 1, "winner": "model_a"}, one=[SYSTEM, *ONE], other=[SYSTEM, *OTHER])
    assert groups(found) == [FIRST | {"prompt": "system: Be brief.\n\nuser: Who?"}]


@pytest.mark.parametrize("turn", [{}, {"turn": None}, {"turn": ""}, {"turn": 2}, {"turn": 5}])
def test_without_a_turn_and_at_the_last_one_the_whole_is_judged(tmp_path: Path, turn: dict[str, Any]) -> None:
    assert groups(read(tmp_path, turn | {"winner": "model_b"})) == [WHOLE]


@pytest.mark.parametrize("turn", [0, -1, 1.5, "last", True])
def test_a_turn_that_is_none_is_refused_by_line(tmp_path: Path, turn: object) -> None:
    with pytest.raises(PreflabError, match="line 1: the turn "):
        read(tmp_path, {"turn": turn, "winner": "model_a"})


def test_a_vote_on_equal_first_answers_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PreflabError, match="line 1: conversation_a and conversation_b are equal"):
        read(tmp_path, {"turn": 1, "winner": "tie"}, other=talk("Who?", "We.", "When?", "Soon."))
