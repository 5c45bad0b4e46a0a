"""Many labelers at once over HTTP while the server is killed: what was acknowledged is there, once, as it was sent."""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path

import pytest
from sqlalchemy import select

from labelling_load import Crowd, Server
from labelling_world import make_campaign, new_database
from preflab.labelling.tables import CAMPAIGN_STATES, SUBMISSIONS, TASK_STATES
from preflab.records import Campaign, Judgment, RankingAnswer
from preflab.store.database import reading
from preflab.store.workspace import Workspace

OVERLAP = 4


def tried(folder: Path, url: str | None, num_labelers: int, num_tasks: int, num_kills: int) -> None:
    """A whole campaign by so many labelers at once, the server killed so many times, evenly over the work."""
    with Workspace.open(folder / "w", create=True, url=url) as ws:
        campaign = make_campaign(ws, num_tasks, overlap=OVERLAP)
        with Server(folder / "w", url) as server:
            crowd = Crowd(ws, server.url, campaign, num_labelers)
            crowd.work(meanwhile=lambda: kill(server, crowd, num_tasks * OVERLAP, num_kills))
        assert len(server.down) == num_kills
        assert_answered_but_while_down(crowd, server)
        assert len(crowd.acknowledged) == num_tasks * OVERLAP
        assert_stored_once(ws, crowd)
        assert_counted(ws, campaign, num_tasks)


def kill(server: Server, crowd: Crowd, num_submissions: int, num_kills: int) -> None:
    """Kill it whenever another share of the submissions is acknowledged."""
    for number in range(1, num_kills + 1):
        while len(crowd.acknowledged) < num_submissions * number / (num_kills + 1):
            crowd.check()
            time.sleep(0.005)
        server.kill_and_start()


def assert_answered_but_while_down(crowd: Crowd, server: Server) -> None:
    """No error of the server, and no request without an answer that was not underway while it was down."""
    assert not [each for each in crowd.tries if each.status >= 500]
    unanswered = [each for each in crowd.tries if each.status == 0]
    assert unanswered, "it was killed while nobody noticed"
    assert not [each for each in unanswered if not any(each.start < up and each.end > down for down, up in server.down)]


def assert_stored_once(ws: Workspace, crowd: Crowd) -> None:
    """Each key has one judgment, each judgment one key; who, which task and the ranks are those that were sent."""
    with reading(ws.engine) as connection:
        judgment_of = dict(connection.execute(select(SUBMISSIONS.c.key, SUBMISSIONS.c.judgment_id)).all())
    assert judgment_of.keys() == crowd.acknowledged.keys()
    stored: dict[str, Judgment] = {each.id: each for each in ws.judgments(all_revisions=True)}
    assert Counter(judgment_of.values()) == Counter(stored.keys())
    for key, sent in crowd.acknowledged.items():
        judgment = stored[judgment_of[key]]
        assert (judgment.task_id, judgment.labeler_id) == (sent.task_id, sent.labeler_id)
        assert isinstance(judgment.answer, RankingAnswer)
        assert tuple(judgment.answer.ranks[index] for index in judgment.shown_order) == sent.ranks
        assert (judgment.revision, judgment.surplus) == (1, False)


def assert_counted(ws: Workspace, campaign: Campaign, num_tasks: int) -> None:
    """Every task has exactly the labels it wanted, and the counters say so."""
    assert set(Counter(each.task_id for each in ws.judgments()).values()) == {OVERLAP}
    with reading(ws.engine) as connection:
        states = connection.execute(select(TASK_STATES)).all()
        counters = connection.execute(select(CAMPAIGN_STATES)).one()
    assert {(state.state, state.num_done, state.num_held, state.missing) for state in states} == {
        ("done", OVERLAP, 0, 0)
    }
    assert len(states) == num_tasks
    assert (counters.num_done, counters.num_labels) == (num_tasks, num_tasks * OVERLAP)


def test_what_was_acknowledged_before_a_kill_is_there_once(tmp_path: Path) -> None:
    tried(tmp_path, None, num_labelers=8, num_tasks=20, num_kills=1)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_forty_labelers_and_three_kills(kind: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    url = new_database(request.getfixturevalue("postgres_url")) if kind == "postgresql" else None
    tried(tmp_path, url, num_labelers=40, num_tasks=1000, num_kills=3)
