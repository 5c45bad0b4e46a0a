"""Reads and writes the row of a running campaign: its state, options and counters, and who may label in it."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal, get_args

from pydantic import ValidationError
from pydantic_core import ErrorDetails
from sqlalchemy import Connection, RowMapping, and_, bindparam, select, update

from preflab.labelling.errors import Invalid, NotAllowed, NotFound
from preflab.labelling.members import Place, may_judge
from preflab.labelling.options import CampaignOptions
from preflab.labelling.tables import ACCOUNTS, CAMPAIGN_STATES, CAMPAIGNS, LABELERS, MEMBERS
from preflab.records import Campaign, LabelerKind
from preflab.storable import shown, unstorable
from preflab.store.rows import BY_NAME

CampaignState = Literal["open", "paused", "closed"]
STATES: tuple[CampaignState, ...] = get_args(CampaignState)
OF_THE_RECORD = ("name", "question", "polarity", "way", "criteria", "scale_ends", "content", "overlap", "ask_note")
"""Options that are also fields of the `Campaign` record."""
NUMBERS = ("revision", "guideline_version", "num_tasks", "num_done", "num_labels")
AGREEING = ("criterion", "scale_ends", "criteria")
"""Options that must agree with others; an error that names several options is reported for the first of these."""
COLUMNS = ("campaign_id", "state", *NUMBERS)
RECORD_COLUMNS = tuple(column.name for column in CAMPAIGNS.c)

# These statements are built once, since every request needs them.
RUNNING = (
    select(CAMPAIGN_STATES, CAMPAIGNS)
    .join(CAMPAIGNS, CAMPAIGNS.c.id == CAMPAIGN_STATES.c.campaign_id)
    .where(CAMPAIGN_STATES.c.campaign_id == bindparam("of_campaign"))
)
HERE = and_(MEMBERS.c.campaign_id == bindparam("of_campaign"), MEMBERS.c.labeler_id == bindparam("of_labeler"))
RUNNING_FOR = RUNNING.outerjoin(MEMBERS, HERE).add_columns(MEMBERS.c.place)
STANDING = (
    select(LABELERS.c.kind, ACCOUNTS.c.state, ACCOUNTS.c.everywhere, MEMBERS.c.place)
    .select_from(LABELERS)
    .outerjoin(ACCOUNTS, ACCOUNTS.c.labeler_id == LABELERS.c.id)
    .outerjoin(MEMBERS, HERE)
    .where(LABELERS.c.id == bindparam("of_labeler"))
)


@dataclass(frozen=True)
class Running:
    """A campaign's record, state, options and counters."""

    record: Campaign
    campaign_id: str
    state: CampaignState
    options: CampaignOptions
    revision: int
    guideline_version: int
    num_tasks: int
    num_done: int
    num_labels: int


def running(connection: Connection, campaign_id: str) -> Running:
    """Read the running campaign with this id.

    Raises:
        NotFound: no such campaign, or one that was imported and never opened here.
        Invalid: its row holds a value that no version of preflab writes.
    """
    return _running(connection.execute(RUNNING, {"of_campaign": campaign_id}).mappings().first(), campaign_id)


def running_for(connection: Connection, campaign_id: str, labeler_id: str) -> tuple[Running, Place | None]:
    """Read the running campaign and the labeler's place in it with one statement.

    Raises:
        NotFound: no such campaign, or one that was imported and never opened here.
        Invalid: its row holds a value that no version of preflab writes.
    """
    about = {"of_campaign": campaign_id, "of_labeler": labeler_id}
    row = connection.execute(RUNNING_FOR, about).mappings().first()
    campaign = _running(row, campaign_id)
    return campaign, row["place"] if row is not None else None


def _running(row: RowMapping | None, campaign_id: str) -> Running:
    if row is None:
        raise NotFound(f"no campaign {campaign_id}", "the id of a campaign that was opened for labelling")
    if row["state"] not in STATES:
        raise Invalid(f"state: {shown(row['state'])}", f"one of {', '.join(STATES)}")
    for name in NUMBERS:
        if not isinstance(row[name], int):
            raise Invalid(f"{name}: {shown(row[name])}", "a whole number")
    return Running(
        record=_record(row),
        options=stored_options(row["settings"]),
        **{name: row[name] for name in COLUMNS},
    )


def _record(row: RowMapping) -> Campaign:
    try:
        campaign: Campaign = BY_NAME["campaign"].from_row({name: row[name] for name in RECORD_COLUMNS})
    except (TypeError, ValueError, AttributeError) as error:
        raise Invalid(f"the record of the campaign: {shown(str(error))}", "a record that preflab wrote") from None
    return campaign


def stored_options(values: Any) -> CampaignOptions:
    """The options in a row; a number that an older version allowed is replaced by the nearest one allowed now.

    Raises:
        Invalid: a value that no version allowed; the message names the first such option.
    """
    return _options_of(json.dumps(values))


@lru_cache(maxsize=256)
def _options_of(settings: str) -> CampaignOptions:
    """Parse the options; cached, since every request needs them several times and they rarely change."""
    values = json.loads(settings)
    if not isinstance(values, dict):
        raise Invalid(f"settings: {shown(values)}", "an object of options")
    return checked_options({name: _nearest(name, value) for name, value in values.items()})


