"""A workspace as a lead finds it after some days: a campaign with simulated labelers, one of them careless, one with
the scale reversed, three with another taste; gold tasks, notes, flags, open pairs, invitations, and two more campaigns.

    python tests/lead_world.py FOLDER      makes it and serves it, to be looked at
"""

from __future__ import annotations

import random
import sys
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np

from preflab.demo.grammar import answer, question
from preflab.labelling.accounts import Account
from preflab.labelling.campaigns import change_options, create_campaign, new_guideline, set_state
from preflab.labelling.clock import stamp
from preflab.labelling.instructions import default_instructions
from preflab.labelling.invites import create_invite
from preflab.labelling.options import CampaignOptions
from preflab.labelling.tasks import recount
from preflab.records import Campaign, Completion, Judgment, Labeler, Prompt, RankingAnswer, Task
from preflab.store.workspace import Workspace
from web_app import People, make_people

TONES = ("well", "curt", "flattering", "rude", "off topic")
TASTE = {"well": 1.2, "curt": 0.7, "flattering": 0.1, "rude": -1.0, "off topic": None}
"""What most people like; None: a fail."""
OTHER_TASTE = {"well": -0.3, "curt": 1.4, "flattering": -1.2, "rude": 0.6, "off topic": None}
"""What the small group likes: short and to the point, rude or not."""
HABITS = ("attentive",) * 7 + ("other taste",) * 3 + ("careless", "reversed")
NOTES = ("A says Friday, the question was about the fee.", "B flatters a lot but answers.", "Both are fine to me.")


@dataclass(frozen=True)
class LeadWorld:
    """What is there."""

    ws: Workspace
    people: People
    campaign: Campaign
    empty: Campaign
    closed: Campaign
    habits: dict[str, str]
    """Labeler id → habit."""

    @property
    def lead(self) -> Account:
        """Who looks at it."""
        return self.people.lead


def make_lead_world(
    folder: Path, *, num_tasks: int = 340, share: float = 0.84, seed: int = 3, now: datetime | None = None
) -> LeadWorld:
    """Make it.

    Args:
        folder: of the workspace.
        num_tasks: of the running campaign; at 340 with three labels each, labelers have tasks enough to be named.
        share: how much of it is done.
        seed: of texts, noise and times.
        now: when it is looked at.
    """
    ws, now = Workspace.open(folder, create=True), now or datetime.now(UTC)
    people = make_people(ws)
    rng = random.Random(seed)
    prompts, groups = _material(rng, num_tasks)
    ws.put([*prompts, *(completion for group in groups for completion in group)])
    options = CampaignOptions(
        name="Helpful answers, round 1", question="Which answer would you rather get?", hourly_cost=24
    )
    ids = [[completion.id for completion in group] for group in groups]
    gold = {0: _gold(groups[0]), 1: _gold(groups[1])}
    campaign = create_campaign(ws, options, ids, default_instructions(options), people.lead.id, gold=gold)
    habits = _judge(ws, campaign, groups, round(share * num_tasks), gold=set(gold), now=now, seed=seed)
    version = (
        default_instructions(options)
        + "\n## What we agreed on\n\nAn answer that names the wrong day is worse than none.\n"
    )
    new_guideline(ws, campaign.id, version, people.lead.id)
    change_options(ws, campaign.id, 1, {"gold_share": 0.05}, people.lead.id)
    tone = CampaignOptions(name="Tone of voice", way="side_by_side")
    empty = create_campaign(ws, tone, [row[:2] for row in ids[:40]], "", people.lead.id)
    closed = create_campaign(ws, CampaignOptions(name="Pilot"), ids[:6], "", people.lead.id)
    set_state(ws, closed.id, "closed", people.lead.id)
    create_invite(ws, "labeler", [campaign.id], 72, people.lead.id)
    create_invite(ws, "adjudicator", [], 168, people.lead.id)
    return LeadWorld(ws, people, campaign, empty, closed, habits)


def _material(rng: random.Random, num: int) -> tuple[list[Prompt], list[list[Completion]]]:
    prompts: list[Prompt] = []
    groups: list[list[Completion]] = []
    known: set[str] = set()
    while len(prompts) < num:
        text, topic = question(rng)
        if text in known:
            continue
        known.add(text)
        prompt = Prompt.make(text=text[0].upper() + text[1:])
        tones = rng.sample(TONES, 4)
        prompts.append(prompt)
        groups.append([
            Completion.make(prompt.id, answer(rng, topic, tone), "model-1", index=k, columns={"tone": tone})
            for k, tone in enumerate(tones)
        ])  # fmt: skip
    return prompts, groups


