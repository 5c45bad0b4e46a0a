"""The app: routers, the door, and how errors are answered."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from anyio.to_thread import current_default_thread_limiter
from fastapi import FastAPI

from preflab import __version__
from preflab.store.workspace import Workspace
from preflab.web import api, files, health
from preflab.web.errors import install_errors
from preflab.web.pages import account, home, invitation, label, leads
from preflab.web.security import Guard
from preflab.web.settings import WebSettings

THREADS = 12
"""Requests dealt with at once; below the database pool's 15 connections, so that none waits for one."""

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
    """The app over an open workspace.

    Args:
        ws: the workspace; it stays open as long as the app is served.
        settings: how the app is reached; loopback, port 8400 without.
    """
    settings = settings or WebSettings()
    app = FastAPI(
        title="preflab", version=__version__, docs_url=None, redoc_url=None, openapi_url="/api/v1/openapi.json",
        lifespan=_few_threads, separate_input_output_schemas=False,
    )  # fmt: skip
    app.state.workspace = ws
    app.state.settings = settings
    for router in ROUTERS:
        app.include_router(router)
    install_errors(app)
    app.add_middleware(Guard, settings=settings)
    return app


@asynccontextmanager
async def _few_threads(app: FastAPI) -> AsyncIterator[None]:
    current_default_thread_limiter().total_tokens = THREADS
    yield
