"""Import and export: equal records after a round trip, equal bytes for equal states, and nothing half-done."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from imported_files import import_into
from preflab.errors import PreflabError
from preflab.records import (
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
    Span,
    Task,
    ThumbsAnswer,
)
from preflab.store.exports import EXPORTS
from preflab.store.exports.base import Settings
from preflab.store.exports.decided_pairs import EQUAL, TIED
from preflab.store.exports.verdicts import NO_VERDICT, UNDECIDED
from preflab.store.formats import FORMATS, read_file
from preflab.store.rows import Record
from preflab.store.transfer import Selection, export_from
from preflab.store.workspace import Workspace

TURNS = (
    Message("system", "Be kind."),
    Message("user", "Wo?"),
    Message("assistant", "Da."),
    Message("user", "Danke 📦"),
)
TEXT = Prompt.make(text="Where is it?", columns={"z": 1, "a": {"y": [0.1, None], "x": "ä"}}, source="a.jsonl, line 1")
CHAT = Prompt.make(messages=TURNS, source="b.jsonl, line 1")
EMPTY = Prompt.make(text="", source="texts")


def completion(prompt: Prompt, words: str, index: int = 0, **other: Any) -> Completion:
    return Completion.make(prompt.id, words, "model-x", index=index, **other)


HERE, GONE, SAME, WORST = (completion(TEXT, words, n) for n, words in enumerate([" Here.", " Gone.", " Here.", "?\n"]))
TOOL = completion(
    CHAT,
    "",
    seed=2**64 - 1,
    spans=(Span("I look. "), Span("[42]", by_policy=False, role="tool"), Span("Bitte!")),
    token_ids=(1, 2, 3),
    logps=(-0.1, -1.5, -1e-9),
    finish_reason="length",
    temperature=0.5,
)
PLAIN = completion(CHAT, "Gern.", 1)
DEMOS = [
    Completion.make(p.id, words, "demonstration", finish_reason="imported", columns={"who": "b"})
    for p, words in [(TEXT, "There."), (CHAT, "Gerne!"), (EMPTY, "Once upon a time")]
]
RANKING = Preference.make(
    TEXT.id,
    (HERE.id, GONE.id, SAME.id, WORST.id),
    (1, 2, 1, None),
    pairs=(
        PairOutcome(0, 1, 2.0, 1.0, 1.0, 0.5),
        PairOutcome(0, 2, 1.0, 1.0, 0.0, 0.5),
        PairOutcome(1, 2, 0.5, 2.5, 0.0, 0.5),
        PairOutcome(0, 2, 1.0, 0.0, 0.0, 0.5),
    ),
    scores={"kind": (4.5, 3.0, None, 1.0), "true": (3.5, 3.0, None, 5.0)},
    source="human",
)
THUMBS = Preference.make(CHAT.id, (TOOL.id, PLAIN.id), (1, 1), thumbs=(0.75, 0.5), source="trl")
CAMPAIGN = Campaign("campaign-1", "kindness", "ranking", instructions="Read\nfirst.", criteria=("kind",))
OTHER = Campaign("campaign-2", "other", "likert")
LABELERS = [Labeler("labeler-1", "owl", "person"), Labeler("labeler-2", "judge", "ai", {"model": "m", "t": 0.5})]
TASK = Task("task-1", CAMPAIGN.id, TEXT.id, (GONE.id, HERE.id))
LIKERT = Task("task-2", OTHER.id, CHAT.id, (TOOL.id,))


def judgment(task: Task, labeler: Labeler, answer: Any, revision: int = 1) -> Judgment:
    return Judgment(
        id=f"judgment-{task.id}-{labeler.id}-{revision}",
        campaign_id=task.campaign_id,
        task_id=task.id,
        prompt_id=task.prompt_id,
        completion_ids=task.completion_ids,
        shown_order=tuple(reversed(range(len(task.completion_ids)))),
        question="Which?",
        polarity=-1,
        answer=answer,
        labeler_id=labeler.id,
        labeler_kind=labeler.kind,
        revision=revision,
        active_ms=1234,
        created_at="2026-11-20T12:00:00Z",
        note='a, "note"',
        surplus=revision == 1 and not isinstance(answer, LikertAnswer),
    )


JUDGMENTS = [
    judgment(TASK, LABELERS[0], RankingAnswer((None, 1))),
    judgment(TASK, LABELERS[0], RankingAnswer((2, 1)), revision=2),
    judgment(TASK, LABELERS[1], ThumbsAnswer((True, None))),
    judgment(LIKERT, LABELERS[1], LikertAnswer({"kind": (5,)})),
]
LEARNED = Preference.make(TEXT.id, TASK.completion_ids, (2, 1), judgment_ids=(JUDGMENTS[1].id,))
ALL: list[Record] = [TEXT, CHAT, EMPTY, HERE, GONE, SAME, WORST, TOOL, PLAIN, *DEMOS, RANKING, THUMBS, LEARNED]
ALL += [CAMPAIGN, OTHER, *LABELERS, TASK, LIKERT, *JUDGMENTS]


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with everything in it, made once."""
    path = tmp_path_factory.mktemp("filled")
    with Workspace.open(path, create=True) as opened:
        opened.put(ALL)
    return path


