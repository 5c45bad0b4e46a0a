"""The worked example of docs/algorithms/consensus.md: every number there is asserted here and worked out there."""

from __future__ import annotations

from math import log

import numpy as np
import pytest

from preflab.feedback.consensus import Consensus, task_consensus
from preflab.feedback.kemeny import kemeny
from preflab.feedback.order import best_order
from preflab.feedback.reading import Reading
from preflab.feedback.reliability import Reliability, relative_weights
from preflab.records import Judgment, RankingAnswer

RANKINGS = {"ann": (1, 2, 3, None), "bob": (2, 3, 1, None), "cid": (3, 1, 2, 4), "dan": (3, 2, 1, 4)}
ACCURACY = {"ann": 4 / 5, "bob": 2 / 3, "cid": 2 / 3, "dan": 1 / 5}


def judgment(labeler: str, ranks: tuple[int | None, ...], decides: bool = False) -> Judgment:
    return Judgment(
        id=labeler, campaign_id="c", task_id="t", prompt_id="p", completion_ids=tuple("abcd"), shown_order=(0, 1, 2, 3),
        question="?", polarity=1, answer=RankingAnswer(ranks), labeler_id=labeler, labeler_kind="person",
        decides=decides,
    )  # fmt: skip


JUDGMENTS = [judgment(name, ranks) for name, ranks in RANKINGS.items()]


def states(found: Consensus) -> dict[str, tuple[float, str]]:
    return {
        "abcd"[pair.outcome.first] + "abcd"[pair.outcome.second]: (pair.outcome.margin, pair.state)
        for pair in found.pairs
    }


def test_weights() -> None:
    found = {name: Reliability(p, 100) for name, p in ACCURACY.items()}
    assert [reliable.weight for reliable in found.values()] == pytest.approx([log(4), log(2), log(2), 0])
    assert relative_weights(found) == pytest.approx({"ann": 1.0, "bob": 0.5, "cid": 0.5, "dan": 0.0})


def test_margins_and_order() -> None:
    found = task_consensus(JUDGMENTS, {"ann": 1.0, "bob": 0.5, "cid": 0.5, "dan": 0.0})
    assert states(found) == {"ab": (1.0, "settled"), "ac": (0.0, "implied"), "bc": (1.0, "settled")}
    assert found.preference.ranks == (1, 2, 3, None)
    assert [(i, j) for i, j, _ in found.preference.chosen_rejected()] == [(0, 1), (1, 2)]
    margins = np.array([[0, 1, 0], [-1, 0, 1], [0, -1, 0]])
    assert (kemeny(margins).score, kemeny(margins).num_orders) == (2.0, 1)


def test_a_contradicted_pair_is_open_until_it_is_decided() -> None:
    weights = {"ann": 0.75, "bob": 0.5, "cid": 0.5, "dan": 0.0}
    found = task_consensus(JUDGMENTS, weights)
    assert states(found) == {"ab": (0.75, "settled"), "ac": (-0.25, "open"), "bc": (0.75, "settled")}
    assert kemeny(np.array([[0, 0.75, -0.25], [-0.75, 0, 0.75], [0.25, -0.75, 0]])).score == 1.25
    assert found.unresolved == ((0, 2),)
    decided = task_consensus(JUDGMENTS, weights, decision=judgment("lead", (1, 1, 2, 2), decides=True))
    assert states(decided) == {"ab": (0.75, "settled"), "ac": (1.0, "decided"), "bc": (0.75, "settled")}
    assert decided.preference.ranks == (1, 2, 3, None)


def test_a_confirmed_reversal_settles_the_rest() -> None:
    weights = {"ann": 1.0, "bob": 0.5, "cid": 0.5, "dan": 1.0}
    found = task_consensus(JUDGMENTS, weights, Reading(confirmed_reversed=frozenset({"dan"})))
    assert states(found) == {"ab": (2.0, "settled"), "ac": (1.0, "settled"), "bc": (2.0, "settled")}


def test_an_even_circle() -> None:
    order = best_order(np.array([[0, 1, -1], [-1, 0, 1], [1, -1, 0]]))
    assert (order.num_orders, order.above.any()) == (3, False)
