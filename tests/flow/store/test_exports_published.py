"""Exports in the forms of well-known data sets: rows written out by hand, and read back where they can be read."""

from __future__ import annotations

import csv
import hashlib
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from imported_files import import_into
from preflab.errors import PreflabError
from preflab.records import (
    Answer,
    Campaign,
    Completion,
    Judgment,
    Labeler,
    LikertAnswer,
    Message,
    PairOutcome,
    Preference,
    Prompt,
    RankingAnswer,
    Task,
    ThumbsAnswer,
)
from preflab.store.exports.base import Settings
from preflab.store.formats import read_file
from preflab.store.rows import Record
from preflab.store.transfer import Selection, export_from
from preflab.store.workspace import Workspace

PROMPT = Prompt.make(messages=(Message("user", "Hi"), Message("assistant", "Hello"), Message("user", "Where?")))
TEXT = Prompt.make(text="=1+1")
A, B, C = (Completion.make(PROMPT.id, text, f"model-{text}") for text in "abc")
PLUS, SAFE = (Completion.make(TEXT.id, text, "model-x", index=n) for n, text in enumerate(["+cmd", "safe = 1"]))
BEST = Campaign("campaign-1", "best", "ranking")
WORST = Campaign("campaign-2", "worst", "ranking", polarity=-1)
RATED = Campaign("campaign-3", "rated", "likert", criteria=("kind",))
OWL, FOX = Labeler("labeler-1", "owl", "person"), Labeler("labeler-2", "fox", "person")
TASKS = [
    Task("task-1", BEST.id, PROMPT.id, (A.id, B.id, C.id)),
    Task("task-2", WORST.id, TEXT.id, (PLUS.id, SAFE.id)),
    Task("task-3", RATED.id, TEXT.id, (PLUS.id, SAFE.id)),
]


def said(task: Task, labeler: Labeler, answer: Answer, revision: int = 1, **other: Any) -> Judgment:
    polarity = {BEST.id: 1, WORST.id: -1, RATED.id: 1}[task.campaign_id]
    return Judgment(
        f"judgment-{task.id}-{labeler.id}-{revision}", task.campaign_id, task.id, task.prompt_id, task.completion_ids,
        tuple(range(len(task.completion_ids))), "Which?", polarity, answer, labeler.id, labeler.kind, revision,
        created_at="2026-11-20T12:00:00Z", **other,
    )  # fmt: skip


JUDGMENTS = [
    said(TASKS[0], OWL, RankingAnswer((3, 2, 1))),
    said(TASKS[0], OWL, RankingAnswer((2, 1, None)), revision=2),
    said(TASKS[0], FOX, RankingAnswer((1, 1, 2))),
    said(TASKS[1], OWL, RankingAnswer((1, 2))),
    said(TASKS[1], FOX, RankingAnswer((2, 1)), surplus=True),
    said(TASKS[2], OWL, LikertAnswer({"kind": (5, 1)})),
    said(TASKS[2], FOX, LikertAnswer({"kind": (4, None)})),
]
RANKED = Preference.make(
    PROMPT.id, (A.id, B.id, C.id), (2, 1, None), pairs=(PairOutcome(0, 1, 0.5, 1.0, 1.0),),
    judgment_ids=tuple(j.id for j in JUDGMENTS[1:3]), source="human",
)  # fmt: skip
SCORED = Preference.make(
    TEXT.id, (PLUS.id, SAFE.id), (1, 2), pairs=(PairOutcome(0, 1, 1.0, 0.0, 0.0),),
    scores={"kind": (4.5, 1.0)}, judgment_ids=tuple(j.id for j in JUDGMENTS[5:]), source="human",
)  # fmt: skip


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workspace]:
    records: list[Record] = [
        PROMPT,
        TEXT,
        A,
        B,
        C,
        PLUS,
        SAFE,
        BEST,
        WORST,
        RATED,
        OWL,
        FOX,
        *TASKS,
        *JUDGMENTS,
        RANKED,
        SCORED,
    ]
    with Workspace.open(tmp_path_factory.mktemp("w"), create=True) as opened:
        opened.put(records)
        yield opened