@pytest.fixture
def workspace(tmp_path: Path, filled: Path) -> Iterator[Workspace]:
    with Workspace.open(shutil.copytree(filled, tmp_path / "w")) as opened:
        yield opened


def rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def unlabelled(record: Any) -> Any:
    """A record without the file and line it came from."""
    return replace(record, source="") if isinstance(record, Prompt) else record


def test_export_of_explicit_pairs_and_what_it_drops(workspace: Workspace, tmp_path: Path) -> None:
    ids = Selection(ids=[RANKING.id])
    summary = export_from(workspace, tmp_path / "p.jsonl", "trl-explicit", selection=ids)
    first, second = rows(tmp_path / "p.jsonl")
    assert {name: first[name] for name in ("prompt", "chosen", "rejected")} == {
        "prompt": "Where is it?",
        "chosen": " Here.",
        "rejected": " Gone.",
    }
    assert first["preflab_chosen_id"] == HERE.id
    assert [first[f"preflab_n_{name}"] for name in ("labels", "for", "against", "tie")] == [4.0, 2.0, 1.0, 1.0]
    assert first["preflab_confidence"] == 0.625  # (2 + 1/2) / 4
    assert (second["preflab_chosen_id"], second["preflab_n_for"]) == (SAME.id, 2.5)
    assert summary.dropped == {TIED: 1, EQUAL: 1}
    export_from(workspace, tmp_path / "s.jsonl", "trl-explicit", selection=ids, settings=Settings(strict=True))
    assert [list(row) for row in rows(tmp_path / "s.jsonl")] == [["prompt", "chosen", "rejected"]] * 2


def test_export_of_other_forms_of_pairs(workspace: Workspace, tmp_path: Path) -> None:
    pair = Preference.make(CHAT.id, (TOOL.id, PLAIN.id), (2, 1), pairs=(PairOutcome(0, 1, 0.0, 1.0, 0.0),))
    workspace.put([pair])
    strict = Settings(strict=True)

    def written(format: str, *ids: str) -> list[dict[str, Any]]:
        export_from(workspace, tmp_path / "x.jsonl", format, selection=Selection(ids=ids), settings=strict)
        return rows(tmp_path / "x.jsonl")

    asked = [{"role": m.role, "content": m.content} for m in TURNS]
    good = [{"role": "assistant", "content": "Gern."}]
    spoken = [("assistant", "I look. "), ("tool", "[42]"), ("assistant", "Bitte!")]
    bad = [{"role": role, "content": words} for role, words in spoken]  # what the tool said is nobody's answer
    assert written("trl-explicit", pair.id) == [{"prompt": asked, "chosen": good, "rejected": bad}]
    assert written("trl-implicit", pair.id) == [{"chosen": asked + good, "rejected": asked + bad}]
    assert written("trl-implicit", RANKING.id)[0] == {"chosen": "Where is it? Here.", "rejected": "Where is it? Gone."}
    assert written("trl-conversational", RANKING.id)[0]["prompt"] == [{"role": "user", "content": "Where is it?"}]
    with pytest.raises(PreflabError, match="completions that are turns, where a text is wanted: 1"):
        written("hh-rlhf", pair.id)
    plain = Preference.make(CHAT.id, (PLAIN.id, DEMOS[1].id), (1, 2), pairs=(PairOutcome(0, 1, 1.0, 0.0, 0.0),))
    workspace.put([plain])
    transcript = "Be kind.\n\nHuman: Wo?\n\nAssistant: Da.\n\nHuman: Danke 📦\n\nAssistant: "
    assert written("hh-rlhf", plain.id) == [{"chosen": f"{transcript}Gern.", "rejected": f"{transcript}Gerne!"}]
    with pytest.raises(PreflabError, match="some prompts are text and some are conversations"):
        written("trl-explicit", pair.id, RANKING.id)


