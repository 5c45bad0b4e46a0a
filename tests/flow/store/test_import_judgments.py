"""Judgments made elsewhere: Argilla, Label Studio and plain rankings, expected records written out by hand."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from imported_files import import_into
from preflab.errors import PreflabError
from preflab.records import Campaign, Completion, LikertAnswer, Prompt, RankingAnswer, SideBySideAnswer, Task
from preflab.store.formats import read_file
from preflab.store.formats.base import Imported
from preflab.store.formats.detect import detect
from preflab.store.incoming import KEY
from preflab.store.workspace import Workspace


@pytest.fixture
def workspace(tmp_path: Path) -> Iterator[Workspace]:
    with Workspace.open(tmp_path / "w", create=True) as opened:
        yield opened


def written(path: Path, rows: list[Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def by_text(found: Imported) -> list[dict[str, int | None]]:
    """Each ranking as completion's text → rank."""
    texts = {completion.id: completion.text for completion in found.completions}
    rankings = []
    for judgment in found.judgments:
        assert isinstance(judgment.answer, RankingAnswer)
        ranks = zip(judgment.completion_ids, judgment.answer.ranks, strict=True)
        rankings.append({texts[i]: rank for i, rank in ranks})
    return rankings


RANKED: list[dict[str, Any]] = [
    {"prompt": "Where?", "completions": ["a", "b", "c"], "ranks": [2, 1, 3], "labeler": "ann@example.org"},
    {"prompt": "Where?", "completions": ["c", "b", "a"], "ranks": [None, "1", 1], "labeler": "bob@example.org"},
    {"prompt": "When?", "completions": ["x", "y"], "ranks": [1, "F"], "labeler": "ann@example.org"},
]


def test_plain_rankings_keep_every_answer_and_count_the_votes(tmp_path: Path) -> None:
    found = read_file(written(tmp_path / "r.jsonl", RANKED))
    assert found.format == "rankings"
    assert by_text(found) == [{"a": 2, "b": 1, "c": 3}, {"a": 1, "b": 1, "c": None}, {"x": 1, "y": None}]
    assert len(found.tasks) == 2  # another order on the page is the same task
    first, second = found.preferences
    texts = {completion.id: completion.text for completion in found.completions}
    ranks = {texts[i]: rank for i, rank in zip(first.completion_ids, first.ranks, strict=True)}
    assert ranks == {"a": 2, "b": 1, "c": None}  # c is F for one of two: an even split is a fail
    (pair,) = first.pairs
    names = texts[first.completion_ids[pair.first]], texts[first.completion_ids[pair.second]]
    assert (*sorted(names), pair.num_for + pair.num_against, pair.num_tie) == ("a", "b", 1.0, 1.0)
    assert second.pairs == ()


def test_a_spreadsheet_of_rankings_with_k_that_differs(tmp_path: Path) -> None:
    file = tmp_path / "r.csv"
    with file.open("w", newline="", encoding="utf-8") as out:
        rows = csv.writer(out)
        rows.writerow(
            ["prompt", "completion_1", "rank_1", "completion_2", "rank_2", "completion_3", "rank_3", "labeler"]
        )
        rows.writerow(["Where?", "a", "2", "b", "1", "c", "F", "ann"])
        rows.writerow(["Where?", "a", "1", "b", "1.0", "", "", "bob"])
    found = read_file(file)
    assert by_text(found) == [{"a": 2, "b": 1, "c": None}, {"a": 1, "b": 1}]
    (tmp_path / "z.csv").write_text("prompt,completion_01,rank_01,completion_02,rank_02\nWhere?,a,2,b,1\n")
    assert by_text(read_file(tmp_path / "z.csv", "rankings")) == [{"a": 2, "b": 1}]


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"ranks": [1]}, "2 completions and 1 rank"),
        ({"ranks": [0, 1]}, "the rank 0 of completion 1"),
        ({"ranks": ["best", 1]}, "the rank 'best'"),
        ({"ranks": [True, 1]}, "the rank True"),
        ({"ranks": ["²", 1]}, "the rank '²'"),
        ({"completions": ["a"], "ranks": [1]}, "1 completion"),
        ({"prompt": " "}, "an empty prompt"),
    ],
)
def test_a_bad_ranking_is_named_by_its_line_and_nothing_is_loaded(
    workspace: Workspace, tmp_path: Path, row: dict[str, Any], said: str
) -> None:
    good = {"prompt": "p", "completions": ["a", "b"], "ranks": [1, 2], "labeler": "x"}
    file = written(tmp_path / "r.jsonl", [good, {**good, "labeler": "y", **row}])
    with pytest.raises(PreflabError, match="line 2") as caught:
        import_into(workspace, file)
    assert said in caught.value.found
    assert sum(workspace.counts().values()) == 0
    assert import_into(workspace, file, skip_bad=True).new["judgment"] == 1


