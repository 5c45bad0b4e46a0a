"""Progress, pace, cost and needs of a campaign, worked out by hand."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from labelling_world import make_campaign, put_groups, put_labelers, ranking, send
from preflab.labelling.assignment import next_turn
from preflab.labelling.campaigns import create_campaign
from preflab.labelling.needs import (  # fmt: skip
    Progress,
    campaign_pace,
    cost,
    cost_of,
    enough_at,
    labels_missing,
    labels_needed,
    need_for_pairs,
    pace,
    progress,
)
from preflab.labelling.options import CampaignOptions
from preflab.records import Judgment, PairOutcome, Preference, RankingAnswer
from preflab.store.workspace import Workspace

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)


@pytest.fixture
def ws(tmp_path: Path) -> Iterator[Workspace]:
    """An empty workspace."""
    with Workspace.open(tmp_path / "w", create=True) as opened:
        yield opened


def ago(**duration: float) -> str:
    """A moment before now."""
    return (NOW - timedelta(**duration)).isoformat()


def test_the_pace_is_that_of_the_last_week() -> None:
    """Ten labels long ago, seven in the last week: seven in seven days."""
    found = pace([ago(days=30)] * 10 + [ago(days=number) for number in range(7)], NOW)
    assert found is not None
    assert (found.num, found.days, found.per_day) == (7, 7.0, 1.0)


def test_a_young_campaign_s_pace_is_counted_from_its_first_label() -> None:
    """Four labels, the first twelve hours ago: eight a day."""
    found = pace([ago(hours=12), ago(hours=3), ago(hours=2), ago(hours=1)], NOW)
    assert found is not None
    assert found.per_day == 8.0


def test_no_pace_is_read_from_less_than_an_hour_or_from_old_labels() -> None:
    found = pace([ago(minutes=1)], NOW)
    assert found is not None
    assert found.per_day == 24.0
    assert pace([ago(days=8)], NOW) is None
    assert pace([], NOW) is None


def test_gold_tasks_do_not_hurry_the_pace(ws: Workspace) -> None:
    """Labels of tasks that are wanted count towards what is left, those of tasks whose answers are known do not."""
    options = CampaignOptions(name="g", overlap=1, gold_share=0.5)
    campaign = create_campaign(ws, options, put_groups(ws, 40), gold=dict.fromkeys(range(20, 40), ranking()))
    [labeler] = put_labelers(ws, 1)
    while len(ws.judgments()) < 18:  # half of them are gold by lot: none at all once in 2**18 times
        found = next_turn(ws, campaign.id, labeler)
        assert found is not None
        send(ws, found)
    found_pace = campaign_pace(ws, campaign.id, datetime.now(UTC))
    assert found_pace is not None
    assert len(ws.judgments()) > found_pace.num == progress(ws, campaign.id).num_labels


def test_enough_is_when_the_rest_has_come_in_at_this_pace() -> None:
    found = pace([ago(hours=12), ago(hours=3), ago(hours=2), ago(hours=1)], NOW)
    assert enough_at(16, found, NOW) == NOW + timedelta(days=2)
    assert enough_at(0, found, NOW) is None
    assert enough_at(16, None, NOW) is None


def test_money_is_hours_by_their_cost() -> None:
    """30 and 15 minutes at 24 an hour: 0.75 h, 18; nine pairs: 2 each, 12 an hour."""
    base = Judgment("j", "c", "t", "p", ("a", "b"), (0, 1), "?", 1, RankingAnswer((1, 2)), "l", "person")
    found = cost_of([replace(base, active_ms=1_800_000), replace(base, active_ms=900_000), base], 9, 24.0, "EUR")
    assert (found.hours, found.money, found.num_timed, found.num_judgments) == (0.75, 18.0, 2, 3)
    assert (found.pairs_per_hour, found.money_per_pair) == (12.0, 2.0)
    free = cost_of([base], 0, 0.0, "EUR")
    assert (free.money, free.pairs_per_hour, free.money_per_pair) == (None, None, None)


def test_labels_for_a_number_of_pairs_follow_from_what_a_label_has_brought() -> None:
    """Two tasks of three labels decided three pairs and one: 4/6 pairs a label. Ten pairs want 6 / (4/6) = 9 more.

    The campaign has six labels to give; the other three are one further task of three labels.
    """
    labels = [replace(_label(task), id=f"{task}{n}", labeler_id=str(n)) for task in ("t1", "t2") for n in range(3)]
    preferences = {"t1": _decided(3), "t2": _decided(1)}
    state = Progress(num_tasks=4, num_done=2, num_labels=6, num_wanted=12)
    need = need_for_pairs(preferences, labels, 10, state)
    assert (need.labels, need.num_tasks) == (9, 1)
    assert need.rate is not None
    assert need.rate.value == pytest.approx(4 / 6)
    assert need_for_pairs(preferences, labels, 4, state).labels == 0
    assert need_for_pairs({}, [], 4, state).labels is None


def _label(task: str) -> Judgment:
    return Judgment("j", "c", task, "p", ("a", "b"), (0, 1), "?", 1, RankingAnswer((1, 2)), "l", "person")


def _decided(num: int) -> Preference:
    pairs = tuple(PairOutcome(0, i, 1.0, 0.0, 0.0, 1 / num) for i in range(1, num + 1))
    pairs += (PairOutcome(5, 6, 1.0, 1.0, 0.0, 0.0),)  # an open pair teaches nothing
    return Preference.make("p", ("a",), (1,), pairs=pairs)


def test_progress_of_a_campaign_and_what_a_larger_overlap_would_need(ws: Workspace) -> None:
    """Three tasks of two labels; one labeler has judged two: 2 of 6 labels, none complete.

    For three labels per task 2 + 2 + 3 = 7 are missing, for one 0 + 0 + 1.
    """
    campaign = make_campaign(ws, 3, overlap=2)
    (labeler,) = put_labelers(ws, 1)
    for _ in range(2):
        found = next_turn(ws, campaign.id, labeler)
        assert found is not None
        send(ws, found, active_ms=60_000)
    state = progress(ws, campaign.id)
    assert (state.num_tasks, state.num_done, state.num_labels, state.num_wanted, state.num_left) == (3, 0, 2, 6, 4)
    assert labels_missing(ws, campaign.id, 3) == 7
    assert labels_missing(ws, campaign.id, 1) == 1
    assert cost(ws, campaign.id).hours == pytest.approx(2 / 60)
    assert labels_needed(ws, campaign.id, accuracy=0.9).labels is None  # one labeler: agreement is not known
    with pytest.raises(ValueError, match="one target"):
        labels_needed(ws, campaign.id)
