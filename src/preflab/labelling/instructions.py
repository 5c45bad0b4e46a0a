"""The default instructions of a campaign, which its lead can edit.

They say what the task is, how to decide, that facts may be looked up, that ties are allowed but should be rare, when
to mark F, and that longer is not better.
"""

from __future__ import annotations

from preflab.labelling.options import CampaignOptions
from preflab.ways.registry import way_named


def default_instructions(options: CampaignOptions) -> str:
    """The default instructions, in Markdown, for the campaign's way of judging and criteria."""
    way = way_named(options.way)
    criteria = "".join(f"- **{name}**{_ends(options, name)}\n" for name in options.criteria)
    fail = (
        "\n## When to mark F\n\nMark **F** (fail) for a completion that is nonsense, has nothing to do with the "
        "prompt, or cannot be read. It is then left out. One that is merely bad is not F: give it a low place.\n"
        if options.allow_fail
        else ""
    )
    return (
        f"{way.task}The question is:\n\n> {options.question}\n\n"
        "## How to decide\n\n"
        "Read the prompt first and ask yourself what the person wanted. Then read **every** completion to its end "
        "before you decide.\n\n"
        + (f"Judge by:\n\n{criteria}\nWhatever the criterion:\n\n" if criteria else "")
        + "- You may look facts up. A completion that states something false is worse than one that says less.\n"
        "- **Longer is not better.** Prefer what answers the question without padding, repetition or flattery.\n"
        "- Judge what is written, not who may have written it. The order you see is drawn by lot.\n"
        f"- {way.ties}\n"
        f"{fail}\n"
        "## When in doubt\n\n"
        "Skip a task you cannot judge and say why. Flag one that others should talk about. You can change an answer "
        "later. There is no prize for speed.\n"
    )


def _ends(options: CampaignOptions, criterion: str) -> str:
    ends = options.scale_ends.get(criterion)
    return f": 1 is “{ends[0]}”, 5 is “{ends[1]}”" if ends else ""
