"""Settings of the web app: address, proxies, TLS and limits of request bodies."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import ip_address
from urllib.parse import SplitResult, urlsplit

from preflab.errors import PreflabError

MAX_BODY = 16 * 1024 * 1024
"""Largest body of a lead's request, in bytes; larger files are imported on the command line."""

LABELERS_BODY = 2 * 1024 * 1024
"""Largest body of a request by anybody else who is signed in, in bytes: several times the longest draft."""

STRANGERS_BODY = 256 * 1024
"""Largest body of a request by somebody who is not signed in, in bytes. Enough for signing in, and for a form that was
filled in before the session ended, which the page that asks to sign in again keeps."""


def split_address(address: str) -> SplitResult:
    """The parts of an address; all are empty if it cannot be parsed."""
    try:
        return urlsplit(address)
    except ValueError:
        return urlsplit("")


@dataclass(frozen=True)
class WebSettings:
    """The address on which the app listens, and how browsers reach it.

    Raises:
        PreflabError: `public_url` or an origin is not a valid address.
    """

    host: str = "127.0.0.1"
    """Address to listen on; only loopback addresses are allowed until a lead has a password."""
    port: int = 8400
    """Port to listen on; 0 takes a free one."""
    trusted_origins: tuple[str, ...] = ()
    """Further origins whose pages may send changes, e.g. `https://label.example.org` behind a proxy."""
    https: bool = False
    """Browsers reach the app over TLS, through a proxy: cookies are Secure, and HSTS is sent for a year."""
    public_url: str = ""
    """The address people use, if it is not `http://host:port`; links and invitations start with it."""
    max_body: int = MAX_BODY
    """Largest body of a request, in bytes."""

    def __post_init__(self) -> None:
        for origin in (*self.trusted_origins, *filter(None, (self.public_url,))):
            parts = split_address(origin)
            if parts.scheme not in ("http", "https") or not parts.hostname or parts.path.strip("/"):
                raise PreflabError(
                    f"the origin {origin!r}", "an address such as https://label.example.org, without a path"
                )

    @property
    def is_public(self) -> bool:
        """True if other machines can reach the address it listens on."""
        if self.host == "localhost":
            return False
        try:
            return not ip_address(self.host).is_loopback
        except ValueError:
            return True

    @property
    def url(self) -> str:
        """The address that links start with, without a slash at the end."""
        if self.public_url:
            return self.public_url.rstrip("/")
        host = "127.0.0.1" if self.host in ("", "0.0.0.0", "::") else self.host
        return f"http{'s' if self.https else ''}://{f'[{host}]' if ':' in host else host}:{self.port}"

    @property
    def secure(self) -> bool:
        """True if browsers reach the app over TLS."""
        return self.https or self.public_url.startswith("https://")

    @property
    def cookie(self) -> str:
        """Name of the session's cookie; it includes the port, because browsers share cookies between ports."""
        return f"{'__Host-' if self.secure else ''}preflab_{self.port}"
