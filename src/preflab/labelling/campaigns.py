"""Creates, reads, pauses and changes campaigns; keeps the versions of their instructions and who has read which."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, get_args

from sqlalchemy import Connection, bindparam, insert, select, update

from preflab.labelling.accounts import Account
from preflab.labelling.audit import note_event
from preflab.labelling.campaign_names import refuse_taken_name
from preflab.labelling.campaign_rows import (
    OF_THE_RECORD,
    CampaignState,
    Running,
    checked_options,
    read_running,
    read_running_for,
    write_options,
)
from preflab.labelling.clock import stamp, utc_now
from preflab.labelling.errors import Invalid, NotFound, Stale
from preflab.labelling.members import follow, may_judge, reach_of
from preflab.labelling.options import FIXED, CampaignOptions
from preflab.labelling.playout_clips import require_clips
from preflab.labelling.tables import (
    CAMPAIGN_STATES,
    CAMPAIGNS,
    GUIDELINE_READS,
    GUIDELINES,
    JUDGMENTS,
    LABELERS,
)
from preflab.labelling.tasks import make_tasks, open_tasks, recount_tasks, settle_tasks, tasks_of
from preflab.records import Answer, Campaign, random_id
from preflab.store.database import reading, writing
from preflab.store.rows import BY_NAME
from preflab.store.workspace import Workspace
from preflab.store.writing import put_records

log = logging.getLogger("preflab.labelling")

# These statements are built once, since every request needs them.
RECORD = select(CAMPAIGNS).where(CAMPAIGNS.c.id == bindparam("of_campaign"))
WRITTEN_AT = select(GUIDELINES.c.created_at).where(
    GUIDELINES.c.campaign_id == bindparam("of_campaign"), GUIDELINES.c.version == bindparam("of_version")
)
VERSION_READ = select(GUIDELINE_READS.c.version).where(
    GUIDELINE_READS.c.campaign_id == bindparam("of_campaign"), GUIDELINE_READS.c.labeler_id == bindparam("of_labeler")
)


@dataclass(frozen=True)
class Guideline:
    """One version of a campaign's instructions."""

    campaign_id: str
    version: int
    text: str
    """Markdown."""
    created_at: str = ""


@dataclass(frozen=True)
class CampaignView:
    """The current state of a campaign."""

    campaign: Campaign
    options: CampaignOptions
    state: CampaignState
    revision: int
    """Revision of the options; a change must name the revision it is based on."""
    guideline: Guideline
    num_tasks: int
    """Number of tasks, without gold tasks."""
    num_done: int
    """Tasks that have all the wanted labels."""
    num_labels: int
    """Labels that count, including those of gold tasks."""
    is_in: bool = False
    """Whether the account that asked may judge in it; False if none was given."""


@dataclass(frozen=True)
class Unreadable:
    """A campaign whose row holds a value that no version of preflab writes."""

    campaign_id: str
    name: str
    found: str
    """The field and its value."""
    expected: str


def create_campaign(
    ws: Workspace,
    options: CampaignOptions,
    groups: Sequence[Sequence[str]],
    instructions: str = "",
    by: str = "",
    *,
    campaign_id: str | None = None,
    gold: Mapping[int, Answer] | None = None,
    follows: str | None = None,
) -> Campaign:
    """Create a campaign with one task per group of completions of one prompt.

    With the id of an existing campaign, only missing parts are added: its state, if it was imported or made by an
    older preflab, and tasks for groups that have none. Its options and instructions do not change.

    Args:
        ws: the workspace, which holds the completions.
        options: options of the new campaign.
        groups: completion ids; groups may differ in size.
        instructions: Markdown, shown before the first task.
        by: id of the account that creates it.
        campaign_id: the id to use; None: a new random id.
        gold: index of a group → the answer that is known to be right.
        follows: id of the campaign of which this is a later round; its people judge here too.

    Raises:
        Invalid: the name is taken; a group or a gold answer does not fit the way of judging; the options differ from
            those of the existing campaign; playouts lack clips.
        PreflabError: completions are missing, or a group mixes several prompts.
    """
    campaign_id = campaign_id or random_id("campaign")
    with writing(ws.engine) as connection:
        exists = connection.execute(select(CAMPAIGNS.c.id).where(CAMPAIGNS.c.id == campaign_id)).first() is not None
        if exists:
            options = _reuse_campaign(connection, campaign_id, options, by)
        else:
            if follows is not None:
                open_to = read_running(connection, follows).options.open_to
                options = options.model_copy(update={"open_to": open_to})
            _new_campaign(connection, campaign_id, options, instructions, by)
        if follows is not None:
            follow(connection, campaign_id, follows, by)
        if options.content == "playout":
            require_clips(connection, groups)
        tasks = make_tasks(connection, campaign_id, options, groups)
        num_new = open_tasks(connection, campaign_id, options, tasks, gold or {})
        recount_tasks(connection, campaign_id)
        if num_new or not exists:
            new = {"num_tasks": num_new, "way": options.way, "overlap": options.overlap}
            note_event(connection, by, "tasks added" if exists else "campaign created", campaign_id, None, new)
        return _record(connection, campaign_id)


