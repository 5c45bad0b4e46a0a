"""Replaces the lists of campaigns in accounts, and of labelers in campaigns' options, by the table `members`.

The meaning of the lists is kept. An account without a list may enter all campaigns, one with a list only those on it. A
campaign without a list is open to everybody whose account allows it, one with a list only to the labelers on it. One
case changes: a labeler whom a lead chose for a campaign outside the labeler's own list could not judge there, and now
can.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

LABELERS = sa.table("labelers", sa.column("id", sa.Text()))
CAMPAIGNS = sa.table("campaigns", sa.column("id", sa.Text()))
ACCOUNTS = sa.table(
    "accounts",
    sa.column("id", sa.Text()),
    sa.column("labeler_id", sa.Text()),
    sa.column("role", sa.Text()),
    sa.column("campaign_ids", sa.JSON()),
    sa.column("created_at", sa.Text()),
    sa.column("everywhere", sa.Boolean()),
)
STATES = sa.table(
    "campaign_states",
    sa.column("campaign_id", sa.Text()),
    sa.column("settings", sa.JSON()),
    sa.column("created_at", sa.Text()),
)
MEMBERS = sa.table(
    "members",
    sa.column("campaign_id", sa.Text()),
    sa.column("labeler_id", sa.Text()),
    sa.column("place", sa.Text()),
    sa.column("at", sa.Text()),
)


def upgrade() -> None:
    _tables()
    op.add_column("accounts", sa.Column("everywhere", sa.Boolean(), server_default=sa.true(), nullable=False))
    _fill()
    op.drop_column("accounts", "campaign_ids")


def _tables() -> None:
    op.create_table(
        "members",
        sa.Column("campaign_id", sa.Text(), nullable=False),
        sa.Column("labeler_id", sa.Text(), nullable=False),
        sa.Column("place", sa.Text(), nullable=False),
        sa.Column("at", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["campaign_id"], ["campaigns.id"], name=op.f("fk_members_campaign_id")),
        sa.ForeignKeyConstraint(["labeler_id"], ["labelers.id"], name=op.f("fk_members_labeler_id")),
        sa.PrimaryKeyConstraint("campaign_id", "labeler_id", name=op.f("pk_members")),
    )
    op.create_index(op.f("ix_members_labeler_id"), "members", ["labeler_id"], unique=False)
    op.create_table(
        "later_rounds",
        sa.Column("campaign_id", sa.Text(), nullable=False),
        sa.Column("follows", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["campaign_id"], ["campaigns.id"], name=op.f("fk_later_rounds_campaign_id")),
        sa.ForeignKeyConstraint(["follows"], ["campaigns.id"], name=op.f("fk_later_rounds_follows")),
        sa.PrimaryKeyConstraint("campaign_id", name=op.f("pk_later_rounds")),
    )
    op.create_index(op.f("ix_later_rounds_follows"), "later_rounds", ["follows"], unique=False)
    op.create_table(
        "devices",
        sa.Column("token_hash", sa.Text(), nullable=False),
        sa.Column("account_id", sa.Text(), nullable=False),
        sa.Column("seen_at", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.id"], name=op.f("fk_devices_account_id")),
        sa.PrimaryKeyConstraint("token_hash", "account_id", name=op.f("pk_devices")),
    )
    op.create_index(op.f("ix_devices_account_id"), "devices", ["account_id"], unique=False)


def _fill() -> None:
    connection = op.get_bind()
    accounts = connection.execute(sa.select(ACCOUNTS)).mappings().all()
    named: dict[str, list[str]] = {}
    for row in connection.execute(sa.select(STATES)).mappings().all():
        settings = dict(row["settings"])
        named[row["campaign_id"]] = list(settings.pop("labelers", ()))
        settings["open_to"] = "named" if named[row["campaign_id"]] else "invited"
        mine = STATES.c.campaign_id == row["campaign_id"]
        connection.execute(sa.update(STATES).where(mine).values(settings=settings))
    limited = [row for row in accounts if row["campaign_ids"]]
    for row in limited:
        connection.execute(sa.update(ACCOUNTS).where(ACCOUNTS.c.id == row["id"]).values(everywhere=False))
    campaigns = set(connection.execute(sa.select(CAMPAIGNS.c.id)).scalars())
    labelers = set(connection.execute(sa.select(LABELERS.c.id)).scalars())
    at = {row["labeler_id"]: row["created_at"] for row in accounts}
    rows = [
        {"campaign_id": campaign_id, "labeler_id": labeler_id, "place": place, "at": at.get(labeler_id, "")}
        for (campaign_id, labeler_id), place in _places(named, limited).items()
        if campaign_id in campaigns and labeler_id in labelers
    ]
    if rows:
        connection.execute(sa.insert(MEMBERS), rows)


def _places(named: Mapping[str, Sequence[str]], limited: Sequence[Any]) -> dict[tuple[str, str], str]:
    """(campaign, labeler) → place.

    `in`: labelers that a campaign names, and those whose invitation opened a campaign that names nobody. `settles`:
    adjudicators whose invitation opened a campaign that names others; they settle its open tasks without judging.
    """
    places = {(campaign_id, labeler_id): "in" for campaign_id, chosen in named.items() for labeler_id in chosen}
    for row in limited:
        for campaign_id in row["campaign_ids"]:
            if not named.get(campaign_id):
                places[campaign_id, row["labeler_id"]] = "in"
            elif row["role"] == "adjudicator":
                places.setdefault((campaign_id, row["labeler_id"]), "settles")
    return places