def test_export_labels_come_from_thumbs_and_scores_never_from_pairs(workspace: Workspace, tmp_path: Path) -> None:
    def labels(settings: Settings, *ids: str) -> tuple[list[tuple[str, bool]], dict[str, int]]:
        file = tmp_path / "u.jsonl"
        summary = export_from(workspace, file, "trl-unpaired", selection=Selection(ids=ids), settings=settings)
        return [(row["completion"], row["label"]) for row in rows(file)], dict(summary.dropped)

    # Means of the two criteria: 4, 3, none, 3; of the first alone: 4.5, 3, none, 1.
    assert labels(Settings(strict=True), RANKING.id) == ([(" Here.", True)], {UNDECIDED: 2, NO_VERDICT: 1})
    kind = Settings(strict=True, criterion="kind")
    assert labels(kind, RANKING.id) == ([(" Here.", True), ("?\n", False)], {UNDECIDED: 1, NO_VERDICT: 1})
    thumbs, dropped = labels(Settings(), THUMBS.id)
    assert dropped == {UNDECIDED: 1}
    assert [label for _, label in thumbs] == [True]
    with pytest.raises(PreflabError, match=f"nothing to write .*{NO_VERDICT}: 2"):
        labels(Settings(), LEARNED.id)


@pytest.mark.parametrize("format", sorted(EXPORTS))
def test_export_of_equal_records_and_settings_has_equal_bytes(
    workspace: Workspace, tmp_path: Path, format: str
) -> None:
    with Workspace.open(tmp_path / "other", create=True) as other:
        other.put(reversed(ALL))
        ids = [RANKING.id] if EXPORTS[format].check.__name__ == "one_form" and format != "trl-unpaired" else None
        ids = [THUMBS.id] if format == "trl-unpaired" else ids
        selection = Selection(ids=ids)
        both = EXPORTS[format].parquet and format not in ("prompts", "argilla")  # texts and turns beside one another
        suffixes = [".jsonl", ".parquet"] if both else [".jsonl"]
        for suffix in suffixes if format != "demonstrations" else [".jsonl"]:
            names = [tmp_path / folder / f"x{suffix}" for folder in ("one", "two")]
            summaries = [
                export_from(each, name, format, selection=selection)
                for each, name in zip((workspace, other), names, strict=True)
            ]
            assert names[0].read_bytes() == names[1].read_bytes()
            assert summaries[0].manifest_path.read_bytes() == summaries[1].manifest_path.read_bytes()
            manifest = json.loads(summaries[0].manifest_path.read_text())
            assert manifest["sha256"] == hashlib.sha256(names[0].read_bytes()).hexdigest()
            assert manifest["num_rows"] == summaries[0].num_rows


