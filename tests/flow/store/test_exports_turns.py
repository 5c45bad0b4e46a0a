"""Exports of tools, thinking and several turns: written out by hand where they fit, dropped and counted where not."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from preflab.errors import PreflabError
from preflab.records import (
    Campaign,
    Completion,
    Judgment,
    Labeler,
    Message,
    PairOutcome,
    Preference,
    Prompt,
    RankingAnswer,
    Span,
    Task,
    ToolCall,
    spans_of_turns,
)
from preflab.store.exports import EXPORTS
from preflab.store.exports.base import Settings
from preflab.store.formats import read_file
from preflab.store.transfer import Selection, export_from
from preflab.store.workspace import Workspace

TOOLS = [{"type": "function", "function": {"name": "track", "parameters": {"type": "object", "properties": {}}}}]
CALL = ToolCall("track", '{"number": 7, "at": "home"}', "c1")
ASKED = (Message("system", "Be kind."), Message("user", "Where is it?", name="anna"))
PROMPT = Prompt.make(messages=ASKED, columns={"tools": TOOLS, "topic": "parcel"})
USED = (
    Message("assistant", "", reasoning="I look.", tool_calls=(CALL,)),
    Message("tool", "In Rome.", name="track", tool_call_id="c1"),
    Message("assistant", "In Rome."),
)
GOOD = Completion.make(PROMPT.id, "", "trl", spans=spans_of_turns(USED), finish_reason="imported")
BAD = Completion.make(PROMPT.id, "No idea.", "trl", finish_reason="imported")
HALF = Completion.make(PROMPT.id, "", "trl", spans=(Span("It is "), Span("here", by_policy=False)))
PAIR = Preference.make(
    PROMPT.id, (GOOD.id, BAD.id), (1, 2), pairs=(PairOutcome(0, 1, 1.0, 0.0, 0.0),), scores={"kind": (4.0, 1.0)}
)
UNFIT = Preference.make(PROMPT.id, (HALF.id, BAD.id), (1, 2), pairs=(PairOutcome(0, 1, 1.0, 0.0, 0.0),))
CAMPAIGN, LABELER = Campaign("campaign-1", "order", "ranking"), Labeler("labeler-1", "owl", "person")
TASK = Task("task-1", CAMPAIGN.id, PROMPT.id, (GOOD.id, BAD.id))
RANKED = Judgment(
    "judgment-1", CAMPAIGN.id, TASK.id, PROMPT.id, TASK.completion_ids, (0, 1), "Which?", 1, RankingAnswer((1, 2)),
    LABELER.id, "person",
)  # fmt: skip

SYSTEM, USER = {"role": "system", "content": "Be kind."}, {"role": "user", "content": "Where is it?", "name": "anna"}
TOOL = {"role": "tool", "content": "In Rome.", "name": "track", "tool_call_id": "c1"}
LAST, NONE = ({"role": "assistant", "content": words} for words in ("In Rome.", "No idea."))


def called(arguments: Any, content: str | None = "") -> dict[str, Any]:
    call = {"id": "c1", "type": "function", "function": {"name": "track", "arguments": arguments}}
    return {"role": "assistant", "content": content, "tool_calls": [call], "reasoning_content": "I look."}


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workspace]:
    with Workspace.open(tmp_path_factory.mktemp("w"), create=True) as opened:
        opened.put([PROMPT, GOOD, BAD, HALF, PAIR, UNFIT, CAMPAIGN, LABELER, TASK, RANKED])
        yield opened


def rows(workspace: Workspace, path: Path, format: str, *ids: str, **chosen: Any) -> list[dict[str, Any]]:
    selection = Selection(ids=ids or None)
    export_from(workspace, path, format, selection=selection, settings=Settings(strict=True, **chosen))
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_trainers_get_arguments_as_objects_with_the_tools_beside_them(workspace: Workspace, tmp_path: Path) -> None:
    first = called({"number": 7, "at": "home"})
    pair = {"prompt": [SYSTEM, USER], "chosen": [first, TOOL, LAST], "rejected": [NONE], "tools": TOOLS}
    assert rows(workspace, tmp_path / "e.jsonl", "trl-explicit", PAIR.id) == [pair]
    assert rows(workspace, tmp_path / "c.jsonl", "trl-conversational", PAIR.id) == [pair]
    written = (tmp_path / "e.jsonl").read_text()
    assert '"arguments":{"number":7,"at":"home"}' in written, "in the order of the call, which templates render"
    (implicit,) = rows(workspace, tmp_path / "i.jsonl", "trl-implicit", PAIR.id)
    assert implicit["chosen"] == [SYSTEM, USER, first, TOOL, LAST]
    (whole,) = rows(workspace, tmp_path / "t.jsonl", "trl-text", PAIR.id)
    assert whole == {"messages": [SYSTEM, USER, first, TOOL, LAST], "tools": TOOLS}
    (best,) = rows(workspace, tmp_path / "b.jsonl", "trl-prompt-completion", PAIR.id)
    assert best == {"prompt": [SYSTEM, USER], "completion": [first, TOOL, LAST], "tools": TOOLS}


def test_openai_gets_arguments_as_text_and_null_beside_calls(workspace: Workspace, tmp_path: Path) -> None:
    first = called('{"number": 7, "at": "home"}', None)
    assert rows(workspace, tmp_path / "p.jsonl", "openai-preferences", PAIR.id) == [
        {
            "input": {"messages": [SYSTEM, USER], "tools": TOOLS},
            "preferred_output": [first, TOOL, LAST],
            "non_preferred_output": [NONE],
        }
    ]
    (row,) = rows(workspace, tmp_path / "m.jsonl", "openai-messages", PAIR.id)
    assert row == {"messages": [SYSTEM, USER, first, TOOL, LAST], "tools": TOOLS}


def test_scores_rankings_and_battles_hold_turns_too(workspace: Workspace, tmp_path: Path) -> None:
    first = called({"number": 7, "at": "home"})
    good, bad = rows(workspace, tmp_path / "r.jsonl", "ratings", PAIR.id)
    assert good == {
        "prompt": [SYSTEM, USER], "completion": [first, TOOL, LAST], "score_kind": 4.0, "tools": TOOLS
    }  # fmt: skip
    assert (bad["completion"], bad["score_kind"]) == ([NONE], 1.0)
    (ranked,) = rows(workspace, tmp_path / "k.jsonl", "rankings", RANKED.id)
    assert ranked["completions"] == [[first, TOOL, LAST], [NONE]]
    (battle,) = rows(workspace, tmp_path / "a.jsonl", "chatbot-arena", RANKED.id)
    assert battle["conversation_a"] == [SYSTEM, USER, first, TOOL, LAST]
    (record,) = rows(workspace, tmp_path / "g.jsonl", "argilla", RANKED.id)
    assert record["response-1"] == [first, TOOL, LAST]
    for name in "rkag":
        found = read_file(tmp_path / f"{name}.jsonl")
        assert GOOD.turns in [completion.turns for completion in found.completions], found.format
        assert found.prompts[0].columns == {"tools": TOOLS}


HELD = {
    "trl-explicit", "trl-conversational", "trl-implicit", "trl-unpaired", "trl-prompt-completion", "trl-text",
    "ratings", "openai-preferences", "openai-messages", "preferences",
}  # fmt: skip


@pytest.mark.parametrize("format", sorted(name for name, each in EXPORTS.items() if each.of == "preference"))
def test_every_export_holds_calls_or_counts_what_it_drops(workspace: Workspace, tmp_path: Path, format: str) -> None:
    path = tmp_path / "x.jsonl"
    if format in HELD:
        rows(workspace, path, format, PAIR.id)
        assert format == "preferences" or "Be kind." in path.read_text()
        assert format == "preferences" or "track" in path.read_text()
    else:
        with pytest.raises(PreflabError) as caught:
            rows(workspace, path, format, PAIR.id)
        assert "where a text is wanted" in caught.value.found or "no place for" in caught.value.found


def test_what_the_policy_wrote_in_part_is_no_turn(workspace: Workspace, tmp_path: Path) -> None:
    with pytest.raises(PreflabError, match="completions that turns cannot hold .*: 1"):
        rows(workspace, tmp_path / "x.jsonl", "trl-explicit", UNFIT.id)


def test_parquet_holds_schemas_and_arguments_as_json(workspace: Workspace, tmp_path: Path) -> None:
    selection = Selection(ids=[PAIR.id])
    export_from(workspace, tmp_path / "x.parquet", "trl-explicit", selection=selection)
    (row,) = pq.read_table(tmp_path / "x.parquet").to_pylist()
    assert json.loads(row["tools"]) == TOOLS
    arguments = row["chosen"][0]["tool_calls"][0]["function"]["arguments"]
    assert arguments == '{"number":7,"at":"home"}'
    found = read_file(tmp_path / "x.parquet")
    assert [c.spans for c in found.completions] == [GOOD.spans, BAD.spans]
    assert found.prompts[0].messages == ASKED


def test_a_turn_that_is_not_learned_keeps_its_weight(tmp_path: Path) -> None:
    file = tmp_path / "d.jsonl"
    told = [
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "Hm?", "weight": 0},
        {"role": "user", "content": "Hello"},
        {"role": "assistant", "content": "Hello!"},
    ]
    file.write_text(json.dumps({"messages": told}) + "\n")
    with Workspace.open(tmp_path / "w", create=True) as opened:
        found = read_file(file)
        opened.put([*found.prompts, *found.completions])
        (row,) = rows(opened, tmp_path / "out.jsonl", "demonstrations")
    assert row == {"prompt": told[:3], "completion": told[3:]}
    again = read_file(tmp_path / "out.jsonl")
    assert again.completions[0].columns == found.completions[0].columns == {"unlearned_turns": [1]}
