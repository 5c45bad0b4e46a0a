"""The prompts that a stage reads from a file are those that other stages train on, turn for turn."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from preflab.recipe import load_recipe
from preflab.records import Message, Prompt
from preflab.stages.common.data import in_split, prompt_share, read_demonstrations, read_prompts, split_share
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


SAID = {"role": "assistant", "content": "a"}
ANSWERED: dict[str, list[Row]] = {
    "turns beside a text": [{"prompt": f"Q{n}?", "completion": [SAID], "answer": n} for n in range(40)],
    "a turn beside a text": [{"prompt": f"Q{n}?", "completion": SAID} for n in range(40)],
    "turns in a cell": [{"prompt": f"Q{n}?", "completion": json.dumps([SAID])} for n in range(40)],
    "texts": [{"prompt": f"Q{n}?", "completion": "a"} for n in range(40)],
    "the dialogue again": [
        {"prompt": turns(Message("user", f"Q{n}")), "completion": [*turns(Message("user", f"Q{n}")), SAID]}
        for n in range(40)
    ],
    "dialogues": [{"messages": turns(KIND, Message("user", f"Q{n}"), HEY, MORE, YES)} for n in range(40)],
}


@pytest.mark.parametrize("name", ANSWERED)
def test_demonstrations_and_prompts_of_a_file_are_one_set_in_one_form(tmp_path: Path, name: str) -> None:
    recipe = recipe_of(tmp_path, ANSWERED[name], ", held_out: 0.5")
    for part in ("held_out", "train"):
        learned = {(prompt.text, prompt.messages) for prompt, _ in read_demonstrations(recipe, f"rows.{part}")}
        assert learned == {(prompt.text, prompt.messages) for prompt in read_prompts(recipe, f"rows.{part}")}
        assert 0 < len(learned) < 40


def test_a_prompt_that_is_answered_in_turns_keeps_its_columns(tmp_path: Path) -> None:
    recipe = recipe_of(tmp_path, ANSWERED["turns beside a text"])
    assert [prompt.columns["answer"] for prompt in read_prompts(recipe, "rows")] == list(range(40))


def test_a_conversation_is_held_out_as_a_whole_wherever_a_stage_cuts_it(tmp_path: Path) -> None:
    """Pairs that differ from their first answer on, learned as demonstrations up to the last answer."""

    def dialogue(number: int, side: str) -> list[Row]:
        return turns(KIND, Message("user", f"Q{number}"), Message("assistant", side), MORE, YES)

    rows = [{"chosen": dialogue(n, "a"), "rejected": dialogue(n, "b"), "messages": dialogue(n, "a")} for n in range(40)]
    (tmp_path / "pairs").mkdir()
    pairs = recipe_of(tmp_path / "pairs", rows, ", held_out: 0.5")
    talks = recipe_of(tmp_path, [{"messages": row["messages"]} for row in rows], ", held_out: 0.5")
    asked = [prompt.messages for prompt in read_prompts(pairs, "rows.held_out")]
    learned = [prompt.messages for prompt, _ in read_demonstrations(talks, "rows.held_out")]
    assert {len(each) for each in asked} == {2}
    assert {len(each) for each in learned} == {4}
    assert [each[:2] for each in learned] == asked
    assert 0 < len(asked) < 40


def test_a_text_and_a_user_s_turn_fall_alike_under_any_system_turn() -> None:
    text = prompt_share(Prompt.make("Hi"))
    for messages in ((HI,), (KIND, HI), (Message("system", ""), HI), (HI, HEY, MORE), (KIND, HI, HEY, MORE)):
        assert prompt_share(Prompt.make(messages=messages)) == text
    assert prompt_share(Prompt.make(messages=(HEY, HI))) != text
    assert prompt_share(Prompt.make(messages=(MORE, HEY, HI))) != text


ASKED_AS: dict[str, tuple[str, tuple[Message, ...]]] = {
    "texts": ("", ()),
    "texts made turns": (", as_turns: true", ()),
    "messages": ("", (Message("user", ""),)),
    "messages under a system turn": ("", (KIND, Message("user", ""))),
    "messages under an empty system turn": ("", (Message("system", ""), Message("user", ""))),
    "messages under a default system turn": (", defaults: {system: Be brief.}", (Message("user", ""),)),
}


@pytest.mark.parametrize("name", ASKED_AS)
def test_a_question_is_held_out_of_every_file_or_of_none(tmp_path: Path, name: str) -> None:
    """Texts, turns and system turns before them: demonstrations and prompts are split as the plain texts are."""
    questions = [f"What is {n}?" for n in range(60)]
    more, before = ASKED_AS[name]
    rows: list[Row] = [
        {"messages": [*turns(*before[:-1]), {"role": "user", "content": question}, SAID]}
        if before
        else {"prompt": question, "completion": " a"}
        for question in questions
    ]
    recipe = recipe_of(tmp_path, rows, f", held_out: 0.2{more}")
    expected = [each for each in questions if in_split(split_share({"prompt": each}), "held_out", 0.2)]
    asked = read_prompts(recipe, "rows.held_out")
    learned = [prompt for prompt, _ in read_demonstrations(recipe, "rows.held_out")]
    for prompts in (asked, learned):
        assert [prompt.text or prompt.messages[-1].content for prompt in prompts] == expected
    assert 0 < len(expected) < 60


def test_texts_are_held_out_by_their_own_words(tmp_path: Path) -> None:
    recipe = recipe_of(tmp_path, [{"text": f"Once upon a time {n}"} for n in range(40)], ", held_out: 0.5")
    parts = [{said.text for _, said in read_demonstrations(recipe, f"rows.{part}")} for part in ("held_out", "train")]
    assert not parts[0] & parts[1]
    assert len(parts[0] | parts[1]) == 40
    assert all(parts)
