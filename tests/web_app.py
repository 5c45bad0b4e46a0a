"""A workspace with a campaign and people in it, and the app over it: in-process, or as a real server on a free port."""

from __future__ import annotations

import functools
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from fastapi import FastAPI
from fastapi.testclient import TestClient

from preflab.labelling.accounts import Account, create_account
from preflab.labelling.campaign_names import free_name
from preflab.labelling.campaigns import create_campaign
from preflab.labelling.members import let_in
from preflab.labelling.options import CampaignOptions
from preflab.labelling.sessions import create_token, open_session
from preflab.records import Campaign, Completion, Prompt, RankingAnswer
from preflab.store.workspace import Workspace
from preflab.web.app import create_app
from preflab.web.serve import listening
from preflab.web.settings import WebSettings

PASSWORD = "correct horse battery"
OWN = "http://127.0.0.1:8400"
MODELS = ("secret-model-a", "secret-model-b", "secret-model-c")


@dataclass(frozen=True)
class People:
    """Who is there."""

    lead: Account
    adjudicator: Account
    anna: Account
    ben: Account


def make_people(ws: Workspace) -> People:
    """A lead, an adjudicator and two labelers, all with the same password."""
    return People(
        create_account(ws, "Lea Lead", "lead", PASSWORD, email="lea@example.org"),
        create_account(ws, "Ada Adjudicator", "adjudicator", PASSWORD),
        create_account(ws, "Anna", "labeler", PASSWORD, email="anna@example.org"),
        create_account(ws, "Ben Labeler", "labeler", PASSWORD),
    )


def make_campaign(
    ws: Workspace,
    texts: Sequence[Sequence[str]],
    prompts: Sequence[str] = (),
    instructions: str = "Say which is better.",
    gold: dict[int, Any] | None = None,
    labelers: Sequence[str] = (),
    **options: Any,
) -> Campaign:
    """A campaign with one task per row of texts, each text by another model; with labelers, for those alone."""
    rows = [Prompt.make(text=prompts[i] if prompts else f"Question {i}?") for i in range(len(texts))]
    groups = [
        [Completion.make(prompt.id, text, MODELS[k % 3], index=k) for k, text in enumerate(row)]
        for prompt, row in zip(rows, texts, strict=True)
    ]
    ws.put([*rows, *(completion for group in groups for completion in group)])
    ids = [[completion.id for completion in group] for group in groups]
    values = {"name": free_name(ws, "Manners"), "overlap": 2} | ({"open_to": "named"} if labelers else {}) | options
    campaign = create_campaign(ws, CampaignOptions(**values), ids, instructions, by="", gold=gold or {})
    let_in(ws, campaign.id, labelers)
    return campaign


def simple_texts(num: int, k: int = 3) -> list[list[str]]:
    """So many tasks of k different texts."""
    return [[f"answer {i} number {j}" for j in range(k)] for i in range(num)]


GOLD = RankingAnswer((1, 2, 3))


@functools.cache
def built_routes() -> list[Any]:
    """The routes of one app. FastAPI builds a route when it is first asked for, which takes 15 ms each."""
    return create_app(None).router.routes  # type: ignore[arg-type]


def make_app(ws: Workspace, settings: WebSettings) -> FastAPI:
    """The app over a workspace, with the routes that earlier ones have built: none of them knows its app."""
    app = create_app(ws, settings)
    app.router.routes = [*built_routes()]
    return app


def client(ws: Workspace, account: Account | None = None, settings: WebSettings | None = None) -> TestClient:
    """A browser without scripts: it keeps cookies, says where its forms come from, and follows no redirects."""
    settings = settings or WebSettings()
    made = TestClient(
        make_app(ws, settings), base_url=OWN, headers={"Origin": OWN}, follow_redirects=False,
        raise_server_exceptions=False,
    )  # fmt: skip
    if account is not None:
        hold(made, open_session(ws, account.id), settings)
    return made


def hold(browser: TestClient, session: str, settings: WebSettings | None = None) -> None:
    """Put a session's cookie into a browser, as the app would have."""
    browser.cookies.set((settings or WebSettings()).cookie, session, domain="127.0.0.1", path="/")


def script(ws: Workspace, account: Account, settings: WebSettings | None = None) -> TestClient:
    """A script with a token and without cookies."""
    token = create_token(ws, account.id, "test")
    return TestClient(
        make_app(ws, settings or WebSettings()), base_url=OWN, headers={"Authorization": f"Bearer {token}"},
        follow_redirects=False, raise_server_exceptions=False,
    )  # fmt: skip


@contextmanager
def serving(ws: Workspace, settings: WebSettings | None = None) -> Iterator[WebSettings]:
    """A real server on a free port, ended with the block; gives the settings with the port in them."""
    with listening(ws, settings or WebSettings(port=0)) as (server, listener, found):
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        until = time.monotonic() + 20
        while not server.started and time.monotonic() < until:
            time.sleep(0.01)
        try:
            yield found
        finally:
            server.should_exit = True
            thread.join(20)
