"""Accounts: who may sign in, and with which role.

Every account has its own labeler, which is known by a pseudonym. Erasing an account deletes its name, address and
password; the labeler and its judgments stay.
"""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from typing import Any, Literal, get_args

from sqlalchemy import Connection, delete, func, insert, select, update

from preflab.labelling.audit import note_event
from preflab.labelling.clock import stamp, utc_now
from preflab.labelling.errors import Invalid, NotAllowed, NotFound
from preflab.labelling.leases import end_leases_of
from preflab.labelling.passwords import PASSWORD_LENGTH as PASSWORD_LENGTH
from preflab.labelling.passwords import hash_password
from preflab.labelling.tables import ACCOUNTS, DEVICES, LABELERS, SESSIONS, TOKENS
from preflab.records import LabelerKind, random_id
from preflab.store.database import reading, writing
from preflab.store.workspace import Workspace

AccountRole = Literal["lead", "adjudicator", "labeler", "ai"]
AccountState = Literal["active", "revoked", "erased"]
NAME_LENGTH = 200
REACH_CHANGED, ALL_CAMPAIGNS = "reach changed", "all campaigns"
"""Texts of the audit log: the name of the event, and the key that says whether an account reaches all campaigns."""


@dataclass(frozen=True)
class Account:
    """A person or an AI judge that can sign in."""

    id: str
    labeler_id: str
    name: str
    """The name that colleagues know; "" once erased. The labeler's name is a pseudonym instead."""
    email: str
    role: AccountRole
    state: AccountState
    everywhere: bool = True
    """May judge in all campaigns, including later ones, except those that are open to named people only."""
    created_at: str = ""
    has_password: bool = False


def create_account(
    ws: Workspace,
    name: str,
    role: AccountRole,
    password: str | None = None,
    email: str = "",
    by: str = "",
    *,
    everywhere: bool = True,
) -> Account:
    """Create an account and its labeler; without a password it can only be used with a token or an open session.

    Raises:
        Invalid: an unknown role, a name that is empty or taken, or a password that is too short.
    """
    password_hash = None if password is None else hash_password(password)
    with writing(ws.engine) as connection:
        return add_account(connection, name, role, password_hash, email=email, by=by, everywhere=everywhere)


def add_account(
    connection: Connection,
    name: str,
    role: AccountRole,
    password_hash: str | None,
    *,
    email: str = "",
    by: str = "",
    everywhere: bool = True,
) -> Account:
    """`create_account` inside the caller's transaction."""
    _check_role(role)
    key = _free_key(connection, name)
    labeler_id = _new_labeler(connection, "ai" if role == "ai" else "person")
    row = {
        "id": random_id("account"),
        "labeler_id": labeler_id,
        "name": name.strip(),
        "name_key": key,
        "email": email.strip(),
        "password_hash": password_hash,
        "role": role,
        "state": "active",
        "created_at": stamp(utc_now()),
        "everywhere": everywhere,
    }
    connection.execute(insert(ACCOUNTS).values(**row))
    new = {"role": role, "labeler_id": labeler_id, "all campaigns": everywhere}
    note_event(connection, by or str(row["id"]), "account created", str(row["id"]), None, new)
    return account_from(row)


def set_password(ws: Workspace, account_id: str, password: str, by: str = "") -> None:
    """Set a new password; every session of the account ends.

    Raises:
        Invalid: the password is too short.
    """
    password_hash = hash_password(password)
    with writing(ws.engine) as connection:
        _existing(connection, account_id)
        _set(connection, account_id, password_hash=password_hash)
        connection.execute(delete(SESSIONS).where(SESSIONS.c.account_id == account_id))
        connection.execute(delete(DEVICES).where(DEVICES.c.account_id == account_id))
        note_event(connection, by, "password changed", account_id)


