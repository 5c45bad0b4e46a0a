"""Defaults of data: rows without a system turn get it in every layout, a row's own stays, and none is lost unsaid."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from chat_templates import BY_NAME, CHATML, byte_tokenizer
from preflab.constitution.principles import read_constitution
from preflab.constitution.revising import Revised, critique_request, revision_request
from preflab.conversations.renderer import Renderer
from preflab.errors import PreflabError
from preflab.pipeline import run
from preflab.policy.sft import Demonstration, encode_demonstrations
from preflab.recipe import Recipe, load_recipe
from preflab.records import Message, Prompt
from preflab.stages.common.data import demonstrations_in, prompt_of, read_data
from preflab.stages.probe import told
from preflab.store.formats import read_file
from preflab.training.too_long import LongRows

USER, YES, NO = ({"role": role, "content": text} for role, text in (("user", "Hi"), ("assistant", "Yo"),
                                                                    ("assistant", "No")))  # fmt: skip
ROWS: dict[str, dict[str, Any]] = {
    "prompt": {"prompt": "Hi"},
    "prompt of turns": {"prompt": [USER]},
    "prompt beside null": {"prompt": "Hi", "system": None},
    "prompt beside an empty cell": {"prompt": "Hi", "system_prompt": ""},
    "demonstration": {"prompt": "Hi", "completion": "Yo"},
    "instruction": {"instruction": "Hi", "output": "Yo"},
    "messages": {"messages": [USER, YES]},
    "sharegpt": {"conversations": [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Yo"}]},
    "pair": {"prompt": "Hi", "chosen": "Yo", "rejected": "No"},
    "pair of turns": {"prompt": [USER], "chosen": [YES], "rejected": [NO]},
    "pair of dialogues": {"chosen": [USER, YES], "rejected": [USER, NO]},
    "pair of dialogues beside a prompt": {"prompt": "Hi", "chosen": [USER, YES], "rejected": [USER, NO]},
    "unpaired": {"prompt": "Hi", "completion": "Yo", "label": True},
    "rating": {"prompt": "Hi", "completion": "Yo", "helpfulness": 3},
    "rated messages": {"messages": [USER, YES], "helpfulness": 3},
    "ranking": {"prompt": "Hi", "completions": ["Yo", "No"], "ranks": [1, 2]},
    "comparison": {"prompt": "Hi", "response_a": "Yo", "response_b": "No", "winner": "a"},
    "saferlhf": {"prompt": "Hi", "response_0": "Yo", "response_1": "No", "better_response_id": 0,
                 "safer_response_id": 1},
    "helpsteer3": {"context": [USER], "response1": "Yo", "response2": "No", "overall_preference": -2},
    "shp": {"history": "Hi", "human_ref_A": "Yo", "human_ref_B": "No", "labels": 1},
    "arena": {"model_a": "x", "model_b": "y", "winner": "model_a", "conversation_a": [USER, YES],
              "conversation_b": [USER, NO]},
    "openai": {"input": {"messages": [USER]}, "preferred_output": [YES], "non_preferred_output": [NO]},
}  # fmt: skip
OWN = {"role": "system", "content": "Own."}
ROWS_OF_THEIR_OWN: dict[str, dict[str, Any]] = {
    "prompt": {"prompt": [OWN, USER]},
    "column": {"prompt": "Hi", "system": "Own."},
    "column of another name": {"prompt": "Hi", "system_message": "Own."},
    "messages": {"messages": [OWN, USER, YES]},
    "sharegpt": {"conversations": [{"from": "system", "value": "Own."}, {"from": "human", "value": "Hi"},
                                   {"from": "gpt", "value": "Yo"}]},
    "pair of turns": {"prompt": [OWN, USER], "chosen": [YES], "rejected": [NO]},
    "pair of dialogues": {"chosen": [OWN, USER, YES], "rejected": [OWN, USER, NO]},
    "pair of dialogues beside a prompt": {"prompt": "Hi", "chosen": [OWN, USER, YES], "rejected": [OWN, USER, NO]},
    "unpaired": {"prompt": [OWN, USER], "completion": [YES], "label": True},
    "rated messages": {"messages": [OWN, USER, YES], "helpfulness": 3},
    "arena": {"model_a": "x", "model_b": "y", "winner": "model_a", "conversation_a": [OWN, USER, YES],
              "conversation_b": [OWN, USER, NO]},
    "openai": {"input": {"messages": [OWN, USER]}, "preferred_output": [YES], "non_preferred_output": [NO]},
}  # fmt: skip


def asked(tmp_path: Path, row: dict[str, Any], defaults: dict[str, Any], format: str | None = None) -> Prompt:
    """The prompt of the row."""
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps(row) + "\n", encoding="utf-8")
    (prompt,) = read_file(path, format, defaults=defaults).prompts
    return prompt


@pytest.mark.parametrize("row", ROWS.values(), ids=ROWS)
def test_a_row_without_a_system_turn_gets_the_default(tmp_path: Path, row: dict[str, Any]) -> None:
    prompt = asked(tmp_path, row, {"system": "Be kind."})
    assert prompt.messages == (Message("system", "Be kind."), Message("user", "Hi"))


@pytest.mark.parametrize("row", ROWS_OF_THEIR_OWN.values(), ids=ROWS_OF_THEIR_OWN)
@pytest.mark.parametrize("name", ["system", "system_prompt"])
def test_a_row_keeps_its_own_system_turn(tmp_path: Path, row: dict[str, Any], name: str) -> None:
    prompt = asked(tmp_path, row, {name: "Be kind."})
    assert (prompt.messages, prompt.columns) == ((Message("system", "Own."), Message("user", "Hi")), {})


@pytest.mark.parametrize("row", ROWS.values(), ids=ROWS)
def test_arguments_of_the_template_reach_every_prompt(tmp_path: Path, row: dict[str, Any]) -> None:
    tools = [{"type": "function", "function": {"name": "look"}}]
    prompt = asked(tmp_path, row, {"chat_template_kwargs": {"enable_thinking": False}, "tools": tools})
    assert prompt.messages == (Message("user", "Hi"),)
    assert prompt.columns == {"chat_template_kwargs": {"enable_thinking": False}, "tools": tools}


OASST = {"message_id": "1", "text": "Hi", "role": "prompter", "replies": [
    {"message_id": "2", "text": "Yo", "role": "assistant", "rank": 0, "replies": []},
    {"message_id": "3", "text": "No", "role": "assistant", "rank": 1, "replies": []}]}  # fmt: skip


@pytest.mark.parametrize(
    ("row", "format", "found"),
    [
        ({"text": "Hi Yo"}, "text", "a default for `system`, which text does not read"),
        ({"message_tree_id": "t", "tree_state": "ready", "prompt": OASST}, "oasst", "which oasst does not read"),
        ({"chosen": "\n\nHuman: Hi\n\nAssistant: Yo", "rejected": "\n\nHuman: Hi\n\nAssistant: No"}, "hh-rlhf",
         "a system turn or tools beside whole texts"),
    ],
)  # fmt: skip
def test_a_default_without_a_place_is_refused(tmp_path: Path, row: dict[str, Any], format: str, found: str) -> None:
    with pytest.raises(PreflabError) as raised:
        asked(tmp_path, row, {"system": "Be kind."}, format)
    assert found in raised.value.found


def test_other_defaults_are_columns_of_rows_that_lack_them(tmp_path: Path) -> None:
    assert asked(tmp_path, {"prompt": "Hi"}, {"topic": "a"}).columns == {"topic": "a"}
    assert asked(tmp_path, {"prompt": "Hi", "topic": "b"}, {"topic": "a"}).columns == {"topic": "b"}


MOODY = CHATML.replace("{{ m.content }}", "{{ m.content }}{% if mood and m.role == 'user' %} ({{ mood }}){% endif %}")
"""Writes an argument of its own behind what the user says."""


def test_demonstrations_are_learned_with_the_turn_and_the_arguments_of_defaults(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps({"messages": [USER, YES]}) + "\n", encoding="utf-8")
    tokenizer = byte_tokenizer(BY_NAME["chatml"])
    tokenizer.chat_template = MOODY
    defaults = {"system": "Be kind.", "chat_template_kwargs": {"mood": "calm"}}
    rows = [Demonstration(*pair) for pair in demonstrations_in(path, defaults=defaults)]
    (sequence,) = encode_demonstrations(Renderer(tokenizer), rows, LongRows(200, "refuse"))
    assert tokenizer.decode(sequence.prompt_ids) == (
        "<|im_start|>system\nBe kind.<|im_end|>\n<|im_start|>user\nHi (calm)<|im_end|>\n<|im_start|>assistant\n"
    )
    assert tokenizer.decode(sequence.completion_ids) == "Yo<|im_end|>"


RECIPE = """
recipe: 1
data:
  rows: {path: rows.jsonl, defaults: {system: Be kind., chat_template_kwargs: {mood: calm}}}
