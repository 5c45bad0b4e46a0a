"""Serves the simulator's page with a source of new text, on this machine only: `preflab simulate --live`.

GET /?key=…      the page
POST /live       one completion as lines of JSON, see `explain.live`

The key is in the address that the command prints. Without it there is no page, and the page's requests carry it in a
header: another site's page has neither, and cannot read this one's, since no header allows other origins. Requests for
another host are refused, so that a name of somebody else cannot be pointed here.
"""

from __future__ import annotations

import json
import secrets
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Protocol

import anyio
import uvicorn
from fastapi import FastAPI
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from preflab.errors import PreflabError
from preflab.web.security import HEADERS, Refusal, from_own_page, known_host
from preflab.web.serve import listen
from preflab.web.settings import WebSettings

KEY_HEADER = "X-Preflab-Key"
PATH = "/live"
MOST_BODY = 4096
"""Largest request, in bytes."""
PATIENCE = 2.0
"""Seconds that a request waits for the completion before it to end: a stopped one ends after its current token."""
POLICY = "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
"""Added to the page's own policy, which lists its script by its hash."""


class Source(Protocol):
    """Writes completions: `explain.live.Live`."""

    def check(self, request: Any) -> Any:
        """A request, checked; raises a `PreflabError` if it cannot be answered."""

    def write(self, wanted: Any) -> Iterator[dict[str, Any]]:
        """The events of one completion."""


def live_app(page: str, source: Source, key: str, settings: WebSettings) -> ASGIApp:
    """The app.

    Args:
        page: the simulator's page, whose data hold the key.
        source: writes completions; it is used by one request at a time.
        key: the key in the page's address and in the header of its requests.
        settings: the address it is served on.
    """
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    turn, wanted = threading.Lock(), key

    @app.get("/")
    def show(key: str = "") -> Response:
        if not _is_key(key, wanted):
            return PlainTextResponse("Open the whole link that the command printed, with its key.", 403)
        return Response(page, media_type="text/html")

    @app.post(PATH)
    async def write(request: Request) -> Response:
        if not _is_key(request.headers.get(KEY_HEADER, ""), wanted):
            return _refused(403, "a request without the page's key", "the key of the link", "open the printed link")
        try:
            asked = source.check(json.loads(await _body(request)))
        except (ValueError, RecursionError):
            return _refused(422, "a request that is no JSON", "JSON", "reload the page")
        except PreflabError as error:
            return _refused(422, error.found, error.expected, error.do)
        except ClientDisconnect:
            return _refused(400, "a request that was cut off", "a whole request", "try again")
        return _Completion(lambda: source.write(asked), turn)

    return _Guard(app, settings)


def _is_key(given: str, key: str) -> bool:
    return secrets.compare_digest(given.encode("utf-8", "replace"), key.encode())


async def _body(request: Request) -> bytes:
    """The body, if it is short.

    Raises:
        PreflabError: it is too long.
    """
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > MOST_BODY:
            raise PreflabError("a request that is too long", f"at most {MOST_BODY} bytes", "reload the page")
    return body


def _refused(status: int, found: str, expected: str, do: str) -> Response:
    content = {"kind": "error", "found": found, "expected": expected, "do": do}
    return JSONResponse(content, status, headers={"Connection": "close"} if status != 422 else None)


