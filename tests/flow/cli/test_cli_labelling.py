"""The commands around the labelling app, in-process: campaigns, accounts, backups, and a run that waits."""

from __future__ import annotations

import io
import json
import threading
import time
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from preflab.cli import run_command
from preflab.files import write_json
from preflab.labelling.accounts import create_account, list_accounts
from preflab.labelling.assignment import next_turn
from preflab.labelling.audit import list_events
from preflab.labelling.campaigns import campaign_view, list_campaigns
from preflab.labelling.invites import use_invite
from preflab.labelling.sessions import account_of_token
from preflab.labelling.signing_in import sign_in
from preflab.labelling.submissions import Submission, submit
from preflab.records import RankingAnswer
from preflab.store.images import add_image, read_image
from preflab.store.workspace import Workspace

Captured = pytest.CaptureFixture[str]
PASSWORD = "correct horse battery"


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    rows = [{"prompt": "Where?", "completions": ["a", "b", "c"]}, {"prompt": "When?", "completions": ["x", "y"]}]
    (tmp_path / "c.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return tmp_path


def said(capsys: Captured, *words: str) -> dict[str, Any]:
    """What a command says as JSON; it has to go well."""
    capsys.readouterr()
    assert run_command([*words, "--json"]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def refused(capsys: Captured, *words: str) -> str:
    capsys.readouterr()
    with pytest.raises(SystemExit) as leaving:
        run_command(words)
    assert leaving.value.code == 2
    return capsys.readouterr().err


def test_a_campaign_is_made_changed_and_closed(here: Path, capsys: Captured) -> None:
    (here / "guide.md").write_text("# How\n")
    made = said(capsys, "campaign", "create", "c.jsonl", "--name", "helpful", "--overlap", "2", "--instructions",
                "guide.md", "--option", "ask_note=true")  # fmt: skip
    assert made["num_tasks"] == 2
    assert made["link"].endswith(f"/c/{made['campaign_id']}")
    shown = said(capsys, "campaign", "show", "helpful")
    assert (shown["num_tasks"], shown["num_labels"], shown["options"]["ask_note"]) == (2, 0, True)
    assert said(capsys, "campaign", "options", "helpful", "overlap=5")["options"]["overlap"] == 5
    (here / "guide.md").write_text("# Better\n")
    assert said(capsys, "campaign", "instructions", "helpful", "guide.md")["version"] == 2
    assert said(capsys, "campaign", "instructions", "helpful")["text"] == "# Better\n"
    for command, state in (("pause", "paused"), ("open", "open"), ("close", "closed")):
        assert said(capsys, "campaign", command, "helpful")["state"] == state
    (listed,) = said(capsys, "campaign", "list")["campaigns"]
    assert (listed["name"], listed["state"]) == ("helpful", "closed")
    with Workspace.open(here) as store:
        actors = {event.actor for event in list_events(store, 100) if event.what != "campaign created"}
    assert actors == {"command line"}


def test_images_are_named_by_their_paths_and_copied(here: Path, capsys: Captured) -> None:
    (here / "drawn").mkdir()
    for name in ("a", "b"):
        (here / "drawn" / f"{name}.png").write_bytes(b"\x89PNG\r\n\x1a\n" + name.encode())
    row = {"prompt": "a cat", "completions": ["drawn/a.png", "drawn/b.png"]}
    (here / "images.jsonl").write_text(json.dumps(row) + "\n")
    said(capsys, "campaign", "create", "images.jsonl", "--name", "cats", "--option", "content=image")
    with Workspace.open(here) as store:
        found = [read_image(here, completion.text) for completion in store.completions()]
    assert sorted(found) == [(b"\x89PNG\r\n\x1a\na", "image/png"), (b"\x89PNG\r\n\x1a\nb", "image/png")]  # type: ignore[type-var]
    (here / "bad.jsonl").write_text(json.dumps(row | {"completions": ["drawn/a.png", "drawn/c.png"]}) + "\n")
    complaint = refused(capsys, "campaign", "create", "bad.jsonl", "--name", "x", "--option", "content=image")
    assert "bad.jsonl, line 1: " in complaint
    assert "drawn/c.png" in complaint


def test_a_name_of_two_words_can_be_typed_as_it_is_printed(here: Path, capsys: Captured) -> None:
    made = said(capsys, "campaign", "create", "c.jsonl", "--name", "Helpful support")
    assert "`preflab campaign invite 'Helpful support'`" in made["next"]
    assert "'Helpful support'" in said(capsys, "campaign", "list")["next"]
    assert "'Helpful support'" in said(capsys, "campaign", "show", "Helpful support")["next"]


@pytest.mark.parametrize(
    ("way", "question"),
    [
        ("ranking", "Which completion is better?"),
        ("best_of", "Which completion is the best?"),
        ("thumbs", "Is this a good completion?"),
    ],
)
def test_each_way_has_a_question_that_suits_it(here: Path, capsys: Captured, way: str, question: str) -> None:
    said(capsys, "campaign", "create", "c.jsonl", "--name", "c", "--way", way)
    assert said(capsys, "campaign", "show", "c")["options"]["question"] == question
    said(capsys, "campaign", "create", "c.jsonl", "--name", "mine", "--way", way, "--question", "Which is kinder?")
    assert said(capsys, "campaign", "show", "mine")["options"]["question"] == "Which is kinder?"


def test_the_usual_question_for_the_worse_one_asks_for_it(here: Path, capsys: Captured) -> None:
    said(capsys, "campaign", "create", "c.jsonl", "--name", "c", "--option", "polarity=-1")
    assert said(capsys, "campaign", "show", "c")["options"]["question"] == "Which completion is worse?"


def test_ways_of_judging_from_the_command_line(here: Path, capsys: Captured) -> None:
    gold = {"prompt": "1 + 1?", "completions": ["2"], "scores": {"kind": [5]}}
    (here / "gold.jsonl").write_text(json.dumps(gold) + "\n")
    made = said(capsys, "campaign", "create", "c.jsonl", "--name", "rate", "--way", "likert", "--criterion",
                "kind:rude:warm", "--gold", "gold.jsonl")  # fmt: skip
    with Workspace.open(here) as store:
        view = campaign_view(store, made["campaign_id"])
    assert (view.options.criteria, view.options.scale_ends) == (("kind",), {"kind": ("rude", "warm")})
    assert (view.num_tasks, view.options.gold_share) == (2, 0.1)
    assert said(capsys, "campaign", "create", "c.jsonl", "--name", "ab", "--way", "side_by_side")["num_tasks"] == 4
    again = said(capsys, "campaign", "create", "--source", "all", "--name", "again", "--way", "best_of")
    assert again["num_tasks"] >= 2


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (["show", "helpfull"], "there is no campaign 'helpfull'"),
        (["options", "helpful", "overlaps=3"], "there is no option `overlaps`"),
        (["options", "helpful", "overlap=0"], "overlap"),
        (["options", "helpful", "overlap=1:40"], "overlap"),
        (["options", "helpful", "overlap=!!int abc"], "`!!int` stands before `abc`"),
        (["create", "--name", "x"], "neither a file nor --source"),
        (["create", "c.jsonl", "--source", "all", "--name", "x"], "both a file and --source"),
        (["create", "c.jsonl", "--name", "x", "--instructions", "none.md"], "none.md: No such file"),
        (["create", "c.jsonl", "--name", "x", "--way", "likert"], "criteria is empty"),
        (["create", "c.jsonl", "--name", "x", "--criterion", "kind:rude"], "--criterion kind:rude"),
        (["create", "none.jsonl", "--name", "x"], "none.jsonl"),
        (["invite", "helpful", "--role", "boss"], "role: 'boss'"),
    ],
)
def test_refusals_are_three_short_lines(here: Path, capsys: Captured, words: list[str], found: str) -> None:
    said(capsys, "campaign", "create", "c.jsonl", "--name", "helpful")
    error = refused(capsys, "campaign", *words)
    assert error.startswith("error: ")
    assert found in error
    assert len(error.splitlines()) <= 3


