"""A body's limit holds whatever its headers say, and no long body is read before it is known who sends it."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import httpx
import pytest

from preflab.labelling.sessions import create_token
from preflab.store.workspace import Workspace
from preflab.web.settings import MAX_BODY, STRANGERS_BODY, WebSettings
from web_app import People, serving

PIECE = b"x" * 65536


@pytest.fixture
def server(ws: Workspace, people: People) -> Iterator[WebSettings]:
    with serving(ws) as settings:
        yield settings


def sent(server: WebSettings, head: list[str], chunks: int) -> tuple[int, int]:
    """The status of the answer to a chunked POST, and how many chunks of 64 kB were taken before it came."""
    lines = ["POST /api/v1/me HTTP/1.1", f"Host: {server.host}:{server.port}", *head, "", ""]
    with socket.create_connection((server.host, server.port), timeout=30) as line:
        line.sendall("\r\n".join(lines).encode())
        taken = 0
        try:
            for _ in range(chunks):
                line.sendall(b"%x\r\n%s\r\n" % (len(PIECE), PIECE))
                taken += 1
            line.sendall(b"0\r\n\r\n")
        except OSError:
            pass  # hung up on in the middle, as it should be
        try:
            return int(line.recv(4096).split(b" ")[1]), taken
        except (OSError, IndexError):
            return 0, taken


FRAMINGS = {
    "chunked": ["Transfer-Encoding: chunked"],
    "and a length": ["Content-Length: 5", "Transfer-Encoding: chunked"],
    "the other way round": ["Transfer-Encoding: chunked", "Content-Length: 5"],
    "in capitals": ["CONTENT-LENGTH: 5", "TRANSFER-ENCODING: Chunked"],
    "two lengths": ["Content-Length: 5", "Content-Length: 5", "Transfer-Encoding: chunked"],
    "two codings": ["Content-Length: 5", "Transfer-Encoding: gzip, chunked"],
}


@pytest.mark.parametrize("name", FRAMINGS)
@pytest.mark.parametrize("knows", [False, True], ids=["stranger", "lead"])
def test_no_header_lets_a_long_body_through(
    ws: Workspace, people: People, server: WebSettings, name: str, knows: bool
) -> None:
    token = [f"Authorization: Bearer {create_token(ws, people.lead.id, 'script')}"] if knows else []
    head = [*FRAMINGS[name], *token, "Content-Type: application/json"]
    limit = MAX_BODY if knows else STRANGERS_BODY
    status, taken = sent(server, head, 2 * limit // len(PIECE) + 100)
    assert status in (0, 400, 401, 413)
    if status:
        assert status in (400, 413 if knows else 401)
    # the system's own buffers on the way take some more
    assert taken * len(PIECE) < limit + 10 * 2**20


@pytest.mark.parametrize("length", [STRANGERS_BODY + 1, MAX_BODY])
def test_a_stranger_s_long_body_is_not_waited_for(server: WebSettings, length: int) -> None:
    """The answer comes before a byte of the body is sent."""
    head = ["POST /api/v1/campaigns HTTP/1.1", f"Host: {server.host}:{server.port}", f"Content-Length: {length}"]
    for more in (
        [],
        ["Authorization: Bearer wrong"],
        [f"Cookie: {server.cookie}=wrong", "Sec-Fetch-Site: same-origin"],
    ):
        with socket.create_connection((server.host, server.port), timeout=30) as line:
            line.sendall("\r\n".join([*head, *more, "", ""]).encode())
            answer = b""
            while not answer.endswith(b"}}"):
                answer += line.recv(4096)
        assert answer.split(b" ")[1] == b"401"
        assert b"sign in" in answer


def test_who_is_known_may_send_as_much_as_before(ws: Workspace, people: People, server: WebSettings) -> None:
    token = create_token(ws, people.lead.id, "script")
    with httpx.Client(base_url=server.url, headers={"Authorization": f"Bearer {token}"}) as caller:
        for content in (b"[" + b" " * (MAX_BODY - 2) + b"]", b"{}"):
            assert caller.post("/api/v1/campaigns", content=content).status_code == 422
        assert caller.post("/api/v1/campaigns", content=b" " * (MAX_BODY + 1)).status_code == 413


def test_what_was_typed_before_a_session_ended_is_kept(server: WebSettings) -> None:
    with httpx.Client(base_url=server.url) as caller:
        note = "w" * (STRANGERS_BODY - 100)
        reply = caller.post("/c/1/t/2/skip", data={"note": note}, headers={"Sec-Fetch-Site": "same-origin"})
    assert (reply.status_code, note in reply.text) == (401, True)
