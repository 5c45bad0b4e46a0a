"""The JSON API, version 1, with which scripts can do what the pages do. `/api/docs` describes it."""

from __future__ import annotations

from fastapi import APIRouter

from preflab.web.api import accounts, campaigns, docs, labelling, members

router = APIRouter(prefix="/api/v1")
for part in (accounts.router, labelling.router, campaigns.router, accounts.leads, members.router):
    router.include_router(part)

docs_router = docs.router
