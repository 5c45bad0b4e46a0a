"""Campaigns are made whole, taken up where they were left, and survive the archive with everything new in them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from imported_files import import_into
from labelling_world import make_campaign, put_groups, put_labelers, ranking, rows, send, workspace_on
from preflab.errors import PreflabError
from preflab.labelling.assignment import next_turn, why_waiting
from preflab.labelling.audit import list_events
from preflab.labelling.campaigns import campaign_view, create_campaign, list_campaigns
from preflab.labelling.errors import Invalid, NotFound
from preflab.labelling.options import CampaignOptions
from preflab.labelling.tasks import recount
from preflab.records import (
    Campaign,
    Completion,
    Judgment,
    LikertAnswer,
    Prompt,
    RankingAnswer,
    SideBySideAnswer,
    Task,
    ThumbsAnswer,
)
from preflab.store.transfer import export_from
from preflab.store.workspace import Workspace


@pytest.fixture(params=["sqlite", "postgresql"])
def ws(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Workspace]:
    url = request.getfixturevalue("postgres_url") if request.param == "postgresql" else None
    with workspace_on(request.param, tmp_path, url) as opened:
        yield opened


def test_a_campaign_is_a_record_a_state_and_its_tasks(ws: Workspace) -> None:
    groups = put_groups(ws, 3)
    options = CampaignOptions(
        name="kindness",
        way="likert",
        criteria=("kind",),
        scale_ends={"kind": ("rude", "warm")},
        content="markdown",
        overlap=2,
        ask_note=True,
    )
    campaign = create_campaign(ws, options, groups, "# Read", by="account-lead")
    assert campaign == Campaign(
        campaign.id,
        "kindness",
        "likert",
        question="How good is each completion?",
        instructions="# Read",
        overlap=2,
        criteria=("kind",),
        content="markdown",
        scale_ends={"kind": ("rude", "warm")},
        ask_note=True,
    )
    assert ws.campaigns() == [campaign]
    view = campaign_view(ws, campaign.id)
    assert (view.options, view.state, view.num_tasks, view.num_done) == (options, "open", 3, 0)
    assert sorted(list(task.completion_ids) for task in ws.tasks()) == sorted(groups)
    assert list_campaigns(ws) == [view]


def test_completions_per_task_may_differ(ws: Workspace) -> None:
    prompt = Prompt.make(text="Another?")
    more = [Completion.make(prompt.id, f"Answer {k}", "m", index=k) for k in range(9)]
    ws.put([prompt, *more])
    groups = [*put_groups(ws, 1, num_completions=2), [c.id for c in more]]
    campaign = create_campaign(ws, CampaignOptions(name="c", overlap=1), groups)
    (who,) = put_labelers(ws, 1)
    sizes = []
    while shown := next_turn(ws, campaign.id, who):
        sizes.append(len(shown.completions))
        send(ws, shown)
    assert sizes == [2, 9]


def test_groups_that_do_not_fit_are_named_and_nothing_is_made(ws: Workspace) -> None:
    groups = put_groups(ws, 2)
    for options, wrong, gold, found in [
        ({}, [groups[0], groups[1][:1]], {}, "group 1: 1 completion"),
        ({}, [groups[0], []], {}, "group 1: empty"),
        ({}, [groups[0], groups[0]], {}, "group 1: the same completions"),
        ({}, [[groups[0][0], groups[0][0]]], {}, "group 0: a completion is in it twice"),
        ({"way": "side_by_side"}, groups, {}, "group 0: 3 completions side by side"),
        ({}, groups, {1: RankingAnswer((1, 2))}, "gold answer of group 1: ranks"),
        ({}, groups, {2: ranking()}, "gold: group 2"),
    ]:
        with pytest.raises(Invalid, match=found):
            create_campaign(ws, CampaignOptions(**{"name": "c"} | options), wrong, gold=gold)  # type: ignore[arg-type]
    with pytest.raises(PreflabError, match="another prompt"):
        create_campaign(ws, CampaignOptions(name="c"), [[groups[0][0], groups[1][0]]])
    with pytest.raises(PreflabError, match="completion-none"):
        create_campaign(ws, CampaignOptions(name="c"), [["completion-none", groups[0][0]]])
    assert ws.campaigns() == []
    assert list_events(ws) == []
    with pytest.raises(NotFound):
        campaign_view(ws, "campaign-none")


def test_making_it_again_adds_what_is_missing(ws: Workspace) -> None:
    groups = put_groups(ws, 3)
    options = CampaignOptions(name="c", overlap=1)
    create_campaign(ws, options, groups[:2], "Read.", campaign_id="campaign-1")
    (who,) = put_labelers(ws, 1)
    shown = next_turn(ws, "campaign-1", who)
    assert shown is not None
    send(ws, shown)
    for _ in range(2):
        create_campaign(ws, options, groups, "Read.", campaign_id="campaign-1")
        view = campaign_view(ws, "campaign-1")
        assert (view.num_tasks, view.num_done, view.num_labels) == (3, 1, 1)
    assert [row.position for row in rows(ws, "SELECT position FROM task_states ORDER BY 1")] == [0, 1, 2]
    other = CampaignOptions(name="c", way="thumbs", question="Which completion is better?")
    with pytest.raises(Invalid, match="way"):
        create_campaign(ws, other, groups, campaign_id="campaign-1")


def older_campaign(ws: Workspace) -> tuple[Campaign, list[Task], list[list[str]]]:
    """A campaign with two tasks as an older preflab, or an import, leaves it: records alone."""
    groups = put_groups(ws, 2)
    campaign = Campaign("campaign-1", "older", "ranking", instructions="Read.", overlap=2)
    prompts = {c.id: c.prompt_id for c in ws.completions()}
    tasks = [Task(f"task-{n}", campaign.id, prompts[group[0]], tuple(group)) for n, group in enumerate(groups)]
    ws.put([campaign, *tasks])
    return campaign, tasks, groups


def judged(task: Task, labeler_id: str, **other: Any) -> Judgment:
    values = {"question": "Which?", "polarity": 1, "answer": ranking(), "labeler_kind": "person"} | other
    shown = (0, 1, 2)
    revision = values.get("revision", 1)
    return Judgment(
        id=f"judgment-{task.id}-{labeler_id}-{revision}",
        campaign_id=task.campaign_id,
        task_id=task.id,
        prompt_id=task.prompt_id,
        completion_ids=task.completion_ids,
        shown_order=shown,
        labeler_id=labeler_id,
        created_at="2026-11-20T12:00:00Z",
        **values,
    )


def test_a_campaign_without_a_state_is_taken_up_with_its_tasks_and_labels(ws: Workspace) -> None:
    campaign, tasks, _ = older_campaign(ws)
    one, two = put_labelers(ws, 2)
    ws.put([judged(tasks[0], one), judged(tasks[0], one, revision=2), judged(tasks[0], two, surplus=True)])
    with pytest.raises(NotFound, match="opened for labelling"):
        campaign_view(ws, campaign.id)
    create_campaign(ws, CampaignOptions(name="new name", overlap=9), [], campaign_id=campaign.id)
    view = campaign_view(ws, campaign.id)
    assert (view.campaign, view.options.overlap, view.guideline.text) == (campaign, 2, "Read.")
    assert (view.num_tasks, view.num_labels) == (2, 1)
    for who in (one, two):
        shown = next_turn(ws, campaign.id, who)
        assert shown is not None
        assert shown.task == tasks[1], "nobody judges the same task twice"


def test_labels_that_came_in_elsewhere_are_counted_afresh(ws: Workspace) -> None:
    campaign = make_campaign(ws, 1, overlap=2)
    task = ws.tasks()[0]
    one, two = put_labelers(ws, 2)
    (judge,) = put_labelers(ws, 1, kind="ai")
    ws.put(
        [
            judged(task, one),
            judged(task, judge, labeler_kind="ai"),
            judged(task, two, decides=True, answer=RankingAnswer((3, 2, 1))),
        ]
    )
    recount(ws, campaign.id)
    assert campaign_view(ws, campaign.id).num_labels == 1, "neither the AI judge's nor the decision"
    assert next_turn(ws, campaign.id, one) is None
    shown = next_turn(ws, campaign.id, two)
    assert shown is not None
    assert why_waiting(ws, campaign.id, one).reason == "you_did_all"
    assert send(ws, shown).revision == 2, "beside the decision"
    assert campaign_view(ws, campaign.id).num_done == 1
    assert len(ws.judgments()) == 4


def test_a_decision_stands_beside_the_labels_of_the_same_person(ws: Workspace) -> None:
    _, tasks, _ = older_campaign(ws)
    (one,) = put_labelers(ws, 1)
    label = judged(tasks[0], one)
    decision = judged(tasks[0], one, revision=2, decides=True)
    ws.put([label, decision])
    assert ws.judgments() == [label, decision]


def test_the_archive_carries_everything(ws: Workspace, tmp_path: Path) -> None:
    groups = put_groups(ws, 1, num_completions=2)
    ends = {"kind": ("rude", "warm")}
    options = CampaignOptions(
        name="c", way="likert", criteria=("kind",), scale_ends=ends, content="code", ask_note=True
    )
    campaign = create_campaign(ws, options, groups, "Read.")
    one, two, three, four = put_labelers(ws, 4)
    task = ws.tasks()[0]
    two_shown = {"shown_order": (1, 0)}
    answers = [
        LikertAnswer({"kind": (4, None)}, (False, True)),
        RankingAnswer((2, 1), {"overall": (3, 6)}),
        SideBySideAnswer("second", None, (True, False)),
        ThumbsAnswer((None, True), (True, False)),
    ]
    judgments = [
        replace(judged(task, who, answer=answer, shown_ms=2**40, decides=who == four), **two_shown)  # type: ignore[arg-type]
        for who, answer in zip((one, two, three, four), answers, strict=True)
    ]
    ws.put(judgments)
    file = tmp_path / "judgments.jsonl"
    export_from(ws, file, "judgments")
    failed = {line["labeler_id"]: line["failed"] for line in map(json.loads, file.read_text().splitlines())}
    assert failed == {one: [False, True], two: [False, False], three: [True, False], four: [True, False]}
    with Workspace.open(tmp_path / "other", create=True) as other:
        import_into(other, file)
        assert sorted(other.judgments(), key=lambda j: j.id) == sorted(judgments, key=lambda j: j.id)
        assert other.campaigns() == [campaign]
        create_campaign(other, CampaignOptions(**options.model_dump()), [], campaign_id=campaign.id)
        assert campaign_view(other, campaign.id).num_labels == 3


def test_an_archive_of_an_older_preflab_is_read(ws: Workspace, tmp_path: Path) -> None:
    _, tasks, _ = older_campaign(ws)
    (one,) = put_labelers(ws, 1)
    ws.put([judged(tasks[0], one)])
    export_from(ws, tmp_path / "new.jsonl", "judgments")
    row = json.loads((tmp_path / "new.jsonl").read_text())
    for name in ("decides", "shown_ms"):
        del row[name]
    for name in ("content", "scale_ends", "ask_note"):
        del row["campaign"][name]
    (tmp_path / "old.jsonl").write_text(json.dumps(row) + "\n")
    with Workspace.open(tmp_path / "other", create=True) as other:
        import_into(other, tmp_path / "old.jsonl")
        assert other.judgments() == ws.judgments()
        assert other.campaigns() == ws.campaigns()
