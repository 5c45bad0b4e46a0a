"""Who can be told apart, and what two labelers come to: every graph and every pattern of votes, one by one."""

from __future__ import annotations

from itertools import combinations, product

import numpy as np
import pytest

from preflab.feedback.consensus import consensus_of
from preflab.feedback.pair_votes import Vote
from preflab.feedback.reading import USUAL, Reading
from preflab.feedback.shrinkage import find_unidentified
from preflab.records import Judgment, RankingAnswer

RANKS = {1: (1, 2), -1: (2, 1), 0: (1, 1)}


def judged(labeler: str, task: int, sign: int) -> Judgment:
    return Judgment(
        id=f"{task}/{labeler}", campaign_id="c", task_id=str(task), prompt_id="p", completion_ids=("a", "b"),
        shown_order=(0, 1), question="?", polarity=1, answer=RankingAnswer(RANKS[sign]), labeler_id=labeler,
        labeler_kind="person",
    )  # fmt: skip


def free_directions(num: int, links: list[tuple[int, int]], fixed: list[int]) -> set[int]:
    """Labelers whose log |2p − 1| the equations x_a + x_b = (what was seen), x_f = (what was seen) leave free."""
    rows = [[float(place in link) for place in range(num)] for link in links]
    rows += [[float(place == one) for place in range(num)] for one in fixed]
    if not rows:
        return set(range(num))
    _, sizes, vectors = np.linalg.svd(np.array(rows))
    null = vectors[int((sizes > 1e-9).sum()) :]
    return {int(place) for place in np.flatnonzero(np.abs(null).max(axis=0, initial=0.0) > 1e-9)}


@pytest.mark.parametrize("num", [1, 2, 3, 4, 5])
def test_find_unidentified_equals_the_free_directions_of_the_equations(num: int) -> None:
    every_link = list(combinations(range(num), 2))
    for chosen in product((False, True), repeat=len(every_link)):
        links = [link for link, there in zip(every_link, chosen, strict=True) if there]
        votes = [Vote(str(one), f"own {one}", 0, 1, 1) for one in range(num)]
        votes += [Vote(str(one), f"{link}", 0, 1, 1) for link in links for one in link]
        assert find_unidentified(votes) == {str(one) for one in free_directions(num, links, [])}, links
        known = {("own 0", 0, 1): 1}
        assert find_unidentified(votes, known) == {str(one) for one in free_directions(num, links, [0])}, links


def test_two_labelers_have_equal_weights_for_every_pattern_of_votes() -> None:
    """Every pair of answers on each of two tasks, and every answer of one of them on a task more."""
    for signs in product(product((1, -1, 0), repeat=2), repeat=2):
        for extra in (1, -1, 0):
            judgments = [judged(name, task, both["ab".index(name)]) for task, both in enumerate(signs) for name in "ab"]
            judgments.append(judged("b", 2, extra))
            assert set(USUAL.weights(judgments).values()) == {1.0}
            found = {each.task_id: each for each in consensus_of(judgments)}
            for task, (one, other) in enumerate(signs):
                assert bool(found[str(task)].unresolved) == (one * other == -1)


@pytest.mark.parametrize("num_labelers", [3, 4])
def test_majority_equals_reliability_without_significant_differences(num_labelers: int) -> None:
    """Every pattern of strict votes on two tasks: too few to tell anybody apart with 95 % confidence, but for the one
    labeler of four who is against all the others on both."""
    names = "abcd"[:num_labelers]
    for signs in product((1, -1), repeat=2 * num_labelers):
        judgments = [judged(name, task, signs[2 * place + task]) for place, name in enumerate(names) for task in (0, 1)]
        alone = [place for place in range(num_labelers) if _against_all(signs, place, num_labelers)]
        if num_labelers == 4 and alone:
            assert USUAL.weights(judgments)[names[alone[0]]] == 0.0
            continue
        usual, majority = consensus_of(judgments), consensus_of(judgments, Reading(consensus="majority"))
        assert [each.preference.ranks for each in usual] == [each.preference.ranks for each in majority]


def _against_all(signs: tuple[int, ...], place: int, num: int) -> bool:
    others = [other for other in range(num) if other != place]
    return all(signs[2 * other + task] == -signs[2 * place + task] for other in others for task in (0, 1))
