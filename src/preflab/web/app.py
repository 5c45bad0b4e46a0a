"""Builds the web app: routers, error handlers and the `Guard` that checks every request."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from anyio.to_thread import current_default_thread_limiter
from fastapi import FastAPI

from preflab import __version__
from preflab.store.workspace import Workspace
from preflab.web import api, health
from preflab.web import served_files as files
from preflab.web.errors import install_errors
from preflab.web.pages import account, home, invitation, label, leads
from preflab.web.security import Guard
from preflab.web.settings import WebSettings

THREADS = 12
"""Requests handled at the same time; fewer than the database pool's 15 connections, so that none waits for one."""

ROUTERS = (
    files.router,
    health.router,
    account.router,
    invitation.router,
    home.router,
    label.router,
    *leads.ROUTERS,
    api.router,
    api.docs_router,
)


def api_schema() -> dict[str, Any]:
    """The OpenAPI schema of the API, for the reference page."""
    app = FastAPI(title="preflab", version=__version__, separate_input_output_schemas=False)
    app.include_router(api.router)
    return app.openapi()


def create_app(ws: Workspace, settings: WebSettings | None = None) -> FastAPI:
    """Create the app for an open workspace.

    Args:
        ws: the workspace, which must stay open while the app is served.
        settings: how the app is reached; None: loopback, port 8400.
    """
    settings = settings or WebSettings()
    app = FastAPI(
        title="preflab", version=__version__, docs_url=None, redoc_url=None, openapi_url="/api/v1/openapi.json",
        lifespan=_limit_threads, separate_input_output_schemas=False,
    )  # fmt: skip
    app.state.workspace = ws
    app.state.settings = settings
    for router in ROUTERS:
        app.include_router(router)
    install_errors(app)
    app.add_middleware(Guard, settings=settings)
    return app


@asynccontextmanager
async def _limit_threads(app: FastAPI) -> AsyncIterator[None]:
    current_default_thread_limiter().total_tokens = THREADS
    yield