def exported(
    workspace: Workspace, file: Path, format: str, settings: Settings | None = None, **selection: Any
) -> tuple[list[dict[str, Any]], dict[str, int]]:
    done = export_from(workspace, file, format, selection=Selection(**selection), settings=settings)
    return [json.loads(line) for line in file.read_text().splitlines()], dict(done.dropped)


def test_comparisons_are_one_row_per_vote_turned_by_the_polarity(workspace: Workspace, tmp_path: Path) -> None:
    rows, dropped = exported(workspace, tmp_path / "s.jsonl", "stiennon", campaign="worst")
    assert dropped == {"surplus judgments": 1}
    (row,) = rows
    assert [s["text"] for s in row["summaries"]] == ["+cmd", "safe = 1"]
    assert row["choice"] == 1  # ranked 1 is the worse one here
    assert (row["worker"], row["batch"]) == ("owl", "worst")
    with pytest.raises(PreflabError, match="conversations, which the format has no place for: 3"):
        exported(workspace, tmp_path / "s2.jsonl", "stiennon", campaign="best")


def test_comparisons_have_no_ties_and_no_fails(tmp_path: Path) -> None:
    plain = Prompt.make(text="Where?")
    a, b, c = (Completion.make(plain.id, text, f"model-{text}") for text in "abc")
    task = Task("task-9", BEST.id, plain.id, (a.id, b.id, c.id))
    given = [
        said(task, OWL, RankingAnswer((2, 1, None))),
        said(task, FOX, RankingAnswer((1, 1, 2))),
    ]
    with Workspace.open(tmp_path / "w", create=True) as other:
        other.put([plain, a, b, c, BEST, OWL, FOX, task, *given])
        rows, dropped = exported(other, tmp_path / "s.jsonl", "stiennon", campaign="best")
    votes = [([s["text"] for s in row["summaries"]], row["choice"], row["worker"]) for row in rows]
    assert sorted(votes, key=str) == sorted(
        [(["a", "b"], 1, "owl"), (["a", "c"], 0, "fox"), (["b", "c"], 0, "fox")], key=str
    )
    assert dropped == {"pairs with a completion marked F": 2, "tied pairs": 1}


def test_battles_are_read_back_as_the_same_votes(workspace: Workspace, tmp_path: Path) -> None:
    rows, _ = exported(workspace, tmp_path / "b.jsonl", "chatbot-arena", campaign="best")
    assert [(r["model_a"], r["model_b"], r["winner"], r["judge"]) for r in rows] == [
        ("model-a", "model-b", "model_b", "owl"),
        ("model-a", "model-b", "tie", "fox"),
        ("model-a", "model-c", "model_a", "fox"),
        ("model-b", "model-c", "model_a", "fox"),
    ]
    assert rows[0]["conversation_a"][-1] == {"role": "assistant", "content": "a"}
    assert rows[0]["turn"] == 2
    pairs = [p for preference in read_file(tmp_path / "b.jsonl").preferences for p in preference.pairs]
    assert sorted((p.num_for + p.num_against, p.num_tie) for p in pairs) == [(1, 0), (1, 0), (1, 1)]