def campaign_view(ws: Workspace, campaign_id: str, me: Account | None = None) -> CampaignView:
    """The current state of a campaign; with an account, also whether its person may judge in it.

    Raises:
        NotFound: no such campaign, or one that was never opened for labelling.
    """
    with reading(ws.engine) as connection:
        if me is None:
            return _view(connection, read_running(connection, campaign_id))
        campaign, place = read_running_for(connection, campaign_id, me.labeler_id)
        is_in = may_judge(campaign.options.open_to, everywhere=me.everywhere, place=place)
        return _view(connection, campaign, is_in=is_in)


def list_campaigns(ws: Workspace, labeler_id: str | None = None) -> list[CampaignView]:
    """All readable campaigns, newest first; with a labeler, only those in which this labeler may judge."""
    with reading(ws.engine) as connection:
        readable = [row for row in _all_running(connection) if isinstance(row, Running)]
        if labeler_id is None:
            return [_view(connection, row) for row in readable]
        reach = reach_of(connection, labeler_id)
        return [
            _view(connection, row, is_in=True)
            for row in readable
            if may_judge(row.options.open_to, everywhere=reach.everywhere, place=reach.places.get(row.campaign_id))
        ]


def unreadable_campaigns(ws: Workspace) -> list[Unreadable]:
    """The campaigns that `list_campaigns` leaves out because their rows hold invalid values."""
    with reading(ws.engine) as connection:
        return [row for row in _all_running(connection) if isinstance(row, Unreadable)]


def _all_running(connection: Connection) -> Iterator[Running | Unreadable]:
    """Every campaign, newest first; one unreadable campaign must not block access to the others."""
    query = (
        select(CAMPAIGN_STATES.c.campaign_id, CAMPAIGNS.c.name)
        .join(CAMPAIGNS, CAMPAIGNS.c.id == CAMPAIGN_STATES.c.campaign_id)
        .order_by(CAMPAIGN_STATES.c.created_at.desc(), CAMPAIGN_STATES.c.campaign_id)
    )
    for campaign_id, name in connection.execute(query).all():
        try:
            yield read_running(connection, campaign_id)
        except Invalid as error:
            _warn_of(campaign_id, name, error.found)
            yield Unreadable(campaign_id, name, error.found, error.expected)


@lru_cache(maxsize=256)
def _warn_of(campaign_id: str, name: str, found: str) -> None:
    """Log an unreadable campaign once, not with every page that lists campaigns."""
    log.warning("the campaign %r, id %s, cannot be read and is left out: %s", name, campaign_id, found)


def set_state(ws: Workspace, campaign_id: str, state: CampaignState, by: str = "") -> None:
    """Open, pause or close a campaign; later submissions are still stored."""
    if state not in get_args(CampaignState):
        raise Invalid(f"state: {state!r:.80}", ", ".join(get_args(CampaignState)))
    with writing(ws.engine) as connection:
        old = read_running(connection, campaign_id).state
        same_campaign = CAMPAIGN_STATES.c.campaign_id == campaign_id
        connection.execute(update(CAMPAIGN_STATES).where(same_campaign).values(state=state))
        note_event(connection, by, "state changed", campaign_id, {"state": old}, {"state": state})


