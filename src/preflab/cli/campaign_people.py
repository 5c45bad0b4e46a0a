"""`campaign invite`, `people`, `add` and `remove`: decide who judges in a campaign."""

from __future__ import annotations

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
    command,
    padded,
    speaking,
)

if TYPE_CHECKING:
    from preflab.labelling.members import Member

CampaignArgument = Annotated[str, typer.Argument(help="The campaign's name or id.")]
PeopleArgument = Annotated[list[str], typer.Argument(metavar="NAME...", help="Names or ids of accounts.")]


def invite(
    campaign: CampaignArgument,
    role: Annotated[str, typer.Option("--role", help="labeler, adjudicator, lead or ai.")] = "labeler",
    hours: Annotated[float, typer.Option("--hours", help="How long the link works.")] = 72,
    all_campaigns: Annotated[
        bool, typer.Option("--all-campaigns", help="Let the person into all campaigns, later ones included.")
    ] = False,
    recipe: RecipeOption = DEFAULT_RECIPE,
    set_: SetOption = None,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Print a link that lets one person into a campaign, with a new or an existing account; it works once."""
    from preflab.cli.campaign_inputs import campaign_named
    from preflab.labelling.address import address
    from preflab.labelling.invites import create_invite
    from preflab.store.opening import opened

    with speaking(as_json) as speaker:
        with opened(workspace_folder_of(recipe, set_ or [], workspace)) as store:
            view = campaign_named(store, campaign)
            opens = [] if all_campaigns else [view.campaign.id]
            made, token = create_invite(store, role, opens, hours, BY)  # type: ignore[arg-type]
            link = f"{address(store.path)}/invite/{token}"
        speaker.say(link)
        following = f"send the link to one person; it works once, until {made.expires_at[:16].replace('T', ' ')} UTC"
        speaker.last(None, following, link=link, expires_at=made.expires_at, role=role, campaign_ids=opens)


def people(
    campaign: CampaignArgument,
    recipe: RecipeOption = DEFAULT_RECIPE,
    set_: SetOption = None,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """List everybody with an account, and whether they may judge in a campaign."""
    from preflab.cli.campaign_inputs import campaign_named
    from preflab.labelling.members import people_of
    from preflab.store.opening import opened

    with speaking(as_json) as speaker:
        with opened(workspace_folder_of(recipe, set_ or [], workspace)) as store:
            view = campaign_named(store, campaign)
            members = people_of(store, view.campaign.id)
        rows = [
            (each.name, each.role or each.kind, each.state or "no account", _describe_place(each)) for each in members
        ]
        speaker.say(f"{view.campaign.name}, open_to {view.options.open_to}")
        for line in (
            padded([("name", "role", "state", "judges here"), *rows]) if rows else ["nobody has an account yet"]
        ):
            speaker.say(line)
        listed = [
            {"account_id": each.account_id, "labeler_id": each.labeler_id, "name": each.name, "role": each.role,
             "state": each.state, "judges": each.judges, "place": each.place}
            for each in members
        ]  # fmt: skip
        following = f"{command('campaign', 'add', campaign, 'NAME')} lets somebody in"
        speaker.last(None, following, open_to=view.options.open_to, people=listed)


def add(
    campaign: CampaignArgument,
    names: PeopleArgument,
    recipe: RecipeOption = DEFAULT_RECIPE,
    set_: SetOption = None,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Let people who have an account judge in a campaign, and in its later rounds."""
    from preflab.cli.accounts import account_named
    from preflab.cli.campaign_inputs import campaign_named
    from preflab.labelling.members import let_in
    from preflab.store.opening import opened

    with speaking(as_json) as speaker:
        with opened(workspace_folder_of(recipe, set_ or [], workspace)) as store:
            view = campaign_named(store, campaign)
            accounts = [account_named(store, name) for name in names]
            num = let_in(store, view.campaign.id, [each.labeler_id for each in accounts], BY)
        speaker.say(f"let into {view.campaign.name}: {', '.join(each.name for each in accounts)}")
        following = command("campaign", "people", campaign)
        speaker.last(None, following, campaign_id=view.campaign.id, num_new=num)


def remove(
    campaign: CampaignArgument,
    names: PeopleArgument,
    recipe: RecipeOption = DEFAULT_RECIPE,
    set_: SetOption = None,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Take people off a campaign; their judgments stay, and tasks they have begun can still be submitted."""
    from preflab.cli.accounts import account_named
    from preflab.cli.campaign_inputs import campaign_named
    from preflab.labelling.members import take_off
    from preflab.store.opening import opened

    with speaking(as_json) as speaker:
        with opened(workspace_folder_of(recipe, set_ or [], workspace)) as store:
            view = campaign_named(store, campaign)
            accounts = [account_named(store, name) for name in names]
            for each in accounts:
                take_off(store, view.campaign.id, each.labeler_id, BY)
        speaker.say(f"taken off {view.campaign.name}: {', '.join(each.name for each in accounts)}")
        speaker.last(None, command("campaign", "people", campaign), campaign_id=view.campaign.id)


def _describe_place(member: Member) -> str:
    place = {"in": "yes, let in", "settles": "no, settles open tasks", "out": "no, taken off"}
    return place[member.place] if member.place else "yes" if member.judges else "no"
