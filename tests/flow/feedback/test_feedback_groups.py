"""Planted groups are found, and bad labelers are none: the campaigns of tests/simulated_campaigns.py."""

from __future__ import annotations

import pytest

from preflab.feedback.labeler_groups import find_groups
from preflab.feedback.pair_votes import Vote, all_votes
from preflab.feedback.readout import readouts
from preflab.feedback.standing import GROUP
from simulated_campaigns import BAD, campaign

NUM_SEEDS = 6
TASTE = tuple((f"l{i:02d}", "taste") for i in range(4))


def groups(seed: int, manners: tuple[tuple[str, str], ...], num_tasks: int = 240) -> list[tuple[str, ...]]:
    votes = all_votes(campaign(seed, num_tasks=num_tasks, manners=manners).judgments)
    return [group.members for group in find_groups(votes)]


def test_labelers_of_another_taste_are_shown_as_a_group() -> None:
    wanted = tuple(name for name, _ in TASTE)
    assert sum(groups(seed, TASTE) == [wanted] for seed in range(NUM_SEEDS)) >= NUM_SEEDS - 1


@pytest.mark.parametrize(
    "manners",
    [(), (("l00", "random"),), (("l00", "reversed"),), BAD, tuple((f"l{i:02d}", "random") for i in range(4)),
     (("l00", "reversed"), ("l01", "reversed"))],
)  # fmt: skip
def test_bad_labelers_are_no_group(manners: tuple[tuple[str, str], ...]) -> None:
    assert [groups(seed, manners) for seed in range(NUM_SEEDS)] == [[]] * NUM_SEEDS


def test_nothing_is_said_on_few_tasks() -> None:
    assert groups(0, TASTE, num_tasks=120) == []  # 30 each
    assert find_groups([]) == []


def test_labelers_who_never_meet_make_no_group() -> None:
    votes = [Vote(f"l{i}", f"{i}/{task}", 0, 1, 1) for i in range(8) for task in range(50)]
    assert find_groups(votes) == []


def test_what_a_group_shows() -> None:
    (group,) = find_groups(all_votes(campaign(1, num_tasks=240, manners=TASTE).judgments))
    within, others, across = (share.value or 0.0 for share in (group.within, group.within_others, group.across))
    assert min(within, others) > 0.6 > across
    assert len(group.others) == 8


def test_members_are_called_a_group_and_not_careless() -> None:
    world = campaign(1, num_tasks=240, manners=TASTE)
    standings = {row.labeler_id: row.standing for row in readouts(world.judgments)}
    assert {standings[name] for name, _ in TASTE} == {GROUP}
    assert {standing for name, standing in standings.items() if name not in dict(TASTE)} == {"in line"}
