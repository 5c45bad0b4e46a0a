"""Tricks of headers and framing: each is refused or read as what it is, at once, and nothing is taken beyond limits."""

from __future__ import annotations

import os
import resource
import select
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest

from labelling_load import Server
from preflab.labelling.sessions import create_token
from preflab.store.workspace import Workspace
from preflab.web.connections import LINGER_PAUSE
from preflab.web.settings import STRANGERS_BODY, WebSettings
from web_app import People, make_people, serving

FORM = "Content-Type: application/x-www-form-urlencoded"
JSON = "Content-Type: application/json"
MB = 2**20
BODY = b"name=x&password=y"


@pytest.fixture
def server(ws: Workspace, people: People) -> Iterator[WebSettings]:
    with serving(ws) as settings:
        yield settings


def answer(server: WebSettings, lines: list[str], body: bytes, version: str = "1.1", path: str = "/signin") -> int:
    """The status of the answer, 0 where the connection ended without one."""
    head = [f"POST {path} HTTP/{version}", f"Host: {server.host}:{server.port}", *lines, "", ""]
    with socket.create_connection((server.host, server.port), timeout=30) as line:
        try:
            line.sendall("\r\n".join(head).encode("latin-1"))
            line.sendall(body)
        except OSError:
            pass  # hung up on in the middle
        try:
            return int(line.recv(65536).split(b" ")[1])
        except (OSError, IndexError):
            return 0


CHUNKED = b"%x\r\n%s\r\n0\r\n\r\n" % (len(BODY), BODY)
TRICKS: dict[str, tuple[list[str], bytes, set[int]]] = {
    "identity": (["Transfer-Encoding: identity"], BODY, {400, 501}),
    "gzip and chunked": (["Transfer-Encoding: gzip, chunked"], CHUNKED, {400, 501}),
    "chunked twice": (["Transfer-Encoding: chunked", "Transfer-Encoding: chunked"], CHUNKED, {400, 501}),
    "chunked with a comma": (["Transfer-Encoding: chunked,"], CHUNKED, {400, 422, 501}),
    "chunked in quotes": (['Transfer-Encoding: "chunked"'], CHUNKED, {400, 501}),
    "a length twice": (["Content-Length: 17", "Content-Length: 17"], BODY, {400, 403, 422}),
    "two lengths": (["Content-Length: 5", "Content-Length: 17"], BODY, {400}),
    "a list of lengths": (["Content-Length: 17, 17"], BODY, {400, 403, 422}),
    "two lengths in a list": (["Content-Length: 5, 17"], BODY, {400}),
    "a sign": (["Content-Length: +17"], BODY, {400}),
    "a minus": (["Content-Length: -1"], BODY, {400}),
    "hexadecimal": (["Content-Length: 0x11"], BODY, {400}),
    "underscores": (["Content-Length: 1_7"], BODY, {400}),
    "a fraction": (["Content-Length: 17.0"], BODY, {400}),
    "other digits": (["Content-Length: \u00b2"], BODY, {400}),
    "empty": (["Content-Length: "], BODY, {400}),
    "of many digits": (["Content-Length: " + "9" * 30], BODY, {400, 401, 413}),
    "folded": (["X-A: b", " Content-Length: 17", "Content-Length: 17"], BODY, {400, 403, 422}),
    "a space before the colon": (["Content-Length : 17"], BODY, {400}),
    "a bare line feed": (["X-A: b\nContent-Length: 17"], BODY, {400, 403, 422}),
    "a NUL": (["X-A: a\0b", "Content-Length: 17"], BODY, {400}),
    "a name with a space": (["X A: b", "Content-Length: 17"], BODY, {400}),
}


@pytest.mark.parametrize("name", TRICKS)
def test_framing_is_read_as_it_is_or_refused(server: WebSettings, name: str) -> None:
    lines, body, right = TRICKS[name]
    began = time.monotonic()
    assert answer(server, [FORM, *lines], body) in right
    assert time.monotonic() - began < 5
    with httpx.Client(base_url=server.url) as caller:
        assert caller.get("/healthz").status_code == 200


def test_two_hosts_are_refused(server: WebSettings) -> None:
    assert answer(server, ["Host: evil.example", "Content-Length: 0"], b"") == 400


