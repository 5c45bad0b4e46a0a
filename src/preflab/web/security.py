"""Checks every request before the app handles it, and adds security headers to every response.

Changes must come from the app's own pages. Browsers send the source of a request in `Sec-Fetch-Site` only over TLS and
on loopback; on a plain-HTTP address of the local network they send only `Origin`. So both headers are checked. A
request with a bearer token and without cookies cannot be forged by another site's page and is accepted.
"""

from __future__ import annotations

import socket
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import ip_address

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from preflab.storable import Unstorable
from preflab.web.error_answers import bare_answer
from preflab.web.identity import who_sends
from preflab.web.pages import page
from preflab.web.settings import LABELERS_BODY, STRANGERS_BODY, WebSettings, split_address
from preflab.web.values import is_checked, wrong_in_address, wrong_in_body, wrong_in_kind

SAFE = ("GET", "HEAD", "OPTIONS")
QUICK = 64 * 1024
"""Bytes up to which a body is checked in the event loop; longer bodies are checked in a thread."""
MOST_READ_AWAY = 2**30
"""Largest refused body, in bytes, that is received to its end and discarded."""
POLICY = "; ".join(
    (
        "default-src 'none'", "script-src 'self'", "style-src 'self'", "img-src 'self'", "connect-src 'self'",
        "form-action 'self'", "base-uri 'none'", "frame-ancestors 'none'",
    )
)  # fmt: skip
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    # With `no-referrer`, browsers would send `Origin: null` from the app's own forms, and the check of Origin would
    # fail. `same-origin` sends no referrer to other hosts either.
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=(), payment=()",
}


@dataclass(frozen=True)
class Refusal:
    """Why a request is refused."""

    status: int
    found: str
    expected: str
    do: str = ""
    kind: str = "invalid"


def security_headers(settings: WebSettings) -> Mapping[str, str]:
    """The security headers of every response."""
    if settings.secure:
        return {**HEADERS, "Strict-Transport-Security": "max-age=31536000"}
    return HEADERS


def refusal(method: str, headers: Headers, settings: WebSettings) -> Refusal | None:
    """The refusal of an unknown host, a change sent by another site's page or a body that is too long; else None."""
    host = headers.get("host", "")
    if not known_host(host, settings):
        return Refusal(
            421, f"the address {host[:80]!r}", f"the address of this app, {settings.url}",
            "start it with --public-url if people reach it at another address",
        )  # fmt: skip
    if method not in SAFE and not from_own_page(headers, settings):
        return Refusal(
            403, "a change that was not sent from a page of this app", f"a page of {settings.url}",
            "open the app's own page and send it there; behind a proxy, start the app with --trusted-origin",
            "not_allowed",
        )  # fmt: skip
    length = headers.get("content-length", "0")
    if not (length.isascii() and length.isdigit()) or int(length) > settings.max_body:
        return too_long(settings.max_body)
    return None


def too_long(limit: int) -> Refusal:
    """The refusal of a body that is too long."""
    do = (
        "go back, where your text is still in the form; use the command line for larger files, for example "
        "`preflab campaign create FILE --name NAME`"
    )
    most = f"{limit // 2**20} MB" if limit >= 2**20 else f"{limit // 1024} kB"
    return Refusal(413, "a request that is too long", f"at most {most}", do)


def sign_in_first() -> Refusal:
    """The refusal of a long body from somebody who is not signed in."""
    expected = f"at most {STRANGERS_BODY // 1024} kB from somebody who is not signed in"
    do = "sign in, or use a valid token, then send it again"
    return Refusal(401, "nobody is signed in", expected, do, "signed_out")


def body_of_reading(method: str) -> Refusal:
    """The refusal of a body with a reading method; no route reads such a body, so nothing would limit its size."""
    return Refusal(400, f"a body with {method}", "a body only with methods that change something", "send no body")


def unreadable(wrong: Unstorable) -> Refusal:
    """The refusal of a value that cannot be stored, by the name of its field."""
    return Refusal(422, f"{wrong.where}: {wrong.found}" if wrong.where else wrong.found, wrong.expected)


def from_own_page(headers: Headers, settings: WebSettings) -> bool:
    """Whether a change may have come from a page of this app, or from a script with a token.

    `Sec-Fetch-Site` decides if the browser sends it; otherwise `Origin` must match the requested host or be trusted.
    Current browsers send at least one of the two. A request with neither is accepted unless it has a cookie.
    """
    has_cookie = "cookie" in headers
    if headers.get("authorization", "").lower().startswith("bearer ") and not has_cookie:
        return True
    origin = headers.get("origin")
    trusted = origin is not None and origin in (*settings.trusted_origins, settings.public_url.rstrip("/"))
    site = headers.get("sec-fetch-site")
    if site is not None:
        return site in ("same-origin", "none") or trusted
    if origin is not None:
        return trusted or split_address(origin).netloc.lower() == headers.get("host", "").lower()
    return not has_cookie


def known_host(host: str, settings: WebSettings) -> bool:
    """Whether a Host header names this app: any IP address (DNS rebinding needs a name), or a known name."""
    name = split_address(f"//{host}").hostname or ""
    try:
        ip_address(name)
        return True
    except ValueError:
        pass
    known = {"localhost", settings.host.lower()}
    known |= {split_address(origin).hostname or "" for origin in (*settings.trusted_origins, settings.public_url)}
    if settings.is_public:
        hostname = socket.gethostname().lower()
        known |= {hostname, f"{hostname}.local"}
    return name in known - {""}


