"""Identifies the account behind a request, from the session's cookie or from a bearer token."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

from fastapi import Depends, Request, Response
from starlette.concurrency import run_in_threadpool

from preflab.labelling.accounts import Account
from preflab.labelling.sessions import account_of_session, account_of_token
from preflab.store.workspace import Workspace
from preflab.web.settings import WebSettings

COOKIE_AGE = 400 * 24 * 3600
"""Seconds for which a browser keeps the session's cookie: the longest time that browsers allow. The session itself ends
sooner, SESSION_AGE after its last use (`labelling.sessions`). A cookie with that age would count from the sign-in."""


class SignedOut(Exception):
    """Nobody is signed in; pages redirect to the sign-in page, the API responds with 401."""


class WrongRole(Exception):
    """The account's role may not do this."""

    def __init__(self, roles: tuple[str, ...]) -> None:
        self.roles = roles
        super().__init__(f"for {' or '.join(roles)}")


async def workspace(request: Request) -> Workspace:
    """The workspace that the app serves."""
    ws: Workspace = request.app.state.workspace
    return ws


async def web_settings(request: Request) -> WebSettings:
    """The settings of the app."""
    settings: WebSettings = request.app.state.settings
    return settings


def bearer(request: Request) -> str | None:
    """The token of an `Authorization: Bearer …` header."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else None


def who(request: Request) -> Account | None:
    """The account behind a request, or None; a bearer token takes precedence over a cookie."""
    ws: Workspace = request.app.state.workspace
    settings: WebSettings = request.app.state.settings
    token = bearer(request)
    if token is not None:
        account = account_of_token(ws, token)
    else:
        cookie = request.cookies.get(settings.cookie)
        account = account_of_session(ws, cookie) if cookie else None
    request.state.me = account
    return account


async def who_sends(request: Request) -> Account | None:
    """`who`, for use in the event loop: the database is queried in a thread.

    For a request without token and cookie it returns None without a thread, so that many anonymous requests cannot
    occupy the threads in which all requests are handled.
    """
    settings: WebSettings = request.app.state.settings
    if bearer(request) is None and not request.cookies.get(settings.cookie):
        return None
    return await run_in_threadpool(who, request)


def signed_in(*roles: str) -> Callable[[Request], Account]:
    """A dependency that returns the signed-in account, which must have one of these roles if any are given.

    Raises:
        SignedOut: nobody is signed in (the sign-in page, or 401).
        WrongRole: the account has another role (403).
    """

    def require_account(request: Request) -> Account:
        account = who(request)
        if account is None:
            raise SignedOut
        if roles and account.role not in roles:
            raise WrongRole(roles)
        return account

    return require_account


Workspaced = Annotated[Workspace, Depends(workspace)]
Settled = Annotated[WebSettings, Depends(web_settings)]
Me = Annotated[Account, Depends(signed_in())]
Lead = Annotated[Account, Depends(signed_in("lead"))]
Adjudicator = Annotated[Account, Depends(signed_in("lead", "adjudicator"))]


def remember(response: Response, settings: WebSettings, token: str) -> None:
    """Set the session's cookie."""
    _set_cookie(response, settings, settings.cookie, token)


def remember_device(response: Response, settings: WebSettings, secret: str) -> None:
    """Set the device cookie, which marks a browser in which an account has signed in; it gives no access."""
    _set_cookie(response, settings, device_cookie(settings), secret)


def device_of(request: Request) -> str:
    """The secret in the browser's device cookie; "" without one."""
    return request.cookies.get(device_cookie(request.app.state.settings), "")


def device_cookie(settings: WebSettings) -> str:
    """The name of the device cookie, which is kept when the person signs out."""
    return f"{settings.cookie}_device"


def _set_cookie(response: Response, settings: WebSettings, name: str, value: str) -> None:
    response.set_cookie(
        name, value, max_age=COOKIE_AGE, path="/", secure=settings.secure, httponly=True, samesite="lax"
    )


def forget(response: Response, settings: WebSettings) -> None:
    """Delete the session's cookie."""
    response.delete_cookie(settings.cookie, path="/", secure=settings.secure, httponly=True, samesite="lax")
