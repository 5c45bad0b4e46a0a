"""The tables of running campaigns: accounts, sessions, members, task states, leases, submissions and the event log.

The records of `schema.py` are separate: a judgment is a record, the lease under which it was made is not. Times are
ISO 8601 text in UTC with milliseconds, so that they sort as text.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import JSON, BigInteger, ForeignKey, Index, Integer, Text, true
from sqlalchemy.orm import Mapped, mapped_column

from preflab.store.base import Base

NULLABLE_JSON = JSON(none_as_null=True)


class AccountRow(Base):
    """A person (or a program) who signs in; name and address can be erased, the labeler stays."""

    __tablename__ = "accounts"
    id: Mapped[str] = mapped_column(Text, primary_key=True)
    labeler_id: Mapped[str] = mapped_column(ForeignKey("labelers.id"), unique=True)
    name: Mapped[str]
    name_key: Mapped[str | None] = mapped_column(Text, unique=True)
    """The normalised name, compared at sign-in; null once erased."""
    email: Mapped[str]
    password_hash: Mapped[str | None] = mapped_column(Text)
    role: Mapped[str]
    state: Mapped[str]
    created_at: Mapped[str]
    everywhere: Mapped[bool] = mapped_column(server_default=true())
    """True: may enter all campaigns, including later ones, except those for named people."""


class SessionRow(Base):
    """A signed-in browser; only the hash of its secret is stored."""

    __tablename__ = "sessions"
    token_hash: Mapped[str] = mapped_column(Text, primary_key=True)
    account_id: Mapped[str] = mapped_column(ForeignKey("accounts.id"), index=True)
    created_at: Mapped[str]
    last_seen: Mapped[str]
    expires_at: Mapped[str]


class ApiTokenRow(Base):
    """A personal token for scripts."""

    __tablename__ = "api_tokens"
    token_hash: Mapped[str] = mapped_column(Text, primary_key=True)
    id: Mapped[str] = mapped_column(Text, unique=True)
    account_id: Mapped[str] = mapped_column(ForeignKey("accounts.id"), index=True)
    name: Mapped[str]
    created_at: Mapped[str]
    last_used: Mapped[str | None] = mapped_column(Text)
    revoked_at: Mapped[str | None] = mapped_column(Text)


class InviteRow(Base):
    """An invitation link that works once: it creates an account, or lets an existing one join."""

    __tablename__ = "invites"
    token_hash: Mapped[str] = mapped_column(Text, primary_key=True)
    id: Mapped[str] = mapped_column(Text, unique=True)
    role: Mapped[str]
    campaign_ids: Mapped[list[Any]]
    """The campaigns that it opens; [] = all campaigns, including later ones."""
    created_by: Mapped[str]
    created_at: Mapped[str]
    expires_at: Mapped[str]
    used_by: Mapped[str | None] = mapped_column(ForeignKey("accounts.id"))
    used_at: Mapped[str | None] = mapped_column(Text)
    withdrawn_at: Mapped[str | None] = mapped_column(Text)


class MemberRow(Base):
    """A decision about one person in one campaign: let in by an invitation or a lead, or removed by a lead.

    Without a row, the campaign's option `open_to` decides.
    """

    __tablename__ = "members"
    campaign_id: Mapped[str] = mapped_column(ForeignKey("campaigns.id"), primary_key=True)
    labeler_id: Mapped[str] = mapped_column(ForeignKey("labelers.id"), primary_key=True, index=True)
    place: Mapped[str]
    """`in`, `settles` (an adjudicator who does not judge) or `out`."""
    at: Mapped[str]
    """Time of the decision."""


class LaterRoundRow(Base):
    """A campaign that continues an earlier one: whoever joins the earlier one joins this one, too."""

    __tablename__ = "later_rounds"
    campaign_id: Mapped[str] = mapped_column(ForeignKey("campaigns.id"), primary_key=True)
    follows: Mapped[str] = mapped_column(ForeignKey("campaigns.id"), index=True)


class DeviceRow(Base):
    """A browser in which an account has signed in before; only the hash of its secret is stored."""

    __tablename__ = "devices"
    token_hash: Mapped[str] = mapped_column(Text, primary_key=True)
    account_id: Mapped[str] = mapped_column(ForeignKey("accounts.id"), primary_key=True, index=True)
    seen_at: Mapped[str]


class AttemptRow(Base):
    """One attempt at a rate-limited action; `key` is a hash, so that no address is stored."""

    __tablename__ = "attempts"
    id: Mapped[str] = mapped_column(Text, primary_key=True)
    kind: Mapped[str]
    key: Mapped[str]
    at: Mapped[str]
    __table_args__ = (Index(None, "kind", "key", "at"), Index(None, "at"))


class CampaignStateRow(Base):
    """Whether a campaign is open, and its options."""

    __tablename__ = "campaign_states"
    campaign_id: Mapped[str] = mapped_column(ForeignKey("campaigns.id"), primary_key=True)
    state: Mapped[str]
    settings: Mapped[dict[str, Any]]
    revision: Mapped[int]
    """Incremented with every change of the options."""
    num_tasks: Mapped[int]
    """Without gold tasks."""
    num_done: Mapped[int]
    """Tasks with as many labels as wanted."""
    num_labels: Mapped[int]
    """Labels that count (without surplus)."""
    created_at: Mapped[str]


class GuidelineRow(Base):
    """One version of a campaign's instructions."""

    __tablename__ = "guidelines"
    campaign_id: Mapped[str] = mapped_column(ForeignKey("campaigns.id"), primary_key=True)
    version: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    text: Mapped[str]
    account_id: Mapped[str]
    created_at: Mapped[str]