def test_ratings_and_trees_are_read_back(workspace: Workspace, tmp_path: Path) -> None:
    rows, dropped = exported(workspace, tmp_path / "u.jsonl", "ultrafeedback")
    assert dropped == {"preferences without scores": 1}
    assert [c["annotations"]["kind"]["Rating"] for c in rows[0]["completions"]] == ["4.5", "1"]
    (group,) = read_file(tmp_path / "u.jsonl").preferences
    assert group.ranks == (1, 2)
    assert group.scores == {"kind": (4.5, 1.0), "overall": (4.5, 1.0)}

    rows, _ = exported(workspace, tmp_path / "o.jsonl", "oasst", ids=[RANKED.id])
    turn = rows[0]["prompt"]["replies"][0]["replies"][0]
    assert [(reply["text"], reply["rank"]) for reply in turn["replies"]] == [("a", 1), ("b", 0), ("c", None)]
    (group,) = read_file(tmp_path / "o.jsonl").preferences
    assert group.ranks == (2, 1)


def test_argilla_holds_all_users_side_by_side_and_is_read_back(workspace: Workspace, tmp_path: Path) -> None:
    rows, _ = exported(workspace, tmp_path / "a.jsonl", "argilla", campaign="best")
    assert rows[0]["ranking.responses"] == [
        [{"rank": 1, "value": "response-2"}, {"rank": 2, "value": "response-1"}],
        [{"rank": 1, "value": "response-1"}, {"rank": 1, "value": "response-2"}, {"rank": 2, "value": "response-3"}],
    ]
    assert rows[0]["ranking.responses.users"] == ["owl", "fox"]
    assert rows[0]["ranking.responses.status"] == ["submitted", "submitted"]
    found = read_file(tmp_path / "a.jsonl")
    assert sorted(len(judgment.completion_ids) for judgment in found.judgments) == [2, 3]
    rows, _ = exported(workspace, tmp_path / "a2.jsonl", "argilla", campaign="rated")
    assert rows[0]["response-1-kind.responses"] == [5, 4]
    assert rows[0]["response-2-kind.responses.users"] == ["owl"]


def test_thumbs_are_labels_in_argilla_and_scores_to_7_no_ratings(workspace: Workspace, tmp_path: Path) -> None:
    thumbs = Campaign("campaign-4", "thumbs", "thumbs")
    task = Task("task-4", thumbs.id, TEXT.id, (PLUS.id, SAFE.id))
    given = replace(
        JUDGMENTS[0], id="judgment-thumbs", campaign_id=thumbs.id, task_id=task.id, prompt_id=TEXT.id,
        completion_ids=task.completion_ids, shown_order=(0, 1), answer=ThumbsAnswer((True, False)),
    )  # fmt: skip
    seven = replace(SCORED, scores={"kind": (7.0, 2.0)})
    with Workspace.open(tmp_path / "w", create=True) as other:
        other.put([TEXT, PLUS, SAFE, RATED, OWL, FOX, TASKS[2], *JUDGMENTS[5:], thumbs, task, given, seven])
        rows, _ = exported(other, tmp_path / "a.jsonl", "argilla", campaign="thumbs")
        assert (rows[0]["response-1-thumb.responses"], rows[0]["response-2-thumb.responses"]) == (["good"], ["bad"])
        verdicts = {j.answer for j in read_file(tmp_path / "a.jsonl").judgments}
        assert verdicts == {ThumbsAnswer((True,)), ThumbsAnswer((False,))}
        with pytest.raises(PreflabError, match="preferences without scores"):
            exported(other, tmp_path / "u.jsonl", "ultrafeedback")


def test_openai_and_the_best_completions(workspace: Workspace, tmp_path: Path) -> None:
    rows, _ = exported(workspace, tmp_path / "p.jsonl", "openai-preferences", ids=[RANKED.id])
    turns = [{"content": m.content, "role": m.role} for m in PROMPT.messages]
    assert rows == [
        {
            "input": {"messages": turns},
            "preferred_output": [{"content": "b", "role": "assistant"}],
            "non_preferred_output": [{"content": "a", "role": "assistant"}],
        }
    ]
    rows, _ = exported(workspace, tmp_path / "m.jsonl", "openai-messages", ids=[RANKED.id])
    assert rows == [{"messages": [*turns, {"content": "b", "role": "assistant"}]}]
    strict = Settings(strict=True)
    rows, _ = exported(workspace, tmp_path / "c.jsonl", "trl-prompt-completion", strict, ids=[SCORED.id])
    assert rows == [{"prompt": "=1+1", "completion": "+cmd"}]
    rows, _ = exported(workspace, tmp_path / "t.jsonl", "trl-text", strict, ids=[SCORED.id])
    assert rows == [{"text": "=1+1+cmd"}]


