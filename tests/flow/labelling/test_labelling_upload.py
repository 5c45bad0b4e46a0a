"""Files of prompts and completions that a lead uploads: three shapes, and bad rows by their lines."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from preflab.labelling.completion_sources import groups_of_source, list_sources
from preflab.labelling.errors import Invalid
from preflab.labelling.instructions import default_instructions
from preflab.labelling.options import CampaignOptions
from preflab.labelling.upload import uploaded_gold, uploaded_groups
from preflab.records import Completion, Message, Prompt, RankingAnswer, SideBySideAnswer
from preflab.store.workspace import Workspace


def jsonl(*rows: object) -> bytes:
    """Rows as a file."""
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def texts(found: object) -> list[list[str]]:
    """The completions of each task."""
    by_id = {completion.id: completion.text for completion in found.completions}  # type: ignore[attr-defined]
    return [[by_id[each] for each in group] for group in found.groups]  # type: ignore[attr-defined]


def test_one_row_per_prompt() -> None:
    found = uploaded_groups("a.jsonl", jsonl({"prompt": "P?", "completions": ["x", "y"], "topic": "t"}))
    assert texts(found) == [["x", "y"]]
    assert found.prompts[0].columns == {"topic": "t"}
    assert {completion.model for completion in found.completions} == {"a"}


def test_one_row_per_completion_with_the_model_beside_it() -> None:
    rows = [{"prompt": "P?", "completion": "x", "model": "m1"}, {"prompt": "Q?", "completion": "z"}]
    rows += [{"prompt": "P?", "completion": "y", "model": "m2", "seed": "7"}]
    found = uploaded_groups("b.jsonl", jsonl(*rows))
    assert texts(found) == [["x", "y"], ["z"]]
    assert [completion.model for completion in found.completions] == ["m1", "m2", "b"]


def test_csv_with_numbered_columns_and_k_that_differs() -> None:
    data = b'prompt,completion_1,completion_2,completion_3\nP?,x,"y, with a comma",\nQ?,a,b,c\n'
    assert texts(uploaded_groups("c.csv", data)) == [["x", "y, with a comma"], ["a", "b", "c"]]


def test_two_equal_texts_stay_two_completions() -> None:
    found = uploaded_groups("d.jsonl", jsonl({"prompt": "P?", "completions": ["same", "same"]}))
    assert len(found.groups[0]) == 2


def test_completions_that_call_tools_are_judged_as_turns() -> None:
    call = {
        "role": "assistant",
        "content": None,
        "tool_calls": [{"function": {"name": "track", "arguments": {"n": 7}}}],
    }
    answer = {"role": "assistant", "content": "In Rome."}
    used = [call, {"role": "tool", "content": "Rome", "name": "track"}, answer]
    tools = [{"type": "function", "function": {"name": "track"}}]
    row = {"prompt": "Where?", "completions": [used, "No idea."], "tools": tools, "system": "Be kind.", "topic": "t"}
    found = uploaded_groups("t.jsonl", jsonl(row))
    asked = (Message("system", "Be kind."), Message("user", "Where?"))
    assert [(p.messages, p.columns) for p in found.prompts] == [(asked, {"tools": tools, "topic": "t"})]
    first, second = found.completions
    assert [turn.role for turn in first.turns] == ["assistant", "tool", "assistant"]
    assert (second.text, second.turns) == ("No idea.", ())
    options = CampaignOptions(name="c", way="side_by_side")
    gold = uploaded_gold("g.jsonl", jsonl({**row, "choice": "first"}), options)
    assert [completion.turns for completion in gold.completions] == [first.turns, ()]
    rows = [
        {"prompt": "Where?", "completion": used},
        {"prompt": [{"role": "user", "content": "Where?"}], "completion": "No"},
    ]
    assert len(uploaded_groups("r.jsonl", jsonl(*rows)).groups[0]) == 2, "a text beside turns is the assistant's turn"


@pytest.mark.parametrize(
    ("name", "data", "said"),
    [
        ("a.jsonl", jsonl({"prompt": "P?", "completions": ["x"]}, {"prompt": "", "completions": ["x"]}), "line 2"),
        ("a.jsonl", jsonl({"prompt": "P?", "completions": "x"}), "no JSON list"),
        ("a.jsonl", jsonl({"prompt": "P?"}), "line 1"),
        ("a.jsonl", b"not json\n", "line 1"),
        ("a.jsonl", b"", "no rows"),
        ("a.exe", b"", "kind .exe"),
        ("a.csv", b"prompt,completion_1,completion_2\nP?,x\n", "line 2"),
        ("a.jsonl", jsonl({"prompt": "P?", "completions": ["x"] * 21}), "21 completions"),
        ("a.jsonl", jsonl({"prompt": "P?", "completions": ["x", "y"], "models": ["m"]}), "1 model"),
    ],
)
def test_a_bad_file_is_refused_by_line(name: str, data: bytes, said: str) -> None:
    with pytest.raises(Invalid) as error:
        uploaded_groups(name, data)
    assert said in error.value.found
    assert "/tmp" not in str(error.value)


NONE_THERE = {
    "a text in a list": ('{"prompt": "P?", "completions": ["a", "", "c"]}', "jsonl"),
    "null in a list": ('{"prompt": "P?", "completions": ["a", null, "c"]}', "jsonl"),
    "blanks at a list's end": ('{"prompt": "P?", "completions": ["a", "b", "  "]}', "jsonl"),
    "a list in a cell": ('prompt,completions\nP?,"[""a"", """"]"', "csv"),
    "null in a cell": ('prompt,completions\nP?,"[""a"", null]"', "csv"),
    "an empty cell between": ("prompt,completion_1,completion_2,completion_3\nP?,a,,c", "csv"),
    "an empty column between": (
        '{"prompt": "P?", "completion_1": "a", "completion_2": "", "completion_3": "c"}',
        "jsonl",
    ),
    "null in a column between": ('[{"prompt": "P?", "completion_1": "", "completion_2": "b"}]', "json"),
    "a row's own completion": ('{"prompt": "P?", "completion": ""}', "jsonl"),
    "null as a row's own": ('{"prompt": "P?", "completion": null}', "jsonl"),
    "a cell of a row's own": ("prompt,completion\nP?,", "csv"),
    "columns that are all empty": ("prompt,completion_1,completion_2\nP?,,", "csv"),
    "null in every column": ('{"prompt": "P?", "completion_1": null, "completion_2": null}', "jsonl"),
    "an empty list": ('{"prompt": "P?", "completions": []}', "jsonl"),
}


