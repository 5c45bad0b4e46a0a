"""Who judges in a campaign, in words: on its overview, in its settings, and where it is made."""

from __future__ import annotations

from collections.abc import Sequence

from preflab.labelling.members import Member
from preflab.labelling.options import OpenTo
from preflab.words import listed, plural

OPEN_TO: dict[OpenTo, str] = {
    "invited": "people invited to it, and those invited to all campaigns",
    "everybody": "everybody with an account, also whoever gets one later",
    "named": "only people invited to it or let in by name",
}
LATER: dict[OpenTo, str] = {
    "invited": "So will whoever is invited to it, or to all campaigns.",
    "everybody": "So will whoever gets an account later.",
    "named": "Nobody else will, unless invited to it or let in by name.",
}
SHOWN = 5
"""People named in a sentence."""


def finders_sentence(people: Sequence[Member], open_to: OpenTo) -> str:
    """Who finds the campaign on their first page as it stands, and who will."""
    names = [each.name for each in people if each.can_come and each.role in ("labeler", "adjudicator")]
    if not names:
        return "No labeler finds it yet."
    more = len(names) - SHOWN
    phrases = [*names[:SHOWN], f"{more} more"] if more > 0 else names
    return f"{listed(phrases)} {plural(len(names), 'finds', 'find')} it on their first page. {LATER[open_to]}"


def why_sentence(member: Member, open_to: OpenTo) -> str:
    """Why somebody judges in a campaign, or does not."""
    if member.state == "revoked":
        return "revoked: cannot sign in"
    if not member.account_id:
        return "has no account to sign in with"
    if member.place is not None:
        return {"in": "let in", "settles": "settles open tasks, does not judge", "out": "taken off"}[member.place]
    if member.judges:
        return "everybody may" if open_to == "everybody" else "invited to all campaigns"
    return ""