ARGILLA = {
    "id": "r1",
    "prompt": "Where?",
    "response-1": "here",
    "response-2": "there",
    "category": "parcel",
    "order.responses": [
        [{"value": "response-1", "rank": 2}, {"value": "response-2", "rank": 1}],
        [{"value": "response-1", "rank": 1}, {"value": "response-2", "rank": 1}],
        [{"value": "response-1", "rank": 1}, {"value": "response-2", "rank": 2}],
    ],
    "order.responses.users": ["u1", "u2", "u3"],
    "order.responses.status": ["submitted", "submitted", "draft"],
    "order.suggestion": None,
    "response-1-quality.responses": [4, 5],
    "response-1-quality.responses.users": ["u1", "u2"],
    "response-1-quality.responses.status": ["submitted", "discarded"],
    "better.responses": ["response-2", "tie"],
    "better.responses.users": ["u1", "u2"],
    "better.responses.status": ["submitted", "submitted"],
    "why.responses": ["because"],
    "why.responses.users": ["u1"],
    "why.responses.status": ["submitted"],
}


def check_argilla(found: Imported) -> None:
    assert found.format == "argilla"
    texts = {completion.id: completion.text for completion in found.completions}
    names = {campaign.id: campaign.name for campaign in found.campaigns}
    said = [(names[judgment.campaign_id], judgment.answer) for judgment in found.judgments]
    ranked = [answer for question, answer in said if question == "order"]
    assert [a.ranks for a in ranked if isinstance(a, RankingAnswer)] in ([(2, 1), (1, 1)], [(1, 2), (1, 1)])
    best = {question: answer for question, answer in said if question == "better"}
    assert best["better"] == SideBySideAnswer("equal")
    (chosen,) = [a for q, a in said if q == "better" and a != SideBySideAnswer("equal")]
    better = next(j for j in found.judgments if j.answer == chosen)
    assert isinstance(chosen, SideBySideAnswer)
    assert texts[better.completion_ids[0 if chosen.choice == "first" else 1]] == "there"
    task = next(p for p in found.preferences if better.id in p.judgment_ids)  # the tie is a vote on the same two
    assert [(p.num_for + p.num_against, p.num_tie) for p in task.pairs] == [(1.0, 1.0)]
    assert ("response-1-quality", LikertAnswer({"response-1-quality": (4,)})) in said
    assert found.left_out == {
        "answers to questions that judge no completion": 1,
        "responses that are drafts or discarded": 2,
    }


def test_argilla_as_lines_as_a_list_and_as_parquet(tmp_path: Path) -> None:
    check_argilla(read_file(written(tmp_path / "a.jsonl", [ARGILLA])))
    (tmp_path / "a.json").write_text(json.dumps([ARGILLA], indent=1))
    check_argilla(read_file(tmp_path / "a.json"))
    pq.write_table(pa.Table.from_pylist([ARGILLA]), tmp_path / "a.parquet")
    check_argilla(read_file(tmp_path / "a.parquet"))


def test_argilla_out_of_step_is_refused(tmp_path: Path) -> None:
    row = ARGILLA | {"order.responses.users": ["u1"]}
    with pytest.raises(PreflabError, match=r"line 1: order.responses and order.responses.users have different lengths"):
        read_file(written(tmp_path / "a.jsonl", [row]))


def test_argilla_without_lists_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PreflabError, match=r"line 2: the column 'order.responses' holds a number"):
        read_file(written(tmp_path / "a.jsonl", [ARGILLA, ARGILLA | {"id": "r2", "order.responses": 5}]))


