"""Error responses for people and scripts: a status and three lines. Details of unexpected errors go to the log only."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import RedirectResponse
from starlette.exceptions import HTTPException

from preflab.errors import PreflabError
from preflab.web.error_answers import bare_answer
from preflab.web.identity import SignedOut, WrongRole
from preflab.web.pages import page
from preflab.web.security import security_headers
from preflab.web.values import checked_form

log = logging.getLogger("preflab.web")

STATUS = {"invalid": 422, "not_found": 404, "not_allowed": 403, "stale": 409, "too_many": 429, "signed_out": 401}
"""Kind of an error of `labelling.errors` → HTTP status."""
WORDS = {
    404: ("There is no such page", "", "check the address, or start from the first page"),
    405: ("This address does not accept this method", "another method", ""),
}


def install_errors(app: FastAPI) -> None:
    """Register a handler for each kind of error with the app."""
    app.add_exception_handler(PreflabError, _known)
    app.add_exception_handler(SignedOut, _signed_out)
    app.add_exception_handler(WrongRole, _wrong_role)
    app.add_exception_handler(RequestValidationError, _unreadable)
    app.add_exception_handler(HTTPException, _plain_http)
    app.add_exception_handler(Exception, _unexpected)


def wants_json(request: Request) -> bool:
    """Whether the request comes from a script: it is for the API, or it accepts JSON."""
    return request.url.path.startswith("/api/") or "application/json" in request.headers.get("accept", "")


def answer(
    request: Request, status: int, found: str, expected: str = "", do: str = "", extra: Mapping[str, Any] | None = None
) -> Response:
    """An error response: JSON for scripts, a page for people."""
    if wants_json(request):
        return bare_answer(status, found, expected, do, as_json=True, extra=extra)
    return page(request, "error.html.j2", status=status, found=found, expected=expected, do=do, code=status)


def error_kind(error: PreflabError) -> str:
    """The kind of an error, such as `stale` or `not_found`; `invalid` if it has none."""
    return str(getattr(error, "kind", "invalid"))


def status_of(error: PreflabError) -> int:
    """The HTTP status of an error."""
    return STATUS.get(error_kind(error), 422)


def sentence(error: PreflabError) -> str:
    """An error as short sentences, shown in the form that keeps what the person typed."""
    parts = [error.found, error.expected and f"expected: {error.expected}", error.do]
    return " ".join(f"{part[:1].upper()}{part[1:]}." for part in parts if part)


def with_wait(response: Response, error: PreflabError) -> Response:
    """The response to an error, with the header Retry-After if the error has a waiting time."""
    if (after := getattr(error, "retry_after", None)) is not None:
        response.headers["Retry-After"] = str(max(1, int(after)))
    return response


async def _known(request: Request, error: Exception) -> Response:
    assert isinstance(error, PreflabError)
    if error.__cause__ is not None and type(error.__cause__).__module__.startswith("sqlalchemy"):
        return _log_and_hide(request, error, 503, "the database did not answer as it should")
    extra: dict[str, Any] = {"kind": error_kind(error)}
    if (revision := getattr(error, "current_revision", None)) is not None:
        extra["current_revision"] = revision
    found, expected, do = (_without_paths(request, line) for line in (error.found, error.expected, error.do))
    return with_wait(answer(request, status_of(error), found, expected, do, extra), error)


def _without_paths(request: Request, line: str) -> str:
    folder = str(request.app.state.workspace.path)
    return line.replace(f"{folder}/", "").replace(folder, "the workspace")


async def _signed_out(request: Request, error: Exception) -> Response:
    if wants_json(request):
        response = answer(
            request, 401, "nobody is signed in", "a session or a token", "sign in", {"kind": "signed_out"}
        )
        response.headers["WWW-Authenticate"] = "Bearer"
        return response
    if request.method == "GET":
        query = f"?{request.url.query}" if request.url.query else ""
        return RedirectResponse(f"/signin?next={quote(request.url.path + query)}", 303)
    try:
        form = await checked_form(request, max_files=10)
        fields = [(name, value) for name, value in form.multi_items() if isinstance(value, str)]
    except (PreflabError, HTTPException):
        fields = []  # no page of this app has sent this form
    return page(request, "signed_out.html.j2", code=401, fields=fields, action=request.url.path)


async def _wrong_role(request: Request, error: Exception) -> Response:
    assert isinstance(error, WrongRole)
    return answer(
        request, 403, "this is not for your role", f"signed in {error}", "ask the lead", {"kind": "not_allowed"}
    )


async def _unreadable(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"] if part not in ("body", "query", "path"))
    fault = f"{where}: {first['msg'].removeprefix('Value error, ')}" if where else str(first["msg"])
    return answer(request, 422, fault, "a request as /api/docs describes it", "", {"kind": "invalid"})


async def _plain_http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    found, expected, do = WORDS.get(error.status_code, (str(error.detail), "", ""))
    kind = "not_found" if error.status_code == 404 else "invalid"
    return answer(request, error.status_code, found, expected, do, {"kind": kind})


async def _unexpected(request: Request, error: Exception) -> Response:
    response = _log_and_hide(request, error, 500, "something went wrong in the app")
    response.headers.update(security_headers(request.app.state.settings))  # this response does not pass the guard
    return response


def _log_and_hide(request: Request, error: Exception, status: int, found: str) -> Response:
    """Log an error under a number, and respond without details but with the number, which the person can pass on."""
    number = secrets.token_hex(4)
    log.error("%s %s failed, number %s", request.method, request.url.path, number, exc_info=error)
    do = f"try again; if it happens again, give the lead the number {number}"
    return bare_answer(status, found, "", do, as_json=wants_json(request))
