"""How the app is reached: address, proxies, TLS."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import ip_address
from urllib.parse import SplitResult, urlsplit

from preflab.errors import PreflabError

MAX_BODY = 16 * 1024 * 1024
"""Bytes of one request by a lead; larger files are imported on the command line."""

LABELERS_BODY = 2 * 1024 * 1024
"""Bytes of one request by anybody else who is signed in: several times the longest draft."""

STRANGERS_BODY = 256 * 1024
"""Bytes of a request by somebody who is not signed in: enough for signing in, and for what was typed before a session
ended, which the page that asks to sign in again keeps."""


def split_address(address: str) -> SplitResult:
    """An address in its parts; one that cannot be read has none of them."""
    try:
        return urlsplit(address)
    except ValueError:
        return urlsplit("")


@dataclass(frozen=True)
class WebSettings:
    """Where the app listens and what it believes about the way to it.

    Raises:
        PreflabError: an origin or address that is not one.
    """

    host: str = "127.0.0.1"
    """Address to listen on; anything but a loopback address is refused until a lead's password is set."""
    port: int = 8400
    """Port to listen on; 0 takes a free one."""
    trusted_origins: tuple[str, ...] = ()
    """Further origins whose pages may send changes, e.g. `https://label.example.org` behind a proxy."""
    https: bool = False
    """Browsers reach the app by TLS (a proxy ends it): cookies are Secure, and a year of HTTPS is promised."""
    public_url: str = ""
    """The address people use when it is not `http://host:port`; links and invites begin with it."""
    max_body: int = MAX_BODY
    """Bytes a request's body may have."""

    def __post_init__(self) -> None:
        for origin in (*self.trusted_origins, *filter(None, (self.public_url,))):
            parts = split_address(origin)
            if parts.scheme not in ("http", "https") or not parts.hostname or parts.path.strip("/"):
                raise PreflabError(
                    f"the origin {origin!r}", "an address such as https://label.example.org, without a path"
                )

    @property
    def is_public(self) -> bool:
        """True when others than this machine can reach the address it listens on."""
        if self.host == "localhost":
            return False
        try:
            return not ip_address(self.host).is_loopback
        except ValueError:
            return True

    @property
    def url(self) -> str:
        """The address to put into links, without a slash at the end."""
        if self.public_url:
            return self.public_url.rstrip("/")
        host = "127.0.0.1" if self.host in ("", "0.0.0.0", "::") else self.host
        return f"http{'s' if self.https else ''}://{f'[{host}]' if ':' in host else host}:{self.port}"

    @property
    def secure(self) -> bool:
        """True when the browser's side of the connection is TLS."""
        return self.https or self.public_url.startswith("https://")

    @property
    def cookie(self) -> str:
        """Name of the session's cookie; the port is in it because browsers share cookies between ports."""
        return f"{'__Host-' if self.secure else ''}preflab_{self.port}"
