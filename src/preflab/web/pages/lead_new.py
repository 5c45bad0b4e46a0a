"""The page that creates a campaign: completions, question, way of judging, gold tasks, instructions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import RedirectResponse
from pydantic import ValidationError
from starlette.datastructures import ImmutableMultiDict, UploadFile

from preflab.errors import PreflabError
from preflab.labelling.campaign_names import check_name
from preflab.labelling.campaigns import create_campaign
from preflab.labelling.completion_sources import Source, groups_of_source, list_sources
from preflab.labelling.errors import Invalid
from preflab.labelling.gold_file import NONE, Gold
from preflab.labelling.instructions import default_instructions
from preflab.labelling.options import CampaignOptions
from preflab.labelling.tasks import task_groups
from preflab.labelling.upload import uploaded_gold, uploaded_groups
from preflab.store.workspace import Workspace
from preflab.ways.registry import USUAL, WAYS
from preflab.web.identity import Lead, Workspaced
from preflab.web.pages.lead_common import lead_page, whole
from preflab.web.pages.lead_words import CONTENTS
from preflab.web.pages.people_words import OPEN_TO
from preflab.web.values import checked_form

router = APIRouter(prefix="/lead/new", include_in_schema=False)

GOLD_SHARE = 0.05
"""Share of gold tasks among the tasks shown if the lead uploads some; it can be changed in the settings."""


@dataclass(frozen=True)
class Sent:
    """The submitted form: its text fields and its files."""

    fields: ImmutableMultiDict[str, str]
    files: Mapping[str, tuple[str, bytes]]
    """Name of the field → name and content of the chosen file."""


async def read_form(request: Request) -> Sent:
    """Read the submitted form with its files."""
    form = await checked_form(request, max_files=2, max_fields=200)
    try:
        fields = [(name, value) for name, value in form.multi_items() if isinstance(value, str)]
        chosen = [(name, file) for name, file in form.multi_items() if isinstance(file, UploadFile) and file.filename]
        files = {name: (str(file.filename), await file.read()) for name, file in chosen}
    finally:
        await form.close()
    return Sent(ImmutableMultiDict(fields), files)


@router.get("")
def new(request: Request, ws: Workspaced, me: Lead) -> Response:
    """The form with default values."""
    return _page(request, ws, {})


@router.post("")
def create(request: Request, ws: Workspaced, me: Lead, form: Annotated[Sent, Depends(read_form)]) -> Response:
    """Create the campaign; after an error the page still shows what was typed."""
    fields = form.fields
    try:
        options = _options(fields)
        if fields.get("do") == "instructions":
            return _page(request, ws, dict(fields) | {"instructions": default_instructions(options)}, drafted=True)
        instructions = fields.get("instructions", "").replace("\r\n", "\n").strip() or default_instructions(options)
        check_name(ws, options.name)  # before the file is stored, so that a refused campaign stores nothing
        gold = _gold(form, options)
        groups = task_groups(options.way, _groups(ws, form, options))
        if gold.groups:
            ws.put([*gold.prompts, *gold.completions])
            options = options.model_copy(update={"gold_share": GOLD_SHARE})
        groups += [tuple(group) for group in gold.groups]
        answers = gold.numbered_from(len(groups) - len(gold.groups))
        campaign = create_campaign(ws, options, groups, instructions, me.id, gold=answers)
    except PreflabError as error:
        advice = ["choose the file again"] if form.files else []
        problem = Invalid(error.found, error.expected, "; ".join([*filter(None, [error.do]), *advice]))
        return _page(request, ws, dict(fields), problem=problem)
    return RedirectResponse(f"/lead/c/{campaign.id}", 303)


def _groups(ws: Workspace, form: Sent, options: CampaignOptions) -> list[list[str]]:
    """The completion ids of each prompt; a chosen file takes precedence over the ticked source."""
    if "file" in form.files:
        groups = uploaded_groups(*form.files["file"], WAYS[options.way].least, options.content)
        ws.put([*groups.prompts, *groups.completions])
        return [list(group) for group in groups.groups]
    if form.fields.get("source", "file") == "file":
        raise Invalid("no file", "a file of prompts and completions", "choose a file, or completions of this workspace")
    return groups_of_source(ws, form.fields["source"])


def _gold(form: Sent, options: CampaignOptions) -> Gold:
    return uploaded_gold(*form.files["gold"], options) if "gold" in form.files else NONE


def _options(fields: ImmutableMultiDict[str, str]) -> CampaignOptions:
    criteria, ends = _criteria(fields.get("criteria", ""))
    way = fields.get("way", USUAL)
    values: dict[str, Any] = {
        "name": fields.get("name", "").strip(),
        "question": fields.get("question", "").strip(),
        "polarity": -1 if fields.get("polarity") == "-1" else 1,
        "way": way,
        "criteria": criteria,
        "scale_ends": ends,
        "content": fields.get("content", "plain"),
        "overlap": whole("labels per task", fields.get("overlap", "3")),
        "open_to": fields.get("open_to", "invited"),
        "ask_note": fields.get("ask_note") == "yes",
        "allow_fail": fields.get("allow_fail") == "yes",
    }
    try:
        return CampaignOptions(**values)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        fault = first["msg"].removeprefix("Value error, ")
        raise Invalid(f"{where}: {fault}".removeprefix(": "), "see the text beside the field") from None


def _criteria(text: str) -> tuple[tuple[str, ...], dict[str, tuple[str, str]]]:
    """Read criteria, one per line, such as `kind: rude … warm`; returns the names and the words at the ends."""
    names, ends = [], {}
    for line in filter(None, (raw.strip() for raw in text.splitlines())):
        name, colon, scale = line.partition(":")
        names.append(name.strip())
        low, dots, high = scale.replace("...", "…").partition("…")
        if colon and not dots:
            raise Invalid(f"criteria: {line!r:.60}", "name: word at 1 … word at 5", "write it so, or the name alone")
        if dots:
            ends[name.strip()] = (low.strip(), high.strip())
    return tuple(names), ends


def _page(
    request: Request,
    ws: Workspace,
    typed: Mapping[str, Any],
    *,
    problem: PreflabError | None = None,
    drafted: bool = False,
) -> Response:
    known_sources: list[Source] = list_sources(ws)
    usual = {
        "name": "", "question": "", "polarity": "1", "way": USUAL, "criteria": "",
        "open_to": "invited",
        "content": "plain", "overlap": "3", "instructions": "",
        "source": known_sources[0].id if known_sources else "file",
    }  # fmt: skip
    ticks = {"allow_fail": "", "ask_note": ""} | (dict(typed) if typed else {"allow_fail": "yes"})
    hint = "These are default instructions; edit them as you like." if drafted else ""
    return lead_page(
        request, "new.html.j2", problem=problem, message=hint, value={**usual, **typed}, ticked=ticks,
        ways={way.name: way.about for way in WAYS.values()}, contents=CONTENTS, sources=known_sources,
        open_to=OPEN_TO,
        limit=request.app.state.settings.max_body,
    )  # fmt: skip