class _Completion(Response):
    """Sends a completion line by line, and ends it as soon as nobody listens any more.

    One thread writes it from its first token to its last, since a model's caches belong to one completion.
    """

    def __init__(self, write: Callable[[], Iterator[dict[str, Any]]], turn: threading.Lock) -> None:
        super().__init__(media_type="application/x-ndjson")
        self.write, self.turn = write, turn

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if not await anyio.to_thread.run_sync(self.turn.acquire, True, PATIENCE):
            busy = _refused(409, "another text is being written", "one at a time", "stop it, or wait for its end")
            await busy(scope, receive, send)
            return
        stop = threading.Event()
        try:
            async with anyio.create_task_group() as group:
                group.start_soon(self._listen, receive, stop)
                await self._send(send, stop)
                group.cancel_scope.cancel()
        finally:
            stop.set()
            self.turn.release()

    async def _listen(self, receive: Receive, stop: threading.Event) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        stop.set()

    async def _send(self, send: Send, stop: threading.Event) -> None:
        """Write in a thread and send what it gives. The thread has ended when this returns, however it returns."""
        into, out = anyio.create_memory_object_stream[bytes](1)
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers_without_length})

        def work() -> None:
            with into:
                for line in _lines(self.write):
                    if stop.is_set():
                        return
                    try:
                        anyio.from_thread.run(into.send, line)
                    except anyio.BrokenResourceError:
                        return

        async with anyio.create_task_group() as group:
            group.start_soon(anyio.to_thread.run_sync, work)
            try:
                async with out:
                    async for line in out:
                        if not stop.is_set():
                            await send({"type": "http.response.body", "body": line, "more_body": True})
            finally:
                stop.set()
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    @property
    def raw_headers_without_length(self) -> list[tuple[bytes, bytes]]:
        """The headers of a response whose length is not known when it begins."""
        return [(name, value) for name, value in self.raw_headers if name != b"content-length"]


def _lines(write: Callable[[], Iterator[dict[str, Any]]]) -> Iterator[bytes]:
    """The events as lines of JSON; an error is the last one."""
    try:
        for event in write():
            yield json.dumps(event, ensure_ascii=False).encode("utf-8", "replace") + b"\n"
    except PreflabError as error:
        content = {"kind": "error", "found": error.found, "expected": error.expected, "do": error.do}
        yield json.dumps(content, ensure_ascii=False).encode("utf-8", "replace") + b"\n"


class _Guard:
    """Refuses requests for other hosts and from other sites' pages, and adds the security headers."""

    def __init__(self, app: ASGIApp, settings: WebSettings) -> None:
        self.app, self.settings = app, settings

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def answer(message: Message) -> None:
            if message["type"] == "http.response.start":
                more = {**HEADERS, "Content-Security-Policy": POLICY, "Referrer-Policy": "no-referrer",
                        "Cache-Control": "no-store"}  # fmt: skip
                message["headers"] = [
                    *message["headers"],
                    *((name.lower().encode(), value.encode()) for name, value in more.items()),
                ]
            await send(message)

        request = Request(scope)
        why = self._refusal(scope["method"], request)
        if why is None:
            await self.app(scope, receive, answer)
        else:
            await _refused(why.status, why.found, why.expected, why.do)(scope, receive, answer)

    def _refusal(self, method: str, request: Request) -> Refusal | None:
        host = request.headers.get("host", "")
        if not known_host(host, self.settings):
            return Refusal(421, f"the address {host[:80]!r}", self.settings.url, "open the printed link")
        if method not in ("GET", "HEAD") and not from_own_page(request.headers, self.settings):
            return Refusal(403, "a request of another site's page", f"a page of {self.settings.url}", "use the page")
        return None


def serve_live(page: str, source: Source, key: str, port: int, on_ready: Callable[[str], None]) -> None:
    """Serve the page on the loopback address until interrupted.

    Args:
        page, source, key: see `live_app`.
        port: the port; 0 takes a free one.
        on_ready: called with the page's address once the server listens.

    Raises:
        PreflabError: the port is taken.
    """
    with live_listening(page, source, key, port) as (server, listener, address):
        on_ready(address)
        server.run(sockets=[listener])


@contextmanager
def live_listening(
    page: str, source: Source, key: str, port: int
) -> Iterator[tuple[uvicorn.Server, socket.socket, str]]:
    """A server that does not run yet, its listening socket, and the address of the page with its key.

    Raises:
        PreflabError: the port is taken.
    """
    settings = WebSettings(host="127.0.0.1", port=port)
    with listen(settings) as listener:
        bound = replace(settings, port=listener.getsockname()[1])
        config = uvicorn.Config(
            live_app(page, source, key, bound), workers=1, log_level="warning", access_log=False, server_header=False,
            proxy_headers=False, timeout_graceful_shutdown=5, lifespan="off",
        )  # fmt: skip
        yield uvicorn.Server(config), listener, f"{bound.url}/?key={key}"
