"""`simulate --live` over HTTP: who may ask, one completion at a time, an end as soon as nobody listens."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator
from html import unescape
from typing import Any

import httpx
import pytest

from live_page import KEY, Typist, live_facts, served
from preflab.web.live import KEY_HEADER, MOST_BODY
from simulator_worlds import shop

MINE = {KEY_HEADER: KEY}


@pytest.fixture(scope="module")
def data() -> dict[str, Any]:
    return {**shop(num_prompts=3, per_policy=3), "live": live_facts([("ppo", 0.55)])}


@pytest.fixture
def typist() -> Typist:
    return Typist([("two", 0.5), (" coins", -0.1), ("", 0.0)])


@pytest.fixture
def base(data: dict[str, Any], typist: Typist) -> Iterator[str]:
    """The address without its path."""
    with served(data, typist) as address:
        yield address.partition("/?")[0]


def test_page_needs_the_key(base: str, data: dict[str, Any]) -> None:
    assert httpx.get(f"{base}/").status_code == 403
    assert httpx.get(f"{base}/", params={"key": f"{KEY}x"}).status_code == 403
    assert httpx.get(f"{base}/", params={"key": "ä"}).status_code == 403
    page = httpx.get(f"{base}/", params={"key": KEY})
    assert page.status_code == 200
    assert "Write new text with the model" in page.text
    assert "connect-src 'self'" in unescape(page.text)
    headers = page.headers
    assert headers["content-security-policy"] == "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    assert headers["x-frame-options"] == "DENY"
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["cache-control"] == "no-store"
    assert "access-control-allow-origin" not in headers


def test_events_come_as_lines(base: str, typist: Typist) -> None:
    answer = httpx.post(f"{base}/live", json={"prompt": "p"}, headers=MINE)
    assert answer.headers["content-type"] == "application/x-ndjson"
    events = [json.loads(line) for line in answer.text.splitlines()]
    assert [event["kind"] for event in events] == ["token", "token", "token", "end"]
    assert [event["text"] for event in events[:3]] == ["two", " coins", ""]
    assert events[3]["criteria"] == {"gold": None}
    assert typist.asked == [{"prompt": "p"}]


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 403),
        ({KEY_HEADER: "wrong"}, 403),
        ({**MINE, "Origin": "http://evil.example"}, 403),
        ({**MINE, "Origin": "null"}, 403),
        ({**MINE, "Sec-Fetch-Site": "cross-site"}, 403),
        ({**MINE, "Sec-Fetch-Site": "same-site"}, 403),
        ({**MINE, "Host": "evil.example"}, 421),
        ({**MINE, "Host": "preflab.evil.example:8410"}, 421),
    ],
)
def test_other_sites_are_refused(base: str, typist: Typist, headers: dict[str, str], status: int) -> None:
    answer = httpx.post(f"{base}/live", json={}, headers=headers)
    assert answer.status_code == status
    assert answer.json()["kind"] == "error"
    assert "access-control-allow-origin" not in answer.headers
    assert typist.asked == []


def test_another_origin_gets_no_permission_in_advance(base: str) -> None:
    """The key's header makes a browser ask first; nothing answers that another origin may."""
    asking = {"Origin": "http://evil.example", "Access-Control-Request-Method": "POST",
              "Access-Control-Request-Headers": KEY_HEADER}  # fmt: skip
    answer = httpx.request("OPTIONS", f"{base}/live", headers=asking)
    assert answer.status_code in (403, 405)
    assert not [name for name in answer.headers if name.startswith("access-control")]


@pytest.mark.parametrize("body", [b"{", b"[]", b"\xff", b"[" * 4000, b" " * (MOST_BODY + 1), b""])
def test_bad_requests_are_refused(base: str, typist: Typist, body: bytes) -> None:
    answer = httpx.post(f"{base}/live", content=body, headers=MINE)
    assert answer.status_code == 422
    assert set(answer.json()) == {"kind", "found", "expected", "do"}
    assert typist.num_written == 0


def test_errors_while_writing_are_the_last_line(base: str, typist: Typist) -> None:
    typist.fails_after = 1
    answer = httpx.post(f"{base}/live", json={}, headers=MINE)
    first, last = (json.loads(line) for line in answer.text.splitlines())
    assert first["kind"] == "token"
    assert last == {"kind": "error", "found": "the model broke", "expected": "a whole one", "do": "mend it"}
    assert typist.num_at_once == 0


def test_one_completion_at_a_time(data: dict[str, Any]) -> None:
    typist = Typist([("x", 0.0)] * 100, pause=0.05)
    with served(data, typist) as address:
        url = f"{address.partition('/?')[0]}/live"
        first = threading.Thread(target=httpx.post, args=(url,), kwargs={"json": {}, "headers": MINE, "timeout": 30})
        first.start()
        wait_for(lambda: typist.num_written > 0)
        refused = httpx.post(url, json={}, headers=MINE, timeout=30)
        assert refused.status_code == 409
        assert refused.json()["found"] == "another text is being written"
        first.join()
        assert typist.most_at_once == 1
        assert typist.num_written == 100
        assert httpx.post(url, json={}, headers=MINE, timeout=30).status_code == 200


def wait_for(happened: Any, seconds: float = 10.0) -> None:
    until = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < until
        time.sleep(0.01)


def test_writing_ends_when_nobody_listens(data: dict[str, Any]) -> None:
    typist = Typist([("x", 0.0)] * 1000, pause=0.02)
    with served(data, typist) as address:
        host, port = address.removeprefix("http://").partition("/?")[0].split(":")
        head = f"POST /live HTTP/1.1\r\nHost: {host}:{port}\r\n{KEY_HEADER}: {KEY}\r\nContent-Length: 2\r\n\r\n{{}}"
        with socket.create_connection((host, int(port))) as connection:
            connection.sendall(head.encode())
            wait_for(lambda: typist.num_written > 3)
        wait_for(lambda: typist.num_at_once == 0, seconds=2)
        assert typist.num_written < 1000
        typist.tokens = [("y", 0.0)]
        after = httpx.post(f"http://{host}:{port}/live", json={}, headers=MINE)
        assert json.loads(after.text.splitlines()[0])["text"] == "y"


def test_server_ends_while_somebody_listens(data: dict[str, Any]) -> None:
    typist = Typist([("x", 0.0)] * 100, pause=0.02)
    with served(data, typist) as address:
        url = f"{address.partition('/?')[0]}/live"
        stream = threading.Thread(target=httpx.post, args=(url,), kwargs={"json": {}, "headers": MINE, "timeout": 30})
        stream.start()
        wait_for(lambda: typist.num_written > 3)
    stream.join()
    assert typist.num_at_once == 0
