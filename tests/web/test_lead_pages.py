"""The leads' pages without a browser: what each shows and does, with and without labels; nothing typed is lost."""

from __future__ import annotations

import io
import json
import re
import zipfile
from typing import Any

import pytest

from labelling_ways import answers_of
from labelling_world import put_labelers, send
from preflab.labelling.accounts import create_account, list_accounts
from preflab.labelling.adjudication import read_case, read_queue
from preflab.labelling.assignment import next_turn
from preflab.labelling.campaigns import campaign_view, list_campaigns, list_guidelines
from preflab.labelling.invites import create_invite, list_invites
from preflab.labelling.members import let_in
from preflab.records import Campaign, RankingAnswer
from preflab.store.workspace import Workspace
from web_app import PASSWORD, People, client, make_campaign, simple_texts

PAGES = ("", "/agreement", "/labelers", "/adjudicate", "/disagreements", "/export", "/settings")


@pytest.fixture(autouse=True)
def _fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is kept beyond the next judgment."""
    monkeypatch.setattr("preflab.labelling.counting.PATIENCE", 0.0)


def judge(ws: Workspace, campaign: Campaign, answers: list[tuple[int | None, ...]]) -> list[str]:
    """Each labeler gives the same answer to every task; their ids."""
    labelers = put_labelers(ws, len(answers))
    for labeler, ranks in zip(labelers, answers, strict=True):
        while (found := next_turn(ws, campaign.id, labeler)) is not None:
            send(ws, found, RankingAnswer(ranks), note=f"by {labeler}")
    return labelers


def said(reply: Any) -> str:
    """The text of a page without its tags."""
    return " ".join(re.sub(r"<[^>]+>", " ", reply.text).replace("\u00a0", " ").split())


@pytest.mark.parametrize("page", PAGES)
def test_an_empty_campaign_says_what_to_do_next(ws: Workspace, people: People, page: str) -> None:
    campaign = make_campaign(ws, simple_texts(2))
    reply = client(ws, people.lead).get(f"/lead/c/{campaign.id}{page}")
    assert reply.status_code == 200
    assert "None" not in said(reply)


def test_an_empty_workspace_says_where_to_begin(ws: Workspace, people: People) -> None:
    lead = client(ws, people.lead)
    assert "Begin with a campaign" in said(lead.get("/lead"))
    assert 'href="/lead/new"' in lead.get("/lead").text


@pytest.mark.parametrize("way", ["ranking", "side_by_side", "best_of", "likert", "thumbs", "score_then_rank"])
def test_every_way_of_judging_has_its_pages(ws: Workspace, people: People, way: str) -> None:
    campaign = make_campaign(ws, simple_texts(3, 2), way=way, criteria=("warmth", "facts") if way == "likert" else ())
    for labeler, answer in zip(put_labelers(ws, 2), answers_of(way), strict=True):
        while (found := next_turn(ws, campaign.id, labeler)) is not None:
            send(ws, found, answer)
    lead = client(ws, people.lead)
    for page in PAGES:
        assert lead.get(f"/lead/c/{campaign.id}{page}").status_code == 200, page
    for task in ws.tasks(campaign_id=campaign.id):
        assert lead.get(f"/lead/c/{campaign.id}/adjudicate/{task.id}").status_code == 200


def test_the_overview_answers_its_questions(ws: Workspace, people: People) -> None:
    """12 tasks of three completions; two labelers agree on all: 36 couples of strict votes, all agree.

    The interval is over tasks: 12 of 12 is at least 12 / (12 + 1.96²) = 76 %, below 77 %, the end of published data.
    """
    campaign = make_campaign(ws, simple_texts(12), overlap=3)
    judge(ws, campaign, [(1, 2, 3), (1, 2, 3)])
    text = said(client(ws, people.lead).get(f"/lead/c/{campaign.id}"))
    assert "24 of 36 labels" in text
    assert "Any two labelers agree on 100 % of the pairs both decide, at the upper end of published data." in text
    assert "100 % (76 to 100 %), 95 % interval, 12 tasks" in text
    assert "0 of 12 tasks complete" in text
    measures = said(client(ws, people.lead).get(f"/lead/c/{campaign.id}/agreement"))
    assert "this campaign, any two labelers 100 % (76 to 100 %) strict votes on the same pair" in measures
    assert "Kendall’s tau-b, mean over couples of labelers 1 (no interval: all values are equal) 12" in measures
    assert "(nominal) undefined: no variation" in measures


def test_no_agreement_at_all_is_an_alarm(ws: Workspace, people: People) -> None:
    """Two labelers who contradict each other on all of 12 pairs: 0 %, with 0 for both ends of the interval."""
    campaign = make_campaign(ws, simple_texts(12, 2), overlap=2)
    judge(ws, campaign, [(1, 2), (2, 1)])
    page = client(ws, people.lead).get(f"/lead/c/{campaign.id}")
    assert "agree on 0 % of the pairs both decide, less than in published data." in said(page)
    assert '<section class="answer alarm first">' in page.text


def test_the_overview_says_what_a_target_needs(ws: Workspace, people: People) -> None:
    """Four tasks of two completions, two labels each, all agreed: 4 pairs from 8 labels, half a pair a label.

    Ten pairs want 12 more labels; the campaign has none to give, so they are six further tasks of two labels.
    """
    campaign = make_campaign(ws, simple_texts(4, 2), overlap=2)
    judge(ws, campaign, [(1, 2), (1, 2)])
    lead = client(ws, people.lead)
    text = said(lead.get(f"/lead/c/{campaign.id}?pairs=10"))
    assert (
        "10 preferences need about 12 more labels, at 0.5 preferences a label so far (no interval: all values" in text
    )
    assert "about 6 further tasks" in text
    assert "are there already" in said(lead.get(f"/lead/c/{campaign.id}?pairs=4"))
    assert lead.get(f"/lead/c/{campaign.id}?pairs=many").status_code == 422
    assert lead.get(f"/lead/c/{campaign.id}?pairs=").status_code == 200
    assert "-5 preferences" not in said(lead.get(f"/lead/c/{campaign.id}?pairs=-5"))
    assert lead.get(f"/lead/c/{campaign.id}?pairs={'9' * 400}").status_code == 422


def test_the_task_page_shows_every_answer_and_nobody_s_name(ws: Workspace, people: People) -> None:
    campaign = make_campaign(ws, simple_texts(1, 2), overlap=2)
    labelers = judge(ws, campaign, [(1, 2), (2, 1)])
    task = read_queue(ws, campaign.id).open[0].task_id
    for account in (people.lead, people.adjudicator):
        page = client(ws, account).get(f"/lead/c/{campaign.id}/adjudicate/{task}")
        assert {"A › B", "B › A"} <= set(re.findall(r"<b>([^<]+)</b>", page.text))
        assert "secret-model" not in page.text
        assert not any(f">{labeler}<" in page.text for labeler in labelers)


def test_deciding_goes_on_to_the_next_task_and_says_when_it_was_the_last(ws: Workspace, people: People) -> None:
    campaign = make_campaign(ws, simple_texts(2, 2), overlap=2)
    judge(ws, campaign, [(1, 2), (2, 1)])
    first, second = (each.task_id for each in read_queue(ws, campaign.id).open)
    adjudicator = client(ws, people.adjudicator)
    home = f"/lead/c/{campaign.id}/adjudicate"
    reply = adjudicator.post(f"{home}/{first}", data={"rank-0": "2", "rank-1": "1", "note": "B says more"})
    assert reply.headers["location"] == f"{home}/{second}"
    reply = adjudicator.post(f"{home}/{second}", data={"rank-0": "F", "rank-1": "1"})
    assert "That was the last one" in said(adjudicator.get(reply.headers["location"]))
    assert "B says more" in said(adjudicator.get(home))


def test_a_decision_is_read_by_the_place_on_the_page(ws: Workspace, people: People) -> None:
    """As on the labelers' pages, no field tells the task's own order, in which each place may belong to one model."""
    campaign = make_campaign(ws, simple_texts(6, 3), overlap=2)
    judge(ws, campaign, [(1, 2, 3), (3, 2, 1)])
    adjudicator, orders = client(ws, people.adjudicator), set()
    for each in read_queue(ws, campaign.id).open:
        path = f"/lead/c/{campaign.id}/adjudicate/{each.task_id}"
        fields = re.findall(r'name="(rank-\d)" value="1"', adjudicator.get(path).text)
        assert fields == ["rank-0", "rank-1", "rank-2"]
        adjudicator.post(path, data={"rank-0": "3", "rank-1": "1", "rank-2": "2"})
        case = read_case(ws, each.task_id)
        assert case.decision is not None
        assert isinstance(case.decision.answer, RankingAnswer)
        assert [case.decision.answer.ranks[index] for index in case.shown_order] == [3, 1, 2]
        orders.add(tuple(case.shown_order))
    assert len(orders) > 1


def test_a_decision_with_a_rank_missing_keeps_what_was_typed(ws: Workspace, people: People) -> None:
    campaign = make_campaign(ws, simple_texts(1, 2), overlap=2)
    judge(ws, campaign, [(1, 2), (2, 1)])
    task = read_queue(ws, campaign.id).open[0].task_id
    lead = client(ws, people.lead)
    reply = lead.post(f"/lead/c/{campaign.id}/adjudicate/{task}", data={"rank-0": "2", "note": "a long thought"})
    assert reply.status_code == 422
    assert "No rank for" in said(reply)
    assert "a long thought" in reply.text
    assert re.search(r'name="rank-0" value="2" checked', reply.text)


def test_an_adjudicator_of_one_campaign_does_not_see_the_other(ws: Workspace, people: People) -> None:
    mine, other = make_campaign(ws, simple_texts(1)), make_campaign(ws, simple_texts(2), name="Other")
    only = create_account(ws, "Only One", "adjudicator", PASSWORD, everywhere=False)
    let_in(ws, mine.id, [only.labeler_id])
    browser = client(ws, only)
    assert browser.get(f"/lead/c/{mine.id}/adjudicate").status_code == 200
    assert browser.get(f"/lead/c/{other.id}/adjudicate").status_code == 404
    task = ws.tasks(campaign_id=other.id)[0].id
    assert browser.get(f"/lead/c/{mine.id}/adjudicate/{task}").status_code == 404
    assert browser.get(f"/lead/c/{mine.id}").status_code == 403
    assert said(browser.get("/lead/adjudicate")).count("Nothing is left open") == 1
    assert 'href="/lead/adjudicate"' in browser.get("/").text


def new_form(**other: str) -> dict[str, str]:
    """What the form of a new campaign sends."""
    usual = {"name": "Warmth", "question": "Which is kinder?", "way": "ranking", "overlap": "2", "allow_fail": "yes"}
    return usual | {"source": "file", "content": "plain", "polarity": "1", "instructions": "", "do": "create"} | other


FILE = json.dumps({"prompt": "Hello?", "completions": ["hi", "go away", "hello there"]}).encode()


def test_a_campaign_is_made_from_a_file_in_one_form(ws: Workspace, people: People) -> None:
    lead = client(ws, people.lead)
    gold = json.dumps({"prompt": "Gold?", "completions": ["good", "bad"], "ranks": [1, 2]}).encode()
    reply = lead.post("/lead/new", data=new_form(), files={"file": ("w.jsonl", FILE), "gold": ("g.jsonl", gold)})
    assert reply.status_code == 303
    (view,) = list_campaigns(ws)
    assert reply.headers["location"] == f"/lead/c/{view.campaign.id}"
    assert (view.options.name, view.options.overlap, view.num_tasks, view.options.gold_share) == ("Warmth", 2, 1, 0.05)
    assert "Which is kinder?" in view.guideline.text
    assert sorted(len(task.completion_ids) for task in ws.tasks(campaign_id=view.campaign.id)) == [2, 3]


def test_side_by_side_makes_a_task_of_every_two_completions(ws: Workspace, people: People) -> None:
    form = new_form(way="side_by_side", question="")
    assert client(ws, people.lead).post("/lead/new", data=form, files={"file": ("w.jsonl", FILE)}).status_code == 303
    (view,) = list_campaigns(ws)
    assert (view.num_tasks, view.options.question) == (3, "Which completion is better?")


def test_a_campaign_is_made_from_completions_of_the_workspace(ws: Workspace, people: People) -> None:
    make_campaign(ws, simple_texts(3, 2))
    form = new_form(source="all", way="likert", criteria="warmth: rude … kind\nfacts", instructions="# Mine")
    assert client(ws, people.lead).post("/lead/new", data=form).status_code == 303
    view = next(each for each in list_campaigns(ws) if each.options.name == "Warmth")
    assert view.options.criteria == ("warmth", "facts")
    assert view.options.scale_ends == {"warmth": ("rude", "kind")}
    assert (view.num_tasks, view.guideline.text) == (3, "# Mine")


@pytest.mark.parametrize(
    ("changes", "files", "problem"),
    [
        ({}, {}, "no file"),
        ({}, {"file": ("w.jsonl", b"{}")}, "w.jsonl, line 1"),
        ({"name": ""}, {"file": ("w.jsonl", FILE)}, "name"),
        ({"overlap": "many"}, {"file": ("w.jsonl", FILE)}, "labels per task"),
        ({"way": "likert"}, {"file": ("w.jsonl", FILE)}, "criteria is empty"),
        (
            {"way": "side_by_side"},
            {"file": ("w.jsonl", b'{"prompt": "?", "completions": ["a"]}')},
            "1 completion of one prompt",
        ),
        ({"criteria": "kind: low high"}, {"file": ("w.jsonl", FILE)}, "criteria"),
    ],
)
def test_a_form_that_is_wrong_keeps_what_was_typed(
    ws: Workspace, people: People, changes: dict[str, str], files: dict[str, Any], problem: str
) -> None:
    form = new_form(instructions="my own words", question="Which is <kinder>?") | changes
    reply = client(ws, people.lead).post("/lead/new", data=form, files=files or {"none": ("", b"")})
    assert reply.status_code == 422
    assert problem.lower() in said(reply).lower()
    assert "my own words" in reply.text
    assert "Which is &lt;kinder&gt;?" in reply.text
    assert list_campaigns(ws) == []


@pytest.mark.parametrize("door", ["page", "api"])
def test_a_name_that_is_taken_is_refused_before_the_file_is_stored(ws: Workspace, people: People, door: str) -> None:
    lead = client(ws, people.lead)
    assert lead.post("/lead/new", data=new_form(name="One"), files={"file": ("w.jsonl", FILE)}).status_code < 400
    before, row = ws.counts(), {"prompt": "New?", "completions": ["a", "b"]}
    if door == "page":
        file = {"file": ("n.jsonl", json.dumps(row).encode())}
        reply = lead.post("/lead/new", data=new_form(name="one"), files=file)
    else:
        reply = lead.post("/api/v1/campaigns", json={"options": {"name": "one"}, "rows": [row]})
    assert reply.status_code == 422
    assert "is taken" in reply.text
    assert ws.counts() == before


def test_instructions_are_written_from_the_answers_of_the_form(ws: Workspace, people: People) -> None:
    reply = client(ws, people.lead).post("/lead/new", data=new_form(do="instructions"))
    assert "Longer is not better" in reply.text
    assert 'value="Warmth"' in reply.text
    assert list_campaigns(ws) == []


def test_an_invitation_s_link_is_shown_once_and_can_be_withdrawn(ws: Workspace, people: People) -> None:
    lead = client(ws, people.lead)
    reply = lead.post("/lead/people/invite", data={"role": "labeler", "hours": "24"})
    (link,) = re.findall(r"http://[^<\s]+/invite/[\w-]+", reply.text)
    assert "/invite/" not in re.sub(r"/lead/people/invite", "", lead.get("/lead/people").text)
    made = list_invites(ws)[0]
    assert client(ws).get(link.partition("8400")[2]).status_code == 200
    assert lead.post(f"/lead/people/invite/{made.id}/withdraw").status_code == 303
    gone = client(ws).post(link.partition("8400")[2], data={"name": "New", "password": PASSWORD})
    assert gone.status_code == 403


def test_an_odd_role_or_time_is_refused(ws: Workspace, people: People) -> None:
    lead = client(ws, people.lead)
    for form in ({"role": "king", "hours": "24"}, {"role": "labeler", "hours": "1000000"}, {}):
        assert lead.post("/lead/people/invite", data=form).status_code == 422
    assert list_invites(ws) == []


def test_revoking_signs_a_person_out_at_once(ws: Workspace, people: People) -> None:
    anna, lead = client(ws, people.anna), client(ws, people.lead)
    assert anna.get("/me").status_code == 200
    assert lead.post(f"/lead/people/{people.anna.id}/revoke").status_code == 303
    assert anna.get("/me").status_code == 303
    assert "revoked" in said(lead.get("/lead/people"))


def test_erasing_asks_first_and_takes_the_name_away_for_good(ws: Workspace, people: People) -> None:
    lead, path = client(ws, people.lead), f"/lead/people/{people.anna.id}/erase"
    assert "Erase Anna ?" in said(lead.get(path))
    assert lead.post(path).status_code == 422
    assert lead.post(path, data={"sure": "yes"}).status_code == 303
    page = lead.get("/lead/people").text + lead.get("/lead/audit").text
    assert "Anna" not in page
    assert "anna@example.org" not in page
    assert {each.state for each in list_accounts(ws) if each.id == people.anna.id} == {"erased"}


def test_a_lead_cannot_lock_oneself_out(ws: Workspace, people: People) -> None:
    lead = client(ws, people.lead)
    for act, form in (("revoke", {}), ("erase", {"sure": "yes"}), ("role", {"role": "labeler"})):
        assert lead.post(f"/lead/people/{people.lead.id}/{act}", data=form).status_code in (403, 422)
    assert lead.get("/lead").status_code == 200


def test_a_role_can_be_changed(ws: Workspace, people: People) -> None:
    client(ws, people.lead).post(f"/lead/people/{people.ben.id}/role", data={"role": "adjudicator"})
    assert {each.role for each in list_accounts(ws) if each.id == people.ben.id} == {"adjudicator"}


def options_form(revision: int, **other: str) -> dict[str, str]:
    """What the form of the settings sends."""
    usual = {"revision": str(revision), "name": "Manners", "overlap": "2", "hourly_cost": "12,5", "currency": "EUR"}
    return usual | {"lease_minutes": "30", "gold_percent": "10", "order": "nearest_done", "allow_fail": "yes"} | other


@pytest.mark.parametrize("cost", ["7305910", "1234567.89", "0.00001", "12.5", "0", "1000000000"])
def test_the_settings_show_a_number_whole(ws: Workspace, people: People, cost: str) -> None:
    """What stands in the field is saved with the others: a rounded number would change the setting."""
    campaign = make_campaign(ws, simple_texts(2))
    lead, path = client(ws, people.lead), f"/lead/c/{campaign.id}/settings"
    assert lead.post(path, data=options_form(1, hourly_cost=cost, gold_percent="7")).status_code == 303
    shown = lead.get(path).text
    assert f'name="hourly_cost" inputmode="decimal" value="{cost}"' in shown
    assert 'name="gold_percent" inputmode="decimal" value="7"' in shown


def test_settings_are_saved_and_a_change_elsewhere_is_not_overwritten(ws: Workspace, people: People) -> None:
    campaign = make_campaign(ws, simple_texts(2))
    lead, path = client(ws, people.lead), f"/lead/c/{campaign.id}/settings"
    assert lead.post(path, data=options_form(1, open_to="named")).status_code == 303
    options = campaign_view(ws, campaign.id).options
    assert (options.hourly_cost, options.gold_share, options.open_to) == (12.5, 0.1, "named")
    late = lead.post(path, data=options_form(1, name="My late name"))
    assert late.status_code == 422
    assert "changed elsewhere" in said(late)
    assert "My late name" in late.text
    assert campaign_view(ws, campaign.id).options.name == "Manners"
    assert lead.post(path, data=options_form(2, hourly_cost="a lot")).status_code == 422


def test_a_campaign_for_one_person_stays_theirs_when_their_account_ends(ws: Workspace, people: People) -> None:
    campaign = make_campaign(ws, simple_texts(2), labelers=(people.ben.labeler_id,))
    lead, path = client(ws, people.lead), f"/lead/c/{campaign.id}/settings"
    lead.post(f"/lead/people/{people.ben.id}/revoke")
    assert "Ben Labeler labeler revoked: cannot sign in" in said(lead.get(path))
    assert lead.post(path, data=options_form(1)).status_code == 303
    assert client(ws, people.anna).get(f"/c/{campaign.id}").status_code == 404


def test_people_are_let_in_and_taken_off_in_the_settings(ws: Workspace, people: People) -> None:
    campaign = make_campaign(ws, simple_texts(2), open_to="named")
    lead, anna, path = client(ws, people.lead), client(ws, people.anna), f"/lead/c/{campaign.id}/settings"
    assert "Nobody may judge here yet." in said(lead.get(path))
    assert anna.get(f"/c/{campaign.id}").status_code == 404
    ids = [people.anna.labeler_id, people.adjudicator.labeler_id]
    assert lead.post(f"{path}/people", data={"labeler": ids}).headers["location"].endswith("?said=people#people")
    assert "Anna labeler let in" in said(lead.get(path))
    assert anna.get(f"/c/{campaign.id}", follow_redirects=True).status_code == 200
    assert lead.post(f"{path}/people/{people.anna.labeler_id}", data={"do": "out"}).status_code == 303
    assert anna.get(f"/c/{campaign.id}").status_code == 404
    assert "Anna labeler, taken off" in said(lead.get(path))
    settles = f"{path}/people/{people.adjudicator.labeler_id}"
    assert lead.post(settles, data={"do": "settles"}).status_code == 303
    adjudicator = client(ws, people.adjudicator)
    assert adjudicator.get(f"/c/{campaign.id}").status_code == 404
    assert adjudicator.get(f"/lead/c/{campaign.id}/adjudicate").status_code == 200
    lead.post(settles, data={"do": "out"})
    assert adjudicator.get(f"/lead/c/{campaign.id}/adjudicate").status_code == 404
    for data in ({}, {"labeler": "labeler-none"}):
        assert lead.post(f"{path}/people", data=data).status_code in (404, 422)
    wrong = lead.post(f"{path}/people/{people.anna.labeler_id}", data={"do": "settles"})
    assert "not an adjudicator" in said(wrong)


def test_the_overview_says_who_finds_the_campaign(ws: Workspace, people: People) -> None:
    lead = client(ws, people.lead)
    for open_to, expected in [
        (
            "invited",
            "Ada Adjudicator, Anna and Ben Labeler find it on their first page. So will people who are invited to it",
        ),
        ("everybody", "find it on their first page. So will people who get an account later."),
        ("named", "No labeler finds it yet."),
    ]:
        campaign = make_campaign(ws, simple_texts(2), open_to=open_to)
        assert expected in said(lead.get(f"/lead/c/{campaign.id}")), open_to
        found = f'href="/c/{campaign.id}"' in client(ws, people.anna).get("/").text
        assert found == (open_to != "named"), open_to


def test_question_and_look_are_mended_before_anybody_has_judged(ws: Workspace, people: People) -> None:
    campaign = make_campaign(ws, simple_texts(2))
    lead, path = client(ws, people.lead), f"/lead/c/{campaign.id}/settings"
    assert 'name="question"' in lead.get(path).text
    form = options_form(1, question="Which is warmer?", content="markdown")
    assert lead.post(path, data=form).status_code == 303
    options = campaign_view(ws, campaign.id).options
    assert (options.question, options.content) == ("Which is warmer?", "markdown")
    turn = next_turn(ws, campaign.id, people.anna.labeler_id)
    send(ws, turn)  # type: ignore[arg-type]
    assert 'name="question"' not in (page := lead.get(path).text)
    assert 'name="content"' in page
    assert lead.post(path, data=options_form(2, question="Which is colder?")).status_code == 422


def test_a_campaign_is_paused_closed_and_opened(ws: Workspace, people: People) -> None:
    campaign = make_campaign(ws, simple_texts(1))
    lead, path = client(ws, people.lead), f"/lead/c/{campaign.id}/settings/state"
    for state in ("paused", "closed", "open"):
        assert lead.post(path, data={"state": state}).status_code == 303
        assert campaign_view(ws, campaign.id).state == state
    assert lead.post(path, data={"state": "burnt"}).status_code == 422


def test_instructions_are_previewed_before_a_new_version_comes_out(ws: Workspace, people: People) -> None:
    campaign = make_campaign(ws, simple_texts(1))
    lead, path = client(ws, people.lead), f"/lead/c/{campaign.id}/settings/guideline"
    text = "## New\n\n<script>alert(1)</script> **bold**"
    preview = lead.post(path, data={"text": text, "do": "preview"})
    assert "<strong>bold</strong>" in preview.text
    assert "<script>alert" not in preview.text
    assert len(list_guidelines(ws, campaign.id)) == 1
    assert lead.post(path, data={"text": text, "do": "publish"}).status_code == 303
    assert [each.version for each in list_guidelines(ws, campaign.id)] == [2, 1]
    assert lead.post(path, data={"text": " ", "do": "publish"}).status_code == 422
    assert "Version 1" in said(lead.get(f"/lead/c/{campaign.id}/settings"))


def test_a_reversal_is_confirmed_and_taken_back(ws: Workspace, people: People) -> None:
    campaign = make_campaign(ws, simple_texts(2, 2), overlap=2)
    _, other = judge(ws, campaign, [(1, 2), (2, 1)])
    lead, path = client(ws, people.lead), f"/lead/c/{campaign.id}/labelers/{other}"
    assert lead.post(f"{path}/reversed", data={"revision": "1", "confirmed": "yes"}).status_code == 303
    assert campaign_view(ws, campaign.id).options.confirmed_reversed == (other,)
    assert "confirmed as reversed" in said(lead.get(path))
    lead.post(f"{path}/reversed", data={"revision": "2", "confirmed": "no"})
    assert campaign_view(ws, campaign.id).options.confirmed_reversed == ()
    assert lead.get(f"/lead/c/{campaign.id}/labelers/nobody").status_code == 404
    assert lead.post(f"{path}/reversed", data={"revision": "x", "confirmed": "yes"}).status_code == 422


def test_asking_first_what_is_worth_most_changes_the_order(ws: Workspace, people: People) -> None:
    campaign = make_campaign(ws, simple_texts(2))
    assert client(ws, people.lead).post(f"/lead/c/{campaign.id}/settings/ask-first").status_code == 303
    assert campaign_view(ws, campaign.id).options.order == "worth_asking"


def test_an_export_is_a_file_with_its_manifest_and_harmless_cells(ws: Workspace, people: People) -> None:
    campaign = make_campaign(ws, [["=HYPERLINK(1)", "fine"]], prompts=["+1?"], overlap=1)
    judge(ws, campaign, [(1, 2)])
    lead, path = client(ws, people.lead), f"/lead/c/{campaign.id}/export"
    reply = lead.post(path, data={"format": "trl-explicit", "suffix": ".csv", "strict": "yes"})
    assert reply.headers["content-disposition"] == 'attachment; filename="manners.trl-explicit.zip"'
    with zipfile.ZipFile(io.BytesIO(reply.content)) as archive:
        sheet, manifest = (archive.read(name).decode() for name in archive.namelist())
    assert sheet.splitlines() == ["prompt,chosen,rejected", "'+1?,'=HYPERLINK(1),fine"]
    assert json.loads(manifest)["num_rows"] == 1
    for form in ({"format": "nothing"}, {"format": "judgments", "suffix": ".parquet"}, {"format": "prompts"}):
        assert lead.post(path, data=form).status_code == 422


def test_the_audit_log_names_people_and_shortens_ids(ws: Workspace, people: People) -> None:
    campaign = make_campaign(ws, simple_texts(1))
    lead = client(ws, people.lead)
    lead.post(f"/lead/c/{campaign.id}/settings/state", data={"state": "paused"})
    text = said(lead.get("/lead/audit"))
    assert "Lea Lead state changed Manners state: open → paused" in text
    only = said(lead.get(f"/lead/audit?about={campaign.id}"))
    assert "account created" not in only
    create_invite(ws, "labeler", by=people.lead.id)
    assert re.search(r"invite created invite [0-9a-f]{6} ", said(lead.get("/lead/audit")))
    assert lead.get("/lead/audit?before=x").status_code == lead.get(f"/lead/audit?before={10**30}").status_code == 422
