"""`account`: add, list, revoke, reinstate and erase accounts of the labelling app; set passwords, make tokens."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated

import typer

from preflab.cli.labelling import workspace_folder_of
from preflab.cli.speaking import (
    BY,
    DEFAULT_RECIPE,
    JsonOption,
    RecipeOption,
    SetOption,
    WorkspaceOption,
    padded,
    short_help,
    speaking,
)
from preflab.errors import PreflabError, nearest

if TYPE_CHECKING:
    from preflab.labelling.accounts import Account
    from preflab.store.workspace import Workspace

AccountArgument = Annotated[str, typer.Argument(help="The account's name or id.")]
StdinOption = Annotated[
    bool, typer.Option("--password-stdin", help="Read the password from standard input instead of asking for it.")
]
RoleOption = Annotated[str, typer.Option("--role", help="lead, adjudicator, labeler or ai.")]


def add_to(app: typer.Typer) -> None:
    """Register the commands of this file."""
    group = typer.Typer(help="Accounts of the labelling app.", no_args_is_help=True)
    commands: dict[str, Callable[..., None]] = {
        "list": list_all,
        "add": add,
        "password": password,
        "token": token,
        "revoke": revoke,
        "reinstate": reinstate,
        "erase": erase,
    }
    for name, command in commands.items():
        group.command(name, help=command.__doc__, short_help=short_help(command.__doc__))(command)
    app.add_typer(group, name="account")


def account_named(store: Workspace, name: str) -> Account:
    """The account of this name or id.

    Raises:
        PreflabError: no account has it.
    """
    from preflab.labelling.accounts import accounts, name_key

    every = accounts(store)
    matching = [a for a in every if a.id == name or (a.name and name_key(a.name) == name_key(name))]
    if matching:
        return matching[0]
    near = nearest(name, [account.name for account in every if account.name])
    raise PreflabError(
        f"there is no account {name!r}",
        f"near it: {near}" if near else "the name or id of an account",
        "`preflab account list` shows them",
    )


def list_all(
    recipe: RecipeOption = DEFAULT_RECIPE,
    set_: SetOption = None,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """List the accounts: name, role, state, and the pseudonym of their judgments."""
    from preflab.labelling.accounts import accounts
    from preflab.store.opening import opened

    with speaking(as_json) as speaker:
        with opened(workspace_folder_of(recipe, set_ or [], workspace)) as store:
            every = accounts(store)
            pseudonyms = {labeler.id: labeler.name for labeler in store.labelers([a.labeler_id for a in every])}
        rows = [(a.name or "(erased)", a.role, a.state, pseudonyms[a.labeler_id], a.id) for a in every]
        for line in padded([("name", "role", "state", "judges as", "id"), *rows]) if rows else ["no accounts yet"]:
            speaker.say(line)
        listed = [
            {"id": a.id, "name": a.name, "role": a.role, "state": a.state, "labeler_id": a.labeler_id} for a in every
        ]
        speaker.last(None, "`preflab label` serves the app they sign in to", accounts=listed)


def add(
    name: Annotated[str, typer.Argument(help="What they sign in with; nobody but leads sees it.")],
    role: RoleOption = "labeler",
    email: Annotated[str, typer.Option("--email", help="Kept for the leads; nothing is sent.")] = "",
    only: Annotated[
        list[str] | None,
        typer.Option(
            "--campaign", help="Only this campaign, by name or id; default: all, also later ones. May be repeated."
        ),
    ] = None,
    no_password: Annotated[bool, typer.Option("--no-password", help="For accounts that use tokens alone.")] = False,
    password_stdin: StdinOption = False,
    recipe: RecipeOption = DEFAULT_RECIPE,
    set_: SetOption = None,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Add an account; for most people `preflab campaign invite` is easier."""
    from preflab.cli.campaign_inputs import campaign_named
    from preflab.labelling.accounts import create_account
    from preflab.labelling.members import let_in
    from preflab.store.opening import opened

    secret = None if no_password else _read_password(password_stdin)
    with speaking(as_json) as speaker:
        with opened(workspace_folder_of(recipe, set_ or [], workspace), create=True) as store:
            views = [campaign_named(store, each) for each in only or []]
            made = create_account(store, name, role, secret, email, BY, everywhere=not views)  # type: ignore[arg-type]
            for view in views:
                let_in(store, view.campaign.id, [made.labeler_id], BY)
        speaker.say(f"{made.name} is {'an' if role[0] in 'ai' else 'a'} {made.role}")
        speaker.last(None, "`preflab account list`", account_id=made.id, labeler_id=made.labeler_id, role=made.role)


