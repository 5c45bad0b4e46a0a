"""Playouts of the game `stunts` as rows of a campaign's file, and as a campaign."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from preflab.games.flashy import GAME
from preflab.games.playouts import clip_of
from preflab.labelling.campaign_names import free_name
from preflab.labelling.campaigns import create_campaign
from preflab.labelling.options import CampaignOptions
from preflab.labelling.upload import groups_of_rows
from preflab.records import Campaign
from preflab.store.formats.json_rows import Numbered
from preflab.store.workspace import Workspace

START = "start (2,0,20)"
SHORTEST = "right right right right right down"
DANCE = "right right left right left right right right right down"
FALL = "right down"
JUMP = "right right jump down"
PLAYOUTS = (SHORTEST, DANCE, FALL, JUMP)


def rows(completions: Sequence[str] = PLAYOUTS, prompt: str = START) -> list[dict[str, Any]]:
    """One row per playout."""
    return [{"prompt": prompt, "completion": each, "clip": clip_of(GAME, prompt, each)} for each in completions]


def make_playout_campaign(ws: Workspace, way: str, completions: Sequence[str] = PLAYOUTS, **options: Any) -> Campaign:
    """A campaign with one task."""
    numbered = (Numbered(number, row) for number, row in enumerate(rows(completions), start=1))
    read = groups_of_rows(numbered, "playouts", content="playout")
    ws.put([*read.prompts, *read.completions])
    values = {"name": free_name(ws, "Stunts"), "question": "Which playout is the flashiest?", "overlap": 9} | options
    chosen = CampaignOptions(way=way, content="playout", **values)
    return create_campaign(ws, chosen, read.groups, "Say which is flashier.", by="")
