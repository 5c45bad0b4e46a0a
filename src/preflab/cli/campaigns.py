"""`campaign`: create, list, show, change and close campaigns."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from preflab.cli.asking import prioritise
from preflab.cli.campaign_inputs import (
    campaign_named,
    find_groups,
    parse_criteria,
    parse_options,
    read_instructions,
    read_rows,
    store_groups,
)
from preflab.cli.campaign_people import add, invite, people, remove
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
    short_help,
    speaking,
)
from preflab.errors import PreflabError
from preflab.ways.registry import USUAL, names_in_words
from preflab.words import count, hours_text, interval_text, money, percent, plural

if TYPE_CHECKING:
    from collections.abc import Sequence

    from preflab.labelling.adjudication import OpenTask
    from preflab.labelling.campaigns import CampaignView
    from preflab.store.workspace import Workspace

CampaignArgument = Annotated[str, typer.Argument(help="The campaign's name or id.")]


def add_to(app: typer.Typer) -> None:
    """Register the commands of this file."""
    group = typer.Typer(help="Campaigns: a question put to people about completions.", no_args_is_help=True)
    commands: dict[str, Callable[..., None]] = {
        "create": create,
        "list": list_all,
        "show": show,
        "options": options,
        "instructions": instructions,
        "invite": invite,
        "people": people,
        "add": add,
        "remove": remove,
        "pause": pause,
        "open": reopen,
        "close": close,
        "prioritise": prioritise,
    }
    for name, function in commands.items():
        group.command(name, help=function.__doc__, short_help=short_help(function.__doc__))(function)
    app.add_typer(group, name="campaign")


def create(
    file: Annotated[
        Path | None, typer.Argument(help="Prompts with completions to judge: JSONL, JSON or CSV; or --source.")
    ] = None,
    name: Annotated[str, typer.Option("--name", help="Name of the campaign.")] = ...,  # type: ignore[assignment]
    way: Annotated[str, typer.Option("--way", help=f"{names_in_words()}.")] = USUAL,
    question: Annotated[
        str, typer.Option("--question", help="What the labelers are asked; default: the usual question of the way.")
    ] = "",
    criterion: Annotated[
        list[str] | None,
        typer.Option("--criterion", metavar="NAME[:LOW:HIGH]", help="A Likert scale and its ends. May be repeated."),
    ] = None,
    overlap: Annotated[int, typer.Option("--overlap", help="Labels wanted per task.")] = 3,
    instructions: Annotated[
        Path | None, typer.Option("--instructions", help="Markdown file; default: a starter text.")
    ] = None,
    gold: Annotated[Path | None, typer.Option("--gold", help="JSONL file of tasks with known answers.")] = None,
    source: Annotated[
        str | None, typer.Option("--source", help="Completions of this workspace: `all`, or `model:` and a model's id.")
    ] = None,
    option: Annotated[
        list[str] | None, typer.Option("--option", metavar="KEY=VALUE", help="Any other option. May be repeated.")
    ] = None,
    recipe: RecipeOption = DEFAULT_RECIPE,
    set_: SetOption = None,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make a campaign from a file of prompts and completions, or from completions of the workspace.

    With --option content=image the completions are paths of images, relative to the file; they are copied.
    """
    from preflab.labelling.campaign_names import check_name, handle_of
    from preflab.labelling.campaign_rows import checked_options
    from preflab.labelling.campaigns import create_campaign
    from preflab.labelling.gold_file import NONE, read_gold
    from preflab.labelling.instructions import default_instructions
    from preflab.labelling.reading import overlap_warning
    from preflab.store.opening import opened

    if (file is None) == (source is None):
        raise PreflabError(
            "neither a file nor --source" if file is None else "both a file and --source",
            "a FILE of prompts and completions, or --source for those of the workspace",
            "`preflab campaign create answers.jsonl --name NAME`",
        )
    values: dict[str, Any] = {"name": name, "way": way, "question": question, "overlap": overlap}
    values |= parse_criteria(criterion or []) | parse_options(option or [])
    if gold:
        values.setdefault("gold_share", 0.1)
    chosen = checked_options(values)
    text = read_instructions(instructions) if instructions else default_instructions(chosen)
    with speaking(as_json) as speaker:
        known = read_gold(gold, chosen) if gold else NONE
        read = read_rows(file, chosen) if file else None  # before the workspace: a bad file must not create one
        with opened(workspace_folder_of(recipe, set_ or [], workspace), create=True) as store:
            check_name(store, chosen.name)
            groups = (
                store_groups(store, file, read, chosen) if file and read else find_groups(store, str(source), chosen)
            )
            store.put([*known.prompts, *known.completions])
            answers = known.numbered_from(len(groups))
            made = create_campaign(store, chosen, [*groups, *known.groups], text, BY, gold=answers)
            link, handle = _link(store, made.id), handle_of(store, made.id)
        warning = overlap_warning(chosen.overlap)
        speaker.say(f"campaign {made.name}: {count(len(groups), 'task')}, {count(chosen.overlap, 'label')} each")
        if warning:
            speaker.say(warning)
        speaker.say(f"labelers work at {link}")
        following = f"`preflab label`, and {command('campaign', 'invite', handle)} for every labeler"
        speaker.last(None, following, campaign_id=made.id, num_tasks=len(groups), link=link, warning=warning)


