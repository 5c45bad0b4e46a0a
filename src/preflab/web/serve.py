"""Serves the app in one process."""

from __future__ import annotations

import gc
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import uvicorn

from preflab.errors import PreflabError
from preflab.labelling.accounts import has_lead_password, list_accounts
from preflab.labelling.invites import create_invite
from preflab.store.workspace import Workspace
from preflab.web.app import create_app
from preflab.web.connections import Patience, most_connections
from preflab.web.pacing import Turns
from preflab.web.settings import WebSettings

FIRST_LINK_HOURS = 24
KEEP_ALIVE = 75
"""Seconds for which an idle connection is kept: longer than people pause between requests, and than proxies keep it."""


def serve(ws: Workspace, settings: WebSettings, on_ready: Callable[[WebSettings], None] | None = None) -> None:
    """Serve the app until interrupted.

    Args:
        ws: an open workspace.
        settings: how the app is reached.
        on_ready: called once the app listens, with the settings that hold the actual port.

    Raises:
        PreflabError: the address is public and no lead has a password, or the app cannot listen on the address.
    """
    with listening(ws, settings) as (server, listener, bound):
        if on_ready is not None:
            on_ready(bound)
        gc.freeze()  # modules live as long as the process; collecting them too delayed responses by 0.2 s
        server.run(sockets=[listener])


@contextmanager
def listening(ws: Workspace, settings: WebSettings) -> Iterator[tuple[uvicorn.Server, socket.socket, WebSettings]]:
    """A server that does not run yet, its listening socket, and the settings with the actual port.

    Raises:
        PreflabError: as `serve`.
    """
    check_bind(ws, settings)
    with listen(settings) as listener:
        bound = replace(settings, port=listener.getsockname()[1])
        limits = {"most": most_connections(), "turns": Turns()}
        config = uvicorn.Config(
            create_app(ws, bound), workers=1, log_level="warning", access_log=False, server_header=False,
            proxy_headers=bool(settings.public_url), timeout_graceful_shutdown=5, lifespan="on",
            timeout_keep_alive=KEEP_ALIVE, http=type("Patience", (Patience,), limits),
        )  # fmt: skip
        yield uvicorn.Server(config), listener, bound


def check_bind(ws: Workspace, settings: WebSettings) -> None:
    """Refuse a public address while no lead has a password, since anybody could then become the lead.

    Raises:
        PreflabError: the address is not a loopback address and no lead has a password.
    """
    if settings.is_public and not has_lead_password(ws):
        raise PreflabError(
            f"the address {settings.host} can be reached from other machines, and no lead has a password yet",
            "a loopback address until a lead has one",
            "start without --host, open the link it prints, choose a password, then start it again with --host",
        )


def first_link(ws: Workspace, settings: WebSettings) -> str | None:
    """A link that can be used once to make the first lead; None if there is an account already."""
    if list_accounts(ws):
        return None
    _, token = create_invite(ws, "lead", (), FIRST_LINK_HOURS, by="")
    return f"{settings.url}/invite/{token}"


def listen(settings: WebSettings) -> socket.socket:
    """A socket that listens on the address of the settings.

    Raises:
        PreflabError: there is no such address on this machine, or the port is taken.
    """
    try:
        family, _, _, _, address = socket.getaddrinfo(settings.host, settings.port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, socket.SOCK_STREAM)
    except OSError as error:
        raise PreflabError(f"the address {settings.host}: {error.strerror}", "an address of this machine") from None
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    # Accepted connections inherit TCP_NODELAY, which asyncio sets only on sockets it has made itself. Without it the
    # body of every response waits 40 ms for the client's delayed acknowledgement of the head.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    try:
        listener.bind(address)
        listener.listen(1024)
    except (OSError, OverflowError) as error:
        listener.close()
        raise PreflabError(
            f"{settings.host}:{settings.port}: {getattr(error, 'strerror', error)}",
            "an address of this machine and a free port",
            "end the program that uses it, or choose another port with --port",
        ) from None
    return listener