def test_of_three_argilla_names_the_best(tmp_path: Path) -> None:
    row = {"prompt": "Where?", **{f"response-{n}": text for n, text in enumerate("abc", 1)}}
    found = read_file(written(tmp_path / "a.jsonl", [row | {"best.responses": ["response-3"]}]))
    (judgment,) = found.judgments
    assert isinstance(judgment.answer, SideBySideAnswer)
    texts = {completion.id: completion.text for completion in found.completions}
    assert texts[judgment.completion_ids[judgment.answer.best or 0]] == "c"
    assert found.campaigns[0].way == "best_of"


def studio(value: dict[str, Any], kind: str = "ranker", **note: Any) -> dict[str, Any]:
    items = [{"id": f"i{n}", "title": f"no {n}", "body": text} for n, text in enumerate("abcd", 1)]
    result = {"from_name": "rank", "to_name": "items", "type": kind, "value": value}
    person = {"completed_by": 7, "was_cancelled": False, "lead_time": 12.5, "created_at": "2026-11-20T10:00:00Z"}
    return {
        "id": 1,
        "data": {"prompt": "Where?", "items": items},
        "annotations": [person | {"result": [result]} | note],
    }


@pytest.mark.parametrize(
    ("ranked", "expected"),
    [
        (["i2", "i1", "i4", "i3"], {"b": 1, "a": 2, "d": 3, "c": 4}),
        ({"_": [], "rank": ["i3", "i1", "i2", "i4"]}, {"c": 1, "a": 2, "b": 3, "d": 4}),
        ({"good": ["i1", "i3"], "poor": ["i2"], "F": ["i4"]}, {"a": 1, "c": 1, "b": 3, "d": None}),
    ],
)
def test_label_studios_ranker_lists_and_buckets(tmp_path: Path, ranked: Any, expected: dict[str, int]) -> None:
    (tmp_path / "s.json").write_text(json.dumps([studio({"ranker": ranked})]))
    found = read_file(tmp_path / "s.json")
    assert found.format == "label-studio"
    assert by_text(found) == [expected]
    assert found.judgments[0].active_ms == 12500


def test_label_studio_leaves_out_cancelled_and_unsorted(tmp_path: Path) -> None:
    rows = [studio({"ranker": ["i1", "i2"]}, was_cancelled=True), studio({"ranker": {"_": ["i1"], "best": ["i2"]}})]
    (tmp_path / "s.json").write_text(json.dumps([rows[0], rows[1] | {"id": 2}]))
    found = read_file(tmp_path / "s.json")
    assert found.left_out == {"cancelled annotations": 1, "rankings with items that nobody sorted": 1}
    assert not found.judgments


def test_label_studios_pairs(tmp_path: Path) -> None:
    def note(person: int, side: str) -> dict[str, Any]:
        result = {"from_name": "pw", "to_name": ["t1", "t2"], "type": "pairwise", "value": {"selected": side}}
        return {"completed_by": {"id": person, "email": "ann@example.org"}, "result": [result]}

    row: dict[str, Any] = {"id": 1, "data": {"prompt": "Where?", "answer1": "here", "answer2": "gone"}}
    (tmp_path / "s.json").write_text(json.dumps([row | {"annotations": [note(1, "left"), note(2, "right")]}]))
    found = read_file(tmp_path / "s.json")
    texts = {completion.id: completion.text for completion in found.completions}
    winners = [texts[j.completion_ids[0 if j.answer.choice == "first" else 1]] for j in found.judgments]  # type: ignore[union-attr]
    assert winners == ["here", "gone"]
    assert [(p.num_for, p.num_against) for preference in found.preferences for p in preference.pairs] == [(1, 1)]


def test_names_never_reach_the_database_and_the_same_file_twice_is_once(workspace: Workspace, tmp_path: Path) -> None:
    file = written(tmp_path / "r.jsonl", RANKED)
    assert import_into(workspace, file).new == {
        "prompt": 2, "completion": 5, "labeler": 2, "campaign": 1, "task": 2, "judgment": 3, "preference": 2,
    }  # fmt: skip
    before = workspace.counts()
    assert import_into(workspace, file).new == {}
    assert workspace.counts() == before
    stored = repr([workspace.labelers(), workspace.judgments(), workspace.campaigns(), workspace.preferences()])
    assert "example.org" not in stored
    assert (workspace.path / KEY).stat().st_mode & 0o777 == 0o600


