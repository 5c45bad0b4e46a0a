"""The reading of a campaign: the settings by which its consensus, queue, quality, exports and training read answers.

It is part of the campaign's options. A lead can change it, and the audit log keeps the earlier values. The defaults
are how older campaigns, which have no such settings, were always read.
"""

from __future__ import annotations

from sqlalchemy import select

from preflab.feedback.reading import Reading
from preflab.labelling.campaigns import campaign_view
from preflab.labelling.options import CampaignOptions
from preflab.labelling.tables import TASK_STATES
from preflab.records import Answer
from preflab.settings.feedback import CONSENSUS, MOST_LABELS, ReadingSettings
from preflab.store.answers import answer_from_json
from preflab.store.database import reading
from preflab.store.workspace import Workspace
from preflab.ways.registry import way_named
from preflab.words import count


def campaign_reading(ws: Workspace, campaign_id: str) -> Reading:
    """The current reading of a campaign.

    Raises:
        NotFound: no such campaign, or one that was never opened for labelling.
    """
    options = campaign_view(ws, campaign_id).options
    return Reading.of(
        options,
        criterion=main_criterion(options),
        confirmed_reversed=options.confirmed_reversed,
        gold=gold_answers(ws, campaign_id),
    )


def main_criterion(options: CampaignOptions) -> str | None:
    """The criterion that orders the completions: `criterion`, else the first one; None if the way uses no criteria."""
    if not way_named(options.way).by_criteria:
        return None
    return options.criterion or options.criteria[0]


def gold_answers(ws: Workspace, campaign_id: str) -> dict[str, Answer]:
    """Task id → the known answer, for the gold tasks of a campaign."""
    query = select(TASK_STATES.c.task_id, TASK_STATES.c.gold).where(
        TASK_STATES.c.campaign_id == campaign_id, TASK_STATES.c.gold.is_not(None)
    )
    with reading(ws.engine) as connection:
        return {task_id: answer_from_json(gold) for task_id, gold in connection.execute(query).all()}


def reading_words(settings: ReadingSettings) -> str:
    """The reading in one line: `one labeler, one vote; F from 50 % of a task’s labels`."""
    phrases = [CONSENSUS[settings.consensus], f"F from {100 * settings.fail_share:g}\u00a0% of a task’s labels"]
    if settings.criterion is not None:
        phrases.append(f"ordered by {settings.criterion}")
    if not settings.level_scores:
        phrases.append("scores as they were given")
    if settings.pairs_by == "completion":
        phrases.append("equal texts judged as two")
    if settings.order_rule != "kemeny":
        phrases.append("Copeland’s order")
    return "; ".join(phrases)


def overlap_warning(overlap: int) -> str:
    """A sentence about what this number of labels per task cannot decide; "" for a suitable number."""
    begin = f"With {count(overlap, 'label')} per task"
    if overlap == 1:
        return (
            f"{begin} nobody checks anybody: every answer decides alone and nothing tells who is reliable; 3 is the "
            "usual number."
        )
    if overlap == 2:
        return (
            f"{begin} every disagreement is an even split, which only an adjudicator or a known difference in "
            "reliability decides; 3 is the smallest number that decides by itself."
        )
    if overlap % 2 == 0:
        odd = f"{overlap - 1} or {overlap + 1} decide" if overlap < MOST_LABELS else f"{overlap - 1} decide"
        return f"{begin} a pair can split evenly and wait for an adjudicator; {odd}."
    return ""
