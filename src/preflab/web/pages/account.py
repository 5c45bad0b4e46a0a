"""Pages for signing in and out, and for the own account."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Form, Request, Response
from fastapi.responses import RedirectResponse
from pydantic import AfterValidator

from preflab.errors import PreflabError
from preflab.labelling.accounts import PASSWORD_LENGTH, Account, set_password
from preflab.labelling.sessions import close_session, create_token, open_session, revoke_token, tokens
from preflab.labelling.signing_in import check_password, know_device, sign_in
from preflab.store.workspace import Workspace
from preflab.web.errors import sentence, status_of, with_wait
from preflab.web.identity import Me, Settled, Workspaced, device_of, forget, remember, remember_device, who
from preflab.web.pages import page
from preflab.web.settings import WebSettings, split_address
from preflab.web.values import storable

router = APIRouter(include_in_schema=False)

Text = Annotated[str, Form(max_length=1000), AfterValidator(storable)]
RULE = f"at least {PASSWORD_LENGTH} characters"


def address(request: Request) -> str:
    """The network address that a request comes from, for rate limits."""
    return request.client.host if request.client else ""


def own_path(target: str) -> str:
    """A path of this app to go to after signing in; the first page if `target` leads outside of the app."""
    parts = split_address(target)
    inside = not parts.scheme and not parts.netloc and target.startswith("/") and not target.startswith(("//", "/\\"))
    return target if inside and target.isprintable() and "\\" not in target else "/"


@router.get("/signin")
def signin_page(request: Request, next: str = "/") -> Response:
    """The sign-in form."""
    if who(request) is not None:
        return RedirectResponse(own_path(next), 303)
    return page(request, "signin.html.j2", name="", problem="", next=own_path(next))


@router.post("/signin")
def signin(
    request: Request, ws: Workspaced, settings: Settled, name: Text, password: Text, next: Text = "/"
) -> Response:
    """Check name and password; a new session replaces the browser's old one."""
    try:
        account = sign_in(ws, name, password, address(request), device_of(request))
    except PreflabError as error:
        fields = {"name": name, "next": own_path(next), "problem": sentence(error)}
        return with_wait(page(request, "signin.html.j2", code=status_of(error), **fields), error)
    return enter(request, ws, settings, account, own_path(next))


@router.post("/signout")
def signout(request: Request, ws: Workspaced, settings: Settled, next: Text = "/signin") -> Response:
    """End the session, in the browser and on the server."""
    if token := request.cookies.get(settings.cookie):
        close_session(ws, token)
    response = RedirectResponse(own_path(next), 303)
    forget(response, settings)
    return response


@router.get("/me")
def profile(request: Request, ws: Workspaced, me: Me) -> Response:
    """The page of the own account."""
    return _profile(request, ws, me)


@router.post("/me/password")
def change_password(request: Request, ws: Workspaced, settings: Settled, me: Me, old: Text, new: Text) -> Response:
    """Change the password; all sessions end, and this browser gets a new one."""
    try:
        check_password(ws, me, old)
        set_password(ws, me.id, new, by=me.id)
    except PreflabError as error:
        return with_wait(_profile(request, ws, me, status_of(error), problem=sentence(error)), error)
    response = _profile(request, ws, me, message="The password is changed.")
    remember(response, settings, open_session(ws, me.id))
    remember_device(response, settings, know_device(ws, me.id, device_of(request)))
    return response


@router.post("/me/tokens")
def make_token(request: Request, ws: Workspaced, me: Me, name: Text) -> Response:
    """Create a token and show it; it cannot be shown again later."""
    return _profile(request, ws, me, token=create_token(ws, me.id, name, by=me.id))


@router.post("/me/tokens/{token_id}/revoke")
def end_token(ws: Workspaced, me: Me, token_id: str) -> Response:
    """Revoke a token, with immediate effect."""
    revoke_token(ws, me.id, token_id, by=me.id)
    return RedirectResponse("/me", 303)


def enter(request: Request, ws: Workspace, settings: WebSettings, account: Account, target: str) -> Response:
    """Open a new session for the browser, end its old one, and record the browser as a device of the account."""
    if old_token := request.cookies.get(settings.cookie):
        close_session(ws, old_token)
    response = RedirectResponse(target, 303)
    remember(response, settings, open_session(ws, account.id))
    remember_device(response, settings, know_device(ws, account.id, device_of(request)))
    return response


def _profile(
    request: Request,
    ws: Workspace,
    me: Account,
    code: int = 200,
    *,
    message: str = "",
    problem: str = "",
    token: str = "",
) -> Response:
    return page(
        request, "me.html.j2", code=code, message=message, problem=problem, token=token, rule=RULE,
        least=PASSWORD_LENGTH,
        tokens=[each for each in tokens(ws, me.id) if each.revoked_at is None],
    )  # fmt: skip