def change_options(
    ws: Workspace, campaign_id: str, revision: int, changes: Mapping[str, Any], by: str = ""
) -> CampaignOptions:
    """Change some options; `revision` is the one that the change is based on.

    Raises:
        Stale: the options have a newer revision.
        Invalid: an unknown option, a wrong value, a name that is taken, one of `FIXED` after the first judgment, or
            `content: playout` for completions without clips.
    """
    with writing(ws.engine) as connection:
        campaign = read_running(connection, campaign_id)
        if revision != campaign.revision:
            raise Stale(campaign.revision, "the campaign's options", many=True)
        before = campaign.options.model_dump(mode="json")
        options = checked_options(before | dict(changes))
        now = options.model_dump(mode="json")
        changed = [name for name in now if now[name] != before[name]]
        _refuse_new_meaning(connection, campaign_id, changed)
        _refuse_unknown_labelers(connection, set(options.confirmed_reversed) - set(campaign.options.confirmed_reversed))
        if "name" in changed:
            refuse_taken_name(connection, options.name, campaign_id)
        if not changed:
            return options
        if "content" in changed and options.content == "playout":
            require_clips(connection, [task.completion_ids for task in tasks_of(connection, campaign_id)])
        write_options(connection, campaign_id, options, revision + 1)
        if "overlap" in changed:
            settle_tasks(connection, campaign_id, wanted=options.overlap)
        if "count_ai" in changed:
            recount_tasks(connection, campaign_id)
        old, new = ({name: values[name] for name in changed} for values in (before, now))
        note_event(connection, by, "options changed", campaign_id, old, new)
        return options


def new_guideline(ws: Workspace, campaign_id: str, text: str, by: str = "") -> Guideline:
    """Add a new version of the instructions, which every labeler sees before the next task."""
    with writing(ws.engine) as connection:
        version = read_running(connection, campaign_id).guideline_version + 1
        guideline = Guideline(campaign_id, version, text, stamp(utc_now()))
        _write_guideline(connection, guideline, by)
        values = {"instructions": text, "guideline_version": version}
        connection.execute(update(CAMPAIGNS).where(CAMPAIGNS.c.id == campaign_id).values(**values))
        note_event(connection, by, "instructions changed", campaign_id, {"version": version - 1}, {"version": version})
        return guideline


def list_guidelines(ws: Workspace, campaign_id: str) -> list[Guideline]:
    """All versions of the campaign's instructions, newest first."""
    columns = (GUIDELINES.c.campaign_id, GUIDELINES.c.version, GUIDELINES.c.text, GUIDELINES.c.created_at)
    query = select(*columns).where(GUIDELINES.c.campaign_id == campaign_id).order_by(GUIDELINES.c.version.desc())
    with reading(ws.engine) as connection:
        return [Guideline(**row) for row in connection.execute(query).mappings()]


def read_guideline(ws: Workspace, campaign_id: str, labeler_id: str, version: int) -> None:
    """Record that a labeler has read a version of the instructions.

    Raises:
        NotFound: no such version.
    """
    same_row = (GUIDELINE_READS.c.campaign_id == campaign_id, GUIDELINE_READS.c.labeler_id == labeler_id)
    with writing(ws.engine) as connection:
        if not 1 <= version <= read_running(connection, campaign_id).guideline_version:
            raise NotFound(f"no version {version} of the instructions", "the version that was shown")
        read = connection.execute(select(GUIDELINE_READS.c.version).where(*same_row)).scalar()
        values = {"version": max(version, read or 0), "at": stamp(utc_now())}
        if read is None:
            keys = {"campaign_id": campaign_id, "labeler_id": labeler_id}
            connection.execute(insert(GUIDELINE_READS).values(**keys, **values))
        elif version > read:
            connection.execute(update(GUIDELINE_READS).where(*same_row).values(**values))


def unread_guideline(ws: Workspace, campaign_id: str, labeler_id: str) -> Guideline | None:
    """The instructions that the labeler must read first; None if the newest version was read, or is empty."""
    with reading(ws.engine) as connection:
        record = _record(connection, campaign_id)
        keys = {"of_campaign": campaign_id, "of_labeler": labeler_id}
        read = connection.execute(VERSION_READ, keys).scalar() or 0
        due = record.instructions.strip() and read < record.guideline_version
        return _guideline(connection, record) if due else None


