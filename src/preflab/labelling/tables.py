"""The database tables that `preflab.labelling` uses, as SQLAlchemy Core tables."""

from __future__ import annotations

from sqlalchemy import Table

from preflab.store import labelling_schema as running
from preflab.store import schema
from preflab.store.base import Base


def _table(row: type[Base]) -> Table:
    table = row.__table__
    assert isinstance(table, Table)
    return table


LABELERS = _table(schema.LabelerRow)
CAMPAIGNS = _table(schema.CampaignRow)
TASKS = _table(schema.TaskRow)
JUDGMENTS = _table(schema.JudgmentRow)
ACCOUNTS = _table(running.AccountRow)
SESSIONS = _table(running.SessionRow)
MEMBERS = _table(running.MemberRow)
LATER_ROUNDS = _table(running.LaterRoundRow)
DEVICES = _table(running.DeviceRow)
TOKENS = _table(running.ApiTokenRow)
INVITES = _table(running.InviteRow)
ATTEMPTS = _table(running.AttemptRow)
CAMPAIGN_STATES = _table(running.CampaignStateRow)
GUIDELINES = _table(running.GuidelineRow)
GUIDELINE_READS = _table(running.GuidelineReadRow)
TASK_STATES = _table(running.TaskStateRow)
TURNS = _table(running.TurnRow)
SUBMISSIONS = _table(running.SubmissionRow)
EVENTS = _table(running.EventRow)
