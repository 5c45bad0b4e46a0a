"""Texts about who may judge in a campaign, for its overview, its settings and the page that creates it."""

from __future__ import annotations

from collections.abc import Sequence

from preflab.labelling.members import Member
from preflab.labelling.options import OpenTo
from preflab.words import listed, plural

OPEN_TO: dict[OpenTo, str] = {
    "invited": "people invited to it, and those invited to all campaigns",
    "everybody": "everybody with an account, including later accounts",
    "named": "only people invited to it or let in by name",
}
LATER: dict[OpenTo, str] = {
    "invited": "So will people who are invited to it, or to all campaigns.",
    "everybody": "So will people who get an account later.",
    "named": "Nobody else will, unless invited to it or let in by name.",
}
SHOWN = 5
"""Largest number of people named in a sentence."""


def finders_sentence(people: Sequence[Member], open_to: OpenTo) -> str:
    """A sentence about who finds the campaign on their first page now, and who will later."""
    names = [each.name for each in people if each.can_come and each.role in ("labeler", "adjudicator")]
    if not names:
        return "No labeler finds it yet."
    more = len(names) - SHOWN
    phrases = [*names[:SHOWN], f"{more} more"] if more > 0 else names
    return f"{listed(phrases)} {plural(len(names), 'finds', 'find')} it on their first page. {LATER[open_to]}"


def why_sentence(member: Member, open_to: OpenTo) -> str:
    """The reason why a person may judge in a campaign, or may not; "" if there is no particular reason."""
    if member.state == "revoked":
        return "revoked: cannot sign in"
    if not member.account_id:
        return "has no account to sign in with"
    if member.place is not None:
        return {"in": "let in", "settles": "settles open tasks, does not judge", "out": "taken off"}[member.place]
    if member.judges:
        return "everybody may" if open_to == "everybody" else "invited to all campaigns"
    return ""
