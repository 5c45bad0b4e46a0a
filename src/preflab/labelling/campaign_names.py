"""Names of campaigns: commands go by them, so that no two running campaigns are called the same."""

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
    """Refuse a name for a new campaign, or for this one, that another one has, upper and lower case being the same.

    Raises:
        Invalid: another campaign is called so, there is nothing to be seen in it, or it has control characters.
    """
    if not any(letter.isprintable() and not letter.isspace() for letter in name):
        raise Invalid(f"name: {name!r:.80}", "a name that can be read")
    if any(unicodedata.category(letter) in ("Cc", "Zl", "Zp") for letter in name):
        raise Invalid(f"name: {name!r:.80}", "one line without control characters")
    for other, taken in _names(connection):
        if other != campaign_id and _same(taken, name):
            raise Invalid(
                f"name: {name.strip()!r:.80} is taken by the campaign {taken!r:.80}, id {other}",
                "a name that no other campaign of the workspace has",
                "add what tells them apart, or rename the other one first",
            )


def check_name(ws: Workspace, name: str) -> None:
    """Refuse a name for a new campaign as `refuse_taken_name` does, before anything of its file is stored."""
    with reading(ws.engine) as connection:
        refuse_taken_name(connection, name)


def free_name(ws: Workspace, name: str) -> str:
    """The name, or with the first number behind it that makes it free: `labels (2)`."""
    with reading(ws.engine) as connection:
        taken = [other for _, other in _names(connection)]
    candidates = (name if number == 1 else f"{name} ({number})" for number in count(1))
    return next(each for each in candidates if not any(_same(each, other) for other in taken))


def _names(connection: Connection) -> list[tuple[str, str]]:
    """(id, name) of every campaign that was opened for labelling, the oldest first."""
    query = (
        select(CAMPAIGNS.c.id, CAMPAIGNS.c.name)
        .join(CAMPAIGN_STATES, CAMPAIGN_STATES.c.campaign_id == CAMPAIGNS.c.id)
        .order_by(CAMPAIGN_STATES.c.created_at, CAMPAIGNS.c.id)
    )
    return [(row.id, row.name) for row in connection.execute(query)]


def _same(one: str, other: str) -> bool:
    return _key(one) == _key(other)


def _key(name: str) -> str:
    """A name as it is compared: as names of accounts are, and without what cannot be seen."""
    return name_key("".join(letter for letter in name if not _is_invisible(letter)))


def _is_invisible(letter: str) -> bool:
    """Format characters such as the zero-width space, and those that only choose how the letter before is drawn."""
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
    """What commands call the campaign: its name, or its id where an older preflab has let another one be called so."""
    with reading(ws.engine) as connection:
        names = _names(connection)
    name_of_campaign = next((name for id_, name in names if id_ == campaign_id), campaign_id)
    return name_of_campaign if sum(name == name_of_campaign for _, name in names) == 1 else campaign_id