@pytest.mark.parametrize("name", NONE_THERE)
def test_an_empty_completion_is_refused_in_every_format(name: str) -> None:
    text, kind = NONE_THERE[name]
    place = {"csv": "line 2", "json": "item 1", "jsonl": "line 1"}[kind]
    with pytest.raises(Invalid) as error:
        uploaded_groups(f"e.{kind}", f"{text}\n".encode(), least=1)
    assert f"e.{kind}, {place}: " in error.value.found
    assert "completion" in error.value.found


def test_empty_columns_at_the_end_say_that_there_are_fewer_in_every_format() -> None:
    rows = [{"prompt": "P?", "completion_1": "a", "completion_2": "b", "completion_3": end} for end in ("", None, " ")]
    for row in rows:
        assert texts(uploaded_groups("f.jsonl", jsonl(row))) == [["a", "b"]]
    assert texts(uploaded_groups("f.csv", b"prompt,completion_1,completion_2,completion_3\nP?,a,b,\n")) == [["a", "b"]]


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("a.jsonl", jsonl({"prompt": "Q?", "completions": ["a", "b"]}, {"prompt": "P?", "completions": ["x"]})),
        ("a.jsonl", jsonl({"prompt": "Q?", "completions": ["a", "b"]}, {"prompt": "P?", "completion": "x"})),
        ("a.csv", b"prompt,completion_1,completion_2\nP?,x,\n"),
    ],
)
def test_one_completion_is_refused_by_line_where_two_are_compared(name: str, data: bytes) -> None:
    assert uploaded_groups(name, data, least=1).groups
    with pytest.raises(Invalid) as error:
        uploaded_groups(name, data, least=2)
    assert f"{name}, line 2: 1 completion of one prompt" in error.value.found


def test_gold_tasks_bring_their_answers() -> None:
    options = CampaignOptions(name="c")
    found = uploaded_gold("g.jsonl", jsonl({"prompt": "P?", "completions": ["x", "y"], "ranks": [2, 1]}), options)
    assert found.answers == (RankingAnswer((2, 1)),)
    none_better = jsonl({"prompt": "P?", "completions": ["x", "y"], "best": None})
    assert uploaded_gold("g.jsonl", none_better, CampaignOptions(name="c", way="best_of")).answers == (
        SideBySideAnswer("equal"),
    )
    with pytest.raises(Invalid, match="g.jsonl, line 1"):
        uploaded_gold("g.jsonl", jsonl({"prompt": "P?", "completions": ["x", "y"], "ranks": [2]}), options)


def test_the_workspace_offers_what_can_be_compared(tmp_path: Path) -> None:
    with Workspace.open(tmp_path / "w", create=True) as ws:
        assert list_sources(ws) == []
        prompt, alone = Prompt.make(text="P?"), Prompt.make(text="Q?")
        made = [Completion.make(prompt.id, f"{model} {i}", model, index=i) for model in ("m1", "m2") for i in range(2)]
        ws.put([prompt, alone, *made, Completion.make(alone.id, "one", "m1")])
        offered = {source.id: (source.num_prompts, source.num_completions) for source in list_sources(ws)}
        assert offered == {"all": (1, 4), "model:m1": (1, 2), "model:m2": (1, 2)}
        assert groups_of_source(ws, "model:m2") == [[made[2].id, made[3].id]]
        assert len(groups_of_source(ws, "all")[0]) == 4
        with pytest.raises(Invalid):
            groups_of_source(ws, "model:m9")


@pytest.mark.parametrize("way", ["ranking", "side_by_side", "best_of", "thumbs", "score_then_rank"])
def test_instructions_to_begin_with_say_what_good_ones_say(way: str) -> None:
    text = default_instructions(CampaignOptions(name="Warmth", question="Which is kinder?", way=way))
    for said in ("Which is kinder?", "look facts up", "Longer is not better", "mark F", "Skip a task"):
        assert said in text


def test_instructions_name_the_criteria_with_their_ends() -> None:
    options = CampaignOptions(name="c", way="likert", criteria=("warmth",), scale_ends={"warmth": ("rude", "kind")})
    assert "- **warmth**: 1 is “rude”, 5 is “kind”" in default_instructions(options)
    assert "mark F" not in default_instructions(CampaignOptions(name="c", allow_fail=False))
