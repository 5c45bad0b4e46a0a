"""The workspace keeps every record bit for bit, once, with its parents, and refuses what would overwrite or orphan."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import delete, text, update

from preflab.errors import PreflabError
from preflab.pipeline.runs import locked
from preflab.records import (
    Campaign,
    Completion,
    Evaluation,
    Judgment,
    Labeler,
    LikertAnswer,
    Message,
    PairOutcome,
    Preference,
    Prompt,
    RankingAnswer,
    SideBySideAnswer,
    Span,
    Task,
    ThumbsAnswer,
)
from preflab.store.database import reading, writing
from preflab.store.restore import restore
from preflab.store.rows import Record
from preflab.store.schema import SCHEMA_VERSION, Base, JudgmentRow
from preflab.store.workspace import DATABASE, Workspace

CHAT = Prompt.make(
    messages=(Message("system", "Be kind."), Message("user", "Wo ist mein Päckchen? 📦")),
    columns={"topic": "parcel", "difficulty": 0.1, "tags": ["a", None], "nested": {"z": 1, "a": [True]}},
    source="prompts.jsonl, line 3",
)
PLAIN = Prompt.make(text="Q: where?\u2028A:")
MODEL = "model-0123456789abcdef01234567"
GOOD = Completion.make(
    CHAT.id,
    "",
    MODEL,
    seed=2**64 - 1,
    index=0,
    spans=(Span("I look it up. "), Span('{"found": true}', by_policy=False, role="tool"), Span("It comes today.")),
    finish_reason="length",
    token_ids=(0, 2**31 - 1, 17),
    logps=(-0.1, -1e-300, -12.345678901234567),
    temperature=0.7,
    columns={"k": 1},
)
BAD = Completion.make(CHAT.id, "No.", MODEL, seed=1, index=1, finish_reason="imported")
LABELER = Labeler("labeler-1", "owl", "person", {"hours": 2})
CAMPAIGN = Campaign("campaign-1", "kindness", "ranking", instructions="Read first.", criteria=("kind", "true"))
TASK = Task("task-1", CAMPAIGN.id, CHAT.id, (BAD.id, GOOD.id))


def judgment(answer: object, revision: int = 1, labeler: str = "labeler-1") -> Judgment:
    """A judgment of the one task."""
    return Judgment(
        id=f"judgment-{labeler}-{revision}",
        campaign_id=CAMPAIGN.id,
        task_id=TASK.id,
        prompt_id=CHAT.id,
        completion_ids=TASK.completion_ids,
        shown_order=(1, 0),
        question=CAMPAIGN.question,
        polarity=-1,
        answer=answer,  # type: ignore[arg-type]
        labeler_id=labeler,
        labeler_kind="person",
        revision=revision,
        active_ms=2**40,
        created_at="2026-11-20T12:00:00Z",
        note="'; DROP TABLE judgments; --",
        flagged=True,
    )


JUDGMENT = judgment(RankingAnswer((2, None)))
PREFERENCE = Preference.make(
    CHAT.id,
    TASK.completion_ids,
    (2, None),
    pairs=(PairOutcome(0, 1, 0.3, 2.0, 0.0, weight=1 / 3),),
    judgment_ids=(JUDGMENT.id,),
    scores={"kind": (1.5, None)},
    thumbs=(0.25, None),
    source="simulated",
)
EVALUATION = Evaluation("evaluation-1", "gold", MODEL, 0.1, -0.2, 0.4, 64, "points", "model-b", (GOOD.id,))
ALL: list[Record] = [EVALUATION, PREFERENCE, JUDGMENT, TASK, CAMPAIGN, LABELER, BAD, GOOD, PLAIN, CHAT]


@pytest.fixture
def workspace(tmp_path: Path) -> Iterator[Workspace]:
    with Workspace.open(tmp_path / "a folder, 100 % odd? #1 & ä", create=True) as opened:
        yield opened


def check_round_trip(workspace: Workspace) -> None:
    """Everything comes back equal, from a batch in the worst order; a second put adds nothing."""
    new = workspace.put(ALL)
    assert sum(new.values()) == len(ALL)
    assert workspace.prompts([PLAIN.id, CHAT.id]) == [PLAIN, CHAT]
    assert workspace.prompts([CHAT.id])[0].source == CHAT.source
    assert workspace.completions([GOOD.id, BAD.id, GOOD.id]) == [GOOD, BAD, GOOD]
    assert workspace.labelers() == [LABELER]
    assert workspace.campaigns(name="kindness") == [CAMPAIGN]
    assert workspace.tasks(campaign_id=CAMPAIGN.id) == [TASK]
    assert workspace.judgments() == [JUDGMENT]
    assert workspace.preferences(source="simulated") == [PREFERENCE]
    assert workspace.evaluations(model=MODEL) == [EVALUATION]
    assert workspace.put(reversed(ALL)) == dict.fromkeys(new, 0)
    assert workspace.counts() == new


def check_append_only(workspace: Workspace) -> None:
    """Neither update nor delete of a judgment, and nothing of the refused transaction stays."""
    workspace.put(ALL)
    table = JudgmentRow.__table__
    for statement in (update(table).values(note=""), delete(table)):
        with pytest.raises(PreflabError, match="append-only"), writing(workspace.engine) as connection:
            connection.execute(statement)
    assert workspace.judgments() == [JUDGMENT]


def test_workspace_returns_every_record_equal(workspace: Workspace) -> None:
    check_round_trip(workspace)


def test_judgments_are_append_only(workspace: Workspace) -> None:
    check_append_only(workspace)


def test_workspace_on_postgresql_behaves_alike(tmp_path: Path, postgres_url: str) -> None:
    with Workspace.open(tmp_path / "p", create=True, url=postgres_url) as workspace:
        check_round_trip(workspace)
        check_append_only(workspace)
        workspace.put([judgment(RankingAnswer((1, 2)), revision=2)])
        with pytest.raises(PreflabError, match="revision 2 is stored already"):
            workspace.put([replace(judgment(RankingAnswer((1, 1)), revision=2), id="judgment-other")])
        with pytest.raises(PreflabError, match="refers to a missing prompt"):
            workspace.put([Completion.make("prompt-none", "x", MODEL)])
    with Workspace.open(tmp_path / "p", url=postgres_url) as again:
        assert [j.revision for j in again.judgments()] == [2]
        assert len(again.judgments(all_revisions=True)) == 2


@pytest.mark.parametrize(
    "answer",
    [
        RankingAnswer((2, 1, None)),
        SideBySideAnswer("equal"),
        SideBySideAnswer(None, best=2),
        LikertAnswer({"kind": (4, None), "true": (1, 5)}),
        ThumbsAnswer((True, False, None)),
    ],
)
def test_workspace_returns_every_kind_of_answer_equal(workspace: Workspace, answer: object) -> None:
    workspace.put([*ALL, judgment(answer, revision=2)])
    assert workspace.judgments()[0].answer == answer


def test_judgments_are_latest_revisions_and_all_are_kept(workspace: Workspace) -> None:
    other = replace(LABELER, id="labeler-2")
    second = judgment(RankingAnswer((1, 1)), revision=2)
    workspace.put([*ALL, other, judgment(RankingAnswer((1, 2)), labeler="labeler-2"), second])
    assert [(j.labeler_id, j.revision) for j in workspace.judgments()] == [("labeler-1", 2), ("labeler-2", 1)]
    assert len(workspace.judgments(campaign_id=CAMPAIGN.id, all_revisions=True)) == 3
    assert workspace.judgments(campaign_id="campaign-none") == []
    with pytest.raises(PreflabError, match="by labeler labeler-1 with revision 2 is stored already"):
        workspace.put([replace(second, id="judgment-new")])


def test_put_refuses_one_id_for_two_contents(workspace: Workspace) -> None:
    workspace.put(ALL)
    with pytest.raises(PreflabError, match="another text"):
        workspace.put([replace(CHAT, text="other")])
    with pytest.raises(PreflabError, match="another answer"):
        workspace.put([replace(JUDGMENT, answer=RankingAnswer((1, 2)))])
    with pytest.raises(PreflabError, match="another name"):
        workspace.put([replace(LABELER, id="labeler-9"), replace(LABELER, id="labeler-9", name="two in one batch")])
    assert len(workspace.labelers()) == 1


def test_put_keeps_the_first_of_fields_outside_the_content(workspace: Workspace) -> None:
    workspace.put([CHAT, GOOD])
    assert (
        sum(workspace.put([replace(CHAT, source="elsewhere"), replace(GOOD, logps=(-0.1, -0.2, -0.3))]).values()) == 0
    )
    assert workspace.prompts() == [CHAT]
    assert workspace.completions() == [GOOD]


def test_put_names_missing_parents_and_foreign_completions(workspace: Workspace) -> None:
    with pytest.raises(PreflabError, match=f"refers to a missing prompt: {CHAT.id}"):
        workspace.put([PLAIN, GOOD])
    assert workspace.prompts() == [], "nothing half-loads"
    foreign = Completion.make(PLAIN.id, "x", MODEL)
    with pytest.raises(PreflabError, match="of another prompt"):
        workspace.put([PLAIN, CHAT, BAD, foreign, Preference.make(CHAT.id, (BAD.id, foreign.id), (1, 2))])


def test_reading_names_missing_ids(workspace: Workspace) -> None:
    workspace.put([CHAT])
    with pytest.raises(PreflabError, match="2 prompt ids not in the workspace: prompt-x, prompt-y"):
        workspace.prompts([CHAT.id, "prompt-x", "prompt-y"])


def test_put_refuses_nan_and_foreign_objects(workspace: Workspace) -> None:
    with pytest.raises(PreflabError, match="cannot hold"):
        workspace.put([Prompt("prompt-nan", "x", columns={"a": float("nan")})])
    with pytest.raises(PreflabError, match="cannot hold"):
        workspace.put([Prompt("prompt-set", "x", columns={"a": {1, 2}})])
    with pytest.raises(PreflabError, match="a record of type str"):
        workspace.put(["prompt"])  # type: ignore[list-item]


def test_workspace_reads_more_records_than_one_query_takes(workspace: Workspace) -> None:
    prompts = [Prompt.make(text=f"prompt number {n}") for n in range(1501)]
    assert workspace.put(prompts)["prompt"] == 1501
    assert workspace.prompts([p.id for p in prompts]) == prompts
    assert len(workspace.completions(prompt_ids=[p.id for p in prompts])) == 0


def test_opening_a_workspace_says_what_is_wrong(tmp_path: Path) -> None:
    with pytest.raises(PreflabError, match="no such folder"):
        Workspace.open(tmp_path / "none")
    with pytest.raises(PreflabError, match=f"no {DATABASE} in it"):
        Workspace.open(tmp_path)
    (tmp_path / DATABASE).write_bytes(b"this is a text, not a database. " * 100)
    with pytest.raises(PreflabError, match="not a database"):
        Workspace.open(tmp_path)
    with pytest.raises(PreflabError, match="mysql"):
        Workspace.open(tmp_path, url="mysql://host/name")
    (tmp_path / "file").touch()
    with pytest.raises(PreflabError, match="file"):
        Workspace.open(tmp_path / "file", create=True)


def test_sqlite_settings_are_crash_safe(tmp_path: Path) -> None:
    """In a process of its own: commits of the other tests do not wait for the disk."""
    code = (
        "from preflab.store.database import reading; from preflab.store.workspace import Workspace\n"
        f"with Workspace.open({str(tmp_path / 'w')!r}, create=True) as ws, reading(ws.engine) as connection:\n"
        "    for name in ('journal_mode', 'synchronous', 'foreign_keys'):\n"
        "        print(name, connection.exec_driver_sql(f'PRAGMA {name}').scalar())\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["journal_mode wal", "synchronous 2", "foreign_keys 1"]


def test_database_file_is_private(tmp_path: Path) -> None:
    """Names, addresses and hashes of passwords are in it, and in the log beside it; an older, open one is closed."""
    folder = tmp_path / "new"
    former = os.umask(0o022)
    try:
        with Workspace.open(folder, create=True) as workspace:
            workspace.put([Prompt.make(text="a")])
            workspace.backup(tmp_path / "copy.db")
            modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in (folder, *folder.glob("preflab.db*"))}
    finally:
        os.umask(former)
    assert modes == {"new": 0o700, "preflab.db": 0o600, "preflab.db-wal": 0o600, "preflab.db-shm": 0o600}
    assert stat.S_IMODE((tmp_path / "copy.db").stat().st_mode) == 0o600
    restore(tmp_path / "copy.db", tmp_path / "restored")
    (folder / "preflab.db").chmod(0o644)
    Workspace.open(folder).close()
    for file in (folder / "preflab.db", tmp_path / "restored" / "preflab.db"):
        assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_workspace_folder_is_private_if_its_lock_came_first(tmp_path: Path) -> None:
    """A run, `label` and `restore` lock the folder before there is a database in it."""
    former = os.umask(0o022)
    try:
        with locked(tmp_path / "new" / "runs"):
            mode = stat.S_IMODE((tmp_path / "new").stat().st_mode)
    finally:
        os.umask(former)
    assert mode == 0o700


def test_migrations_make_exactly_the_tables_of_the_schema(workspace: Workspace) -> None:
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext

    from preflab.store.migrate import known_versions

    assert known_versions()[-1] == SCHEMA_VERSION
    with reading(workspace.engine) as connection:
        assert compare_metadata(MigrationContext.configure(connection), Base.metadata) == []


def test_opening_a_migrated_workspace_does_not_import_alembic(workspace: Workspace) -> None:
    code = (
        f"import sys; from preflab.store.workspace import Workspace; Workspace.open({str(workspace.path)!r}).close(); "
        "print('alembic' in sys.modules, 'torch' in sys.modules)"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=_environment())
    assert shown.stdout.split() == ["False", "False"]


def test_a_newer_database_is_refused(workspace: Workspace) -> None:
    workspace.close()
    connection = sqlite3.connect(workspace.path / DATABASE)
    connection.execute("UPDATE alembic_version SET version_num = '0999'")
    connection.commit()
    connection.close()
    with pytest.raises(PreflabError, match="tables of version 0999"):
        Workspace.open(workspace.path)


def test_a_backup_can_be_opened(workspace: Workspace, tmp_path: Path) -> None:
    workspace.put(ALL)
    (tmp_path / "copy").mkdir()
    workspace.backup(tmp_path / "copy" / DATABASE)
    with Workspace.open(tmp_path / "copy") as copy:
        assert copy.counts() == workspace.counts()
        assert copy.judgments() == [JUDGMENT]


def _environment() -> dict[str, str]:
    source = Path(__file__).resolve().parents[3] / "src"
    return os.environ | {"PYTHONPATH": str(source)}


def _open_and_put(path: str, number: int) -> None:
    with Workspace.open(path, create=True) as workspace:
        for index in range(10):
            workspace.put([Prompt.make(text=f"{number}-{index}"), CHAT])


def test_workspace_filled_by_several_processes(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    started = [context.Process(target=_open_and_put, args=(str(tmp_path / "w"), number)) for number in range(4)]
    for process in started:
        process.start()
    for process in started:
        process.join(60)
    assert [process.exitcode for process in started] == [0] * 4
    with Workspace.open(tmp_path / "w") as workspace:
        assert workspace.counts()["prompt"] == 41


WRITER = """
import sys
from preflab.records import Prompt
from preflab.store.workspace import Workspace
workspace = Workspace.open(sys.argv[1], create=True)
for number in range(100000):
    workspace.put([Prompt.make(text=f"{number}")])
    print(number, flush=True)
"""


def test_workspace_loses_nothing_acknowledged_when_killed(tmp_path: Path) -> None:
    command = [sys.executable, "-c", WRITER, str(tmp_path / "w")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=_environment()) as process:
        assert process.stdout is not None
        acknowledged = [next(process.stdout).strip() for _ in range(40)]
        process.send_signal(signal.SIGKILL)
        acknowledged += process.stdout.read().split()
    with Workspace.open(tmp_path / "w") as workspace:
        assert {p.text for p in workspace.prompts()} >= set(acknowledged)
        with reading(workspace.engine) as connection:
            assert connection.execute(text("PRAGMA integrity_check")).scalar() == "ok"


def test_put_in_a_full_database_leaves_what_was_there(workspace: Workspace) -> None:
    workspace.put([CHAT])
    with writing(workspace.engine) as connection:
        connection.exec_driver_sql("PRAGMA max_page_count = 60")
    with pytest.raises(PreflabError, match="full"):
        workspace.put([Prompt.make(text=f"{number}" * 500) for number in range(5000)])
    assert workspace.prompts() == [CHAT]
