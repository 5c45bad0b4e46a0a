"""Errors in three lines, each with its status; what is unexpected says nothing of the inside."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator

import pytest
from fastapi.testclient import TestClient
from sqlalchemy.exc import OperationalError
from starlette.types import Message, Receive, Scope, Send

from preflab.errors import PreflabError
from preflab.labelling.errors import NotFound, Stale, TooMany
from preflab.store.workspace import Workspace
from preflab.web.app import create_app
from preflab.web.pages import static_url
from preflab.web.security import Guard
from preflab.web.settings import WebSettings
from web_app import OWN, People, client, script


def failing(ws: Workspace, error: Exception) -> TestClient:
    """The app with two addresses that raise this."""
    app = create_app(ws, WebSettings())

    def fail() -> None:
        raise error

    app.add_api_route("/fail", fail)
    app.add_api_route("/api/v1/fail", fail)
    return TestClient(app, base_url=OWN, headers={"Origin": OWN}, raise_server_exceptions=False)


@pytest.mark.parametrize(
    ("error", "status", "kind"),
    [
        (PreflabError("the <b>found</b>", "the expected", "the advice"), 422, "invalid"),
        (NotFound("nothing there"), 404, "not_found"),
        (Stale(3), 409, "stale"),
        (TooMany(7), 429, "too_many"),
    ],
)
def test_known_errors_are_told_in_three_lines(ws: Workspace, error: PreflabError, status: int, kind: str) -> None:
    app = failing(ws, error)
    page, body = app.get("/fail"), app.get("/api/v1/fail")
    assert page.status_code == body.status_code == status
    assert body.json()["error"] | {"kind": kind} == body.json()["error"]
    assert body.json()["error"]["found"] == error.found
    assert "<b>" not in page.text
    assert page.headers["content-type"].startswith("text/html")
    assert page.headers["content-security-policy"]
    if isinstance(error, Stale):
        assert body.json()["error"]["current_revision"] == 3
    if isinstance(error, TooMany):
        assert body.headers["retry-after"] == "7"


def test_unexpected_errors_never_leak(ws: Workspace, caplog: pytest.LogCaptureFixture) -> None:
    app = failing(ws, RuntimeError("the secret is in /some/where, line 7"))
    for path in ("/fail", "/api/v1/fail"):
        with caplog.at_level(logging.ERROR, "preflab.web"):
            reply = app.get(path)
        assert reply.status_code == 500
        for word in ("secret", "/some/where", "RuntimeError", "Traceback", ".py"):
            assert word not in reply.text
        assert reply.headers["content-security-policy"]
        assert reply.headers["x-content-type-options"] == "nosniff"
    number = app.get("/api/v1/fail").json()["error"]["do"].split()[-1]
    assert number in caplog.text
    assert "the secret is in" in caplog.text  # the log has it


def test_the_database_s_own_words_stay_inside(ws: Workspace) -> None:
    cause = OperationalError("SELECT password_hash FROM accounts", {}, Exception("disk I/O error"))
    error = PreflabError(f"the database {ws.path}/preflab.db: disk I/O error")
    error.__cause__ = cause
    reply = failing(ws, error).get("/fail")
    assert reply.status_code == 503
    assert "password_hash" not in reply.text
    assert str(ws.path) not in reply.text


def test_where_the_workspace_lies_is_nobodys_business(ws: Workspace) -> None:
    reply = failing(ws, PreflabError(f"{ws.path}/images/a.png: no such file")).get("/api/v1/fail")
    assert reply.json()["error"]["found"] == "images/a.png: no such file"


@pytest.mark.parametrize("path", ["/nowhere", "/c/../../etc/passwd", "/static/../app.py", "/static/%2e%2e%2fapp.py"])
def test_what_is_not_there(ws: Workspace, path: str) -> None:
    reply = client(ws).get(path)
    assert reply.status_code == 404
    assert "There is no such page" in reply.text


def test_requests_that_cannot_be_read(ws: Workspace, people: People) -> None:
    robot = script(ws, people.lead)
    for body in (b"{not json", b'{"unknown": 1}', b"[]", b'{"options": {}, "groups": [], "instructions": ""}', b"\xff"):
        reply = robot.post("/api/v1/campaigns", content=body, headers={"Content-Type": "application/json"})
        assert reply.status_code in (400, 422)
        assert set(reply.json()["error"]) == {"found", "expected", "do", "kind"}


def test_long_bodies_are_refused_even_when_they_do_not_say_how_long(ws: Workspace) -> None:
    settings = WebSettings(max_body=10_000)
    browser = client(ws, settings=settings)
    assert browser.post("/signin", content=b"x" * 10_001).status_code == 413

    def in_pieces() -> Iterator[bytes]:
        for _ in range(20):
            yield b"name=" + b"x" * 1000

    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    assert browser.post("/signin", content=in_pieces(), headers=headers).status_code == 413


def test_a_body_that_was_cut_off_is_not_taken_for_the_whole(ws: Workspace) -> None:
    """The sender hangs up in the middle of a body that does not say how long it is."""
    sent: list[Message] = [
        {"type": "http.request", "body": b"name=half", "more_body": True}, {"type": "http.disconnect"},
    ]  # fmt: skip
    arrived: list[Message] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        arrived.extend([await receive(), await receive()])

    async def receive() -> Message:
        return sent.pop(0)

    async def send(message: Message) -> None:
        raise AssertionError(message)

    headers = [(b"host", b"127.0.0.1:8400")]
    scope = {"type": "http", "method": "POST", "path": "/me/tokens", "headers": headers, "app": create_app(ws)}
    asyncio.run(Guard(app, WebSettings())(scope, receive, send))
    assert [each["type"] for each in arrived] == ["http.request", "http.disconnect"]
    assert arrived[0]["more_body"]


def test_strange_hosts_are_refused_for_reading_too(ws: Workspace) -> None:
    browser = client(ws)
    reply = browser.get("/healthz", headers={"Host": "rebound.evil.example"})
    assert reply.status_code == 421
    assert browser.get("/healthz").json() == {"status": "ok"}


def test_every_answer_has_the_headers(ws: Workspace) -> None:
    browser = client(ws)
    for path in ("/", "/signin", "/nowhere", static_url("app.css"), "/api/v1/me", "/healthz", "/api/v1/openapi.json"):
        headers = browser.get(path).headers
        assert "default-src 'none'" in headers["content-security-policy"], path
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "same-origin"
        assert headers["x-frame-options"] == "DENY"
        if not path.startswith("/static"):
            assert headers["cache-control"] == "no-store"
