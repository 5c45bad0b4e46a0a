"""The first tables, and the two triggers that keep judgments append-only."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

REFUSAL = "judgments are append-only"


def upgrade() -> None:
    op.create_table(
        "campaigns",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("way", sa.Text(), nullable=False),
        sa.Column("question", sa.Text(), nullable=False),
        sa.Column("polarity", sa.Integer(), nullable=False),
        sa.Column("instructions", sa.Text(), nullable=False),
        sa.Column("guideline_version", sa.Integer(), nullable=False),
        sa.Column("overlap", sa.Integer(), nullable=False),
        sa.Column("criteria", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_campaigns")),
    )
    op.create_table(
        "evaluations",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("measure", sa.Text(), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("value", sa.Double(), nullable=False),
        sa.Column("low", sa.Double(), nullable=False),
        sa.Column("high", sa.Double(), nullable=False),
        sa.Column("num", sa.Integer(), nullable=False),
        sa.Column("unit", sa.Text(), nullable=False),
        sa.Column("baseline", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_evaluations")),
    )
    op.create_index(op.f("ix_evaluations_model"), "evaluations", ["model"], unique=False)
    op.create_table(
        "labelers",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("settings", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_labelers")),
    )
    op.create_table(
        "prompts",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("messages", sa.JSON(), nullable=False),
        sa.Column("columns", sa.JSON(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_prompts")),
    )
    op.create_table(
        "completions",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("prompt_id", sa.Text(), nullable=False),
        sa.Column("spans", sa.JSON(), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("seed", sa.Text(), nullable=False),
        sa.Column("index", sa.Integer(), nullable=False),
        sa.Column("finish_reason", sa.Text(), nullable=False),
        sa.Column("token_ids", sa.LargeBinary(), nullable=False),
        sa.Column("logps", sa.LargeBinary(), nullable=False),
        sa.Column("temperature", sa.Double(), nullable=False),
        sa.Column("columns", sa.JSON(), nullable=False),
        sa.ForeignKeyConstraint(["prompt_id"], ["prompts.id"], name=op.f("fk_completions_prompt_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_completions")),
    )
    op.create_index(op.f("ix_completions_model"), "completions", ["model"], unique=False)
    op.create_index(op.f("ix_completions_prompt_id"), "completions", ["prompt_id"], unique=False)
    op.create_table(
        "preferences",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("prompt_id", sa.Text(), nullable=False),
        sa.Column("ranks", sa.JSON(), nullable=False),
        sa.Column("pairs", sa.JSON(), nullable=False),
        sa.Column("scores", sa.JSON(), nullable=False),
        sa.Column("thumbs", sa.JSON(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["prompt_id"], ["prompts.id"], name=op.f("fk_preferences_prompt_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_preferences")),
    )
    op.create_index(op.f("ix_preferences_prompt_id"), "preferences", ["prompt_id"], unique=False)
    op.create_index(op.f("ix_preferences_source"), "preferences", ["source"], unique=False)
    op.create_table(
        "tasks",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("campaign_id", sa.Text(), nullable=False),
        sa.Column("prompt_id", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["campaign_id"], ["campaigns.id"], name=op.f("fk_tasks_campaign_id")),
        sa.ForeignKeyConstraint(["prompt_id"], ["prompts.id"], name=op.f("fk_tasks_prompt_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_tasks")),
    )
    op.create_index(op.f("ix_tasks_campaign_id"), "tasks", ["campaign_id"], unique=False)
    op.create_index(op.f("ix_tasks_prompt_id"), "tasks", ["prompt_id"], unique=False)
    op.create_table(
        "evaluation_completions",
        sa.Column("parent_id", sa.Text(), nullable=False),
        sa.Column("position", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("child_id", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["child_id"], ["completions.id"], name=op.f("fk_evaluation_completions_child_id")),
        sa.ForeignKeyConstraint(["parent_id"], ["evaluations.id"], name=op.f("fk_evaluation_completions_parent_id")),
        sa.PrimaryKeyConstraint("parent_id", "position", name=op.f("pk_evaluation_completions")),
    )
    op.create_index(op.f("ix_evaluation_completions_child_id"), "evaluation_completions", ["child_id"], unique=False)
    op.create_table(
        "judgments",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("campaign_id", sa.Text(), nullable=False),
        sa.Column("task_id", sa.Text(), nullable=False),
        sa.Column("prompt_id", sa.Text(), nullable=False),
        sa.Column("shown_order", sa.JSON(), nullable=False),
        sa.Column("question", sa.Text(), nullable=False),
        sa.Column("polarity", sa.Integer(), nullable=False),
        sa.Column("answer", sa.JSON(), nullable=False),
        sa.Column("labeler_id", sa.Text(), nullable=False),
        sa.Column("labeler_kind", sa.Text(), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("guideline_version", sa.Integer(), nullable=False),
        sa.Column("active_ms", sa.BigInteger(), nullable=False),
        sa.Column("created_at", sa.Text(), nullable=False),
        sa.Column("note", sa.Text(), nullable=False),
        sa.Column("flagged", sa.Boolean(), nullable=False),
        sa.Column("surplus", sa.Boolean(), nullable=False),
        sa.Column("schema_version", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["campaign_id"], ["campaigns.id"], name=op.f("fk_judgments_campaign_id")),
        sa.ForeignKeyConstraint(["labeler_id"], ["labelers.id"], name=op.f("fk_judgments_labeler_id")),
        sa.ForeignKeyConstraint(["prompt_id"], ["prompts.id"], name=op.f("fk_judgments_prompt_id")),
        sa.ForeignKeyConstraint(["task_id"], ["tasks.id"], name=op.f("fk_judgments_task_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_judgments")),
        sa.UniqueConstraint("task_id", "labeler_id", "revision", name=op.f("uq_judgments_task_id_labeler_id_revision")),
    )
    op.create_index(op.f("ix_judgments_campaign_id"), "judgments", ["campaign_id"], unique=False)
    op.create_index(op.f("ix_judgments_labeler_id"), "judgments", ["labeler_id"], unique=False)
    op.create_index(op.f("ix_judgments_prompt_id"), "judgments", ["prompt_id"], unique=False)
    op.create_table(
        "preference_completions",
        sa.Column("parent_id", sa.Text(), nullable=False),
        sa.Column("position", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("child_id", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["child_id"], ["completions.id"], name=op.f("fk_preference_completions_child_id")),
        sa.ForeignKeyConstraint(["parent_id"], ["preferences.id"], name=op.f("fk_preference_completions_parent_id")),
        sa.PrimaryKeyConstraint("parent_id", "position", name=op.f("pk_preference_completions")),
    )
    op.create_index(op.f("ix_preference_completions_child_id"), "preference_completions", ["child_id"], unique=False)
    op.create_table(
        "task_completions",
        sa.Column("parent_id", sa.Text(), nullable=False),
        sa.Column("position", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("child_id", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["child_id"], ["completions.id"], name=op.f("fk_task_completions_child_id")),
        sa.ForeignKeyConstraint(["parent_id"], ["tasks.id"], name=op.f("fk_task_completions_parent_id")),
        sa.PrimaryKeyConstraint("parent_id", "position", name=op.f("pk_task_completions")),
    )
    op.create_index(op.f("ix_task_completions_child_id"), "task_completions", ["child_id"], unique=False)
    op.create_table(
        "judgment_completions",
        sa.Column("parent_id", sa.Text(), nullable=False),
        sa.Column("position", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("child_id", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["child_id"], ["completions.id"], name=op.f("fk_judgment_completions_child_id")),
        sa.ForeignKeyConstraint(["parent_id"], ["judgments.id"], name=op.f("fk_judgment_completions_parent_id")),
        sa.PrimaryKeyConstraint("parent_id", "position", name=op.f("pk_judgment_completions")),
    )
    op.create_index(op.f("ix_judgment_completions_child_id"), "judgment_completions", ["child_id"], unique=False)
    op.create_table(
        "preference_judgments",
        sa.Column("parent_id", sa.Text(), nullable=False),
        sa.Column("position", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("child_id", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["child_id"], ["judgments.id"], name=op.f("fk_preference_judgments_child_id")),
        sa.ForeignKeyConstraint(["parent_id"], ["preferences.id"], name=op.f("fk_preference_judgments_parent_id")),
        sa.PrimaryKeyConstraint("parent_id", "position", name=op.f("pk_preference_judgments")),
    )
    op.create_index(op.f("ix_preference_judgments_child_id"), "preference_judgments", ["child_id"], unique=False)
    if op.get_bind().dialect.name == "postgresql":
        _triggers_of_postgresql()
    else:
        _triggers_of_sqlite()


def _triggers_of_sqlite() -> None:
    for act in ("update", "delete"):
        op.execute(
            f"CREATE TRIGGER judgments_refuse_{act} BEFORE {act.upper()} ON judgments "
            f"BEGIN SELECT RAISE(ABORT, '{REFUSAL}'); END"
        )


def _triggers_of_postgresql() -> None:
    op.execute(
        "CREATE FUNCTION judgments_refuse() RETURNS trigger LANGUAGE plpgsql AS "
        f"$$ BEGIN RAISE EXCEPTION '{REFUSAL}'; END $$"
    )
    op.execute(
        "CREATE TRIGGER judgments_refuse BEFORE UPDATE OR DELETE ON judgments "
        "FOR EACH ROW EXECUTE FUNCTION judgments_refuse()"
    )
