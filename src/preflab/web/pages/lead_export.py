"""The export page of a campaign: the formats with their uses, and the download of the labels with a manifest."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from preflab.errors import PreflabError
from preflab.labelling.exporting import campaign_exports, export_campaign, plain_name
from preflab.labelling.needs import progress
from preflab.store.exports.base import SUFFIXES, Settings
from preflab.store.workspace import Workspace
from preflab.web.forms import Fields
from preflab.web.identity import Lead, Workspaced
from preflab.web.pages.lead_common import campaign_page, view_of

router = APIRouter(prefix="/lead/c/{campaign_id}/export", include_in_schema=False)


@router.get("")
def export(request: Request, ws: Workspaced, me: Lead, campaign_id: str) -> Response:
    """The form with all formats."""
    return _page(request, ws, campaign_id, {}, None)


@router.post("")
def download(request: Request, ws: Workspaced, me: Lead, campaign_id: str, fields: Fields) -> Response:
    """The archive with the file and its manifest."""
    settings = Settings(
        strict=fields.get("strict") == "yes", failed_as_rejected=fields.get("failed_as_rejected") == "yes"
    )
    name, suffix = fields.get("format", ""), fields.get("suffix", ".jsonl")
    try:
        data, _ = export_campaign(ws, campaign_id, name, suffix, settings)
    except PreflabError as error:
        return _page(request, ws, campaign_id, dict(fields), error)
    file = f"{plain_name(view_of(ws, campaign_id).campaign.name)}.{name}.zip"
    return Response(
        data, media_type="application/zip", headers={"Content-Disposition": f'attachment; filename="{file}"'}
    )


def _page(
    request: Request, ws: Workspace, campaign_id: str, typed: dict[str, str], problem: PreflabError | None
) -> Response:
    usual = {"format": "trl-explicit", "suffix": ".jsonl", "strict": "", "failed_as_rejected": ""}
    return campaign_page(
        request, ws, view_of(ws, campaign_id), "export.html.j2", problem=problem, formats=campaign_exports(),
        suffixes=SUFFIXES, value=usual | typed, progress=progress(ws, campaign_id),
    )  # fmt: skip
