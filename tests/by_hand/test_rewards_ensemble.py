"""Ensembles by hand: constants per prompt are taken off first, then the members are combined."""

from __future__ import annotations

import time
from collections.abc import Sequence

import pytest
import torch

from preflab.errors import PreflabError
from preflab.records import Prompt
from preflab.rewards.ensemble import Baselines, EnsembleScorer, combine_scores
from preflab.rewards.functions import FunctionScorer, reward_function
from preflab.training.protocols import Scores, ScoringItem

HARD, EASY, NEW = (Prompt.make(text=text) for text in ("hard", "easy", "new"))


class Table:
    """A member that knows its scores by text."""

    def __init__(self, **scores: float) -> None:
        self.scores = scores

    def score(self, items: Sequence[ScoringItem]) -> Scores:
        return Scores(torch.tensor([float(self.scores[item.text]) for item in items]))


def items(*pairs: tuple[Prompt, str]) -> list[ScoringItem]:
    return [ScoringItem(prompt, text) for prompt, text in pairs]


def test_combinations() -> None:
    # Columns (1, 3) and (2, 2): means 2 and 2, spreads 1 and 0, minima 1 and 2.
    scores = torch.tensor([[1.0, 2.0], [3.0, 2.0]])
    assert combine_scores(scores, "mean").tolist() == [2.0, 2.0]
    assert combine_scores(scores, "minimum").tolist() == [1.0, 2.0]
    assert combine_scores(scores, "mean_minus_std", 0.5).tolist() == [1.5, 2.0]
    assert combine_scores(scores, "mean_minus_std").tolist() == [1.0, 2.0]


def test_what_a_member_says_of_reference_completions_is_taken_off_per_prompt() -> None:
    # Member one adds 10 to the hard prompt, member two 5 to everything: without the constants they agree.
    one, two = Table(ref_a=10, ref_b=12, ref_c=0, good=13, bad=9), Table(ref_a=5, ref_b=7, ref_c=5, good=8, bad=6)
    baselines = Baselines.measure([one, two], items((HARD, "ref_a"), (HARD, "ref_b"), (EASY, "ref_c")))
    assert baselines.of_prompt[HARD.id].tolist() == [11.0, 6.0]
    assert baselines.overall.tolist() == [5.5, 5.5]
    scorer = EnsembleScorer([one, two], baselines, "minimum")
    # hard: good 13 − 11 = 2 and 8 − 6 = 2; bad −2 and 0. A prompt without reference: less 5.5 and 5.5.
    found = scorer.score(items((HARD, "good"), (HARD, "bad"), (NEW, "good")))
    assert found.total.tolist() == [2.0, -2.0, 2.5]
    assert found.details["member_1"].tolist() == [2.0, -2.0, 7.5]
    assert found.terms == {}
    assert found.details["spread"].tolist() == [0.0, 1.0, 2.5]


def test_no_reference_completions_are_refused() -> None:
    with pytest.raises(PreflabError, match="without reference completions"):
        Baselines.measure([Table()], [])


def test_a_slow_function_is_not_waited_for_and_a_raising_one_says_so() -> None:
    def slow(completion: str) -> float:
        time.sleep(5)
        return 0.0

    def broken(completion: str) -> float:
        raise ValueError("no")

    def quick(completion: str) -> float:
        return float(len(completion))

    with pytest.raises(PreflabError, match=r"slow returned nothing within 0\.05 s"):
        FunctionScorer(reward_function(slow, "slow"), timeout_s=0.05).score(items((HARD, "x")))
    with pytest.raises(PreflabError, match="broken raised ValueError: no"):
        FunctionScorer(reward_function(broken, "broken"), timeout_s=5).score(items((HARD, "x")))
    assert FunctionScorer(reward_function(quick, "quick"), timeout_s=5).score(items((HARD, "xy"))).total.tolist() == [
        2.0
    ]
