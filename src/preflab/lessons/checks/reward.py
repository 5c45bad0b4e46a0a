"""Exercise 7: the pairs of a ranking with a tie and an F, and the loss of a pair whose rewards are both raised."""

from __future__ import annotations

import torch

from preflab.lessons.checks.verdict import Verdict, numbers_in
from preflab.maths.bradley_terry import bradley_terry_loss
from preflab.store.formats.fields import pairs_of_ranks

RANKS = (2, 1, 2, None)
GOOD, BAD, RAISED = 0.24, -0.53, 10.0


def check(answer: str) -> Verdict:
    """Count the decided pairs and compute the loss."""
    num, loss = numbers_in(answer, 2)
    pairs = pairs_of_ranks(RANKS)
    decided = sum(pair.num_tie == 0 for pair in pairs)
    if num == len(pairs):
        return Verdict(False, "the two completions of rank 2 are tied, and a tie gives no pair to learn from.")
    if num != decided:
        return Verdict(
            False, f"{num:g} pairs are not right. F is removed first, and a tie gives no pair: who beats whom is left?"
        )
    right = bradley_terry_loss(torch.tensor([GOOD + RAISED]), torch.tensor([BAD + RAISED])).item()
    if abs(loss - right) > 0.006:
        return Verdict(
            False,
            f"{decided} pairs are right, the loss {loss:g} is not: it is −log σ of the difference of the rewards.",
        )
    return Verdict(True, f"{decided} pairs, and the loss is {right:.2f} as before: the difference is still 0.77.")