class GuidelineReadRow(Base):
    """The newest version of the instructions that a labeler has read."""

    __tablename__ = "guideline_reads"
    campaign_id: Mapped[str] = mapped_column(ForeignKey("campaigns.id"), primary_key=True)
    labeler_id: Mapped[str] = mapped_column(ForeignKey("labelers.id"), primary_key=True)
    version: Mapped[int]
    at: Mapped[str]


class TaskStateRow(Base):
    """The progress of a task, with columns that let one index find the next task."""

    __tablename__ = "task_states"
    task_id: Mapped[str] = mapped_column(ForeignKey("tasks.id"), primary_key=True)
    campaign_id: Mapped[str] = mapped_column(ForeignKey("campaigns.id"))
    position: Mapped[int]
    """Place in the campaign, from 0."""
    priority: Mapped[float]
    """Higher first."""
    worth: Mapped[float]
    """Expected information of one more label, in bits; higher first, if the campaign orders tasks by it."""
    wanted: Mapped[int]
    num_done: Mapped[int]
    """Labels that count: latest revisions, without surplus."""
    num_held: Mapped[int]
    """Current leases of labelers whose labels count."""
    state: Mapped[str]
    """`open`, or `done`: it has as many labels as wanted."""
    is_gold: Mapped[bool]
    gold: Mapped[dict[str, Any] | None] = mapped_column(NULLABLE_JSON)
    """The known answer of a gold task."""
    later: Mapped[float]
    """−priority; this and the two columns below let one ascending index give the order."""
    dull: Mapped[float]
    """−worth."""
    missing: Mapped[int]
    """wanted − num_done."""
    __table_args__ = (
        Index("ix_task_states_nearest_done", "campaign_id", "is_gold", "state", "later", "missing", "position"),
        Index("ix_task_states_worth_asking", "campaign_id", "is_gold", "state", "later", "dull", "missing", "position"),
        Index("ix_task_states_position", "campaign_id", "position"),
    )


class TurnRow(Base):
    """A task shown to a labeler: order of the completions, lease, draft and outcome."""

    __tablename__ = "turns"
    labeler_id: Mapped[str] = mapped_column(ForeignKey("labelers.id"), primary_key=True)
    task_id: Mapped[str] = mapped_column(ForeignKey("tasks.id"), primary_key=True)
    campaign_id: Mapped[str] = mapped_column(ForeignKey("campaigns.id"))
    position: Mapped[int]
    """The task's place in the campaign."""
    state: Mapped[str]
    """`held`, `lapsed` (the lease ran out; the draft stays), `submitted` or `skipped`."""
    counts: Mapped[bool]
    """Whether the labeler's lease counts towards the wanted labels."""
    shown_order: Mapped[list[Any]]
    opened_at: Mapped[str]
    expires_at: Mapped[str | None] = mapped_column(Text)
    """End of the lease; null when nothing is held."""
    draft: Mapped[dict[str, Any] | None] = mapped_column(NULLABLE_JSON)
    draft_saved_at: Mapped[str | None] = mapped_column(Text)
    skip_reason: Mapped[str]
    revision: Mapped[int]
    """Revision of the latest judgment; 0 = none yet."""
    judgment_id: Mapped[str | None] = mapped_column(ForeignKey("judgments.id"))
    surplus: Mapped[bool]
    closed_at: Mapped[str | None] = mapped_column(Text)
    """Time of the submission (first or last revision) or of the skip."""
    active_ms: Mapped[int] = mapped_column(BigInteger)
    """Sum over all revisions."""
    num_pairs: Mapped[int]
    num_ties: Mapped[int]
    as_shown: Mapped[bool]
    """Whether the answer ranks the completions exactly in the order shown."""
    __table_args__ = (
        Index("ix_turns_expires_at", "expires_at"),
        Index("ix_turns_task_id", "task_id"),
        Index("ix_turns_own", "labeler_id", "campaign_id", "state", "closed_at"),
        Index("ix_turns_position", "labeler_id", "campaign_id", "position"),
    )


class SubmissionRow(Base):
    """The reply to a submission, by its idempotency key: a repeated key gets the same reply."""

    __tablename__ = "submissions"
    key: Mapped[str] = mapped_column(Text, primary_key=True)
    labeler_id: Mapped[str] = mapped_column(ForeignKey("labelers.id"))
    task_id: Mapped[str] = mapped_column(ForeignKey("tasks.id"))
    judgment_id: Mapped[str] = mapped_column(ForeignKey("judgments.id"))
    reply: Mapped[dict[str, Any]]
    at: Mapped[str]


class EventRow(Base):
    """The event log: who did what to what, and when. Append-only (triggers refuse update and delete)."""

    __tablename__ = "events"
    id: Mapped[int] = mapped_column(Integer, primary_key=True)
    at: Mapped[str]
    actor: Mapped[str]
    what: Mapped[str]
    about: Mapped[str] = mapped_column(Text, index=True)
    old: Mapped[dict[str, Any] | None] = mapped_column(NULLABLE_JSON)
    new: Mapped[dict[str, Any] | None] = mapped_column(NULLABLE_JSON)
