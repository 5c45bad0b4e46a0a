"""Groups of labelers who always vote one way: the smallest that are shown, and their agreement counted on paper."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from preflab.feedback import labeler_groups as groups
from preflab.feedback.labeler_groups import find_groups
from preflab.feedback.pair_votes import Vote


def campaign(num_up: int, num_down: int, num_tasks: int, pairs: tuple[tuple[int, int], ...] = ((0, 1),)) -> list[Vote]:
    """Everybody votes on every pair of every task: some always +1, the others always −1."""
    outcomes = {f"up{i}": 1 for i in range(num_up)} | {f"down{i}": -1 for i in range(num_down)}
    tasks = [f"t{i}" for i in range(num_tasks)]
    return [Vote(name, task, *pair, outcome) for name, outcome in outcomes.items() for task in tasks for pair in pairs]


def test_three_against_four_on_forty_tasks() -> None:
    """3 couples of members, 6 of others and 12 across on each of 40 tasks."""
    (group,) = find_groups(campaign(4, 3, 40))
    assert group.members == ("down0", "down1", "down2")
    assert group.others == ("up0", "up1", "up2", "up3")
    assert (group.within.value, group.within.num, group.within.num_tasks) == (1, 120, 40)
    assert (group.within_others.value, group.within_others.num, group.within_others.num_tasks) == (1, 240, 40)
    assert (group.across.value, group.across.num, group.across.num_tasks) == (0, 480, 40)


def test_several_pairs_of_a_task_are_one_task() -> None:
    (group,) = find_groups(campaign(3, 3, 40, pairs=((0, 1), (0, 2))))
    assert (group.within.num, group.across.num, group.across.num_tasks) == (240, 720, 40)


@pytest.mark.parametrize(
    ("num_up", "num_down", "num_tasks", "num_groups"),
    [(3, 3, 40, 1), (3, 3, 39, 0), (4, 2, 40, 0), (5, 2, 60, 0), (2, 2, 60, 0), (6, 0, 40, 0)],
)
def test_smallest_campaign_with_a_group(num_up: int, num_down: int, num_tasks: int, num_groups: int) -> None:
    assert len(find_groups(campaign(num_up, num_down, num_tasks))) == num_groups


def test_ties_say_nothing() -> None:
    votes = campaign(3, 3, 40)
    ties = [Vote(vote.labeler, vote.task, 0, 2, 0) for vote in votes]
    assert find_groups([*votes, *ties]) == find_groups(votes)


def test_labeler_with_few_tasks_takes_no_part() -> None:
    late = [Vote("late", f"t{i}", 0, 1, -1) for i in range(39)]
    (group,) = find_groups([*campaign(3, 3, 40), *late])
    assert "late" not in group.members + group.others


@pytest.mark.parametrize(("num_agreeing", "others"), [(10, 3), (11, 4)])
def test_who_agrees_with_the_own_side_on_less_than_55_per_cent_is_on_none(num_agreeing: int, others: int) -> None:
    """Twenty pairs for each task, on 10 or 11 of which the seventh labeler votes as the four do."""
    pairs = tuple((0, i) for i in range(1, 21))
    odd = [Vote("odd", f"t{task}", 0, i, 1 if i <= num_agreeing else -1) for task in range(40) for i in range(1, 21)]
    (group,) = find_groups([*campaign(3, 3, 40, pairs), *odd])
    assert sorted(map(len, (group.members, group.others))) == [3, others]
    assert ("odd" in group.others) == (num_agreeing == 11)
    if num_agreeing == 10:
        assert (group.within.num, group.within_others.num, group.across.num) == (2400, 2400, 7200)


@pytest.mark.parametrize("turned", [1.0, -1.0])
@pytest.mark.parametrize(("share", "holds"), [(1.0, True), (0.6, True), (0.4, False)])
def test_smaller_side_has_to_agree_on_60_per_cent(turned: float, share: float, holds: bool) -> None:
    """Four who always agree against three who agree on a share of forty tasks; nobody agrees across."""
    task = np.repeat(np.arange(40), 3)
    agree = np.array([[1, task % 5 < 5 * share, 0] for task in range(40)], dtype=int).ravel()
    couples = groups._Couples(task, np.tile([0, 4, 0], 40), np.tile([1, 5, 4], 40), agree)
    sides = turned * np.array([1.0] * 4 + [-1.0] * 3)
    assert groups._is_confirmed(sides, couples, seed=0) is holds
    assert not groups._is_confirmed(np.where(np.arange(7) == 6, 0, sides), couples, seed=0)  # two are too few


SIDES = np.array([1.0] * 3 + [-1.0] * 3 + [1.0] * 6)
"""Of twelve labelers found in one half; the last six are on the other side in the other half."""


@pytest.mark.parametrize(
    ("sides", "other", "holds", "sizes"),
    [
        (SIDES[:6], SIDES[:6], (True, True), [(3, 3)]),
        (SIDES[:6], -SIDES[:6], (True, True), [(3, 3)]),  # what is called 1 in one half may be −1 in the other
        (SIDES[:6], SIDES[:6], (True, False), []),
        (SIDES[:6], SIDES[:6], (False, True), []),
        (SIDES, np.where(np.arange(12) < 6, SIDES, -SIDES), (True, True), [(3, 3)]),  # as many alike as not: as it is
    ],
)
def test_each_half_of_the_tasks_is_judged_on_the_other(
    sides: np.ndarray, other: np.ndarray, holds: tuple[bool, bool], sizes: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    halves, judged = [], []

    def split(couples: Any, num: int, seed: int) -> np.ndarray:
        halves.append(couples)
        return sides if len(halves) == 1 else other

    def hold(sides: np.ndarray, couples: Any, seed: int) -> bool:
        judged.append(couples)
        return holds[len(judged) - 1]

    monkeypatch.setattr(groups, "_split", split)
    monkeypatch.setattr(groups, "_is_confirmed", hold)
    num = len(sides) // 2
    shown = find_groups(campaign(num, num, 41))
    assert [(len(group.members), len(group.others)) for group in shown] == sizes
    assert [len(np.unique(half.task)) for half in halves] == [21, 20]
    assert all(one is other for one, other in zip(judged, halves[::-1], strict=False))