@pytest.mark.parametrize("format", ["judgments", "preferences", "completions"])
def test_the_archive_brings_everything_back_into_an_empty_workspace(
    workspace: Workspace, tmp_path: Path, format: str
) -> None:
    file = tmp_path / "archive.jsonl"
    selection = Selection(ids=[RANKING.id, THUMBS.id]) if format == "preferences" else None
    export_from(workspace, file, format, selection=selection)
    with Workspace.open(tmp_path / "new", create=True) as new:
        summary = import_into(new, file)
        assert summary.format == format
        assert summary.guess is not None
        if format == "judgments":
            assert new.judgments(all_revisions=True) == workspace.judgments(all_revisions=True)
            assert new.campaigns() == workspace.campaigns()
            assert new.labelers() == workspace.labelers()
            assert new.tasks() == workspace.tasks()
        for old_records, new_records in (
            (workspace.prompts(), new.prompts()),
            (workspace.completions(), new.completions()),
            (workspace.preferences(), new.preferences()),
        ):
            assert all(record in old_records for record in new_records)
        assert new.counts()[format.removesuffix("s")] == summary.num_rows
        export_from(new, tmp_path / "again.jsonl", format, selection=selection)
    assert (tmp_path / "again.jsonl").read_bytes() == file.read_bytes()


def test_preferences_bring_the_judgments_they_were_learned_from(workspace: Workspace, tmp_path: Path) -> None:
    """A preference of the second revision names that one; the first and other tasks stay where they are."""
    file = tmp_path / "preferences.jsonl"
    export_from(workspace, file, "preferences")
    with Workspace.open(tmp_path / "new", create=True) as new:
        import_into(new, file)
        assert new.preferences() == workspace.preferences()
        assert new.judgments(all_revisions=True) == [JUDGMENTS[1]]
        assert new.tasks() == [TASK]
        export_from(new, tmp_path / "again.jsonl", "preferences")
    assert (tmp_path / "again.jsonl").read_bytes() == file.read_bytes()


def test_imported_judgments_and_what_they_come_to_go_into_an_empty_workspace(
    workspace: Workspace, tmp_path: Path
) -> None:
    (tmp_path / "r.jsonl").write_text(
        '{"prompt": "Q", "completions": ["A", "B", "C"], "ranks": [1, 2, "F"], "labeler": "ann"}\n'
    )
    file = tmp_path / "preferences.jsonl"
    with Workspace.open(tmp_path / "old", create=True) as old, Workspace.open(tmp_path / "new", create=True) as new:
        import_into(old, tmp_path / "r.jsonl")
        export_from(old, file, "preferences")
        import_into(new, file)
        assert new.preferences() == old.preferences()
        assert new.judgments() == old.judgments()
        assert import_into(new, file).new == {}


def test_judgments_have_every_field_of_a_submission(workspace: Workspace, tmp_path: Path) -> None:
    export_from(workspace, tmp_path / "j.jsonl", "judgments", settings=Settings(strict=True))
    fields = {"schema_version", "project", "task_id", "prompt_id", "completion_ids", "shown_order", "question"}
    fields |= {"polarity", "answer", "failed", "labeler", "labeler_kind", "revision", "guideline_version"}
    fields |= {"active_ms", "created_at"}
    found = rows(tmp_path / "j.jsonl")
    assert all(fields <= set(row) for row in found)
    assert not any({"prompt", "completions"} & set(row) for row in found)
    by_id = {row["id"]: row for row in found}
    assert by_id[JUDGMENTS[0].id]["failed"] == [True, False]
    assert by_id[JUDGMENTS[0].id]["answer"] == {"way": "ranking", "ranks": [None, 1]}
    assert by_id[JUDGMENTS[2].id]["failed"] is None
    with Workspace.open(tmp_path / "new", create=True) as new:
        with pytest.raises(PreflabError, match="refers to a missing"):
            import_into(new, tmp_path / "j.jsonl", "judgments")
        new.put(record for record in ALL if not isinstance(record, Judgment | Preference))
        assert import_into(new, tmp_path / "j.jsonl", "judgments").new == {"judgment": 4}


