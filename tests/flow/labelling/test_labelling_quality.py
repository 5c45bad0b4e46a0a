"""Read-outs of a campaign against numbers worked out by hand: what counts, agreement over time, what is kept."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from labelling_world import make_campaign, put_labelers, send
from preflab.feedback.pair_votes import all_votes
from preflab.feedback.reading import Reading
from preflab.labelling.adjudication import campaign_consensus
from preflab.labelling.assignment import next_turn
from preflab.labelling.campaigns import change_options
from preflab.labelling.counting import PATIENCE, cached, labels_of, sort_labels
from preflab.labelling.exporting import export_campaign
from preflab.labelling.quality import (
    ai_judges,
    campaign_quality,
    labeler_notes,
    labeler_turns,
    over_time,
    quality_of,
)
from preflab.labelling.submissions import skip
from preflab.records import Judgment, Labeler, RankingAnswer
from preflab.store.workspace import Workspace


@pytest.fixture
def ws(tmp_path: Path) -> Iterator[Workspace]:
    """An empty workspace."""
    with Workspace.open(tmp_path / "w", create=True) as opened:
        yield opened


def judgment(task: int, labeler: str, ranks: tuple[int | None, ...], at: str = "", **other: object) -> Judgment:
    """A ranking of one task."""
    ids = tuple(f"c{task}-{i}" for i in range(len(ranks)))
    return replace(
        Judgment(
            f"j-{task}-{labeler}", "campaign", f"task-{task:02d}", f"p{task}", ids, tuple(range(len(ranks))), "?", 1,
            RankingAnswer(ranks), labeler, "person", created_at=at or f"2026-11-01T10:{task:02d}:00.000Z",
        ),
        **other,  # type: ignore[arg-type]
    )  # fmt: skip


def named(*labelers: str) -> dict[str, Labeler]:
    """Labelers by id."""
    return {each: Labeler(each, f"labeler {each}", "person") for each in labelers}


def test_the_latest_revision_counts_and_a_decision_stands_beside_it() -> None:
    first = judgment(1, "a", (1, 2))
    second = replace(first, id="second", revision=2, answer=RankingAnswer((2, 1)))
    decision = replace(first, id="decision", revision=3, decides=True)
    late = judgment(1, "b", (1, 2), surplus=True)
    labels = sort_labels([second, decision, late, first])
    assert [each.id for each in labels.counted] == ["second"]
    assert [each.id for each in labels.decisions] == ["decision"]
    assert [each.id for each in labels.surplus] == [late.id]


def test_an_edit_does_not_forget_the_time_before_it() -> None:
    first = judgment(1, "a", (1, 2), active_ms=60_000)
    edit = replace(first, id="edit", revision=2, active_ms=3_000)
    (found,) = sort_labels([edit, first]).counted
    assert (found.id, found.active_ms) == ("edit", 63_000)


def test_ai_judges_weigh_nothing_among_people_unless_they_are_let(ws: Workspace) -> None:
    campaign = make_campaign(ws, 2, 2, overlap=2)
    (one, other), machines = put_labelers(ws, 2), put_labelers(ws, 3, "ai")
    for labeler, ranks in ((one, (1, 2)), (other, (1, 2)), *((machine, (2, 1)) for machine in machines)):
        while (found := next_turn(ws, campaign.id, labeler)) is not None:
            send(ws, found, RankingAnswer(ranks))
    # Three machines, all against two people: people's agreement and consensus are theirs alone.
    assert {each.numbers.labeler_id for each in campaign_quality(ws, campaign.id).labelers} == {one, other}
    assert campaign_quality(ws, campaign.id).agreement.strict.value == 1.0
    assert {c.preference.ranks for c in campaign_consensus(ws, campaign.id).values()} == {(1, 2)}
    assert {c.preference.source for c in campaign_consensus(ws, campaign.id).values()} == {"human"}
    # Each beside the people: 2 tasks, 4 of people's votes, none of them the machine's.
    found_ai = [(each.num_tasks, each.with_people.num, each.with_people.value) for each in ai_judges(ws, campaign.id)]
    assert found_ai == [(2, 4, 0.0)] * 3
    change_options(ws, campaign.id, 1, {"count_ai": True})
    assert len(campaign_quality(ws, campaign.id).labelers) == 5
    assert ai_judges(ws, campaign.id) == []


def test_agreement_is_shown_in_stretches_of_tasks_as_they_were_completed() -> None:
    """16 tasks of one pair, two labelers: they agree on the first eight and differ on the last eight."""
    judgments = [judgment(task, "a", (1, 2)) for task in range(16)]
    judgments += [judgment(task, "b", (1, 2) if task < 8 else (2, 1)) for task in range(16)]
    points = over_time(judgments, all_votes(judgments))
    assert [(point.first_task, point.last_task, point.share.value) for point in points] == [(1, 8, 1.0), (9, 16, 0.0)]
    assert points[0].until == "2026-11-01T10:07:00.000Z"
    times = [f"2026-11-01T10:{59 - number % 16:02d}:00.000Z" for number in range(32)]
    turned_round = [replace(each, created_at=at) for each, at in zip(judgments, times, strict=True)]
    assert [point.share.value for point in over_time(turned_round, all_votes(turned_round))] == [0.0, 1.0]


def test_a_task_with_one_label_says_nothing_of_agreement() -> None:
    assert over_time([judgment(1, "a", (1, 2))], []) == []


def test_numbers_of_a_small_campaign_by_hand() -> None:
    """Three labelers on two tasks of two completions: a and b say 1,2 twice; c says 2,1, then a tie.

    Couples of strict votes: task 1 has ab (agree), ac, bc (differ); task 2 has ab (agree). 2 of 4 agree.
    Ties: 1 of 6 votes. c with the majority of the others: 0 of 1 strict vote.
    """
    judgments = [judgment(task, name, (1, 2), active_ms=1000 * (10 + task)) for task in (1, 2) for name in "ab"]
    judgments += [judgment(1, "c", (2, 1), flagged=True), judgment(2, "c", (1, 1))]
    quality = quality_of(judgments, named("a", "b", "c"))
    assert quality.agreement.strict.value == 0.5
    assert quality.agreement.strict.num == 4
    assert quality.agreement.ties.value == pytest.approx(1 / 6)
    table = {each.labeler_id: each for each in quality.labelers}
    assert table["a"].numbers.median_seconds == 11.5
    assert table["c"].numbers.median_seconds is None
    assert table["c"].numbers.with_others.value == 0.0
    assert table["a"].numbers.with_others.value == 1.0  # task 1: b and c cancel out, so there is no majority
    assert (table["c"].num_flagged, table["a"].num_flagged) == (1, 0)
    assert {each.standing for each in quality.labelers} == {"too few tasks to say"}


def test_gold_tasks_count_for_reliability_and_not_for_agreement() -> None:
    judgments = [judgment(task, name, (1, 2)) for task in (1, 2) for name in "ab"]
    quality = quality_of(judgments, named("a", "b"), Reading(gold={"task-01": RankingAnswer((2, 1))}))
    assert quality.agreement.num_tasks == 1
    assert quality.labelers[0].numbers.gold.value == 0.0
    assert quality.labelers[0].numbers.num_tasks == 2


def test_a_confirmed_reversal_turns_the_votes_round() -> None:
    judgments = [judgment(task, name, (1, 2)) for task in range(6) for name in "ab"]
    judgments += [judgment(task, "c", (2, 1)) for task in range(6)]
    before = quality_of(judgments, named("a", "b", "c")).agreement.strict.value
    after = quality_of(
        judgments, named("a", "b", "c"), Reading(confirmed_reversed=frozenset("c"))
    ).agreement.strict.value
    assert before == pytest.approx(1 / 3)
    assert after == 1.0


def test_what_was_computed_is_kept_until_judgments_come_in(ws: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    campaign = make_campaign(ws, 2, overlap=2)
    first, _ = put_labelers(ws, 2)
    calls: list[int] = []
    for _ in range(3):
        cached(ws, campaign.id, "test", lambda: calls.append(1))
    assert len(calls) == 1
    found = next_turn(ws, campaign.id, first)
    assert found is not None
    send(ws, found)
    monkeypatch.setattr("preflab.labelling.counting.PATIENCE", 0.0)
    cached(ws, campaign.id, "test", lambda: calls.append(1))
    assert len(calls) == 2
    cached(ws, campaign.id, "test", lambda: calls.append(1), "other options")
    assert len(calls) == 3
    assert PATIENCE > 0
    assert len(labels_of(ws, campaign.id).counted) == 1


def labels_in_quality(ws: Workspace, campaign_id: str) -> int:
    return sum(each.numbers.num_tasks for each in campaign_quality(ws, campaign_id).labelers)


def labels_in_consensus(ws: Workspace, campaign_id: str) -> int:
    return sum(len(each.preference.judgment_ids) for each in campaign_consensus(ws, campaign_id).values())


def rows_of_export(ws: Workspace, campaign_id: str) -> int:
    rows: int = export_campaign(ws, campaign_id, "trl-explicit")[1]["num_rows"]
    return rows


@pytest.mark.parametrize(
    ("look", "num"),
    [(labels_of, labels_in_quality), (labels_of, labels_in_consensus), (campaign_consensus, rows_of_export)],
)
def test_nothing_is_kept_or_exported_that_was_made_of_older_labels(
    ws: Workspace,
    monkeypatch: pytest.MonkeyPatch,
    look: Callable[[Workspace, str], object],
    num: Callable[[Workspace, str], int],
) -> None:
    """Two tasks of one pair, a label on each; a page was looked at between the two."""
    monkeypatch.setattr("preflab.labelling.counting.PATIENCE", 1e9)
    campaign = make_campaign(ws, 2, 2, overlap=1)
    for labeler in put_labelers(ws, 2):
        found = next_turn(ws, campaign.id, labeler)
        assert found is not None
        send(ws, found, RankingAnswer((1, 2)))
        look(ws, campaign.id)
    assert len(labels_of(ws, campaign.id).counted) == 1
    assert num(ws, campaign.id) == 2


def test_a_labeler_s_skips_and_notes_are_there_to_be_read(ws: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("preflab.labelling.counting.PATIENCE", 0.0)
    campaign = make_campaign(ws, 3, overlap=1)
    (labeler,) = put_labelers(ws, 1)
    for number in range(3):
        found = next_turn(ws, campaign.id, labeler)
        assert found is not None
        if number == 0:
            skip(ws, found.task.id, labeler, "It upsets me")
        else:
            send(ws, found, note="B is rude" if number == 1 else "")
    turns = labeler_turns(ws, campaign.id, labeler)
    assert (turns.num_submitted, turns.num_skipped, turns.reasons) == (2, 1, "It upsets me (1)")
    assert [note.text for note in labeler_notes(ws, campaign.id, labeler)] == ["B is rude"]


def test_confirming_a_reversal_in_the_options_changes_the_read_out(ws: Workspace) -> None:
    campaign = make_campaign(ws, 3, 2, overlap=2)
    one, other = put_labelers(ws, 2)
    for _ in range(3):
        for labeler, ranks in ((one, (1, 2)), (other, (2, 1))):
            found = next_turn(ws, campaign.id, labeler)
            assert found is not None
            send(ws, found, RankingAnswer(ranks))
    assert campaign_quality(ws, campaign.id).agreement.strict.value == 0.0
    change_options(ws, campaign.id, 1, {"confirmed_reversed": (other,)})
    assert campaign_quality(ws, campaign.id).agreement.strict.value == 1.0
