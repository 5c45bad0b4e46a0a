"""Who gets which task: every promise of assignment, on SQLite and on a PostgreSQL server alike."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from labelling_world import make_campaign, put_groups, put_labelers, ranking, rows, send, workspace_on
from preflab.labelling.accounts import create_account, revoke
from preflab.labelling.assignment import next_turn, reopen_turn, why_waiting
from preflab.labelling.campaigns import campaign_view, change_options, create_campaign, list_campaigns, set_state
from preflab.labelling.clock import utc_now
from preflab.labelling.errors import NotAllowed, NotFound, NotYours
from preflab.labelling.options import CampaignOptions
from preflab.labelling.shown_tasks import Turn
from preflab.labelling.submissions import save_draft, skip
from preflab.labelling.tasks import set_priority, set_worth
from preflab.records import RankingAnswer
from preflab.store.workspace import Workspace


@pytest.fixture(params=["sqlite", "postgresql"])
def ws(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Workspace]:
    url = request.getfixturevalue("postgres_url") if request.param == "postgresql" else None
    with workspace_on(request.param, tmp_path, url) as opened:
        yield opened


def given(ws: Workspace, campaign_id: str, labeler_id: str, **other: object) -> Turn:
    """The next turn, which there is."""
    found = next_turn(ws, campaign_id, labeler_id, **other)  # type: ignore[arg-type]
    assert found is not None
    return found


def positions(ws: Workspace, campaign_id: str) -> dict[str, int]:
    """Task → its place."""
    query = "SELECT task_id, position FROM task_states WHERE campaign_id = :c"
    return {row.task_id: row.position for row in rows(ws, query, c=campaign_id)}


def test_every_task_gets_the_wanted_labels_of_different_people(ws: Workspace) -> None:
    campaign = make_campaign(ws, 5, overlap=2)
    labelers = put_labelers(ws, 3)
    while any(found for who in labelers if (found := next_turn(ws, campaign.id, who)) and send(ws, found)):
        pass
    judgments = ws.judgments(campaign_id=campaign.id)
    assert Counter(j.task_id for j in judgments) == dict.fromkeys(positions(ws, campaign.id), 2)
    assert len({(j.task_id, j.labeler_id) for j in judgments}) == 10
    assert not any(j.surplus for j in judgments)
    view = campaign_view(ws, campaign.id)
    assert (view.num_tasks, view.num_done, view.num_labels) == (5, 5, 10)
    assert {why_waiting(ws, campaign.id, who).reason for who in labelers} == {"all_done"}


def test_a_reload_gives_the_same_task_in_the_same_order(ws: Workspace) -> None:
    campaign = make_campaign(ws, 3, num_completions=9)
    one, two = put_labelers(ws, 2)
    first = given(ws, campaign.id, one)
    again = given(ws, campaign.id, one)
    assert (again.task, again.shown_order) == (first.task, first.shown_order)
    assert sorted(first.shown_order) == list(range(9))
    assert reopen_turn(ws, first.task.id, one).shown_order == first.shown_order
    other = given(ws, campaign.id, two)
    assert other.task == first.task
    assert other.shown_order != first.shown_order, "1 in 9! otherwise"


def test_orders_shown_are_even(ws: Workspace) -> None:
    campaign = make_campaign(ws, 40, num_completions=2, overlap=1)
    (who,) = put_labelers(ws, 1)
    orders = []
    while found := next_turn(ws, campaign.id, who):
        orders.append(found.shown_order)
        send(ws, found)
    assert len(orders) == 40
    assert 8 <= orders.count((0, 1)) <= 32, "binomial(40, 1/2): outside with probability below 0.0002"


def test_two_labelers_never_exceed_the_wanted_number(ws: Workspace) -> None:
    campaign = make_campaign(ws, 1, overlap=2)
    one, two, three = put_labelers(ws, 3)
    given(ws, campaign.id, one)
    given(ws, campaign.id, two)
    assert next_turn(ws, campaign.id, three) is None
    found = why_waiting(ws, campaign.id, three)
    assert (found.reason, found.num_left) == ("all_held", 1)


def test_nearest_to_completion_comes_first_and_priority_before_it(ws: Workspace) -> None:
    campaign = make_campaign(ws, 4, overlap=2)
    place = positions(ws, campaign.id)
    ids = sorted(place, key=lambda task_id: place[task_id])
    one, two, three = put_labelers(ws, 3)
    assert given(ws, campaign.id, one).task.id == ids[0]
    set_priority(ws, campaign.id, {ids[2]: 1.0})
    assert given(ws, campaign.id, two).task.id == ids[2], "priority first"
    send(ws, reopen_turn(ws, ids[2], two))
    set_priority(ws, campaign.id, {ids[2]: 0.0})
    assert given(ws, campaign.id, three).task.id == ids[2], "then the one that wants one label only"
    assert given(ws, campaign.id, two).task.id == ids[0], "then its place"


def test_what_is_most_worth_asking_comes_first_when_told_to(ws: Workspace) -> None:
    campaign = make_campaign(ws, 3, overlap=2)
    place = positions(ws, campaign.id)
    ids = sorted(place, key=lambda task_id: place[task_id])
    one, two = put_labelers(ws, 2)
    set_worth(ws, campaign.id, {ids[1]: 0.5, ids[2]: 0.9})
    assert given(ws, campaign.id, one).task.id == ids[0]
    change_options(ws, campaign.id, 1, {"order": "worth_asking"})
    assert given(ws, campaign.id, two).task.id == ids[2]
    with pytest.raises(NotFound, match="task-none"):
        set_worth(ws, campaign.id, {"task-none": 1.0})


def test_a_lease_runs_out_and_the_task_goes_to_others(ws: Workspace) -> None:
    campaign = make_campaign(ws, 1, overlap=1, lease_minutes=10)
    one, two = put_labelers(ws, 2)
    now = utc_now()
    mine = given(ws, campaign.id, one, now=now)
    assert next_turn(ws, campaign.id, two, now=now + timedelta(minutes=9)) is None
    theirs = given(ws, campaign.id, two, now=now + timedelta(minutes=11))
    assert theirs.task == mine.task
    assert reopen_turn(ws, mine.task.id, one, now=now + timedelta(minutes=12)).state == "lapsed"
    assert send(ws, theirs).surplus is False
    late = send(ws, mine)
    assert late.surplus is True, "kept and marked"
    assert len(ws.judgments(campaign_id=campaign.id)) == 2
    assert rows(ws, "SELECT num_done, num_held, missing FROM task_states") == [(1, 0, 0)]


def test_work_renews_the_lease_and_a_lapsed_task_keeps_its_draft(ws: Workspace) -> None:
    campaign = make_campaign(ws, 2, overlap=1, lease_minutes=10)
    one, two = put_labelers(ws, 2)
    now = utc_now()
    mine = given(ws, campaign.id, one, now=now)
    save_draft(ws, mine.task.id, one, {"ranks": [1, None, None]}, 0, now=now + timedelta(minutes=8))
    assert given(ws, campaign.id, two, now=now + timedelta(minutes=12)).task != mine.task, "still held"
    later = now + timedelta(minutes=30)
    back = given(ws, campaign.id, one, now=later)
    assert (back.task, back.draft, back.shown_order) == (mine.task, {"ranks": [1, None, None]}, mine.shown_order)
    assert send(ws, back).surplus is False
    assert rows(ws, "SELECT sum(num_held) FROM task_states") == [(0,)]


def test_a_skipped_task_never_comes_back_and_is_free_for_others(ws: Workspace) -> None:
    campaign = make_campaign(ws, 1, overlap=1)
    one, two = put_labelers(ws, 2)
    mine = given(ws, campaign.id, one)
    skip(ws, mine.task.id, one, "I know the author")
    assert next_turn(ws, campaign.id, one) is None
    assert why_waiting(ws, campaign.id, one).reason == "you_did_all"
    assert given(ws, campaign.id, two).task == mine.task
    assert reopen_turn(ws, mine.task.id, one).skip_reason == "I know the author"


def test_gold_tasks_are_mixed_in_and_shown_to_everybody(ws: Workspace) -> None:
    groups = put_groups(ws, 60)
    gold = {number: ranking() for number in range(40, 60)}
    campaign = create_campaign(ws, CampaignOptions(name="g", overlap=1, gold_share=0.3), groups, gold=gold)
    place = positions(ws, campaign.id)
    assert campaign_view(ws, campaign.id).num_tasks == 40
    seen: dict[str, list[bool]] = {}
    for who in put_labelers(ws, 2):
        seen[who] = []
        while len(seen[who]) < 25 and (found := next_turn(ws, campaign.id, who)):
            seen[who].append(place[found.task.id] >= 40)
            assert send(ws, found).surplus is False
    counts = [sum(marks) for marks in seen.values()]
    assert min(counts) >= 1, "shown to both; 0 of binomial(25, 0.3) comes once in 3,700 runs"
    assert 3 <= sum(counts) <= 29, "binomial(50, 0.3) is outside once in 66,000 runs"
    assert len({tuple(marks) for marks in seen.values()}) == 2, "not at the same places"
    plain = [place[j.task_id] for j in ws.judgments(campaign_id=campaign.id) if place[j.task_id] < 40]
    assert len(plain) == len(set(plain)), "overlap 1 holds for the others"


def test_a_gold_task_is_never_the_last_thing_to_wait_for(ws: Workspace) -> None:
    groups = put_groups(ws, 4)
    options = CampaignOptions(name="g", overlap=1, gold_share=0.5)
    campaign = create_campaign(ws, options, groups, gold={0: ranking(), 1: ranking()})
    (who,) = put_labelers(ws, 1)
    while found := next_turn(ws, campaign.id, who):
        send(ws, found)
    assert why_waiting(ws, campaign.id, who).reason == "all_done"


def test_ai_judges_use_the_same_door_and_take_no_place(ws: Workspace) -> None:
    campaign = make_campaign(ws, 2, overlap=1)
    (person,), (judge,) = put_labelers(ws, 1), put_labelers(ws, 1, kind="ai")
    while found := next_turn(ws, campaign.id, judge):
        assert send(ws, found).surplus is False
    assert campaign_view(ws, campaign.id).num_labels == 0
    while found := next_turn(ws, campaign.id, person):
        assert send(ws, found).surplus is False
    assert campaign_view(ws, campaign.id).num_done == 2
    assert len(ws.judgments(campaign_id=campaign.id)) == 4


def test_ai_judges_count_when_the_campaign_says_so(ws: Workspace) -> None:
    campaign = make_campaign(ws, 1, overlap=1, count_ai=True)
    (person,), (judge,) = put_labelers(ws, 1), put_labelers(ws, 1, kind="ai")
    send(ws, given(ws, campaign.id, judge))
    assert next_turn(ws, campaign.id, person) is None
    change_options(ws, campaign.id, 1, {"count_ai": False})
    assert campaign_view(ws, campaign.id).num_done == 0
    send(ws, given(ws, campaign.id, person))
    assert campaign_view(ws, campaign.id).num_done == 1


def test_a_campaign_for_some_is_closed_to_others(ws: Workspace) -> None:
    one, two = put_labelers(ws, 2)
    campaign = make_campaign(ws, 1, labelers=(one,))
    assert [view.campaign.id for view in list_campaigns(ws, one)] == [campaign.id]
    assert list_campaigns(ws, two) == []
    given(ws, campaign.id, one)
    with pytest.raises(NotAllowed, match="other labelers"):
        next_turn(ws, campaign.id, two)
    with pytest.raises(NotFound):
        next_turn(ws, "campaign-none", one)
    with pytest.raises(NotFound):
        next_turn(ws, campaign.id, "labeler-none")


def test_nobody_opens_a_task_that_was_not_shown_to_them(ws: Workspace) -> None:
    campaign = make_campaign(ws, 1)
    one, two = put_labelers(ws, 2)
    found = given(ws, campaign.id, one)
    for task_id in (found.task.id, "task-none"):
        with pytest.raises(NotYours):
            reopen_turn(ws, task_id, two)
        with pytest.raises(NotYours):
            save_draft(ws, task_id, two, {}, 0)
        with pytest.raises(NotYours):
            skip(ws, task_id, two, "no")
    assert NotYours("x").kind == "not_found"


def test_what_a_turn_shows_does_not_tell_the_model(ws: Workspace) -> None:
    campaign = make_campaign(ws, 1)
    (who,) = put_labelers(ws, 1)
    shown = given(ws, campaign.id, who).completions
    assert {c.text for c in shown} == {"Answer 0.", "Answer 1.", "Answer 2."}
    assert {(c.model, c.seed, c.index, c.token_ids) for c in shown} == {("", 0, 0, ())}


def test_paused_and_closed_campaigns_give_no_task_and_lose_nothing(ws: Workspace) -> None:
    campaign = make_campaign(ws, 3)
    (who,) = put_labelers(ws, 1)
    first = given(ws, campaign.id, who)
    set_state(ws, campaign.id, "paused")
    assert next_turn(ws, campaign.id, who) is None
    assert why_waiting(ws, campaign.id, who).reason == "paused"
    assert send(ws, first).surplus is False, "wanted before and after the pause"
    set_state(ws, campaign.id, "open")
    second = given(ws, campaign.id, who)
    set_state(ws, campaign.id, "closed")
    assert why_waiting(ws, campaign.id, who).reason == "closed"
    assert send(ws, second).surplus is True
    assert send(ws, reopen_turn(ws, first.task.id, who), RankingAnswer((3, 2, 1))).surplus is False, (
        "an edit stays counted"
    )
    assert campaign_view(ws, campaign.id).num_labels == 1


def test_a_revoked_labeler_frees_the_task_at_once(ws: Workspace) -> None:
    campaign = make_campaign(ws, 1, overlap=1)
    account, other = create_account(ws, "Ann", "labeler"), create_account(ws, "Bob", "labeler")
    found = given(ws, campaign.id, account.labeler_id)
    assert next_turn(ws, campaign.id, other.labeler_id) is None
    revoke(ws, account.id)
    assert given(ws, campaign.id, other.labeler_id).task == found.task
    with pytest.raises(NotAllowed, match="ended"):
        send(ws, found)
    with pytest.raises(NotAllowed, match="ended"):
        next_turn(ws, campaign.id, account.labeler_id)


def test_more_overlap_opens_finished_tasks_again(ws: Workspace) -> None:
    campaign = make_campaign(ws, 2, overlap=1)
    one, two = put_labelers(ws, 2)
    while found := next_turn(ws, campaign.id, one):
        send(ws, found)
    assert next_turn(ws, campaign.id, two) is None
    change_options(ws, campaign.id, 1, {"overlap": 2})
    assert campaign_view(ws, campaign.id).num_done == 0
    send(ws, given(ws, campaign.id, two))
    assert campaign_view(ws, campaign.id).num_done == 1
    change_options(ws, campaign.id, 2, {"overlap": 1})
    assert campaign_view(ws, campaign.id).num_done == 2
