"""What labelers leave open and what an adjudicator decides; what is asked first; what is taken away."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from labelling_world import make_campaign, put_labelers, rows, send, workspace_on
from preflab.labelling.accounts import Account, create_account
from preflab.labelling.adjudication import campaign_consensus, decide, disagreements, queue, read_case
from preflab.labelling.assignment import next_turn, turn
from preflab.labelling.audit import events
from preflab.labelling.campaigns import campaign_view
from preflab.labelling.errors import Invalid, NotAllowed
from preflab.labelling.exporting import export_campaign, plain_name
from preflab.labelling.needs import progress
from preflab.labelling.prioritise import prioritise
from preflab.labelling.quality import campaign_quality
from preflab.records import Campaign, RankingAnswer
from preflab.store.workspace import Workspace


@pytest.fixture
def ws(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Workspace]:
    """An empty workspace; nothing is kept beyond the next judgment."""
    monkeypatch.setattr("preflab.labelling.counting.PATIENCE", 0.0)
    with Workspace.open(tmp_path / "w", create=True) as opened:
        yield opened


@pytest.fixture
def lead(ws: Workspace) -> Account:
    """Who decides."""
    return create_account(ws, "Lea", "lead", "correct horse battery")


def judged(ws: Workspace, answers: list[tuple[tuple[int | None, ...], ...]], labelers: list[str]) -> Campaign:
    """A campaign whose n-th task got these answers, one per labeler."""
    campaign = make_campaign(ws, len(answers), len(answers[0][0]), overlap=len(labelers))
    place = dict(rows(ws, "select task_id, position from task_states"))
    for labeler_place, labeler in enumerate(labelers):
        for _ in answers:
            found = next_turn(ws, campaign.id, labeler)
            assert found is not None
            send(ws, found, RankingAnswer(answers[place[found.task.id]][labeler_place]))
    return campaign


def task_at(ws: Workspace, position: int) -> str:
    """The id of the n-th task."""
    return str(rows(ws, "select task_id from task_states where position = :p", p=position)[0][0])


EVEN = ((1, 2), (2, 1))
AGREED = ((1, 2), (1, 2))
TIED = ((1, 1), (1, 1))


def test_an_even_split_waits_for_an_adjudicator_and_an_agreed_tie_does_not(ws: Workspace) -> None:
    campaign = judged(ws, [EVEN, AGREED, TIED], put_labelers(ws, 2))
    waiting = queue(ws, campaign.id).open
    assert [each.task_id for each in waiting] == [task_at(ws, 0)]
    assert [(pair.first, pair.second) for pair in waiting[0].pairs] == [(0, 1)]


def test_a_task_that_still_wants_labels_is_not_in_the_queue(ws: Workspace) -> None:
    labelers = put_labelers(ws, 2)
    campaign = make_campaign(ws, 1, 2, overlap=3)
    for labeler, ranks in zip(labelers, EVEN, strict=True):
        found = next_turn(ws, campaign.id, labeler)
        assert found is not None
        send(ws, found, RankingAnswer(ranks))
    assert campaign_consensus(ws, campaign.id)[task_at(ws, 0)].unresolved == ((0, 1),)
    assert not queue(ws, campaign.id).open


def test_a_decision_settles_the_pair_and_counts_for_nothing_else(ws: Workspace, lead: Account) -> None:
    campaign = judged(ws, [EVEN, AGREED], put_labelers(ws, 2))
    before, done = campaign_quality(ws, campaign.id).agreement, progress(ws, campaign.id)
    decide(ws, task_at(ws, 0), lead, RankingAnswer((2, 1)), "B names the day")
    found = queue(ws, campaign.id)
    assert not found.open
    assert [each.note for each in found.decided] == ["B names the day"]
    assert campaign_consensus(ws, campaign.id)[task_at(ws, 0)].preference.ranks == (2, 1)
    assert campaign_quality(ws, campaign.id).agreement == before
    assert progress(ws, campaign.id) == done
    assert events(ws, limit=1)[0].what == "decided"


def test_a_decided_task_leaves_the_queue_though_the_consensus_is_still_kept(
    ws: Workspace, lead: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    campaign = judged(ws, [EVEN, EVEN], put_labelers(ws, 2))
    assert len(queue(ws, campaign.id).open) == 2
    monkeypatch.setattr("preflab.labelling.counting.PATIENCE", 1e9)
    decide(ws, task_at(ws, 0), lead, RankingAnswer((2, 1)))
    assert [each.task_id for each in queue(ws, campaign.id).open] == [task_at(ws, 1)]
    decision = read_case(ws, task_at(ws, 0)).decision
    assert decision is not None
    assert decision.answer == RankingAnswer((2, 1))


def test_an_agreed_pair_cannot_be_overruled(ws: Workspace, lead: Account) -> None:
    campaign = judged(ws, [AGREED], put_labelers(ws, 2))
    decide(ws, task_at(ws, 0), lead, RankingAnswer((2, 1)))
    assert campaign_consensus(ws, campaign.id)[task_at(ws, 0)].preference.ranks == (1, 2)


def test_who_labelled_a_task_can_decide_it_and_keeps_the_own_label(ws: Workspace, lead: Account) -> None:
    (other,) = put_labelers(ws, 1)
    campaign = judged(ws, [EVEN], [lead.labeler_id, other])
    first = decide(ws, task_at(ws, 0), lead, RankingAnswer((1, 2)))
    second = decide(ws, task_at(ws, 0), lead, RankingAnswer((2, 1)))
    assert (first.revision, second.revision) == (2, 3)
    assert campaign_quality(ws, campaign.id).agreement.num_judgments == 2
    assert campaign_consensus(ws, campaign.id)[task_at(ws, 0)].preference.ranks == (2, 1)
    assert turn(ws, task_at(ws, 0), lead.labeler_id).answer == RankingAnswer((1, 2))


def test_a_labeler_cannot_decide(ws: Workspace) -> None:
    judged(ws, [EVEN], put_labelers(ws, 2))
    labeler = create_account(ws, "Ben", "labeler", "correct horse battery")
    with pytest.raises(NotAllowed):
        decide(ws, task_at(ws, 0), labeler, RankingAnswer((1, 2)))


def test_a_case_names_nobody(ws: Workspace) -> None:
    labelers = put_labelers(ws, 2)
    judged(ws, [EVEN], labelers)
    case = read_case(ws, task_at(ws, 0))
    assert sorted(each.answer.ranks for each in case.opinions) == [(1, 2), (2, 1)]  # type: ignore[union-attr]
    assert [each.number for each in case.opinions] == [1, 2]
    assert not any(labeler in repr(case.opinions) for labeler in labelers)
    assert sorted(case.shown_order) == [0, 1]


def test_disagreements_are_those_with_weight_on_both_sides(ws: Workspace) -> None:
    """Two labelers of equal weight: each pair they differ on has 1 against 1; flagged tasks come first."""
    campaign = judged(ws, [AGREED, EVEN], put_labelers(ws, 2))
    found = disagreements(ws, campaign.id)
    assert [each.task_id for each in found] == [task_at(ws, 1)]
    assert (found[0].num_split, found[0].num_pairs) == (1, 1)


def test_the_task_asked_first_is_the_one_labelers_are_split_on(ws: Workspace, lead: Account) -> None:
    campaign = judged(ws, [AGREED, EVEN], put_labelers(ws, 2))
    assert prioritise(ws, campaign.id, lead.id) == 2
    worth = dict(rows(ws, "select position, worth from task_states"))
    assert worth[1] > worth[0] > 0
    assert campaign_view(ws, campaign.id).options.order == "worth_asking"


def test_where_reward_models_disagree_a_label_is_worth_more(ws: Workspace, lead: Account) -> None:
    campaign = make_campaign(ws, 2, 2)
    ids = {place: ws.tasks([task_at(ws, place)])[0].completion_ids for place in (0, 1)}
    scores = {ids[0][0]: (2.0, 2.0), ids[0][1]: (0.0, 0.0), ids[1][0]: (2.0, 0.0), ids[1][1]: (0.0, 2.0)}
    prioritise(ws, campaign.id, lead.id, scores)
    worth = dict(rows(ws, "select position, worth from task_states"))
    assert worth[1] > worth[0]


def test_the_same_labels_give_the_same_bytes_with_a_manifest(ws: Workspace) -> None:
    campaign = judged(ws, [AGREED, EVEN], put_labelers(ws, 2))
    data, manifest = export_campaign(ws, campaign.id, "trl-explicit")
    assert export_campaign(ws, campaign.id, "trl-explicit")[0] == data
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert archive.namelist() == ["kindness.trl-explicit.jsonl", "kindness.trl-explicit.jsonl.manifest.json"]
        (row,) = [json.loads(line) for line in archive.read("kindness.trl-explicit.jsonl").splitlines()]
        stored = json.loads(archive.read("kindness.trl-explicit.jsonl.manifest.json"))
    assert (row["chosen"], row["rejected"]) == ("Answer 0.", "Answer 1.")
    assert stored == manifest
    assert manifest["selection"] == {"campaign": campaign.id}
    assert manifest["made_of"] == {"preferences": 2}
    assert not ws.preferences()


def test_an_export_of_nothing_says_why(ws: Workspace) -> None:
    campaign = judged(ws, [EVEN], put_labelers(ws, 2))
    with pytest.raises(Invalid, match="nothing to write"):
        export_campaign(ws, campaign.id, "trl-explicit")
    with pytest.raises(Invalid):
        export_campaign(ws, campaign.id, "prompts")


def test_a_campaign_s_name_becomes_a_file_s_name() -> None:
    assert plain_name("Helpful answers, round 1") == "helpful-answers-round-1"
    assert plain_name("../../etc") == "etc"
    assert plain_name("日本") == "campaign"


def test_read_outs_and_decisions_are_the_same_on_postgresql(
    tmp_path: Path, postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("preflab.labelling.counting.PATIENCE", 0.0)
    with workspace_on("postgresql", tmp_path, postgres_url) as ws:
        lead = create_account(ws, "Lea", "lead", "correct horse battery")
        campaign = judged(ws, [EVEN, AGREED], put_labelers(ws, 2))
        assert [each.task_id for each in queue(ws, campaign.id).open] == [task_at(ws, 0)]
        assert campaign_quality(ws, campaign.id).agreement.strict.value == 0.5
        assert prioritise(ws, campaign.id, lead.id) == 2
        decide(ws, task_at(ws, 0), lead, RankingAnswer((2, 1)))
        assert not queue(ws, campaign.id).open
        assert export_campaign(ws, campaign.id, "trl-explicit")[1]["num_rows"] == 2
        assert progress(ws, campaign.id).num_left == 0
