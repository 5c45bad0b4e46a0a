"""Flags labelers for the lead: a flag is a reason to look at their answers, never a verdict, and blocks nobody.

A flag requires enough tasks and enough votes. Before that, labelers are only sorted, least reliable first
(`Reading.least_reliable_first`). Measured with 12 labelers, K = 4, three labels per task, two random labelers and one
reversed (`benchmarks/consensus.py`): the share of campaigns in which exactly these three were flagged, each correctly.

| tasks each | gold tasks | exactly these flagged |
| --- | --- | --- |
| 40 | 10 %, 20 % | 0.98, 0.95 |
| 60 | none | 1.00 (K = 3: 0.97) |
| 100 | none | 1.00 |

At 20 tasks the three come first in that order in 0.92 of the campaigns: good enough to decide whose answers to read.
"""

from __future__ import annotations

MIN_TASKS, MIN_TASKS_WITH_GOLD = 60, 40
"""Tasks required before a labeler may be flagged, without and with gold tasks among them."""
MIN_GOLD = 4
"""Gold tasks required for the lower number of tasks."""
MIN_VOTES = 110
"""Strict votes required before a labeler may be flagged: 60 tasks with one pair each are not enough."""
REVERSED_BELOW, CARELESS_BELOW = 0.345, 0.645

TOO_FEW, UNTOLD = "too few tasks to say", "too few labelers to say"
IN_LINE, CARELESS, REVERSED, GROUP = "in line", "careless?", "reversed?", "group"
SILENT = (TOO_FEW, UNTOLD)
"""Standings of labelers who cannot be judged yet."""


def standing(
    accuracy: float,
    num_tasks: int,
    num_votes: int | None = None,
    *,
    num_gold: int = 0,
    in_group: bool = False,
    unidentified: bool = False,
) -> str:
    """`in line`, `careless?`, `reversed?`, `group`, `too few tasks to say`, or `too few labelers to say`.

    `reversed?` is usually a misunderstood instruction. `group` is a labeler who agrees with a few others but not with
    the rest (`labeler_groups.py`): a difference in taste, not bad labelling.

    Args:
        accuracy: estimated reliability before shrinkage.
        num_tasks: tasks the labeler judged.
        num_votes: strict votes behind the estimate; None: only tasks are required.
        num_gold: gold tasks among them.
        in_group: whether the labeler is in the smaller group.
        unidentified: whether the votes do not identify the labeler's reliability (`shrinkage.find_unidentified`).
    """
    wanted = MIN_TASKS_WITH_GOLD if num_gold >= MIN_GOLD else MIN_TASKS
    if num_tasks < wanted or (num_votes is not None and num_votes < MIN_VOTES):
        return TOO_FEW
    if unidentified:
        return UNTOLD
    if in_group:
        return GROUP
    if accuracy < REVERSED_BELOW:
        return REVERSED
    return CARELESS if accuracy < CARELESS_BELOW else IN_LINE