def set_role(ws: Workspace, account_id: str, role: AccountRole, by: str = "") -> None:
    """Change the role of an account, from its next request on.

    Raises:
        Invalid: an unknown role, or a change between a person and an AI judge.
        NotAllowed: the account is the only active lead.
    """
    _check_role(role)
    with writing(ws.engine) as connection:
        account = _existing(connection, account_id)
        if (role == "ai") != (account.role == "ai"):
            raise Invalid("a change between a person and an AI judge", "a role of the same kind", "make a new account")
        if role != "lead":
            _refuse_last_lead(connection, account)
        _set(connection, account_id, role=role)
        note_event(connection, by, "role changed", account_id, {"role": account.role}, {"role": role})


def revoke(ws: Workspace, account_id: str, by: str = "") -> None:
    """End an account at once, with its sessions, its tokens and its leases on tasks. Its judgments stay."""
    with writing(ws.engine) as connection:
        account = _existing(connection, account_id)
        if account.state == "erased":
            raise NotAllowed("this account is erased", "an account that is not erased")
        _refuse_last_lead(connection, account)
        _end_access(connection, account)
        _set(connection, account_id, state="revoked")
        note_event(connection, by, "account revoked", account_id, {"state": account.state}, {"state": "revoked"})


def reinstate(ws: Workspace, account_id: str, by: str = "") -> None:
    """Make a revoked account active again, with its name, password, judgments and campaigns.

    Its former sessions and tokens stay ended.

    Raises:
        NotAllowed: the account is erased.
    """
    with writing(ws.engine) as connection:
        account = _existing(connection, account_id)
        if account.state == "erased" or not account.name:
            raise NotAllowed("this account is erased", "an account that was revoked", "invite the person again")
        if account.state == "active":
            return
        _set(connection, account_id, state="active")
        note_event(connection, by, "account let in again", account_id, {"state": account.state}, {"state": "active"})


def set_everywhere(ws: Workspace, account_id: str, everywhere: bool, by: str = "") -> None:
    """Let an account into all campaigns, including later ones, or only into those it was let into by name."""
    with writing(ws.engine) as connection:
        account = _existing(connection, account_id)
        if account.state == "erased":
            raise NotAllowed("this account is erased", "an account that is not erased")
        set_reach(connection, account, everywhere, by)


def set_reach(connection: Connection, account: Account, everywhere: bool, by: str) -> bool:
    """`set_everywhere` inside the caller's transaction; returns whether it changes anything."""
    if account.everywhere == everywhere:
        return False
    _set(connection, account.id, everywhere=everywhere)
    old, new = {ALL_CAMPAIGNS: account.everywhere}, {ALL_CAMPAIGNS: everywhere}
    note_event(connection, by, REACH_CHANGED, account.id, old, new)
    return True


def erase(ws: Workspace, account_id: str, by: str = "") -> None:
    """Delete the name, address and password of an account for good; its judgments stay under the pseudonym."""
    with writing(ws.engine) as connection:
        account = _existing(connection, account_id)
        _refuse_last_lead(connection, account)
        _end_access(connection, account)
        connection.execute(delete(TOKENS).where(TOKENS.c.account_id == account_id))
        _set(connection, account_id, state="erased", name="", name_key=None, email="", password_hash=None)
        note_event(connection, by, "account erased", account_id, {"state": account.state}, {"state": "erased"})


def accounts(ws: Workspace) -> list[Account]:
    """All accounts, oldest first, including erased ones."""
    with reading(ws.engine) as connection:
        rows = connection.execute(select(ACCOUNTS).order_by(ACCOUNTS.c.created_at, ACCOUNTS.c.id)).mappings()
        return [account_from(row) for row in rows]


def account(ws: Workspace, account_id: str) -> Account:
    """The account of this id.

    Raises:
        NotFound: there is none.
    """
    with reading(ws.engine) as connection:
        return _existing(connection, account_id)


