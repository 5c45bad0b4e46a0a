"""The health check of the app and its database."""

from __future__ import annotations

from fastapi import APIRouter
from sqlalchemy import select

from preflab.store.database import reading
from preflab.web.identity import Workspaced

router = APIRouter(include_in_schema=False)


@router.get("/healthz")
def healthz(ws: Workspaced) -> dict[str, str]:
    """Status 200 if the database answers, for proxies and supervisors."""
    with reading(ws.engine) as connection:
        connection.execute(select(1)).one()
    return {"status": "ok"}
