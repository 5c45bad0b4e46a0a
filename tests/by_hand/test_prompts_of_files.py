"""The prompts that a stage reads from a file are those that other stages train on, turn for turn."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from preflab.recipe import load_recipe
from preflab.records import Message
from preflab.stages.data import in_split, prompt_share, read_prompts
from preflab.store.formats import read_file

Row = dict[str, Any]
HI, HEY, MORE = Message("user", "Hi"), Message("assistant", "Hey"), Message("user", "More?")


def turns(*messages: Message) -> list[Row]:
    return [{"role": each.role, "content": each.content} for each in messages]


def sides(*messages: Message) -> Row:
    return {side: turns(*messages, Message("assistant", side)) for side in ("chosen", "rejected")}


YES, KIND = Message("assistant", "Yes."), Message("system", "Be kind.")
FILES: dict[str, tuple[Row, tuple[Message, ...], list[str]]] = {
    "a prompt beside whole dialogues": ({"prompt": "More?", **sides(HI, HEY, MORE)}, (HI, HEY, MORE), []),
    "a prompt inside both dialogues": (sides(HI, HEY, MORE), (HI, HEY, MORE), []),
    "a dialogue": ({"messages": turns(HI, HEY, MORE, YES)}, (HI, HEY, MORE), []),
    "a system turn called prompt": (
        {"prompt": "Be kind.", "messages": turns(KIND, HI, HEY), "category": "chat"},
        (KIND, HI),
        ["category"],
    ),
    "a problem with its dialogue": (
        {"problem": "Hi", "answer": "4", "messages": turns(HI, HEY)},
        (HI,),
        ["answer"],
    ),
    "a question beside another dialogue": ({"question": "Else?", "messages": turns(HI, HEY)}, (), ["messages"]),
    "two responses": ({"context": turns(HI), "response1": "a", "response2": "b", "overall_preference": 2}, (HI,), []),
}


@pytest.mark.parametrize("name", FILES)
def test_prompts_of_any_file_are_what_it_asks(tmp_path: Path, name: str) -> None:
    row, messages, columns = FILES[name]
    recipe = recipe_of(tmp_path, [row])
    (prompt,) = read_prompts(recipe, "rows")
    assert prompt.messages == messages
    assert prompt.text == ("" if messages else "Else?")
    assert sorted(prompt.columns) == columns


def recipe_of(folder: Path, rows: list[Row], more: str = "") -> Any:
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    stages = "stages:\n  s: {kind: sft, model: owner/model, data: rows}\n"
    text = f"recipe: 1\ndata:\n  rows: {{path: rows.jsonl{more}}}\n{stages}"
    (folder / "recipe.yaml").write_text(text, encoding="utf-8")
    return load_recipe(folder / "recipe.yaml")


def test_a_file_of_dialogues_is_split_alike_for_prompts_and_for_pairs(tmp_path: Path) -> None:
    rows = [{"prompt": f"q {n}", **sides(Message("user", f"q {n}"))} for n in range(40)]
    recipe = recipe_of(tmp_path, rows, ", held_out: 0.4")
    held_out = {prompt.messages for prompt in read_prompts(recipe, "rows.held_out")}
    pairs = read_file(tmp_path / "rows.jsonl").prompts
    assert held_out == {prompt.messages for prompt in pairs if in_split(prompt_share(prompt), "held_out", 0.4)}
    assert 0 < len(held_out) < 40


def test_a_named_format_is_obeyed(tmp_path: Path) -> None:
    recipe = recipe_of(tmp_path, [{"prompt": "More?", **sides(HI, HEY, MORE)}], ", format: prompts")
    assert [prompt.text for prompt in read_prompts(recipe, "rows")] == ["More?"]
