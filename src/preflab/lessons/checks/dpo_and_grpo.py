"""Exercise 9: group-relative advantages of one right answer among four, and of four right ones."""

from __future__ import annotations

import torch

from preflab.lessons.checks.verdict import Verdict, numbers_in
from preflab.maths.advantages import group_relative

NEAR = 0.011


def check(answer: str) -> Verdict:
    """Compute the advantages, and recognise the usual slips."""
    first, all_right = numbers_in(answer, 2)
    groups = torch.tensor([[1.0, 0.0, 0.0, 0.0], [1.0, 1.0, 1.0, 1.0]])
    right, level = (row[0].item() for row in group_relative(groups, divide_by_std=True))
    slips = {
        group_relative(groups, divide_by_std=False)[0, 0].item(): "0.75 is not divided by the standard deviation yet.",
        0.75 / groups[0].std(correction=0).item(): "this standard deviation divides by K = 4; here it divides by 3.",
    }
    for slip, reason in slips.items():
        if abs(first - slip) < NEAR:
            return Verdict(False, reason)
    if abs(first - right) >= NEAR:
        return Verdict(False, f"{first:g} is not right: the mean is 0.25, and the squared deviations sum to 0.75.")
    if abs(all_right - level) >= NEAR:
        return Verdict(False, f"the first is right. {all_right:g} is not: each reward equals the mean of its group.")
    return Verdict(
        True, f"0.75 / 0.5 = {right:.1f}. A group whose rewards are equal has advantages 0 and teaches nothing."
    )
