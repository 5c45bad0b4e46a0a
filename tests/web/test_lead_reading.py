"""How a campaign is read, on the leads' pages and in the API: told, shown, changed and audited in the same words."""

from __future__ import annotations

import re
from typing import Any

import pytest

from labelling_world import put_labelers, send
from preflab.labelling.adjudication import queue
from preflab.labelling.assignment import next_turn
from preflab.labelling.audit import events
from preflab.labelling.campaigns import campaign_view
from preflab.labelling.quality import campaign_quality
from preflab.labelling.reading import overlap_warning
from preflab.records import Campaign, RankingAnswer
from preflab.store.workspace import Workspace
from web_app import People, client, make_campaign, script, simple_texts


@pytest.fixture(autouse=True)
def _fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is kept beyond the next judgment."""
    monkeypatch.setattr("preflab.labelling.counting.PATIENCE", 0.0)


def said(reply: Any) -> str:
    """The text of a page without its tags."""
    return " ".join(re.sub(r"<[^>]+>", " ", reply.text).replace("\u00a0", " ").split())


def options_form(revision: int, **other: str) -> dict[str, str]:
    """What the form of the settings sends."""
    usual = {"revision": str(revision), "name": "Manners", "overlap": "2", "hourly_cost": "0", "currency": "EUR"}
    return usual | {"lease_minutes": "30", "gold_percent": "0", "order": "nearest_done", "allow_fail": "yes"} | other


def judge(ws: Workspace, campaign: Campaign, labeler: str, answers: list[tuple[int, int]]) -> None:
    """One labeler answers the next tasks, so many as there are answers."""
    for ranks in answers:
        found = next_turn(ws, campaign.id, labeler)
        assert found is not None
        send(ws, found, RankingAnswer(ranks))


def even_campaign(ws: Workspace) -> Campaign:
    """Two labelers: four tasks agreed, six not, and one more that the second alone has judged."""
    campaign = make_campaign(ws, simple_texts(11, 2), overlap=2)
    one, other = put_labelers(ws, 2)
    judge(ws, campaign, one, [(1, 2)] * 10)
    judge(ws, campaign, other, [(1, 2)] * 4 + [(2, 1)] * 6 + [(1, 2)])
    return campaign


def test_two_labelers_who_differ_leave_it_to_the_adjudicator(ws: Workspace, people: People) -> None:
    campaign = even_campaign(ws)
    assert len(queue(ws, campaign.id).open) == 6
    assert {each.numbers.weight for each in campaign_quality(ws, campaign.id).labelers} == {1.0}
    lead = client(ws, people.lead)
    assert "6 pairs in 6 complete tasks to adjudicate." in said(lead.get(f"/lead/c/{campaign.id}"))
    page = said(lead.get(f"/lead/c/{campaign.id}/adjudicate"))
    assert "6 tasks left open by the labelers" in page
    assert "Nothing to adjudicate" not in page
    one = said(lead.get(f"/lead/c/{campaign.id}/adjudicate/{queue(ws, campaign.id).open[0].task_id}"))
    assert "weighted votes 1.00 to 1.00" in one
    assert "The labels settle this task" not in one


def test_tasks_with_two_labels_are_counted_whatever_the_labels_say(ws: Workspace, people: People) -> None:
    """12 tasks, 10 with two labels: on 6 both prefer one, on 4 one of them calls it a tie."""
    campaign = make_campaign(ws, simple_texts(12, 2), overlap=2)
    one, other = put_labelers(ws, 2)
    judge(ws, campaign, one, [(1, 2)] * 10)
    judge(ws, campaign, other, [(1, 2)] * 6 + [(1, 1)] * 4)
    page = said(client(ws, people.lead).get(f"/lead/c/{campaign.id}"))
    assert "10 tasks with two labels or more so far, on 6 of them two labelers both decide a pair." in page
    assert campaign_quality(ws, campaign.id).agreement.num_common == 10


def test_ties_alone_are_no_lack_of_labels(ws: Workspace, people: People) -> None:
    campaign = make_campaign(ws, simple_texts(2, 2), overlap=2)
    one, other = put_labelers(ws, 2)
    judge(ws, campaign, one, [(1, 1)] * 2)
    assert "no task has been judged by two labelers." in said(client(ws, people.lead).get(f"/lead/c/{campaign.id}"))
    judge(ws, campaign, other, [(1, 1)] * 2)
    page = said(client(ws, people.lead).get(f"/lead/c/{campaign.id}"))
    assert "2 tasks with two labels or more so far, on none of them two labelers both decide a pair." in page


@pytest.mark.parametrize("overlap", [1, 2, 3, 4])
def test_the_overview_says_what_the_overlap_cannot_decide(ws: Workspace, people: People, overlap: int) -> None:
    campaign = make_campaign(ws, simple_texts(2, 2), overlap=overlap)
    lead, warning = client(ws, people.lead), overlap_warning(overlap)
    empty = said(lead.get(f"/lead/c/{campaign.id}"))
    judge(ws, campaign, put_labelers(ws, 1)[0], [(1, 2)])
    judged = said(lead.get(f"/lead/c/{campaign.id}"))
    for page in (empty, judged):
        assert f"With {overlap} label" in page if warning else f"With {overlap} label" not in page
        assert warning in page


def test_the_api_says_it_when_a_campaign_is_made_and_later(ws: Workspace, people: People) -> None:
    lead = script(ws, people.lead)
    rows = [{"prompt": "Who?", "completions": ["I.", "You."]}]
    for overlap in (1, 2, 3):
        body: dict[str, Any] = {"options": {"name": f"with {overlap}", "overlap": overlap}, "rows": rows}
        made = lead.post("/api/v1/campaigns", json=body).json()
        assert made["warning"] == overlap_warning(overlap)
        assert lead.get(f"/api/v1/campaigns/{made['id']}/summary").json()["warning"] == overlap_warning(overlap)


def test_a_lead_changes_the_reading_and_the_audit_log_has_it(ws: Workspace, people: People) -> None:
    campaign = make_campaign(ws, simple_texts(2, 2), way="likert", criteria=("warmth", "facts"))
    lead, path = client(ws, people.lead), f"/lead/c/{campaign.id}/settings"
    assert 'name="consensus" value="one_coin_em" checked' in lead.get(path).text
    form = options_form(1, consensus="majority", fail_percent="30", criterion="facts")
    assert lead.post(path, data=form).status_code == 303
    options = campaign_view(ws, campaign.id).options
    assert (options.consensus, options.fail_share, options.criterion) == ("majority", 0.3, "facts")
    shown = lead.get(path).text
    assert 'name="consensus" value="majority" checked' in shown
    assert 'name="fail_percent" inputmode="decimal" value="30"' in shown
    assert '<option value="facts" selected>' in shown
    new = events(ws, limit=1)[0].new or {}
    assert {"consensus": "majority", "fail_share": 0.3, "criterion": "facts"}.items() <= new.items()
    assert "consensus: one_coin_em → majority" in said(lead.get("/lead/audit"))
    overview = f"/lead/c/{campaign.id}"
    judge_likert(ws, campaign)
    assert "Answers are read by: one labeler, one vote; F from 30 % of a task’s labels; ordered by facts." in said(
        lead.get(overview)
    )
    assert "in the consensus everybody has one vote" in said(lead.get(f"{overview}/labelers"))


def judge_likert(ws: Workspace, campaign: Campaign) -> None:
    from preflab.records import LikertAnswer

    found = next_turn(ws, campaign.id, put_labelers(ws, 1)[0])
    assert found is not None
    send(ws, found, LikertAnswer({"warmth": (1, 2), "facts": (3, 2)}))


@pytest.mark.parametrize(
    "wrong", [{"fail_percent": "0"}, {"fail_percent": "101"}, {"consensus": "loudest"}, {"criterion": "charm"}]
)
def test_a_wrong_reading_is_refused_and_what_was_typed_stays(
    ws: Workspace, people: People, wrong: dict[str, str]
) -> None:
    campaign = make_campaign(ws, simple_texts(2, 2), way="likert", criteria=("warmth", "facts"))
    reply = client(ws, people.lead).post(f"/lead/c/{campaign.id}/settings", data=options_form(1, name="Mine") | wrong)
    assert reply.status_code == 422
    assert "Mine" in reply.text
    assert campaign_view(ws, campaign.id).revision == 1


def test_a_late_change_is_refused_in_good_english(ws: Workspace, people: People) -> None:
    campaign = make_campaign(ws, simple_texts(2))
    lead, path = client(ws, people.lead), f"/lead/c/{campaign.id}/settings"
    lead.post(path, data=options_form(1, hourly_cost="3"))
    late = said(lead.post(path, data=options_form(1, hourly_cost="4")))
    assert "The campaign's options were changed elsewhere: they have revision 2 now." in late.replace("&#39;", "'")
    assert "tasks that lack the fewest labels come first" in late