def test_http_1_0_knows_no_chunks(server: WebSettings) -> None:
    """A length that is said nowhere is none; what follows is no second request of ours."""
    assert answer(server, [FORM, "Transfer-Encoding: chunked"], CHUNKED, version="1.0") in (0, 400, 403, 422, 501)
    assert answer(server, [FORM, "Content-Length: 17"], BODY, version="1.0") in (403, 422)


def test_what_follows_a_refused_body_is_no_request(server: WebSettings) -> None:
    """A request hidden in the body of one that is refused."""
    hidden = b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
    for lines in (["Transfer-Encoding: chunked", "Content-Length: 5"], ["Content-Length: 5", "Content-Length: 50"]):
        with socket.create_connection((server.host, server.port), timeout=10) as line:
            head = ["POST /signin HTTP/1.1", f"Host: {server.host}:{server.port}", FORM, *lines, "", ""]
            line.sendall("\r\n".join(head).encode() + b"0\r\n\r\n" + hidden)
            line.settimeout(2)
            found = b""
            try:
                while piece := line.recv(65536):
                    found += piece
            except OSError:
                pass
            assert b'{"status":"ok"}' not in found or b"HTTP/1.1 400" not in found.partition(b'{"status":"ok"}')[0]


def test_who_expects_to_be_told_to_go_on_is_told_before_the_body(
    ws: Workspace, people: People, server: WebSettings
) -> None:
    token = create_token(ws, people.lead.id, "script")
    for length, known, right in (
        (17, False, b"100"),
        (20 * MB, False, b"413"),
        (STRANGERS_BODY + 1, False, b"401"),
        (20 * MB, True, b"413"),
        (300 * MB, True, b"413"),
    ):
        head = ["POST /signin HTTP/1.1", f"Host: {server.host}:{server.port}", FORM, f"Content-Length: {length}"]
        head += ["Expect: 100-continue", *([f"Authorization: Bearer {token}"] if known else []), "", ""]
        with socket.create_connection((server.host, server.port), timeout=20) as line:
            line.sendall("\r\n".join(head).encode())
            assert line.recv(65536).split(b" ")[1] == right, (length, known)


@pytest.mark.parametrize("kind", ["extensions", "trailers", "headers"])
def test_megabytes_beside_the_body_are_refused(server: WebSettings, kind: str) -> None:
    long = b"a" * MB
    sent = {
        "extensions": b"5;x=" + long + b"\r\nname=\r\n0\r\n\r\n",
        "trailers": b"5\r\nname=\r\n0\r\nX-A: " + long + b"\r\n\r\n",
        "headers": b"",
    }[kind]
    lines = ["X-A: " + long.decode()] if kind == "headers" else ["Transfer-Encoding: chunked"]
    assert answer(server, [FORM, *lines], sent) in (0, 400, 431)