def _new_campaign(connection: Connection, campaign_id: str, options: CampaignOptions, text: str, by: str) -> None:
    refuse_taken_name(connection, options.name)
    values = {name: getattr(options, name) for name in OF_THE_RECORD}
    put_records(connection, [Campaign(campaign_id, instructions=text, **values)])
    _new_state(connection, campaign_id, options)
    _write_guideline(connection, Guideline(campaign_id, 1, text, stamp(utc_now())), by)


def _reuse_campaign(connection: Connection, campaign_id: str, options: CampaignOptions, by: str) -> CampaignOptions:
    """The options of an existing campaign; if it has no state, add the state and the states of its tasks."""
    record = _record(connection, campaign_id)
    for name in FIXED:
        if getattr(record, name) != getattr(options, name):
            difference = f"{name}: {getattr(options, name)!r}, but the campaign has {getattr(record, name)!r}"
            raise Invalid(difference, "the options it was made with", "make a new campaign for another question")
    same_campaign = CAMPAIGN_STATES.c.campaign_id == campaign_id
    if connection.execute(select(CAMPAIGN_STATES.c.campaign_id).where(same_campaign)).first() is not None:
        return read_running(connection, campaign_id).options
    of_record = {name: getattr(record, name) for name in OF_THE_RECORD}
    options = checked_options(options.model_dump() | of_record)
    _new_state(connection, campaign_id, options)
    guideline = Guideline(campaign_id, record.guideline_version, record.instructions, stamp(utc_now()))
    _write_guideline(connection, guideline, by)
    open_tasks(connection, campaign_id, options, tasks_of(connection, campaign_id), {})
    return options


def _new_state(connection: Connection, campaign_id: str, options: CampaignOptions) -> None:
    connection.execute(
        insert(CAMPAIGN_STATES).values(
            campaign_id=campaign_id,
            state="open",
            settings=options.model_dump(mode="json"),
            revision=1,
            num_tasks=0,
            num_done=0,
            num_labels=0,
            created_at=stamp(utc_now()),
        )
    )


def _write_guideline(connection: Connection, guideline: Guideline, by: str) -> None:
    values = {name: getattr(guideline, name) for name in ("campaign_id", "version", "text", "created_at")}
    connection.execute(insert(GUIDELINES).values(**values, account_id=by))


def _record(connection: Connection, campaign_id: str) -> Campaign:
    row = connection.execute(RECORD, {"of_campaign": campaign_id}).mappings().first()
    if row is None:
        raise NotFound(f"no campaign {campaign_id}", "the id of a campaign")
    campaign: Campaign = BY_NAME["campaign"].from_row(dict(row))
    return campaign


def _view(connection: Connection, row: Running, *, is_in: bool = False) -> CampaignView:
    return CampaignView(
        campaign=row.record,
        options=row.options,
        state=row.state,
        revision=row.revision,
        guideline=_guideline(connection, row.record),
        num_tasks=row.num_tasks,
        num_done=row.num_done,
        num_labels=row.num_labels,
        is_in=is_in,
    )


def _guideline(connection: Connection, campaign: Campaign) -> Guideline:
    """The newest instructions: the text is in the campaign's record, the date in the table of guidelines."""
    newest = {"of_campaign": campaign.id, "of_version": campaign.guideline_version}
    at = connection.execute(WRITTEN_AT, newest).scalar()
    return Guideline(campaign.id, campaign.guideline_version, campaign.instructions, at or "")


def _refuse_new_meaning(connection: Connection, campaign_id: str, changed: Sequence[str]) -> None:
    fixed = [name for name in changed if name in FIXED]
    if (
        fixed
        and connection.execute(select(JUDGMENTS.c.id).where(JUDGMENTS.c.campaign_id == campaign_id).limit(1)).first()
    ):
        raise Invalid(
            f"{fixed[0]}: the campaign has judgments already",
            "a change that does not alter the meaning of existing answers",
            "make a new campaign",
        )


def _refuse_unknown_labelers(connection: Connection, labeler_ids: Set[str]) -> None:
    existing = set(connection.execute(select(LABELERS.c.id).where(LABELERS.c.id.in_(labeler_ids))).scalars())
    if unknown := sorted(labeler_ids - existing):
        raise Invalid(f"confirmed_reversed: no labeler {unknown[0]!r:.80}", "ids of labelers of this workspace")
