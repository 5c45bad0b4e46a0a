"""Submissions: stored once, never lost, never overwritten; on SQLite and on a PostgreSQL server alike."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import insert, text
from sqlalchemy.exc import IntegrityError

from labelling_world import make_campaign, put_groups, put_labelers, ranking, rows, send, workspace_on
from preflab.errors import PreflabError
from preflab.labelling.assignment import next_turn, reopen_turn
from preflab.labelling.audit import list_events
from preflab.labelling.campaigns import campaign_view, create_campaign
from preflab.labelling.errors import Invalid, NotAllowed, NotYours, Stale
from preflab.labelling.members import take_off
from preflab.labelling.options import CampaignOptions
from preflab.labelling.shown_tasks import Turn
from preflab.labelling.submissions import Submission, history, own_progress, save_draft, skip, submit, suspicious
from preflab.labelling.tables import JUDGMENTS
from preflab.records import LikertAnswer, RankingAnswer, SideBySideAnswer, ThumbsAnswer
from preflab.store.database import reading, writing
from preflab.store.rows import BY_NAME
from preflab.store.workspace import Workspace


@pytest.fixture(params=["sqlite", "postgresql"])
def ws(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Workspace]:
    url = request.getfixturevalue("postgres_url") if request.param == "postgresql" else None
    with workspace_on(request.param, tmp_path, url) as opened:
        yield opened


def first_turn(ws: Workspace, **options: object) -> Turn:
    """The first task of a new campaign, shown to a new labeler."""
    campaign = make_campaign(ws, 2, **options)  # type: ignore[arg-type]
    found = next_turn(ws, campaign.id, put_labelers(ws, 1)[0])
    assert found is not None
    return found


def test_a_judgment_holds_what_was_shown_and_answered(ws: Workspace) -> None:
    shown = first_turn(ws, question="Which is worse?", polarity=-1)
    answer = RankingAnswer((2, None, 1))
    receipt = send(
        ws, shown, answer, note="'; DROP TABLE judgments; --", flagged=True, active_ms=12_345, shown_ms=99_999
    )
    (judgment,) = ws.judgments()
    assert (judgment.id, judgment.revision, judgment.surplus) == (receipt.judgment_id, 1, False)
    assert (judgment.answer, judgment.shown_order) == (answer, shown.shown_order)
    assert judgment.completion_ids == shown.task.completion_ids
    assert (judgment.question, judgment.polarity) == ("Which is worse?", -1)
    assert (judgment.active_ms, judgment.shown_ms, judgment.flagged) == (12_345, 99_999, True)
    assert judgment.note == "'; DROP TABLE judgments; --"
    assert (judgment.labeler_kind, judgment.guideline_version, judgment.decides) == ("person", 1, False)
    assert judgment.created_at.endswith("Z")


def test_the_same_key_gets_the_same_reply_and_nothing_is_stored_again(ws: Workspace) -> None:
    shown = first_turn(ws)
    sent = Submission("key-1", shown.task.id, shown.labeler_id, 0, ranking())
    first = submit(ws, sent)
    again = submit(ws, sent)
    changed = submit(ws, replace(sent, answer=RankingAnswer((3, 2, 1)), based_on=7))
    assert first == again == changed
    assert (first.repeated, again.repeated, changed.repeated) == (False, True, True)
    assert [j.answer for j in ws.judgments(all_revisions=True)] == [ranking()]
    (other,) = put_labelers(ws, 1)
    theirs = next_turn(ws, shown.campaign.id, other)
    assert theirs is not None
    with pytest.raises(NotAllowed, match="another submission"):
        submit(ws, replace(sent, labeler_id=other, task_id=theirs.task.id))


def test_a_stale_submission_is_refused_with_the_current_revision(ws: Workspace) -> None:
    shown = first_turn(ws)
    send(ws, shown)
    with pytest.raises(Stale) as caught:
        send(ws, shown, RankingAnswer((3, 2, 1)))
    assert (caught.value.current_revision, caught.value.kind) == (1, "stale")
    with pytest.raises(Stale):
        save_draft(ws, shown.task.id, shown.labeler_id, {}, 0)
    assert len(ws.judgments(all_revisions=True)) == 1


def test_an_edit_is_a_new_revision_that_counts_once(ws: Workspace) -> None:
    shown = first_turn(ws)
    send(ws, shown)
    opened = reopen_turn(ws, shown.task.id, shown.labeler_id)
    assert (opened.answer, opened.revision, opened.state, opened.expires_at) == (ranking(), 1, "submitted", None)
    receipt = send(ws, opened, RankingAnswer((3, 2, 1)))
    assert receipt.revision == 2
    assert [j.revision for j in ws.judgments()] == [2]
    assert len(ws.judgments(all_revisions=True)) == 2
    assert campaign_view(ws, shown.campaign.id).num_labels == 1
    (event,) = list_events(ws, about=shown.task.id)
    assert (event.what, event.actor, event.new) == (
        "judgment edited",
        shown.labeler_id,
        {"judgment_id": receipt.judgment_id},
    )


def test_who_was_taken_off_the_campaign_still_sends_in_what_was_begun(ws: Workspace) -> None:
    one, two = put_labelers(ws, 2)
    campaign = make_campaign(ws, 2, overlap=1, labelers=(one, two))
    earlier = next_turn(ws, campaign.id, one)
    assert earlier is not None
    send(ws, earlier)
    begun = next_turn(ws, campaign.id, one)
    assert begun is not None
    take_off(ws, campaign.id, one)
    save_draft(ws, begun.task.id, one, {"step": 1}, 0)
    assert reopen_turn(ws, begun.task.id, one).draft == {"step": 1}
    receipt = send(ws, begun)
    assert (receipt.revision, receipt.surplus) == (1, True)
    edit = send(ws, reopen_turn(ws, earlier.task.id, one), RankingAnswer((3, 2, 1)))
    assert (edit.revision, edit.surplus) == (2, False)  # a label that counted counts on, as it is now
    with pytest.raises(NotAllowed, match="other labelers"):
        next_turn(ws, campaign.id, one)
    wanted = next_turn(ws, campaign.id, two)  # what was sent in too late took no place
    assert wanted is not None
    assert wanted.task.id == begun.task.id
    assert send(ws, wanted).surplus is False
    assert (campaign_view(ws, campaign.id).num_labels, campaign_view(ws, campaign.id).num_done) == (2, 2)


def test_task_labeler_and_revision_are_unique_in_the_table_itself(ws: Workspace) -> None:
    shown = first_turn(ws)
    send(ws, shown)
    row = BY_NAME["judgment"].to_row(replace(ws.judgments()[0], id="judgment-second"))
    with pytest.raises(PreflabError) as caught, writing(ws.engine) as connection:
        connection.execute(insert(JUDGMENTS).values(**row))
    assert isinstance(caught.value.__cause__, IntegrityError)


def test_a_draft_is_kept_until_the_submission(ws: Workspace) -> None:
    shown = first_turn(ws)
    draft = {"ranks": [2, "", 1], "note": "half a thought", "step": 1}
    save_draft(ws, shown.task.id, shown.labeler_id, draft, 0)
    assert reopen_turn(ws, shown.task.id, shown.labeler_id).draft == draft
    send(ws, shown)
    assert reopen_turn(ws, shown.task.id, shown.labeler_id).draft is None
    save_draft(ws, shown.task.id, shown.labeler_id, draft, 1)
    edited = reopen_turn(ws, shown.task.id, shown.labeler_id)
    assert (edited.draft, edited.answer) == (draft, ranking())
    with pytest.raises(Invalid, match="NUL"):
        save_draft(ws, shown.task.id, shown.labeler_id, {"note": "\\\0"}, 1)
    written = {"note": "the code says \\u0000 and \\\\u0000"}
    save_draft(ws, shown.task.id, shown.labeler_id, written, 1)
    assert reopen_turn(ws, shown.task.id, shown.labeler_id).draft == written
    assert send(ws, edited, note=written["note"]).revision == 2
    with pytest.raises(Invalid, match="too large"):
        save_draft(ws, shown.task.id, shown.labeler_id, {"note": "x" * 300_000}, 1)


def test_what_cannot_be_stored_is_refused_by_name(ws: Workspace) -> None:
    shown = first_turn(ws)
    for wrong, found in [
        ({"answer": RankingAnswer((1, 2))}, "ranks"),
        ({"answer": RankingAnswer((1, 2, 4))}, r"ranks\[2\]"),
        ({"answer": ThumbsAnswer((True, False, True))}, "up"),
        ({"note": "x" * 20_001}, "note"),
        ({"note": "a\0b"}, "NUL"),
        ({"key": ""}, "key"),
        ({"active_ms": -1}, "active_ms"),
        ({"guideline_version": 2}, "guideline_version"),
    ]:
        with pytest.raises(Invalid, match=found):
            send(ws, shown, **wrong)
    with pytest.raises(NotYours):
        send(ws, replace(shown, labeler_id="labeler-none"))
    assert ws.judgments() == []


def test_skipping_wants_a_reason_and_no_judgment(ws: Workspace) -> None:
    shown = first_turn(ws)
    with pytest.raises(Invalid, match="reason"):
        skip(ws, shown.task.id, shown.labeler_id, " ")
    skip(ws, shown.task.id, shown.labeler_id, "unreadable")
    assert send(ws, reopen_turn(ws, shown.task.id, shown.labeler_id)).revision == 1, "a change of mind is welcome"
    with pytest.raises(Invalid, match="submitted already"):
        skip(ws, shown.task.id, shown.labeler_id, "no")


def test_history_and_progress_are_one_s_own(ws: Workspace) -> None:
    campaign = make_campaign(ws, 4)
    one, two = put_labelers(ws, 2)
    times = iter([2000, 4000, 9000])
    for answer in (RankingAnswer((1, 1, 2)), RankingAnswer((1, None, None)), None):
        shown = next_turn(ws, campaign.id, one)
        assert shown is not None
        down_the_page = tuple(shown.shown_order.index(i) + 1 for i in range(3))
        send(ws, shown, answer or RankingAnswer(down_the_page), active_ms=next(times))
    skipped = next_turn(ws, campaign.id, one)
    assert skipped is not None
    skip(ws, skipped.task.id, one, "no idea")
    mine = own_progress(ws, campaign.id, one)
    assert (mine.num_done, mine.num_skipped, mine.median_seconds) == (3, 1, 4.0)
    assert mine.tie_rate == pytest.approx(1 / 6), "pairs judged: 3, none, 3; one of them a tie"
    assert mine.as_shown_rate == pytest.approx(1 / 3)
    lines = history(ws, campaign.id, one)
    assert [(line.state, line.skip_reason) for line in lines[:1]] == [("skipped", "no idea")]
    assert [line.active_ms for line in lines[1:]] == [9000, 4000, 2000]
    assert history(ws, campaign.id, one, limit=1, offset=1) == lines[1:2]
    nothing = own_progress(ws, campaign.id, two)
    assert (nothing.num_done, nothing.median_seconds, nothing.tie_rate, nothing.as_shown_rate) == (0, None, None, None)


def test_a_hasty_ranking_in_the_order_shown_is_asked_about(ws: Workspace) -> None:
    shown = replace(first_turn(ws), shown_order=(2, 0, 1), median_ms=None)
    down = RankingAnswer((2, 3, 1))
    assert suspicious(shown, down, 8_999) is not None, "under 3 seconds for each of 3"
    assert suspicious(shown, down, 9_000) is None
    slow = replace(shown, median_ms=80_000)
    assert suspicious(slow, down, 19_999) is not None, "under a quarter of the own median"
    assert suspicious(slow, down, 20_000) is None
    for other in (RankingAnswer((1, 2, 3)), RankingAnswer((2, 2, 1)), RankingAnswer((2, None, 1))):
        assert suspicious(shown, other, 10) is None


@pytest.mark.parametrize(
    ("way", "criteria", "answer"),
    [
        ("ranking", (), RankingAnswer((1, None))),
        ("score_then_rank", (), RankingAnswer((2, 1), {"overall": (3, 7)})),
        ("score_then_rank", (), RankingAnswer((None, 1), {"overall": (None, 7)})),
        ("side_by_side", (), SideBySideAnswer("second")),
        ("side_by_side", (), SideBySideAnswer(None, None, (True, False))),
        ("best_of", (), SideBySideAnswer(None, best=1)),
        ("best_of", (), SideBySideAnswer("equal", None, (True, True))),
        ("likert", ("kind", "true"), LikertAnswer({"kind": (1, None), "true": (5, None)}, (False, True))),
        ("thumbs", (), ThumbsAnswer((True, None), (False, True))),
    ],
)
def test_every_way_goes_through_the_same_door(
    tmp_path: Path, way: str, criteria: tuple[str, ...], answer: RankingAnswer
) -> None:
    with Workspace.open(tmp_path, create=True) as ws:
        options = CampaignOptions(name="w", way=way, criteria=criteria, overlap=1)
        campaign = create_campaign(ws, options, put_groups(ws, 1, 2))
        (who,) = put_labelers(ws, 1, kind="simulated")
        shown = next_turn(ws, campaign.id, who)
        assert shown is not None
        send(ws, shown, answer)
        assert ws.judgments()[0].answer == answer
        assert reopen_turn(ws, shown.task.id, who).answer == answer
        assert campaign_view(ws, campaign.id).num_done == 1


def work(ws: Workspace, campaign_id: str, labeler_id: str) -> list[str]:
    """Label until nothing is left; the ids of what was acknowledged."""
    acknowledged = []
    while shown := next_turn(ws, campaign_id, labeler_id):
        acknowledged.append(send(ws, shown).judgment_id)
    return acknowledged


def check_all_is_there(ws: Workspace, campaign_id: str, acknowledged: list[str], overlap: int) -> None:
    """Everything acknowledged is stored once, each task has exactly the wanted labels, the counters say so."""
    judgments = ws.judgments(campaign_id=campaign_id)
    assert sorted(acknowledged) == sorted(j.id for j in judgments)
    assert set(Counter(j.task_id for j in judgments).values()) == {overlap}
    assert not any(j.surplus for j in judgments)
    view = campaign_view(ws, campaign_id)
    assert (view.num_done, view.num_labels) == (view.num_tasks, view.num_tasks * overlap)
    assert rows(ws, "SELECT sum(num_held), sum(missing) FROM task_states") == [(0, 0)]


def test_eight_threads_at_once_meet_no_lock_error(ws: Workspace) -> None:
    campaign = make_campaign(ws, 16, overlap=3)
    labelers = put_labelers(ws, 8)
    with ThreadPoolExecutor(8) as pool:
        acknowledged = list(pool.map(lambda who: work(ws, campaign.id, who), labelers))
    check_all_is_there(ws, campaign.id, [each for part in acknowledged for each in part], 3)


def work_elsewhere(place: tuple[str, str | None, str, str]) -> list[str]:
    """The same in a process of its own."""
    path, url, campaign_id, labeler_id = place
    with Workspace.open(path, url=url) as ws:
        return work(ws, campaign_id, labeler_id)


def test_eight_processes_at_once_meet_no_lock_error(ws: Workspace) -> None:
    campaign = make_campaign(ws, 8, overlap=4)
    url = None if ws.engine.dialect.name == "sqlite" else ws.engine.url.render_as_string(hide_password=False)
    places = [(str(ws.path), url, campaign.id, who) for who in put_labelers(ws, 8)]
    ws.engine.dispose()  # connections do not survive a fork
    with multiprocessing.get_context("fork").Pool(8) as pool:
        acknowledged = pool.map(work_elsewhere, places, chunksize=1)
    check_all_is_there(ws, campaign.id, [each for part in acknowledged for each in part], 4)


def test_one_key_sent_by_eight_threads_is_one_judgment(ws: Workspace) -> None:
    shown = first_turn(ws)
    sent = Submission("key-1", shown.task.id, shown.labeler_id, 0, ranking())
    with ThreadPoolExecutor(8) as pool:
        receipts = list(pool.map(lambda _: submit(ws, sent), range(8)))
    assert len(set(receipts)) == 1
    assert sorted(receipt.repeated for receipt in receipts) == [False] + [True] * 7
    assert len(ws.judgments(all_revisions=True)) == 1


WORKER = """
import sys
from labelling_world import send
from preflab.labelling.assignment import next_turn
from preflab.store.workspace import Workspace
path, campaign_id, labeler_id = sys.argv[1:]
workspace = Workspace.open(path)
while shown := next_turn(workspace, campaign_id, labeler_id):
    print(send(workspace, shown).judgment_id, flush=True)
