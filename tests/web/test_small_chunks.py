"""Bodies in small chunks, bodies where none belongs: nobody else waits for them."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Iterator

import h11
import httpx
import pytest

from preflab.store.workspace import Workspace
from preflab.web.pacing import CHUNKS_AT_ONCE, MOST_CHUNKS, Paced, Turns
from preflab.web.settings import WebSettings
from web_app import People, serving

HEAD = b"POST /signin HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n\r\n"
FORM = b"name=nobody&password=nothing"


@pytest.fixture
def server(ws: Workspace, people: People) -> Iterator[WebSettings]:
    with serving(ws) as settings:
        yield settings


def small(body: bytes) -> bytes:
    """A body in chunks of one byte."""
    return b"".join(b"1\r\n%c\r\n" % byte for byte in body) + b"0\r\n\r\n"


def post(server: WebSettings, body: bytes) -> bytes:
    head = f"POST /signin HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\nOrigin: {server.url}\r\n"
    kind = "Content-Type: application/x-www-form-urlencoded\r\nTransfer-Encoding: chunked\r\n\r\n"
    return (head + kind).encode() + body


def statuses(server: WebSettings, sent: bytes, num: int = 1) -> list[int]:
    """The statuses of so many answers on one connection."""
    with socket.create_connection((server.host, server.port), timeout=30) as line:
        line.sendall(sent)
        came = b""
        while came.count(b"HTTP/1.1 ") < num and (piece := line.recv(65536)):
            came += piece
    return [int(each.split(b" ")[0]) for each in came.split(b"HTTP/1.1 ")[1:]]


def test_a_connection_reads_so_many_chunks_and_waits_for_its_turn() -> None:
    conn = Paced(65536)
    conn.receive_data(HEAD + small(b"x" * (CHUNKS_AT_ONCE + 5)))
    assert isinstance(conn.next_event(), h11.Request)
    events = [conn.next_event() for _ in range(CHUNKS_AT_ONCE + 3)]
    assert [type(each) is h11.Data for each in events] == [True] * CHUNKS_AT_ONCE + [False] * 3
    assert events[-1] is h11.NEED_DATA
    assert conn.is_held
    conn.num_left = 100
    rest = [conn.next_event() for _ in range(6)]
    assert b"".join(bytes(each.data) for each in rest[:5]) == b"xxxxx"
    assert isinstance(rest[5], h11.EndOfMessage)
    assert conn.num_chunks == CHUNKS_AT_ONCE + 5


def test_one_waiting_connection_goes_on_in_each_turn_of_the_loop() -> None:
    """Between two of them everybody else is heard; one that has still more goes to the end of the queue."""
    order: list[str] = []

    async def run() -> None:
        loop, turns = asyncio.get_running_loop(), Turns()

        def go_on(name: str, more: int) -> None:
            order.append(name)
            if more:
                turns.join(loop, lambda: go_on(name, more - 1))

        turns.join(loop, lambda: go_on("a", 1))
        turns.join(loop, lambda: go_on("b", 0))
        for _ in range(4):
            order.append("|")
            await asyncio.sleep(0)

    asyncio.run(run())
    assert order == ["|", "a", "|", "b", "|", "a", "|"]


def test_a_form_in_small_chunks_is_read_like_any_other(server: WebSettings) -> None:
    for form, right in ((FORM, 403), (FORM + b"x" * 5000, 422)):  # the second is held and gone on with many times
        assert statuses(server, post(server, b"%x\r\n%s\r\n0\r\n\r\n" % (len(form), form))) == [right]
        assert statuses(server, post(server, small(form))) == [right]


def test_small_chunks_behind_another_request_wait_for_their_turn_too(server: WebSettings) -> None:
    first = f"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\n\r\n".encode()
    assert statuses(server, first + post(server, small(FORM + b"x" * 5000)), 2) == [200, 422]
    sent = post(server, small(FORM + b"x" * 5000)) + first
    assert statuses(server, sent, 2) == [422, 200]


def test_more_chunks_than_anybody_needs_are_refused(server: WebSettings) -> None:
    assert statuses(server, post(server, small(b"x" * MOST_CHUNKS))) == [422]
    assert statuses(server, post(server, b"1\r\nx\r\n" * (MOST_CHUNKS + 500))) == [400]


def test_chunks_that_come_slowly_are_put_together(server: WebSettings) -> None:
    sent = post(server, small(FORM + b"x" * 200))
    with socket.create_connection((server.host, server.port), timeout=30) as line:
        for at in range(0, len(sent), 400):
            line.sendall(sent[at : at + 400])
            time.sleep(0.01)
        assert line.recv(65536).split(b" ")[1] == b"403"


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS"])
@pytest.mark.parametrize("framing", ["Transfer-Encoding: chunked", "Content-Length: 400000000", "Content-Length: 3"])
def test_a_body_where_something_is_only_read_is_refused(server: WebSettings, method: str, framing: str) -> None:
    """Nothing would look at it, nor end it: 131 MB were taken of one that was chunked."""
    for path in ("/signin", "/healthz", "/static/label.js"):
        head = f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\n{framing}\r\n\r\n".encode()
        assert statuses(server, head) == [413 if "400000000" in framing else 400]


def test_an_empty_body_is_none(server: WebSettings) -> None:
    with httpx.Client(base_url=server.url) as caller:
        assert caller.request("GET", "/healthz", headers={"Content-Length": "0"}).status_code == 200