def _link(store: Workspace, campaign_id: str) -> str:
    from preflab.labelling.address import address

    return f"{address(store.path)}/c/{campaign_id}"


def list_all(
    recipe: RecipeOption = DEFAULT_RECIPE,
    set_: SetOption = None,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """List the campaigns with their progress."""
    from preflab.labelling.campaign_names import handle_of
    from preflab.labelling.campaigns import list_campaigns
    from preflab.store.opening import opened

    with speaking(as_json) as speaker:
        with opened(workspace_folder_of(recipe, set_ or [], workspace)) as store:
            views = list_campaigns(store)
            handle = handle_of(store, views[0].campaign.id) if views else ""
        rows = [(v.campaign.name, v.options.way, v.state, _progress(v), v.campaign.id) for v in views]
        for line in padded([("campaign", "way", "state", "done", "id"), *rows]) if rows else ["no campaigns yet"]:
            speaker.say(line)
        first = command("campaign", "show", handle) if views else "`preflab campaign create --help`"
        speaker.last(None, first, campaigns=[_as_json(view) for view in views])


def _progress(view: CampaignView) -> str:
    return f"{view.num_done:,} of {count(view.num_tasks, 'task')} complete, {count(view.num_labels, 'label')}"


def _as_json(view: CampaignView) -> dict[str, Any]:
    return {
        "id": view.campaign.id,
        "name": view.campaign.name,
        "state": view.state,
        "num_tasks": view.num_tasks,
        "num_done": view.num_done,
        "num_labels": view.num_labels,
        "guideline_version": view.guideline.version,
        "options": view.options.model_dump(mode="json"),
    }


def show(
    campaign: CampaignArgument,
    recipe: RecipeOption = DEFAULT_RECIPE,
    set_: SetOption = None,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show a campaign: progress, agreement, pairs that await adjudication, cost so far."""
    from preflab.labelling.adjudication import queue
    from preflab.labelling.campaign_names import handle_of
    from preflab.labelling.needs import cost
    from preflab.labelling.quality import campaign_quality
    from preflab.labelling.reading import overlap_warning, reading_words
    from preflab.store.opening import opened

    with speaking(as_json) as speaker:
        with opened(workspace_folder_of(recipe, set_ or [], workspace)) as store:
            view = campaign_named(store, campaign)
            strict = campaign_quality(store, view.campaign.id).agreement.strict
            waiting = queue(store, view.campaign.id).open
            spent, link = cost(store, view.campaign.id), _link(store, view.campaign.id)
            handle = handle_of(store, view.campaign.id)
        paid = "" if spent.money is None else f", {money(spent.money, spent.currency)}"
        rows = [
            ("question", view.options.question),
            ("way", view.options.way + ", the worse one is asked for" * (view.options.polarity < 0)),
            ("state", view.state),
            ("done", _progress(view)),
            ("read by", reading_words(view.options)),
            ("two labelers agree", interval_text(asdict(strict), percent)),
            ("open pairs", _awaiting(waiting)),
            ("spent", hours_text(spent.hours) + paid),
            ("labelers", link),
        ]
        for line in padded([(f"{view.campaign.name}", view.campaign.id), *rows]):
            speaker.say(line)
        if warning := overlap_warning(view.options.overlap):
            speaker.say(warning)
        figures = {
            "agreement": strict.value,
            "num_open_tasks": len(waiting),
            "hours": spent.hours,
            "money": spent.money,
        }
        speaker.last(None, command("campaign", "invite", handle), **_as_json(view), link=link, **figures)


def _awaiting(waiting: Sequence[OpenTask]) -> str:
    num = sum(len(task.pairs) for task in waiting)
    return f"{num:,} of {count(len(waiting), 'task')} {plural(num, 'awaits', 'await')} adjudication" if num else "none"


def options(
    campaign: CampaignArgument,
    changes: Annotated[list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="Options to change.")] = None,
    recipe: RecipeOption = DEFAULT_RECIPE,
    set_: SetOption = None,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show a campaign's options, or change some: overlap=5 order=worth_asking."""
    from preflab.labelling.campaigns import change_options
    from preflab.store.opening import opened

    with speaking(as_json) as speaker:
        with opened(workspace_folder_of(recipe, set_ or [], workspace)) as store:
            view = campaign_named(store, campaign)
            current = view.options
            if changes:
                current = change_options(store, view.campaign.id, view.revision, parse_options(changes), BY)
        values = current.model_dump(mode="json")
        meanings = {name: field.description or "" for name, field in type(current).model_fields.items()}
        for line in padded([(name, str(value), meanings[name]) for name, value in values.items()]):
            speaker.say(line)
        speaker.last(None, f"{command('campaign', 'options', campaign, 'overlap=5')} changes one", options=values)


def instructions(
    campaign: CampaignArgument,
    file: Annotated[Path | None, typer.Argument(help="A Markdown file; without it the present text is shown.")] = None,
    recipe: RecipeOption = DEFAULT_RECIPE,
    set_: SetOption = None,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show a campaign's instructions, or give it a new version that every labeler reads before the next task."""
    from preflab.labelling.campaigns import new_guideline
    from preflab.store.opening import opened

    with speaking(as_json) as speaker:
        with opened(workspace_folder_of(recipe, set_ or [], workspace)) as store:
            view = campaign_named(store, campaign)
            guideline = view.guideline
            if file is not None:
                guideline = new_guideline(store, view.campaign.id, read_instructions(file), BY)
        speaker.say(
            guideline.text.rstrip() if file is None else f"version {guideline.version} is shown before the next task"
        )
        speaker.last(None, command("campaign", "show", campaign), version=guideline.version, text=guideline.text)


def pause(
    campaign: CampaignArgument,
    recipe: RecipeOption = DEFAULT_RECIPE,
    set_: SetOption = None,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Stop handing out tasks for now; submissions are still stored."""
    _set_state("paused", campaign, recipe, set_, workspace, as_json)


def reopen(
    campaign: CampaignArgument,
    recipe: RecipeOption = DEFAULT_RECIPE,
    set_: SetOption = None,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Hand out tasks again."""
    _set_state("open", campaign, recipe, set_, workspace, as_json)


def close(
    campaign: CampaignArgument,
    recipe: RecipeOption = DEFAULT_RECIPE,
    set_: SetOption = None,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Close a campaign; late submissions are still stored."""
    _set_state("closed", campaign, recipe, set_, workspace, as_json)


def _set_state(
    state: Any, campaign: str, recipe: Path, set_: list[str] | None, workspace: Path | None, as_json: bool
) -> None:
    from preflab.labelling.campaigns import set_state
    from preflab.store.opening import opened

    with speaking(as_json) as speaker:
        with opened(workspace_folder_of(recipe, set_ or [], workspace)) as store:
            view = campaign_named(store, campaign)
            set_state(store, view.campaign.id, state, BY)
        speaker.say(f"{view.campaign.name} is {state}: {_progress(view)}")
        speaker.last(None, command("campaign", "show", campaign), campaign_id=view.campaign.id, state=state)