def test_an_edited_archive_is_refused(workspace: Workspace, tmp_path: Path) -> None:
    export_from(workspace, tmp_path / "c.jsonl", "completions")
    edited = (tmp_path / "c.jsonl").read_text().replace(" Gone.", " Changed.")
    (tmp_path / "c.jsonl").write_text(edited)
    with pytest.raises(PreflabError, match="does not match its content"):
        import_into(workspace, tmp_path / "c.jsonl")
    (tmp_path / "c.jsonl").write_text(edited.replace('"spans":', '"no_spans":'))
    with pytest.raises(PreflabError, match="no column 'spans'"):
        import_into(workspace, tmp_path / "c.jsonl", "completions")


SOURCES: dict[str, list[dict[str, Any]]] = {
    "trl-explicit": [
        {"prompt": "a", "chosen": "x", "rejected": "y"},
        {"prompt": "a", "chosen": "y", "rejected": "z"},
        {"prompt": "b", "chosen": "", "rejected": "z"},
    ],
    "trl-conversational": [
        {
            "prompt": [{"role": "system", "content": "s"}, {"role": "user", "content": "a"}],
            "chosen": [{"role": "assistant", "content": "x"}],
            "rejected": [{"role": "assistant", "content": "y"}],
        }
    ],
    "trl-implicit": [{"chosen": "The sky is blue", "rejected": "The sky is black"}],
    "trl-unpaired": [
        {"prompt": "a", "completion": "x", "label": True},
        {"prompt": "a", "completion": "y", "label": False},
    ],
    "hh-rlhf": [
        {
            "chosen": "\n\nHuman: a \n\nAssistant:  b\n\nHuman: c\n\nAssistant: d",
            "rejected": "\n\nHuman: a \n\nAssistant:  b\n\nHuman: c\n\nAssistant:e ",
        }
    ],
    "prompts": [{"prompt": "a", "n": 1}, {"prompt": [{"role": "user", "content": "b"}], "n": 2}],
    "demonstrations": [{"prompt": "a", "completion": "b", "n": 1}, {"prompt": "a", "completion": "c", "n": 2}],
}


ROUND_TRIPS = [(f, s) for f in sorted(SOURCES) for s in (".jsonl", ".parquet") if (f, s) != ("prompts", ".parquet")]


@pytest.mark.parametrize(("format", "suffix"), ROUND_TRIPS)
def test_import_export_import_gives_equal_records(tmp_path: Path, format: str, suffix: str) -> None:
    source = tmp_path / "source.jsonl"
    source.write_text("".join(json.dumps(row) + "\n" for row in SOURCES[format]))
    as_read = "trl-explicit" if format == "trl-conversational" else format
    with Workspace.open(tmp_path / "w", create=True) as workspace:
        import_into(workspace, source, as_read)
        export_from(workspace, tmp_path / f"out{suffix}", format)
    before, after = read_file(source, as_read), read_file(tmp_path / f"out{suffix}", as_read)
    for kind in ("prompts", "completions", "preferences"):
        olds, news = ({r.id: unlabelled(r) for r in getattr(found, kind)} for found in (before, after))
        assert olds == news, kind
    assert set(before.demonstrations) == set(after.demonstrations)


def test_parquet_refuses_a_column_of_two_kinds_and_the_archive(workspace: Workspace, tmp_path: Path) -> None:
    with pytest.raises(PreflabError, match="different kinds"):
        export_from(workspace, tmp_path / "p.parquet", "prompts", settings=Settings(strict=True))
    with pytest.raises(PreflabError, match="cannot be written as judgments"):
        export_from(workspace, tmp_path / "j.parquet", "judgments")
    with pytest.raises(PreflabError, match="cannot be written as prompts"):
        export_from(workspace, tmp_path / "p.xlsx", "prompts")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["w"]
    export_from(workspace, tmp_path / "e.parquet", "trl-explicit", selection=Selection(ids=[RANKING.id]))
    assert pq.read_table(tmp_path / "e.parquet").column("chosen").to_pylist() == [" Here.", " Here."]