def test_an_invitation_lets_one_person_in(here: Path, capsys: Captured) -> None:
    made = said(capsys, "campaign", "create", "c.jsonl", "--name", "helpful")
    link = said(capsys, "campaign", "invite", "helpful", "--hours", "1")["link"]
    with Workspace.open(here) as store:
        account = use_invite(store, link.rpartition("/")[2], "Ann", PASSWORD)
        assert (account.role, account.everywhere) == ("labeler", False)
        assert next_turn(store, made["campaign_id"], account.labeler_id) is not None


def test_accounts_from_the_command_line(here: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(PASSWORD + "\n"))
    said(capsys, "account", "add", "Lea", "--role", "lead", "--password-stdin")
    said(capsys, "account", "add", "Bo", "--no-password", "--email", "bo@example.org")
    token = said(capsys, "account", "token", "bo")["token"]
    with Workspace.open(here) as store:
        assert sign_in(store, "lea", PASSWORD).role == "lead"
        found = account_of_token(store, token)
        assert found is not None
        assert found.name == "Bo"
    monkeypatch.setattr("sys.stdin", io.StringIO("another password\n"))
    said(capsys, "account", "password", "Lea", "--password-stdin")
    said(capsys, "account", "revoke", "Bo")
    with Workspace.open(here) as store:
        assert account_of_token(store, token) is None
        assert sign_in(store, "lea", "another password").name == "Lea"
    said(capsys, "account", "erase", "Bo")
    rows = said(capsys, "account", "list")["accounts"]
    assert [(row["name"], row["state"]) for row in rows] == [("Lea", "active"), ("", "erased")]
    assert "only lead" in refused(capsys, "account", "revoke", "Lea")
    assert "near it: Lea" in refused(capsys, "account", "revoke", "Leaa")


