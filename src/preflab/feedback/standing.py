"""What may be said of a labeler to the team's lead: a reason to look, never a verdict, and nothing blocks anyone.

A flag needs enough tasks and enough votes. Until then labelers are only put in order, least reliable first
(`Reading.least_reliable_first`). Measured with 12 labelers, K = 4, three labels per task, two of the twelve random and
one reversed (`benchmarks/consensus.py`): the share of campaigns in which exactly the three were named, each by its
right name.

| tasks each | gold tasks | exactly named |
| --- | --- | --- |
| 40 | 10 %, 20 % | 0.98, 0.95 |
| 60 | none | 1.00 (K = 3: 0.97) |
| 100 | none | 1.00 |

At 20 tasks the three are the last three of the order in 0.92 of the campaigns: enough to read their answers first.
"""

from __future__ import annotations

MIN_TASKS, MIN_TASKS_WITH_GOLD = 60, 40
"""Tasks before a labeler may be named, without and with gold tasks among them."""
MIN_GOLD = 4
"""Gold tasks that make the lower number enough."""
MIN_VOTES = 110
"""Strict votes before a labeler may be named: 60 tasks with one pair each are not enough."""
REVERSED_BELOW, CARELESS_BELOW = 0.345, 0.645

TOO_FEW, UNTOLD = "too few tasks to say", "too few labelers to say"
IN_LINE, CARELESS, REVERSED, GROUP = "in line", "careless?", "reversed?", "group"
SILENT = (TOO_FEW, UNTOLD)
"""Standings that say nothing of a labeler."""


def standing(
    accuracy: float,
    num_tasks: int,
    num_votes: int | None = None,
    *,
    num_gold: int = 0,
    in_group: bool = False,
    untold: bool = False,
) -> str:
    """`in line`, `careless?`, `reversed?`, `group`, `too few tasks to say`, or `too few labelers to say`.

    `reversed?` is a misunderstood instruction more often than ill will. `group` is one of several who agree among
    themselves and not with the others (`groups.py`): people who differ, not bad labelers.

    Args:
        accuracy: estimated reliability, not shrunk.
        num_tasks: tasks the labeler judged.
        num_votes: strict votes behind the estimate; None to go by tasks alone.
        num_gold: gold tasks among them.
        in_group: whether the labeler is in the smaller group.
        untold: whether nobody could know, as two labelers who differ are not told apart by any number of votes.
    """
    wanted = MIN_TASKS_WITH_GOLD if num_gold >= MIN_GOLD else MIN_TASKS
    if num_tasks < wanted or (num_votes is not None and num_votes < MIN_VOTES):
        return TOO_FEW
    if untold:
        return UNTOLD
    if in_group:
        return GROUP
    if accuracy < REVERSED_BELOW:
        return REVERSED
    return CARELESS if accuracy < CARELESS_BELOW else IN_LINE