def test_an_edited_file_is_a_new_revision(workspace: Workspace, tmp_path: Path) -> None:
    import_into(workspace, written(tmp_path / "r.jsonl", RANKED))
    edited = [{**RANKED[0], "ranks": [1, 2, 3]}, *RANKED[1:]]
    assert import_into(workspace, written(tmp_path / "r2.jsonl", edited)).new["judgment"] == 1
    revisions = [j.revision for j in workspace.judgments(all_revisions=True)]
    assert sorted(revisions) == [1, 1, 1, 2]
    assert len(workspace.labelers()) == 2


def test_rankings_of_a_campaigns_completions_are_answers_to_it(workspace: Workspace, tmp_path: Path) -> None:
    prompt = Prompt.make(text="Where?", columns={"topic": "parcel"})
    texts = ["c", "a", "b"]
    completions = [Completion.make(prompt.id, text, "model-x", index=n) for n, text in enumerate(texts)]
    campaign = Campaign("campaign-1", "labels", "ranking")
    task = Task("task-1", campaign.id, prompt.id, tuple(c.id for c in completions))
    workspace.put([prompt, *completions, campaign, task])
    done = import_into(workspace, written(tmp_path / "r.jsonl", RANKED[:2]))
    assert done.new == {"labeler": 2, "judgment": 2}
    ann, bob = sorted(workspace.judgments(campaign_id=campaign.id), key=lambda j: str(j.answer))[::-1]
    assert {j.task_id for j in (ann, bob)} == {task.id}
    assert {str(j.answer.ranks) for j in (ann, bob)} == {"(3, 2, 1)", "(None, 1, 1)"}  # type: ignore[union-attr]
    assert import_into(workspace, tmp_path / "r.jsonl").new == {}


def test_a_list_is_read_item_by_item_and_a_broken_one_refused(tmp_path: Path) -> None:
    file = tmp_path / "l.json"
    file.write_text(' \n[ {"prompt": "a]b"} ,\n {"prompt": "c"}, 5 ]')
    assert [p.text for p in read_file(file, "prompts", skip_bad=True).prompts] == ["a]b", "c"]
    with pytest.raises(PreflabError, match="item 3: a JSON int"):
        read_file(file, "prompts")
    for broken, said in [
        ('[{"prompt": "a"} {"prompt": "b"}]', "after item 1"),
        ('[{"prompt": "a"},', "item 2"),
        ('[{"prompt": "a"}', "ends within"),
        ('[{"prompt": "a"}] []', "more after"),
        ('[{"prompt": NaN}]', "the number NaN"),
    ]:
        file.write_text(broken)
        with pytest.raises(PreflabError, match=said):
            read_file(file, "prompts")
    file.write_text("[]")
    with pytest.raises(PreflabError, match="no rows"):
        read_file(file, "prompts")


def test_a_long_list_crosses_the_pieces_it_is_read_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("preflab.store.formats.json_list.PIECE", 7)
    (tmp_path / "l.json").write_text(json.dumps([{"prompt": f"prompt äöü {n}", "n": 1234567 + n} for n in range(50)]))
    found = read_file(tmp_path / "l.json")
    assert [p.columns["n"] for p in found.prompts] == [1234567 + n for n in range(50)]
    assert detect(tmp_path / "l.json").format == "prompts"


def test_limits_of_rows_and_of_a_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = written(tmp_path / "p.jsonl", [{"prompt": str(n)} for n in range(5)])
    monkeypatch.setattr("preflab.store.formats.base.MAX_ROWS", 4)
    with pytest.raises(PreflabError, match="more than 4 rows"):
        read_file(file)
    assert len(read_file(file, limit_rows=4).prompts) == 4
    monkeypatch.setattr("preflab.store.formats.json_lines.ROW_BYTES", 10)
    with pytest.raises(PreflabError, match="a line of more than"):
        read_file(file)