def test_a_backup_brings_everything_back(here: Path, capsys: Captured) -> None:
    said(capsys, "campaign", "create", "c.jsonl", "--name", "helpful")
    with Workspace.open(here) as store:
        create_account(store, "Ann", "labeler", PASSWORD)
    kept = Path(said(capsys, "backup")["result"])
    assert kept.stat().st_mode & 0o777 == 0o600
    said(capsys, "campaign", "create", "c.jsonl", "--name", "later")
    back = said(capsys, "restore", str(kept))
    assert back["counts"]["campaign"] == 1
    assert Path(back["former"]).exists()
    with Workspace.open(here) as store:
        assert [view.campaign.name for view in list_campaigns(store)] == ["helpful"]
        assert sign_in(store, "Ann", PASSWORD).name == "Ann"
    (here / "broken.db").write_bytes(b"no database")
    assert "broken.db" in refused(capsys, "restore", "broken.db")
    assert "broken.db" in refused(capsys, "restore", "broken.db", "--workspace", "new")
    assert not (here / "new").exists()
    (here / "new").mkdir()
    assert "broken.db" in refused(capsys, "restore", "broken.db", "--workspace", "new")
    assert not list((here / "new").iterdir())
    assert "exists already" in refused(capsys, "backup", str(kept))


def test_a_backup_holds_the_images_to_judge(here: Path, capsys: Captured) -> None:
    said(capsys, "campaign", "create", "c.jsonl", "--name", "helpful")
    (here / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n the rest of it")
    name = add_image(here, here / "a.png")
    (here / "images" / "notes.txt").write_text("no image")
    found = said(capsys, "backup", "copy.db")
    assert Path(found["images"]) == Path("copy.images")
    assert [path.name for path in (here / "copy.images").iterdir()] == [name]
    (here / "images" / name).unlink()
    said(capsys, "restore", "copy.db")
    assert read_image(here, name) == ((here / "a.png").read_bytes(), "image/png")


RECIPE = """
recipe: 1
data: {prompts: {path: prompts.jsonl}}
stages:
  answers: {kind: sample, model: nobody/nothing, prompts: prompts}
  labels: {kind: judge, completions: answers, overlap: 1}
  prefs: {kind: preferences, judgments: labels}
"""


@pytest.fixture
def sampled(here: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A recipe whose completions are there already."""
    import types

    from preflab import stages
    from preflab.records import Completion
    from preflab.stages.base import StageContext, StageResult

    def run(ctx: StageContext) -> StageResult:
        prompts = ctx.prompts("prompts")
        made = [Completion.make(p.id, text, "model-x", index=n) for p in prompts for n, text in enumerate("abc")]
        ctx.workspace.put([*prompts, *made])
        write_json(ctx.folder / "completions.json", [completion.id for completion in made])
        return StageResult("written")

    module = types.ModuleType("written_stage")
    module.__dict__.update(VERSION=1, needs_torch=False, run=run)
    monkeypatch.setitem(__import__("sys").modules, "written_stage", module)
    monkeypatch.setitem(stages.MODULES, "sample", "written_stage")
    (here / "recipe.yaml").write_text(RECIPE)
    (here / "prompts.jsonl").write_text("".join(json.dumps({"prompt": f"q {n}?"}) + "\n" for n in range(2)))
    return here


def answer_all(folder: Path) -> None:
    """A person who comes, ranks what there is, and leaves."""
    for _ in range(400):
        with Workspace.open(folder, create=True) as store:
            views = list_campaigns(store)
            if views and views[0].num_tasks:
                break
        time.sleep(0.05)
    with Workspace.open(folder) as store:
        account = create_account(store, "Ann", "labeler")
        while (turn := next_turn(store, views[0].campaign.id, account.labeler_id)) is not None:
            submit(
                store, Submission(f"key-{turn.task.id}", turn.task.id, account.labeler_id, 0, RankingAnswer((1, 2, 3)))
            )


def test_a_run_says_what_it_waits_for_and_goes_on_when_run_again(sampled: Path, capsys: Captured) -> None:
    capsys.readouterr()
    assert run_command(["run"]) == 0
    out = capsys.readouterr().out.splitlines()
    (view,) = _views(sampled)
    assert "waiting  0 of 2 tasks have 1 label" in out[2]
    assert out[2].endswith(f"http://127.0.0.1:8400/c/{view.campaign.id}")
    assert "`preflab campaign invite labels`" in out[-1]
    answer_all(sampled)
    assert run_command(["run"]) == 0
    assert [line.split()[1] for line in capsys.readouterr().out.splitlines()[1:4]] == ["done", "done", "done"]


def _views(folder: Path) -> list[Any]:
    with Workspace.open(folder) as store:
        return list_campaigns(store)


def test_a_run_that_waits_goes_on_by_itself(sampled: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("preflab.cli.waiting.wait_for_answers.__defaults__", (0.05,))
    person = threading.Thread(target=answer_all, args=(sampled,))
    person.start()
    try:
        found = said(capsys, "run", "--wait")
    finally:
        person.join(timeout=30)
    assert [stage["state"] for stage in found["stages"]] == ["done"] * 3


def test_a_run_can_serve_the_app_while_it_waits(
    sampled: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("preflab.cli.waiting.wait_for_answers.__defaults__", (0.05,))
    seen: list[int] = []

    def visit() -> None:
        for _ in range(2_000):  # what is missed here is waited for until the time limit
            if (sampled / "label.json").exists():
                break
            time.sleep(0.05)
        url = json.loads((sampled / "label.json").read_text())["url"]
        with urllib.request.urlopen(f"{url}/healthz") as reply:
            seen.append(reply.status)
        answer_all(sampled)

    person = threading.Thread(target=visit)
    person.start()
    try:
        found = said(capsys, "run", "--serve", "--port", "0")
    finally:
        person.join(timeout=30)
    assert seen == [200]
    assert [stage["state"] for stage in found["stages"]] == ["done"] * 3


def test_ctrl_c_ends_the_waiting_cleanly(sampled: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch) -> None:
    def pressed(seconds: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("preflab.cli.waiting.time.sleep", pressed)
    assert run_command(["run", "--wait"]) == 130
    assert "interrupted: run the same command again" in capsys.readouterr().err
    answer_all(sampled)
    assert run_command(["run"]) == 0
    assert "done" in capsys.readouterr().out


def test_the_label_command_says_where_it_is_and_gives_the_first_lead_the_way_in(
    here: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    import uvicorn

    monkeypatch.setattr(uvicorn.Server, "run", lambda self, sockets=None: None)
    capsys.readouterr()
    assert run_command(["label", "--port", "0"]) == 0
    out = capsys.readouterr().out
    assert "labelling app: http://127.0.0.1:" in out
    token = next(word for word in out.split() if "/invite/" in word).rpartition("/")[2]
    with Workspace.open(here) as store:
        assert use_invite(store, token, "Lea", PASSWORD).role == "lead"
        assert len(list_accounts(store)) == 1
    assert run_command(["label", "--port", "0", "--json"]) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[0])["lead_link"] is None
    with Workspace.open(here) as store:
        create_account(store, "Second", "labeler")
    assert "origin" in refused(capsys, "label", "--public-url", "label.example.org")


def test_others_are_let_near_only_when_a_lead_has_a_password(here: Path, capsys: Captured) -> None:
    assert "no lead has a password" in refused(capsys, "label", "--host", "0.0.0.0", "--port", "0")


def test_the_records_may_lie_on_postgresql(
    here: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch, postgres_url: str
) -> None:
    from sqlalchemy import make_url

    from preflab.store.database import engine_of_url

    engine = engine_of_url(postgres_url).execution_options(isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.exec_driver_sql("CREATE DATABASE preflab_commands")
    engine.dispose()
    url = make_url(postgres_url).set(database="preflab_commands").render_as_string(hide_password=False)
    monkeypatch.setenv("PREFLAB_DATABASE", url)
    made = said(capsys, "campaign", "create", "c.jsonl", "--name", "helpful")
    assert not (here / "preflab.db").exists()
    rows = [
        {"prompt": "When?", "completions": ["x", "y"], "ranks": [1, 2], "labeler": who} for who in ("ann", "bob", "cy")
    ]
    (here / "r.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert said(capsys, "import", "r.jsonl")["new"] == {"labeler": 3, "judgment": 3}
    shown = said(capsys, "campaign", "show", "helpful")
    assert (shown["id"], shown["num_done"], shown["num_labels"]) == (made["campaign_id"], 1, 3)
    assert said(capsys, "export", "judgments", "back.csv", "--format", "rankings")["num_rows"] == 3
    assert "pg_dump" in refused(capsys, "backup")


def test_a_campaign_is_exported_as_its_labels_stand(here: Path, capsys: Captured) -> None:
    """Ranks 2, 1, 3 of a, b, c give b over a, b over c, a over c, without a recipe and without a stage."""
    made = said(capsys, "campaign", "create", "c.jsonl", "--name", "Helpful support", "--overlap", "1")
    with Workspace.open(here) as store:
        anna = create_account(store, "Anna", "labeler", PASSWORD).labeler_id
        for _ in range(2):
            turn = next_turn(store, made["campaign_id"], anna)
            task = turn.task  # type: ignore[union-attr]
            ranks = (2, 1, 3) if len(task.completion_ids) == 3 else (1, 1)
            submit(store, Submission(f"key-{task.id}", task.id, anna, 0, RankingAnswer(ranks)))
    assert said(capsys, "export", "preferences", "pairs.jsonl", "--campaign", "Helpful support")["num_rows"] == 3
    rows = [json.loads(line) for line in (here / "pairs.jsonl").read_text().splitlines()]
    assert {(row["chosen"], row["rejected"]) for row in rows} == {("b", "a"), ("b", "c"), ("a", "c")}
    with Workspace.open(here) as store:
        assert store.preferences() == []