class Guard:
    """ASGI middleware that checks requests, limits their bodies and adds the security headers to every response.

    The sender of a long body is identified before the body is read. This must happen here, since the framework reads
    and parses bodies before it identifies the sender.
    """

    def __init__(self, app: ASGIApp, settings: WebSettings) -> None:
        self.app = app
        self.settings = settings

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request to the app, or respond with a refusal."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        answer = self._with_headers(scope, send)
        why = refusal(scope["method"], headers, self.settings)
        if why is None and (wrong := wrong_in_address(scope) or wrong_in_kind(headers)):
            why = unreadable(wrong)
        if why is None and scope["method"] in SAFE and _has_body(headers):
            why = body_of_reading(scope["method"])
        elif why is None and scope["method"] not in SAFE:
            why, receive = await self._checked_body(scope, headers, receive)
        if why is not None and why.status == 413:
            await self._let_finish(scope, headers, receive)
        if why is not None:
            hang_up = _has_body(headers) and (scope["method"] in SAFE or _is_long(headers))
            await self._refuse(why, scope, receive, answer, hang_up=hang_up)
            return
        await self.app(scope, receive, answer)

    async def _checked_body(self, scope: Scope, headers: Headers, receive: Receive) -> tuple[Refusal | None, Receive]:
        """The refusal of the body, or None; and a `receive` that returns the body to the app."""
        limit = self.settings.max_body
        if _is_long(headers):
            me = await who_sends(Request(scope))
            limit = min(limit, STRANGERS_BODY if me is None else limit if me.role == "lead" else LABELERS_BODY)
            if me is None and not _is_chunked(headers):
                return sign_in_first(), receive  # before any of the body is read
        if not _is_chunked(headers) and int(headers["content-length"]) > limit:
            return too_long(limit), receive
        if not _is_chunked(headers) and not is_checked(headers):
            return None, receive
        read = await _whole_body(receive, limit)
        if read is None:
            return sign_in_first() if limit == STRANGERS_BODY else too_long(limit), receive
        wrong = await _wrong_in(read, headers) if is_checked(headers) else None
        return (unreadable(wrong) if wrong else None), _replay(read, receive)

    async def _let_finish(self, scope: Scope, headers: Headers, receive: Receive) -> None:
        """Receive and discard a body that is too long, since browsers show no response before they have sent all.

        Only for a body of known length from a signed-in sender that does not wait for "100 Continue". The time limit
        for bodies applies.
        """
        length = headers.get("content-length", "")
        if not (length.isascii() and length.isdigit()) or _is_chunked(headers) or "expect" in headers:
            return
        if int(length) <= MOST_READ_AWAY and await who_sends(Request(scope)) is not None:
            while (message := await receive())["type"] == "http.request" and message.get("more_body", False):
                pass

    def _with_headers(self, scope: Scope, send: Send) -> Send:
        extra = security_headers(self.settings)
        is_static = scope["path"].startswith(("/static/", "/image/"))

        async def answer(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in extra.items():
                    headers[name] = value
                if not is_static:
                    headers["Cache-Control"] = "no-store"
            await send(message)

        return answer

    async def _refuse(self, why: Refusal, scope: Scope, receive: Receive, send: Send, *, hang_up: bool) -> None:
        """Send a refusal; `hang_up` closes the connection, since a body of large or unknown length may follow."""
        request = Request(scope)
        as_json = scope["path"].startswith("/api/") or "application/json" in request.headers.get("accept", "")
        if why.status in (413, 422) and "text/html" in request.headers.get("accept", "") and not as_json:
            problem = {"status": why.status, "found": why.found, "expected": why.expected, "do": why.do}
            response: Response = page(request, "error.html.j2", code=why.status, **problem)
        else:
            more = {"kind": why.kind}
            response = bare_answer(why.status, why.found, why.expected, why.do, as_json=as_json, extra=more)
        if hang_up:
            response.headers["Connection"] = "close"
        await response(scope, receive, send)


def _is_chunked(headers: Headers) -> bool:
    """Whether the length of the body is unknown before it is read, even if there is also a `Content-Length`."""
    return "transfer-encoding" in headers or "content-length" not in headers


def _has_body(headers: Headers) -> bool:
    return "transfer-encoding" in headers or headers.get("content-length", "0") != "0"


def _is_long(headers: Headers) -> bool:
    length = headers.get("content-length", "")
    return _is_chunked(headers) or not length.isdigit() or int(length) > STRANGERS_BODY


async def _wrong_in(read: list[Message], headers: Headers) -> Unstorable | None:
    """The first value of a body that cannot be stored; a long body is checked in a thread."""
    if read[-1]["type"] != "http.request":
        return None
    body = b"".join(message.get("body", b"") for message in read)
    return wrong_in_body(headers, body) if len(body) < QUICK else await run_in_threadpool(wrong_in_body, headers, body)


async def _whole_body(receive: Receive, limit: int) -> list[Message] | None:
    """The messages of a body, read to its end; None as soon as they exceed the limit.

    The last message ends the body or is a disconnect, so that a body that was cut off is not taken for complete.
    """
    messages: list[Message] = []
    left = limit
    while not messages or messages[-1].get("more_body", False):
        messages.append(await receive())
        left -= len(messages[-1].get("body", b""))
        if left < 0:
            return None
    return messages


def _replay(messages: list[Message], receive: Receive) -> Receive:
    """A `receive` that first returns the messages that were read already, then calls the original one."""
    read_already = iter(messages)

    async def receive_again() -> Message:
        return next(read_already, None) or await receive()

    return receive_again