stages:
  base: {kind: tiny, text: rows, num_steps: 1}
"""


def recipe_in(folder: Path, rows: list[dict[str, Any]]) -> Recipe:
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    (folder / "recipe.yaml").write_text(RECIPE, encoding="utf-8")
    return load_recipe(folder / "recipe.yaml")


def test_questions_of_a_probe_have_the_defaults_with_and_without_an_opinion(tmp_path: Path) -> None:
    own = {"prompt": [OWN, USER]}
    rows = read_data(recipe_in(tmp_path, [{"prompt": "Hi", "right": "a", "wrong": "b"}, own]), "rows")
    prompt, of_its_own = (prompt_of(row, without=("right", "wrong")) for row in rows)
    assert prompt.messages == (Message("system", "Be kind."), Message("user", "Hi"))
    assert of_its_own.messages == (Message("system", "Own."), Message("user", "Hi"))
    swayed = told(prompt, "I say {wrong}. {prompt}", "b")
    assert swayed.messages == (Message("system", "Be kind."), Message("user", "I say b. Hi"))
    assert prompt.columns == swayed.columns == {"chat_template_kwargs": {"mood": "calm"}}


def test_requests_of_a_revision_have_the_arguments_of_their_prompt() -> None:
    constitution = read_constitution()
    prompt = Prompt.make(messages=(Message("user", "Hi"),), columns={"chat_template_kwargs": {"mood": "calm"}, "a": 1})
    one, principle = Revised(prompt, "Yo"), constitution.principles[0]
    asked = critique_request(constitution.layout, (), one, principle)
    again = revision_request(constitution.layout, (), one, principle, "rude")
    assert asked.columns == again.columns == {"chat_template_kwargs": {"mood": "calm"}}


def test_texts_of_a_tiny_model_take_no_system_turn(tmp_path: Path) -> None:
    with pytest.raises(PreflabError, match="`defaults` sets `chat_template_kwargs`, which only conversations have"):
        run(recipe_in(tmp_path, [{"text": "Hi there"}]))