@pytest.mark.parametrize("format", ["judgments", "preferences", "completions"])
def test_the_archive_is_written_as_json_lines_alone(workspace: Workspace, tmp_path: Path, format: str) -> None:
    for suffix in (".csv", ".tsv", ".parquet"):
        with pytest.raises(PreflabError, match=f"cannot be written as {format}") as caught:
            export_from(workspace, tmp_path / f"a{suffix}", format)
        assert ("cannot read its objects and numbers from cells" in caught.value.found) == (suffix != ".parquet")
        assert caught.value.expected == "a file ending in .jsonl"
        assert caught.value.do == "name it a.jsonl"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["w"]


def test_export_selections(workspace: Workspace, tmp_path: Path) -> None:
    def num(format: str, **chosen: Any) -> int:
        return export_from(workspace, tmp_path / "x.jsonl", format, selection=Selection(**chosen)).num_rows

    assert num("judgments", campaign="kindness") == 3
    assert num("judgments", campaign=OTHER.id) == 1
    assert num("preferences", campaign="kindness") == 1
    assert num("preferences", source="trl") == 1
    assert num("prompts", source="b.jsonl") == 1
    assert num("completions", model="model-x") == 6
    assert num("completions", prompt_ids=[CHAT.id]) == 3
    with pytest.raises(PreflabError, match="near it: kindness"):
        num("judgments", campaign="kindnes")
    with pytest.raises(PreflabError, match="a selection by campaign for prompts"):
        num("prompts", campaign="kindness")
    with pytest.raises(PreflabError, match="by ids and by something else"):
        num("preferences", ids=[THUMBS.id], source="trl")
    with pytest.raises(PreflabError, match="near it: trl-explicit"):
        export_from(workspace, tmp_path / "x.jsonl", "trl-explicitt")


def test_a_bad_row_loads_nothing_and_skipping_it_is_reported(workspace: Workspace, tmp_path: Path) -> None:
    file = tmp_path / "bad.jsonl"
    file.write_text('{"prompt": "new"}\n{"prompt": ""}\n{"prompt": "Where is it?", "z": 2}\n')
    before = workspace.counts()
    with pytest.raises(PreflabError, match=r"bad.jsonl, line 2: an empty prompt"):
        import_into(workspace, file)
    assert workspace.counts() == before
    summary = import_into(workspace, file, skip_bad=True)
    assert (summary.new, [problem.line for problem in summary.problems]) == ({"prompt": 2}, [2])
    again = import_into(workspace, file, skip_bad=True)
    assert (again.new, again.known, again.num_rows) == ({}, {"prompt": 2}, 3)


def no_space(*_: object, **__: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("where", ["os.replace", "os.fsync", "pathlib.Path.write_bytes"])
def test_export_on_a_full_disk_leaves_the_old_one(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    file = tmp_path / "out" / "p.jsonl"
    export_from(workspace, file, "prompts")
    before = file.read_bytes()
    workspace.put([Prompt.make(text="one more")])
    with monkeypatch.context() as patch:
        patch.setattr(where, no_space)
        with pytest.raises(PreflabError, match="No space left"):
            export_from(workspace, file, "prompts")
    assert sorted(path.name for path in file.parent.iterdir()) == ["p.jsonl", "p.jsonl.manifest.json"]
    assert file.read_bytes() == before


def test_a_data_set_saved_to_disk_is_read_back(workspace: Workspace, tmp_path: Path) -> None:
    from datasets import Dataset

    export_from(workspace, tmp_path / "e.jsonl", "trl-explicit", selection=Selection(ids=[RANKING.id]))
    Dataset.from_list(rows(tmp_path / "e.jsonl")[:1]).save_to_disk(tmp_path / "set")
    found = read_file(tmp_path / "set")
    assert (found.format, found.unit) == ("trl-explicit", "row")
    assert [c.text for c in found.completions] == [" Here.", " Gone."]
    assert found.completions[0].columns == {}, "columns of ours are not read back"


def test_the_page_of_formats_names_every_format_and_no_other(repository: Path) -> None:
    page = (repository / "docs" / "reference" / "formats.md").read_text(encoding="utf-8")
    table = page.partition("## Kinds of files")[0]
    listed = {line.split("`")[1] for line in table.splitlines() if line.startswith("| `")}
    assert listed == set(FORMATS) | set(EXPORTS)
