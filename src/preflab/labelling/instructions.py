"""The instructions a campaign begins with; a lead makes them their own.

After R4: what the task is, how to decide, that facts may be looked up, that ties are allowed but rare, when to mark F,
and that longer is not better.
"""

from __future__ import annotations

from collections.abc import Mapping

from preflab.labelling.options import CampaignOptions
from preflab.records import Way

TASK: Mapping[Way, str] = {
    "ranking": "You see a prompt and several completions. Give each completion a rank: **1** is the best. ",
    "side_by_side": (
        "You see a prompt and two completions, A and B. Say which one is better, or that they are roughly equal. "
    ),
    "best_of": "You see a prompt and several completions. Pick the best one. ",
    "likert": "You see a prompt and completions. Score each completion from **1** to **5** on each criterion. ",
    "thumbs": "You see a prompt and completions. Give each completion a thumb up or down. ",
    "score_then_rank": (
        "You see a prompt and several completions. First score each one alone from **1** to **7**, then rank them. "
    ),
}
TIES: Mapping[Way, str] = {
    "ranking": "Ties are allowed: give the same rank. Keep them for completions you really cannot tell apart.",
    "side_by_side": "“Roughly equal” is allowed. Keep it for completions you really cannot tell apart.",
    "best_of": "If none is better than the others, say so. Keep it for completions you really cannot tell apart.",
    "likert": "Two completions may have the same score. Use the whole scale.",
    "thumbs": "Ask of each completion alone whether you would be glad to have got it.",
    "score_then_rank": "Ties are allowed: give the same rank. Keep them for completions you really cannot tell apart.",
}


def default_instructions(options: CampaignOptions) -> str:
    """A good text to begin with, in Markdown, for this way of judging and these criteria."""
    criteria = "".join(f"- **{name}**{_ends(options, name)}\n" for name in options.criteria)
    fail = (
        "\n## When to mark F\n\nMark **F** (fail) for a completion that is nonsense, has nothing to do with the "
        "prompt, or cannot be read. It is then left out. One that is merely bad is not F: give it a low place.\n"
        if options.allow_fail
        else ""
    )
    return (
        f"{TASK[options.way]}The question is:\n\n> {options.question}\n\n"
        "## How to decide\n\n"
        "Read the prompt first and ask yourself what the person wanted. Then read **every** completion to its end "
        "before you decide.\n\n"
        + (f"Judge by:\n\n{criteria}\nWhatever the criterion:\n\n" if criteria else "")
        + "- You may look facts up. A completion that states something false is worse than one that says less.\n"
        "- **Longer is not better.** Prefer what answers the question without padding, repetition or flattery.\n"
        "- Judge what is written, not who may have written it. The order you see is drawn by lot.\n"
        f"- {TIES[options.way]}\n"
        f"{fail}\n"
        "## When in doubt\n\n"
        "Skip a task you cannot judge and say why. Flag one that others should talk about. You can change an answer "
        "later. There is no prize for speed.\n"
    )


def _ends(options: CampaignOptions, criterion: str) -> str:
    ends = options.scale_ends.get(criterion)
    return f": 1 is “{ends[0]}”, 5 is “{ends[1]}”" if ends else ""