def has_lead_password(ws: Workspace) -> bool:
    """Whether an active lead has a password; without one the app is served to this machine only."""
    conditions = (ACCOUNTS.c.role == "lead", ACCOUNTS.c.state == "active", ACCOUNTS.c.password_hash.is_not(None))
    with reading(ws.engine) as connection:
        return connection.execute(select(ACCOUNTS.c.id).where(*conditions).limit(1)).first() is not None


def account_from(row: Any) -> Account:
    """The account in a row of the table ACCOUNTS."""
    return Account(
        id=row["id"],
        labeler_id=row["labeler_id"],
        name=row["name"],
        email=row["email"],
        role=row["role"],
        state=row["state"],
        everywhere=row["everywhere"],
        created_at=row["created_at"],
        has_password=row["password_hash"] is not None,
    )


def name_key(name: str) -> str:
    """A name in the form in which names are compared: NFKC, case folded, single spaces."""
    return " ".join(unicodedata.normalize("NFKC", name).casefold().split())


def _free_key(connection: Connection, name: str) -> str:
    """The `name_key` of a new name; Invalid if the name is not allowed or taken."""
    key = name_key(name)
    if not key or len(name) > NAME_LENGTH or not key.isprintable():
        raise Invalid(f"name: {name!r:.80}", f"1 to {NAME_LENGTH} printable characters")
    if connection.execute(select(ACCOUNTS.c.id).where(ACCOUNTS.c.name_key == key)).first():
        raise Invalid(f"name: {name.strip()} is taken", "a name nobody else has", "add a letter or a last name")
    return key


def _new_labeler(connection: Connection, kind: LabelerKind) -> str:
    """Create a labeler with a free pseudonym, `labeler 7` or `AI judge 7`, which exports and leads' pages show."""
    word = "AI judge" if kind == "ai" else "labeler"
    number = int(connection.execute(select(func.count()).select_from(ACCOUNTS)).scalar_one()) + 1
    while connection.execute(select(LABELERS.c.id).where(LABELERS.c.name == f"{word} {number}")).first():
        number += 1
    labeler_id = random_id("labeler")
    connection.execute(insert(LABELERS).values(id=labeler_id, name=f"{word} {number}", kind=kind, settings={}))
    return labeler_id


def _existing(connection: Connection, account_id: str) -> Account:
    row = connection.execute(select(ACCOUNTS).where(ACCOUNTS.c.id == account_id)).mappings().first()
    if row is None:
        raise NotFound(f"no account {account_id}", "the id of an account")
    return account_from(row)


def _set(connection: Connection, account_id: str, **values: Any) -> None:
    connection.execute(update(ACCOUNTS).where(ACCOUNTS.c.id == account_id).values(**values))


def _end_access(connection: Connection, account: Account) -> None:
    """End the sessions, tokens and leases of an account and forget its devices, within the caller's transaction."""
    connection.execute(delete(DEVICES).where(DEVICES.c.account_id == account.id))
    connection.execute(delete(SESSIONS).where(SESSIONS.c.account_id == account.id))
    unrevoked = (TOKENS.c.account_id == account.id, TOKENS.c.revoked_at.is_(None))
    connection.execute(update(TOKENS).where(*unrevoked).values(revoked_at=stamp(utc_now())))
    end_leases_of(connection, account.labeler_id)


def _check_role(role: str) -> None:
    if role not in get_args(AccountRole):
        raise Invalid(f"role: {role!r:.80}", ", ".join(get_args(AccountRole)))


def _refuse_last_lead(connection: Connection, account: Account) -> None:
    """Refuse to remove the only active lead: nobody could then let others in."""
    if account.role != "lead" or account.state != "active":
        return
    others = (ACCOUNTS.c.role == "lead", ACCOUNTS.c.state == "active", ACCOUNTS.c.id != account.id)
    if connection.execute(select(ACCOUNTS.c.id).where(*others).limit(1)).first() is None:
        raise NotAllowed("this is the only lead", "another active lead", "make somebody else a lead first")