def test_a_million_parts_are_refused_soon(ws: Workspace, people: People, server: WebSettings) -> None:
    token = create_token(ws, people.lead.id, "script")
    part = b'--x\r\nContent-Disposition: form-data; name="a"\r\n\r\n\r\n'
    kind = {"Content-Type": "multipart/form-data; boundary=x", "Authorization": f"Bearer {token}"}
    with httpx.Client(base_url=server.url, headers=kind, timeout=60) as caller:
        for body in (part * (15 * MB // len(part)), b"--x\r\n" + b"a:b\r\n" * (3 * MB)):
            began = time.monotonic()
            assert 400 <= caller.post("/lead/new", content=body).status_code < 500
            assert time.monotonic() - began < 20
        body = b"&".join([b"a=1"] * (4 * MB))
        kind = {"Content-Type": "application/x-www-form-urlencoded"}
        assert 400 <= caller.post("/lead/new", content=body, headers=kind).status_code < 500


def test_a_stranger_without_a_key_is_refused_without_asking_the_database(
    server: WebSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Hundreds of them would fill the threads that everybody's requests are answered in."""
    asked = []
    monkeypatch.setattr("preflab.web.identity.who", lambda request: asked.append(request))
    long = [JSON, f"Content-Length: {16 * MB}"]
    assert answer(server, long, b"", path="/api/v1/campaigns") == 401
    assert not asked
    assert answer(server, [*long, "Authorization: Bearer unknown"], b"", path="/api/v1/campaigns") == 401
    assert answer(server, [*long, f"Cookie: {server.cookie}=old", "Sec-Fetch-Site: same-origin"], b"") == 401
    assert len(asked) == 2


def test_what_a_refused_sender_still_sends_is_taken_in_turns(server: WebSettings) -> None:
    """16 MB are taken to their end though nobody reads them, in pieces with pauses that leave others their turn."""
    body = b"x" * (16 * MB - 1)
    with socket.create_connection((server.host, server.port), timeout=30) as line:
        head = ["POST /api/v1/campaigns HTTP/1.1", f"Host: {server.host}", JSON, f"Content-Length: {len(body)}", "", ""]
        began = time.monotonic()
        line.sendall("\r\n".join(head).encode() + body)
        assert time.monotonic() - began > 10 * LINGER_PAUSE
        assert line.recv(65536).split(b" ")[1] == b"401"


def peak_memory(server: Server) -> int:
    """The largest resident memory of a server so far, bytes."""
    assert server._running is not None
    lines = Path(f"/proc/{server._running.pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))


HALVES = (b"GET /heal", b"POST /signin HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 99\r\n\r\nna")
ASK = """
import http.client, sys, time
waits = []
until = time.monotonic() + float(sys.argv[2])
print("asking", flush=True)
while time.monotonic() < until:
    began = time.monotonic()
    line = http.client.HTTPConnection("127.0.0.1", int(sys.argv[1]), timeout=30)
    line.request("GET", "/healthz")
    assert line.getresponse().status == 200
    line.close()
    waits.append(time.monotonic() - began)
    time.sleep(0.02)
print(len(waits), max(waits))
"""
"""Asks for health from a process of its own, which waits for nobody's turn but the server's."""


def push(port: int, num: int, body: bytes) -> int:
    """Send so many bodies at once, as far as they are taken; returns how many were answered with an error."""
    head = f"POST /api/v1/campaigns HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n{JSON}\r\nContent-Length: {len(body)}\r\n\r\n"
    left = {}
    for _ in range(num):
        line = socket.create_connection(("127.0.0.1", port), timeout=30)
        line.sendall(head.encode())
        line.setblocking(False)
        left[line] = memoryview(body)
    refused = 0
    until = time.monotonic() + 60
    while left and time.monotonic() < until:
        readable, writable, _ = select.select(list(left), list(left), [], 0.1)
        for line in readable:
            refused += _is_refused(line)
            line.close()
            del left[line]
        for line in writable:
            if line in left:
                left[line] = _sent(line, left[line])
    return refused


def _is_refused(line: socket.socket) -> bool:
    try:
        return line.recv(4096).split(b" ")[1] == b"401"
    except (OSError, IndexError):
        return True  # hung up on


def _sent(line: socket.socket, rest: memoryview) -> memoryview:
    try:
        return rest[line.send(rest[: 2**16]) :]
    except OSError:
        return rest


@pytest.mark.slow
@pytest.mark.timed
@pytest.mark.timeout(600)
def test_long_bodies_and_half_sent_requests_keep_nobody_waiting(tmp_path: Path) -> None:
    """200 bodies of 16 MB by strangers and 400 half-sent requests at once; health is asked all the while."""
    if not os.path.exists("/proc/self/status"):
        pytest.skip("memory is read from /proc, which this system has not")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, max(soft, 4096)), hard))
    with Workspace.open(tmp_path / "w", create=True) as ws:
        make_people(ws)
    body = b'{"options": {"name": "' + b"x" * (16 * MB - 64) + b'"}}'
    with Server(tmp_path / "w") as server, ExitStack() as stack:
        for number in range(400):
            line = stack.enter_context(socket.create_connection(("127.0.0.1", server.port), timeout=30))
            line.sendall(HALVES[number % 2])
        asking = subprocess.Popen(
            [sys.executable, "-c", ASK, str(server.port), "12"], stdout=subprocess.PIPE, text=True
        )  # fmt: skip
        assert asking.stdout is not None
        asking.stdout.readline()
        refused = push(server.port, 200, body)
        num, longest = asking.communicate()[0].split()
        memory = peak_memory(server)
    print(f"health: {num} times, longest {float(longest):.2f} s; memory at most {memory / MB:.0f} MB")
    assert refused == 200
    assert int(num) > 50
    busy = max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))  # others on the machine lengthen all waits alike
    assert float(longest) < busy
    assert memory < 600 * MB
