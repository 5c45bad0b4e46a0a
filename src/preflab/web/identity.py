"""Who is asking: an account, from the session's cookie or from a bearer token."""

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
"""Seconds a browser keeps the session's cookie: the longest that browsers allow. The session ends sooner: so long after
its last use as `labelling.sessions` says. A cookie of that age would end it so long after signing in instead."""


class SignedOut(Exception):
    """Nobody is signed in; a page leads to the sign-in page, the API answers 401."""


class WrongRole(Exception):
    """Somebody is signed in, but not as one of the roles that may do this."""

    def __init__(self, roles: tuple[str, ...]) -> None:
        self.roles = roles
        super().__init__(f"for {' or '.join(roles)}")


async def workspace(request: Request) -> Workspace:
    """The workspace that is served."""
    ws: Workspace = request.app.state.workspace
    return ws


async def web_settings(request: Request) -> WebSettings:
    """How the app is reached."""
    settings: WebSettings = request.app.state.settings
    return settings


def bearer(request: Request) -> str | None:
    """The token of an `Authorization: Bearer …` header."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else None


def who(request: Request) -> Account | None:
    """The account behind a request, or None; a bearer token goes before a cookie."""
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
    """`who`, for the event loop: it asks the database in a thread.

    A request without a token or a cookie is nobody's, known at once: hundreds of strangers at a time would else fill
    the threads that everybody's requests are answered in.
    """
    settings: WebSettings = request.app.state.settings
    if bearer(request) is None and not request.cookies.get(settings.cookie):
        return None
    return await run_in_threadpool(who, request)


def signed_in(*roles: str) -> Callable[[Request], Account]:
    """A dependency that gives the account, of one of these roles where any are named.

    Raises:
        SignedOut: nobody is signed in (the page of the sign-in form, or 401).
        WrongRole: signed in as something else (403).
    """

    def found(request: Request) -> Account:
        account = who(request)
        if account is None:
            raise SignedOut
        if roles and account.role not in roles:
            raise WrongRole(roles)
        return account

    return found


Workspaced = Annotated[Workspace, Depends(workspace)]
Settled = Annotated[WebSettings, Depends(web_settings)]
Me = Annotated[Account, Depends(signed_in())]
Lead = Annotated[Account, Depends(signed_in("lead"))]
Adjudicator = Annotated[Account, Depends(signed_in("lead", "adjudicator"))]


def remember(response: Response, settings: WebSettings, token: str) -> None:
    """Give the browser the session's cookie."""
    _give(response, settings, settings.cookie, token)


def remember_device(response: Response, settings: WebSettings, secret: str) -> None:
    """Give the browser the cookie by which it is known as one that an account has signed in on; it opens nothing."""
    _give(response, settings, device_cookie(settings), secret)


def device_of(request: Request) -> str:
    """The secret of the browser's device cookie; "" without one."""
    return request.cookies.get(device_cookie(request.app.state.settings), "")


def device_cookie(settings: WebSettings) -> str:
    """Name of the device cookie; it stays when one signs out."""
    return f"{settings.cookie}_device"


def _give(response: Response, settings: WebSettings, name: str, value: str) -> None:
    response.set_cookie(
        name, value, max_age=COOKIE_AGE, path="/", secure=settings.secure, httponly=True, samesite="lax"
    )


def forget(response: Response, settings: WebSettings) -> None:
    """Take the session's cookie back."""
    response.delete_cookie(settings.cookie, path="/", secure=settings.secure, httponly=True, samesite="lax")