def test_failed_ones_are_rejected_only_on_request_and_margins_too(workspace: Workspace, tmp_path: Path) -> None:
    usual, _ = exported(workspace, tmp_path / "1.jsonl", "trl-conversational", Settings(strict=True), ids=[RANKED.id])
    assert [set(row) for row in usual] == [{"prompt", "chosen", "rejected"}]
    asked = Settings(strict=True, failed_as_rejected=True, margin=True)
    rows, _ = exported(workspace, tmp_path / "2.jsonl", "trl-conversational", asked, ids=[RANKED.id])
    words = [(row["chosen"][0]["content"], row["rejected"][0]["content"], row["margin"]) for row in rows]
    assert words == [("b", "a", 0.5), ("a", "c", 0.0), ("b", "c", 0.0)]
    loose, _ = exported(workspace, tmp_path / "3.jsonl", "trl-conversational", Settings(failed_as_rejected=True))
    assert [row["preflab_confidence"] for row in loose if row["preflab_n_labels"] == 0] == [None, None]


def test_a_spreadsheet_calculates_nothing(workspace: Workspace, tmp_path: Path) -> None:
    export_from(workspace, tmp_path / "p.csv", "trl-explicit", selection=Selection(ids=[SCORED.id]))
    with (tmp_path / "p.csv").open(newline="", encoding="utf-8") as file:
        (row,) = csv.DictReader(file)
    assert (row["prompt"], row["chosen"], row["rejected"]) == ("'=1+1", "'+cmd", "safe = 1")
    manifest = json.loads((tmp_path / "p.csv.manifest.json").read_text())
    assert manifest["sha256"] == hashlib.sha256((tmp_path / "p.csv").read_bytes()).hexdigest()
    assert manifest["made_of"] == {"preferences": 1}
    assert manifest["settings"]["failed_as_rejected"] is False


def test_rankings_go_out_as_csv_and_come_back_as_answers_to_the_same_tasks(
    workspace: Workspace, tmp_path: Path
) -> None:
    export_from(workspace, tmp_path / "r.csv", "rankings", selection=Selection(campaign="best"))
    with Workspace.open(tmp_path / "other", create=True) as other:
        other.put([PROMPT, A, B, C, BEST, TASKS[0]])
        assert import_into(other, tmp_path / "r.csv", rename={}).new["judgment"] == 2
        ranks = {j.answer.ranks for j in other.judgments(campaign_id=BEST.id)}  # type: ignore[union-attr]
        assert ranks == {(2, 1, None), (1, 1, 2)}


def test_a_preference_of_fewer_labels_gives_way_to_that_of_more(workspace: Workspace, tmp_path: Path) -> None:
    early = Preference.make(PROMPT.id, (A.id, B.id, C.id), (1, 2, 3), pairs=(PairOutcome(0, 1, 1.0, 0.0, 0.0),),
                            judgment_ids=(JUDGMENTS[1].id,), source="human")  # fmt: skip
    with Workspace.open(tmp_path / "w", create=True) as other:
        other.put([PROMPT, TEXT, A, B, C, PLUS, SAFE, BEST, WORST, RATED, OWL, FOX, *TASKS, *JUDGMENTS])
        other.put([early, RANKED])
        rows, dropped = exported(other, tmp_path / "p.jsonl", "trl-conversational", Settings(strict=True))
        assert [row["chosen"][0]["content"] for row in rows] == ["b"]
        assert dropped == {"preferences learned from fewer of the same labels": 1}
