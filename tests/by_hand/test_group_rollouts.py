"""Rollouts on paper: what a scorer is handed and takes off, and rows that are replaced by wider ones."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch

from paper_trunk import rollouts_on_paper
from preflab.policy.completion_groups import score_rollouts, with_rows
from preflab.training.protocols import Scores, ScoringItem


class Noting:
    """Scores 1, 2, … and keeps what it was asked about."""

    def score(self, items: Sequence[ScoringItem]) -> Scores:
        self.items = list(items)
        total = torch.arange(1.0, len(items) + 1)
        return Scores(total, {"term": total / 2}, {"term/detail": -total})


def test_scorer_sees_texts_tokens_and_ends_and_cut_completions_cost_a_penalty() -> None:
    rollouts, scorer = rollouts_on_paper([[-1.0, -1.0], [-1.0]]), Noting()
    rollouts.texts = ["a b", "c"]
    rollouts.finished = rollouts.closed = torch.tensor([True, False])
    total, terms = score_rollouts(scorer, rollouts, missing_eos_penalty=0.5)
    assert total.tolist() == [1.0, 1.5]
    assert {name: term.tolist() for name, term in terms.items()} == {"term": [0.5, 1.0], "term/detail": [-1.0, -2.0]}
    prompt = rollouts.prompts[0]
    assert scorer.items == [
        ScoringItem(prompt, "a b", (0,), (0, 1), "stop"), ScoringItem(prompt, "c", (1,), (0,), "length")
    ]  # fmt: skip


@pytest.mark.parametrize(("old", "new", "width"), [(1, 2, 2), (3, 1, 3), (5, 5, 5)])
def test_replaced_rows_are_as_wide_as_the_widest(old: int, new: int, width: int) -> None:
    """The last of four rollouts, and the second, by other numbers; zeros beyond their ends."""
    former, others = rollouts_on_paper([[-1.0] * old] * 4), rollouts_on_paper([[-2.0] * new, [-3.0] * new])
    others.last_values = torch.tensor([7.0, 8.0])
    merged = with_rows(former, [3, 1], others)
    assert merged.old_logps.tolist() == [
        [value] * num + [0.0] * (width - num) for value, num in ((-1.0, old), (-3.0, new), (-1.0, old), (-2.0, new))
    ]
    assert merged.completion_mask.sum(1).tolist() == [old, new, old, new]
    assert merged.last_values.tolist() == [0.0, 8.0, 0.0, 7.0]
    assert [len(s.completion_ids) for s in merged.sequences] == [old, new, old, new]
    assert former.last_values.tolist() == [0.0] * 4, "the former ones stay as they are"
