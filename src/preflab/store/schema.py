"""The tables of the records: one per class of `preflab.records`; `labelling_schema` has the other tables.

References to other records are foreign keys, and lists of them (a task's completions, a preference's judgments) are
link tables, so the database itself refuses a record without its parents. Values that are always read whole (spans,
answers, columns) are JSON. Token ids and log-probabilities are blobs of little-endian int32 and float64, which keep
every bit.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Column,
    ForeignKey,
    Integer,
    Table,
    Text,
    UniqueConstraint,
    false,
)
from sqlalchemy.orm import Mapped, mapped_column

from preflab.store.base import Base as Base
from preflab.store.labelling_schema import AccountRow as AccountRow
from preflab.store.labelling_schema import CampaignStateRow as CampaignStateRow
from preflab.store.labelling_schema import EventRow as EventRow
from preflab.store.labelling_schema import TaskStateRow as TaskStateRow
from preflab.store.labelling_schema import TurnRow as TurnRow

SCHEMA_VERSION = "0003"
"""The newest migration in migrations/versions; a test checks that they agree."""


class PromptRow(Base):
    """`Prompt`."""

    __tablename__ = "prompts"
    id: Mapped[str] = mapped_column(Text, primary_key=True)
    text: Mapped[str]
    messages: Mapped[list[Any]]
    columns: Mapped[dict[str, Any]]
    source: Mapped[str]


class CompletionRow(Base):
    """`Completion`."""

    __tablename__ = "completions"
    id: Mapped[str] = mapped_column(Text, primary_key=True)
    prompt_id: Mapped[str] = mapped_column(ForeignKey("prompts.id"), index=True)
    spans: Mapped[list[Any]]
    model: Mapped[str] = mapped_column(Text, index=True)
    seed: Mapped[str]
    """Decimal text: a seed may need all 64 bits, and SQLite's integers are signed."""
    index: Mapped[int]
    finish_reason: Mapped[str]
    token_ids: Mapped[bytes]
    logps: Mapped[bytes]
    temperature: Mapped[float]
    columns: Mapped[dict[str, Any]]


class LabelerRow(Base):
    """`Labeler`."""

    __tablename__ = "labelers"
    id: Mapped[str] = mapped_column(Text, primary_key=True)
    name: Mapped[str]
    kind: Mapped[str]
    settings: Mapped[dict[str, Any]]


class CampaignRow(Base):
    """`Campaign`."""

    __tablename__ = "campaigns"
    id: Mapped[str] = mapped_column(Text, primary_key=True)
    name: Mapped[str]
    way: Mapped[str]
    question: Mapped[str]
    polarity: Mapped[int]
    instructions: Mapped[str]
    guideline_version: Mapped[int]
    overlap: Mapped[int]
    criteria: Mapped[list[Any]]
    content: Mapped[str] = mapped_column(Text, server_default="plain")
    scale_ends: Mapped[dict[str, Any]] = mapped_column(JSON, server_default="{}")
    ask_note: Mapped[bool] = mapped_column(server_default=false())


class TaskRow(Base):
    """`Task`."""

    __tablename__ = "tasks"
    id: Mapped[str] = mapped_column(Text, primary_key=True)
    campaign_id: Mapped[str] = mapped_column(ForeignKey("campaigns.id"), index=True)
    prompt_id: Mapped[str] = mapped_column(ForeignKey("prompts.id"), index=True)


class JudgmentRow(Base):
    """`Judgment`; append-only (two triggers refuse update and delete)."""

    __tablename__ = "judgments"
    id: Mapped[str] = mapped_column(Text, primary_key=True)
    campaign_id: Mapped[str] = mapped_column(ForeignKey("campaigns.id"), index=True)
    task_id: Mapped[str] = mapped_column(ForeignKey("tasks.id"))
    prompt_id: Mapped[str] = mapped_column(ForeignKey("prompts.id"), index=True)
    shown_order: Mapped[list[Any]]
    question: Mapped[str]
    polarity: Mapped[int]
    answer: Mapped[dict[str, Any]]
    labeler_id: Mapped[str] = mapped_column(ForeignKey("labelers.id"), index=True)
    labeler_kind: Mapped[str]
    revision: Mapped[int]
    guideline_version: Mapped[int]
    active_ms: Mapped[int] = mapped_column(BigInteger)
    created_at: Mapped[str]
    note: Mapped[str]
    flagged: Mapped[bool]
    surplus: Mapped[bool]
    schema_version: Mapped[int]
    decides: Mapped[bool] = mapped_column(server_default=false())
    shown_ms: Mapped[int] = mapped_column(BigInteger, server_default="0")

    __table_args__ = (UniqueConstraint("task_id", "labeler_id", "revision"),)


class PreferenceRow(Base):
    """`Preference`."""

    __tablename__ = "preferences"
    id: Mapped[str] = mapped_column(Text, primary_key=True)
    prompt_id: Mapped[str] = mapped_column(ForeignKey("prompts.id"), index=True)
    ranks: Mapped[list[Any]]
    pairs: Mapped[list[Any]]
    scores: Mapped[dict[str, Any]]
    thumbs: Mapped[list[Any]]
    source: Mapped[str] = mapped_column(Text, index=True)


class EvaluationRow(Base):
    """`Evaluation`."""

    __tablename__ = "evaluations"
    id: Mapped[str] = mapped_column(Text, primary_key=True)
    measure: Mapped[str]
    model: Mapped[str] = mapped_column(Text, index=True)
    value: Mapped[float]
    low: Mapped[float]
    high: Mapped[float]
    num: Mapped[int]
    unit: Mapped[str]
    baseline: Mapped[str]


def _links(name: str, parent: str, child: str) -> Table:
    """A link table, which stores a list of other records: (parent, position) → child."""
    return Table(
        name,
        Base.metadata,
        Column("parent_id", Text, ForeignKey(f"{parent}.id"), primary_key=True),
        Column("position", Integer, primary_key=True, autoincrement=False),
        Column("child_id", Text, ForeignKey(f"{child}.id"), index=True, nullable=False),
    )


TASK_COMPLETIONS = _links("task_completions", "tasks", "completions")
JUDGMENT_COMPLETIONS = _links("judgment_completions", "judgments", "completions")
PREFERENCE_COMPLETIONS = _links("preference_completions", "preferences", "completions")
PREFERENCE_JUDGMENTS = _links("preference_judgments", "preferences", "judgments")
EVALUATION_COMPLETIONS = _links("evaluation_completions", "evaluations", "completions")
