"""Serves the app's static files and the images of the workspace."""

from __future__ import annotations

from fastapi import APIRouter, Response
from starlette.exceptions import HTTPException

from preflab.store.images import read_image
from preflab.web.identity import Me, Workspaced
from preflab.web.pages import static_files, static_version

router = APIRouter(include_in_schema=False)

KINDS = {"css": "text/css; charset=utf-8", "js": "text/javascript; charset=utf-8", "svg": "image/svg+xml"}
FOR_A_YEAR = "public, max-age=31536000, immutable"


@router.get("/static/{version}/{name}")
async def static(version: str, name: str) -> Response:
    """A static file of the package; browsers cache it for a year if the address has the current version."""
    data = static_files().get(name)
    if data is None:
        raise HTTPException(404)
    keep = FOR_A_YEAR if version == static_version() else "no-cache"
    return Response(data, media_type=KINDS[name.rpartition(".")[2]], headers={"Cache-Control": keep})


@router.get("/favicon.ico")
async def icon() -> Response:
    """The icon, at the address where browsers look by default."""
    return Response(static_files()["icon.svg"], media_type=KINDS["svg"])


@router.get("/image/{name}")
def image(name: str, ws: Workspaced, me: Me) -> Response:
    """An image to judge, addressed by the hash of its content, of a format that cannot contain scripts."""
    picture = read_image(ws.path, name)
    if picture is None:
        raise HTTPException(404)
    data, content_type = picture
    headers = {"Cache-Control": "private, max-age=86400", "Content-Disposition": "inline"}
    return Response(data, media_type=content_type, headers=headers)