"""


def test_killed_in_the_middle_every_acknowledged_submission_is_there(tmp_path: Path) -> None:
    with Workspace.open(tmp_path / "w", create=True) as ws:
        campaign = make_campaign(ws, 400, num_completions=2, overlap=1)
        (who,) = put_labelers(ws, 1)
    root = Path(__file__).resolve().parents[3]
    environment = os.environ | {"PYTHONPATH": f"{root / 'src'}{os.pathsep}{root / 'tests'}"}
    command = [sys.executable, "-c", WORKER, str(tmp_path / "w"), campaign.id, who]
    acknowledged = []
    for _ in range(3):
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
            assert process.stdout is not None
            acknowledged += [next(process.stdout).strip() for _ in range(15)]
            process.send_signal(signal.SIGKILL)
            acknowledged += process.stdout.read().split()
    with Workspace.open(tmp_path / "w") as ws:
        stored = [j.id for j in ws.judgments(all_revisions=True)]
        assert len(stored) == len(set(stored))
        assert set(acknowledged) <= set(stored)
        assert len(stored) <= len(acknowledged) + 3, "at most one unacknowledged per kill"
        with reading(ws.engine) as connection:
            assert connection.execute(text("PRAGMA integrity_check")).scalar() == "ok"
        view = campaign_view(ws, campaign.id)
        assert view.num_labels == view.num_done == len(stored), "counters and judgments are one transaction"