def _nearest(name: str, value: Any) -> Any:
    """The allowed number nearest to `value`; a value outside an exclusive bound, which no version allowed, stays."""
    if not _is_number(value) or value <= ABOVE.get(name, -math.inf):
        return value
    return min(max(value, LEAST.get(name, value)), MOST.get(name, value))


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _bounds(sign: str) -> dict[str, float]:
    """Option → its bound of this kind (`ge`, `le` or `gt`), for the options that have one."""
    bounds = {}
    for name, field in CampaignOptions.model_fields.items():
        for limit in field.metadata:
            if (bound := getattr(limit, sign, None)) is not None:
                bounds[name] = bound
    return bounds


LEAST, MOST, ABOVE = _bounds("ge"), _bounds("le"), _bounds("gt")
SWITCHES = tuple(name for name, field in CampaignOptions.model_fields.items() if field.annotation is bool)


def checked_options(values: Any) -> CampaignOptions:
    """The options in JSON values.

    Raises:
        Invalid: an option is wrong; the message names the first one.
    """
    if not isinstance(values, Mapping):
        raise Invalid(f"options: {shown(values)}", "an object of options")
    if "labelers" in values:
        raise Invalid(
            "labelers: not an option of campaigns", "open_to: everybody, invited or named", "let people in by name"
        )
    if wrong := unstorable(values):
        raise Invalid(f"{wrong.where}: {wrong.found}", wrong.expected)
    for name, value in values.items():
        if isinstance(value, bool) and name in CampaignOptions.model_fields and name not in SWITCHES:
            raise Invalid(f"{name}: {shown(value)}", "a value that is neither true nor false")
    try:
        return CampaignOptions.model_validate(values)
    except ValidationError as error:
        raise _invalid_option(error.errors(include_url=False)[0], values) from None


def _invalid_option(first: ErrorDetails, values: Mapping[str, Any]) -> Invalid:
    """The error that names the wrong option.

    When options do not agree, pydantic's error has no field: the name is taken from the text of its message.
    """
    expected = first["msg"].removeprefix("Value error, ")
    if not first["loc"]:
        names = [name for name in (*AGREEING, *CampaignOptions.model_fields) if re.search(rf"\b{name}\b", expected)]
        where = names[0] if names else "options"
        return Invalid(f"{where}: {shown(values[where])}" if where in values else f"{where}: not given", expected)
    if _is_not_finite(first["input"]):
        expected = "a finite number"
    return Invalid(f"{'.'.join(str(part) for part in first['loc'])}: {shown(first['input'])}", expected)


def _is_not_finite(value: Any) -> bool:
    """Whether a value is NaN or infinite, as a number or as text."""
    try:
        return isinstance(value, str | float) and not math.isfinite(float(value))
    except ValueError:
        return False


def write_options(connection: Connection, campaign_id: str, options: CampaignOptions, revision: int) -> None:
    """Store the options in the campaign's state, and those in `OF_THE_RECORD` also in its record."""
    settings = options.model_dump(mode="json")
    connection.execute(
        update(CAMPAIGN_STATES)
        .where(CAMPAIGN_STATES.c.campaign_id == campaign_id)
        .values(settings=settings, revision=revision)
    )
    record = {name: settings[name] for name in OF_THE_RECORD}
    connection.execute(update(CAMPAIGNS).where(CAMPAIGNS.c.id == campaign_id).values(**record))


def add_to_counters(connection: Connection, campaign_id: str, *, done: int = 0, labels: int = 0) -> None:
    """Add to the campaign's counters inside the caller's transaction."""
    columns = CAMPAIGN_STATES.c
    values = {"num_done": columns.num_done + done, "num_labels": columns.num_labels + labels}
    connection.execute(update(CAMPAIGN_STATES).where(columns.campaign_id == campaign_id).values(**values))


@dataclass(frozen=True)
class Standing:
    """The kind of a labeler, and whether it may judge in a campaign."""

    kind: LabelerKind
    is_in: bool
    """The campaign is open to this labeler. A labeler taken off it may still submit the tasks it has begun."""


def standing(connection: Connection, campaign: Running, labeler_id: str) -> Standing:
    """Read the kind of a labeler, and whether it may judge in the campaign.

    Raises:
        NotAllowed: the account has ended.
        NotFound: no such labeler.
    """
    about = {"of_campaign": campaign.campaign_id, "of_labeler": labeler_id}
    row = connection.execute(STANDING, about).first()
    if row is None:
        raise NotFound(f"no labeler {labeler_id}", "the id of a labeler")
    kind, state, everywhere, place = row
    if state not in (None, "active"):
        raise NotAllowed("this account has ended", "an active account", "ask the lead")
    is_in = may_judge(campaign.options.open_to, everywhere=everywhere is not False, place=place)
    return Standing(kind, is_in)


def allowed_kind(connection: Connection, campaign: Running, labeler_id: str) -> LabelerKind:
    """The kind of a labeler that may judge in the campaign.

    Raises:
        NotAllowed: the account has ended, or the labeler may not judge in this campaign.
        NotFound: no such labeler.
    """
    labeler = standing(connection, campaign, labeler_id)
    if not labeler.is_in:
        raise NotAllowed("this campaign is for other labelers", "one of your campaigns", "ask the lead to let you in")
    return labeler.kind


def counts(options: CampaignOptions, kind: LabelerKind) -> bool:
    """Whether labels of this kind count towards the wanted labels; those of AI judges only with `count_ai`."""
    return kind != "ai" or options.count_ai