def password(
    name: AccountArgument,
    password_stdin: StdinOption = False,
    recipe: RecipeOption = DEFAULT_RECIPE,
    set_: SetOption = None,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Set an account's password and end all its sessions."""
    from preflab.labelling.accounts import set_password
    from preflab.store.opening import opened

    with speaking(as_json) as speaker, opened(workspace_folder_of(recipe, set_ or [], workspace)) as store:
        account = account_named(store, name)
        set_password(store, account.id, _read_password(password_stdin), BY)
        speaker.say(f"{account.name} has a new password")
        speaker.last(None, "sign in with it", account_id=account.id)


def token(
    name: AccountArgument,
    purpose: Annotated[str, typer.Option("--for", help="What the token is for.")] = "command line",
    recipe: RecipeOption = DEFAULT_RECIPE,
    set_: SetOption = None,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make a token for scripts; it is shown only once."""
    from preflab.labelling.sessions import create_token
    from preflab.store.opening import opened

    with speaking(as_json) as speaker, opened(workspace_folder_of(recipe, set_ or [], workspace)) as store:
        account = account_named(store, name)
        secret = create_token(store, account.id, purpose, BY)
        speaker.say(secret)
        speaker.last(None, "send it as `Authorization: Bearer …`; it is not shown again", token=secret)


def revoke(
    name: AccountArgument,
    recipe: RecipeOption = DEFAULT_RECIPE,
    set_: SetOption = None,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Revoke an account at once: its sessions and tokens end, its open tasks are released, its judgments stay."""
    from preflab.labelling.accounts import revoke as end
    from preflab.store.opening import opened

    with speaking(as_json) as speaker, opened(workspace_folder_of(recipe, set_ or [], workspace)) as store:
        account = account_named(store, name)
        end(store, account.id, BY)
        speaker.say(f"{account.name} can no longer sign in")
        speaker.last(None, "`preflab account list`", account_id=account.id, state="revoked")


def reinstate(
    name: AccountArgument,
    recipe: RecipeOption = DEFAULT_RECIPE,
    set_: SetOption = None,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Let a revoked account sign in again under its name; its old sessions and tokens stay invalid."""
    from preflab.labelling.accounts import reinstate as let_in_again
    from preflab.store.opening import opened

    with speaking(as_json) as speaker, opened(workspace_folder_of(recipe, set_ or [], workspace)) as store:
        account = account_named(store, name)
        let_in_again(store, account.id, BY)
        speaker.say(f"{account.name} may sign in again, with the former password")
        speaker.last(None, "`preflab account list`", account_id=account.id, state="active")


def erase(
    name: AccountArgument,
    recipe: RecipeOption = DEFAULT_RECIPE,
    set_: SetOption = None,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Erase an account's name, address and password for good; its judgments stay under the pseudonym."""
    from preflab.labelling.accounts import erase as forget
    from preflab.store.opening import opened

    with speaking(as_json) as speaker, opened(workspace_folder_of(recipe, set_ or [], workspace)) as store:
        account = account_named(store, name)
        forget(store, account.id, BY)
        speaker.say("name, address and password are erased; delete backups and earlier exports yourself")
        speaker.last(None, "`preflab account list`", account_id=account.id, state="erased")


def _read_password(from_stdin: bool) -> str:
    if from_stdin:
        return sys.stdin.readline().rstrip("\r\n")
    return str(typer.prompt("Password", hide_input=True, confirmation_prompt=True, err=True))
