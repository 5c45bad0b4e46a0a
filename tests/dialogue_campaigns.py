"""Campaigns about whole dialogues with an environment, for tests of the labelling app."""

from __future__ import annotations

from collections.abc import Sequence

from labelling_site import Site
from preflab.labelling.campaign_names import free_name
from preflab.labelling.campaigns import create_campaign
from preflab.labelling.options import CampaignOptions
from preflab.records import Campaign, Completion, Message, Prompt, spans_of_turns

FIRST = "I think of a number from 0 to 9. Which one?"
DIALOGUES: list[tuple[list[str], str]] = [
    (["Is it 5?", "No, smaller.", "Is it 3?"], "Yes!"),
    (["Is it 9?", "No, smaller.", "Is it 1?", "No, larger.", "I give up. " * 40], "It was 3."),
    (["Is it 5?", "No, smaller.", "Is it 3?"], "No."),
    (["3?"], "Yes!"),
]
"""The turns of both sides by turns, the policy's first, and what the environment said at the end."""


def dialogue(prompt: Prompt, turns: Sequence[str], last: str, index: int) -> Completion:
    """A dialogue as the stage `sample` stores it."""
    spoken = [Message("user" if place % 2 else "assistant", text) for place, text in enumerate(turns)]
    given = {"reward": 1.0, "turn_rewards": [1.0], "last_turn": last, "columns": {"num_turns": 2.0}}
    spans = spans_of_turns(spoken)
    return Completion.make(prompt.id, "", "model-a", index=index, spans=spans, columns={"environment": given})


def dialogue_campaign(site: Site, way: str = "ranking", num: int = 4, **options: object) -> Campaign:
    """A campaign with one task: the first `num` dialogues."""
    prompt = Prompt.make(messages=(Message("user", FIRST),), columns={"environment_start": 7})
    made = [dialogue(prompt, turns, last, index) for index, (turns, last) in enumerate(DIALOGUES[:num])]
    site.ws.put([prompt, *made])
    values = {"name": free_name(site.ws, f"Dialogues {way}"), "way": way, "overlap": 9, **options}
    if way == "likert":
        values.setdefault("criteria", ("helpful",))
    return create_campaign(
        site.ws, CampaignOptions(**values), [[one.id for one in made]], "Judge the assistant.", by=""
    )
