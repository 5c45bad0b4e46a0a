"""Half-sent requests and silent connections end after a time, and never keep others out."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack

import httpx
import pytest

from preflab.store.workspace import Workspace
from preflab.web.connections import Patience, most_connections
from preflab.web.settings import WebSettings
from web_app import People, serving

POST = b"POST /signin HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/x-www-form-urlencoded\r\n"
HALVES = {
    "nothing": b"",
    "half a line": b"GET /heal",
    "half a head": b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\nX-A: ",
    "half a body": POST + b"Content-Length: 100\r\n\r\nname=",
    "half a chunk": POST + b"Transfer-Encoding: chunked\r\n\r\n5\r\nna",
    "a whole one and half of another": b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\nGET /heal",
}


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch, ws: Workspace, people: People) -> Iterator[WebSettings]:
    """A server that waits half a second for heads and bodies."""
    monkeypatch.setattr(Patience, "headers_seconds", 0.5)
    monkeypatch.setattr(Patience, "body_seconds", 0.5)
    with serving(ws) as settings:
        yield settings


def opened(server: WebSettings, stack: ExitStack, sent: bytes) -> socket.socket:
    line = stack.enter_context(socket.create_connection((server.host, server.port), timeout=30))
    line.sendall(sent)
    return line


def all_of(line: socket.socket) -> bytes:
    """What comes until the connection ends, or until nothing has come for 30 s, which fails."""
    found = b""
    try:
        while piece := line.recv(65536):
            found += piece
    except ConnectionResetError:
        pass  # closed while something lay unread
    return found


@pytest.mark.parametrize("name", HALVES)
def test_who_never_finishes_is_let_go(hasty: WebSettings, name: str) -> None:
    with ExitStack() as stack:
        line = opened(hasty, stack, HALVES[name])
        answered = all_of(line)
        assert answered.startswith(b"HTTP/1.1 200") if "a whole one" in name else answered == b""


def test_who_finishes_in_time_is_answered_more_than_once(hasty: WebSettings, monkeypatch: pytest.MonkeyPatch) -> None:
    """A kept connection that is idle for longer than a head may take is not closed for it."""
    monkeypatch.setattr(Patience, "headers_seconds", 2.0)  # time enough for three pieces on a busy machine
    with ExitStack() as stack:
        line = opened(hasty, stack, b"")
        for _ in range(2):
            for piece in (b"GET /healthz HTT", b"P/1.1\r\nHost: 127.0.0.1\r\n", b"\r\n"):
                time.sleep(0.05)
                line.sendall(piece)
            found = b""
            while not found.endswith(b"}"):
                found += line.recv(65536)
            assert found.startswith(b"HTTP/1.1 200")
            time.sleep(2.5)


def test_health_answers_beside_more_half_sent_requests_than_there_is_room_for(
    monkeypatch: pytest.MonkeyPatch, ws: Workspace, people: People
) -> None:
    monkeypatch.setattr("preflab.web.serve.most_connections", lambda: 40)
    with serving(ws) as server, ExitStack() as stack:
        lines = [opened(server, stack, HALVES["half a body"]) for _ in range(150)]
        kept = [opened(server, stack, HALVES["half a head"]) for _ in range(20)]
        with httpx.Client(base_url=server.url) as caller:
            for _ in range(5):
                assert caller.get("/healthz", timeout=20).status_code == 200
        for line in lines[:100]:  # those that had waited longest
            assert all_of(line) == b""
        kept[-1].settimeout(0.2)
        with pytest.raises(TimeoutError):
            kept[-1].recv(1)


def test_there_are_fewer_connections_than_descriptors() -> None:
    import resource

    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert 16 <= most_connections() <= 1000
    assert soft == resource.RLIM_INFINITY or soft < 80 or most_connections() < soft