def _gold(group: list[Completion]) -> RankingAnswer:
    return RankingAnswer(_ranks([TASTE[completion.columns["tone"]] for completion in group], 0.0))


def _ranks(utilities: list[float | None], tie: float) -> tuple[int | None, ...]:
    order = sorted((i for i, u in enumerate(utilities) if u is not None), key=lambda i: -(utilities[i] or 0))
    ranks: list[int | None] = [None] * len(utilities)
    best, rank = float("inf"), 0
    for place, i in enumerate(order, 1):
        value = utilities[i] or 0.0
        if rank == 0 or best - value > tie:
            best, rank = value, place
        ranks[i] = rank
    return tuple(ranks)


def _judge(
    ws: Workspace,
    campaign: Campaign,
    groups: list[list[Completion]],
    num: int,
    *,
    gold: set[int],
    now: datetime,
    seed: int,
) -> dict[str, str]:
    """Simulated labelers answer the first tasks over five working days."""
    labelers = [
        Labeler(f"labeler-sim-{i}", f"simulated {i + 1}", "simulated", {"habit": habit})
        for i, habit in enumerate(HABITS)
    ]
    ws.put(labelers)
    by_completions = {task.completion_ids: task for task in ws.tasks(campaign_id=campaign.id)}
    rng = np.random.default_rng(seed)
    judgments: list[Judgment] = []
    load = np.zeros(len(labelers))
    for number in range(num):
        group = groups[number]
        task = by_completions[tuple(completion.id for completion in group)]
        chosen = range(len(labelers)) if number in gold else np.lexsort((rng.random(len(labelers)), load))[:3]
        for i in chosen:
            load[i] += 1
            at = now - timedelta(days=5 * (1 - number / num), minutes=float(rng.uniform(1, 200)))
            judgments.append(_judgment(campaign, task, group, labelers[i], rng, min(at, now - timedelta(minutes=3))))
    judgments += _circles(campaign, groups[num : num + 4], labelers[:3], by_completions, now)
    ws.put(judgments)
    recount(ws, campaign.id)
    return {labeler.id: str(labeler.settings["habit"]) for labeler in labelers}


def _circles(
    campaign: Campaign, groups: list[list[Completion]], three: list[Labeler], tasks: dict[tuple[str, ...], Task],
    now: datetime,
) -> list[Judgment]:  # fmt: skip
    """Tasks whose three answers run in a circle (A › B › C, B › C › A, C › A › B), so that they are left open."""
    rng, found = np.random.default_rng(0), []
    for group in groups:
        task = tasks[tuple(completion.id for completion in group)]
        for labeler, ranks in zip(three, ((1, 2, 3, 4), (3, 1, 2, 4), (2, 3, 1, 4)), strict=True):
            given = _judgment(campaign, task, group, labeler, rng, now - timedelta(minutes=2))
            found.append(replace(given, answer=RankingAnswer(ranks)))
    return found


def _judgment(
    campaign: Campaign, task: Task, group: list[Completion], labeler: Labeler, rng: np.random.Generator, at: datetime
) -> Judgment:
    habit = labeler.settings["habit"]
    taste = OTHER_TASTE if habit == "other taste" else TASTE
    utilities: list[float | None] = []
    for completion in group:
        utility = taste[completion.columns["tone"]]
        if habit == "careless":
            utility = float(rng.normal())
        elif utility is not None:
            utility = (-1 if habit == "reversed" else 1) * (utility + float(rng.normal(0, 0.55)))
        elif rng.random() < 0.25:
            utility = -2.0
        utilities.append(utility)
    seconds = float(rng.lognormal(3.5, 0.4)) * (0.25 if habit == "careless" else 1.0)
    return Judgment(
        id=f"judgment-{task.id}-{labeler.id}", campaign_id=campaign.id, task_id=task.id, prompt_id=task.prompt_id,
        completion_ids=task.completion_ids, shown_order=tuple(int(i) for i in rng.permutation(len(group))),
        question=campaign.question, polarity=campaign.polarity, answer=RankingAnswer(_ranks(utilities, 0.3)),
        labeler_id=labeler.id, labeler_kind="simulated", active_ms=round(1000 * seconds), created_at=stamp(at),
        note=str(rng.choice(NOTES)) if rng.random() < 0.04 else "", flagged=bool(rng.random() < 0.006),
    )  # fmt: skip


if __name__ == "__main__":
    from preflab.labelling.sessions import open_session
    from preflab.web.serve import serve
    from preflab.web.settings import WebSettings

    world = make_lead_world(Path(sys.argv[1]))
    print(f"session of {world.lead.name}: {open_session(world.ws, world.lead.id)}")
    serve(world.ws, WebSettings())
