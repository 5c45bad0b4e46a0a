"""Names of campaigns. Commands refer to campaigns by name, so no two running campaigns may have the same name."""

from __future__ import annotations

import unicodedata
from itertools import count

from sqlalchemy import Connection, select

from preflab.labelling.accounts import name_key
from preflab.labelling.errors import Invalid
from preflab.labelling.tables import CAMPAIGN_STATES, CAMPAIGNS
from preflab.store.database import reading
from preflab.store.workspace import Workspace


def refuse_taken_name(connection: Connection, name: str, campaign_id: str = "") -> None:
    """Refuse a name that another campaign has; upper and lower case count as the same.

    Args:
        connection: a connection to the workspace's database.
        name: the new name.
        campaign_id: the campaign to be renamed, which may keep its name; "" for a new campaign.

    Raises:
        Invalid: the name is taken, has no visible character or has control characters.
    """
    if not any(letter.isprintable() and not letter.isspace() for letter in name):
        raise Invalid(f"name: {name!r:.80}", "a name with at least one visible character")
    if any(unicodedata.category(letter) in ("Cc", "Zl", "Zp") for letter in name):
        raise Invalid(f"name: {name!r:.80}", "one line without control characters")
    for other, taken in _names(connection):
        if other != campaign_id and _same(taken, name):
            raise Invalid(
                f"name: {name.strip()!r:.80} is taken by the campaign {taken!r:.80}, id {other}",
                "a name that no other campaign of the workspace has",
                "choose another name, or rename the other campaign first",
            )


def check_name(ws: Workspace, name: str) -> None:
    """Refuse a name for a new campaign (see `refuse_taken_name`), before anything from its file is stored."""
    with reading(ws.engine) as connection:
        refuse_taken_name(connection, name)


def free_name(ws: Workspace, name: str) -> str:
    """The name if it is free, else the name with the smallest number that makes it free: `labels (2)`."""
    with reading(ws.engine) as connection:
        taken = [other for _, other in _names(connection)]
    candidates = (name if number == 1 else f"{name} ({number})" for number in count(1))
    return next(candidate for candidate in candidates if not any(_same(candidate, other) for other in taken))


def _names(connection: Connection) -> list[tuple[str, str]]:
    """(id, name) of every campaign that was opened for labelling, oldest first."""
    query = (
        select(CAMPAIGNS.c.id, CAMPAIGNS.c.name)
        .join(CAMPAIGN_STATES, CAMPAIGN_STATES.c.campaign_id == CAMPAIGNS.c.id)
        .order_by(CAMPAIGN_STATES.c.created_at, CAMPAIGNS.c.id)
    )
    return [(row.id, row.name) for row in connection.execute(query)]


def _same(one: str, other: str) -> bool:
    return _key(one) == _key(other)


def _key(name: str) -> str:
    """A name in the form in which names are compared: `name_key` without invisible characters."""
    return name_key("".join(letter for letter in name if not _is_invisible(letter)))


def _is_invisible(letter: str) -> bool:
    """Whether a character is invisible: a format character such as the zero-width space, or a variation selector."""
    return (
        unicodedata.category(letter) == "Cf"
        or letter == "\u034f"
        or "VARIATION SELECTOR" in unicodedata.name(letter, "")
    )


def campaign_names(ws: Workspace) -> dict[str, str]:
    """Id → name of every campaign, imported ones included."""
    with reading(ws.engine) as connection:
        return {row.id: row.name for row in connection.execute(select(CAMPAIGNS.c.id, CAMPAIGNS.c.name))}


def handle_of(ws: Workspace, campaign_id: str) -> str:
    """How commands refer to a campaign: by name, or by id if another campaign has the same name.

    Versions of preflab before the check could store two campaigns of one name.
    """
    with reading(ws.engine) as connection:
        names = _names(connection)
    campaign_name = next((name for id_, name in names if id_ == campaign_id), campaign_id)
    return campaign_name if sum(name == campaign_name for _, name in names) == 1 else campaign_id
