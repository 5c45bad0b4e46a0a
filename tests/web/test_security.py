"""The door: which changes are let in, which hosts are known, what is refused before it is read."""

from __future__ import annotations

import pytest
from starlette.datastructures import Headers

from preflab.errors import PreflabError
from preflab.web.security import from_own_page, known_host, refusal, security_headers
from preflab.web.settings import WebSettings

HOST = "127.0.0.1:8400"
OWN = "http://127.0.0.1:8400"
PROXIED = WebSettings(trusted_origins=("https://label.example.org",), public_url="https://rank.example.org")


def headers(**given: str) -> Headers:
    """Headers of a request to the app; underscores stand for dashes."""
    return Headers({"host": HOST} | {name.replace("_", "-"): value for name, value in given.items()})


@pytest.mark.parametrize(
    ("given", "let_in"),
    [
        # What browsers say over TLS and on loopback.
        ({"sec_fetch_site": "same-origin", "origin": OWN, "cookie": "a=b"}, True),
        ({"sec_fetch_site": "none", "cookie": "a=b"}, True),
        ({"sec_fetch_site": "cross-site", "origin": "https://evil.example", "cookie": "a=b"}, False),
        ({"sec_fetch_site": "same-site", "origin": "http://127.0.0.1:9000", "cookie": "a=b"}, False),
        ({"sec_fetch_site": "cross-site", "origin": OWN, "cookie": "a=b"}, False),
        ({"sec_fetch_site": "cross-site"}, False),
        # A plain-HTTP address of the local network: Origin alone.
        ({"origin": OWN, "cookie": "a=b"}, True),
        ({"origin": "http://127.0.0.1:9000", "cookie": "a=b"}, False),
        ({"origin": "https://evil.example", "cookie": "a=b"}, False),
        ({"origin": "http://127.0.0.1:8400.evil.example", "cookie": "a=b"}, False),
        ({"origin": "null", "cookie": "a=b"}, False),
        ({"origin": "null"}, False),
        # Signing in from a strange page is a change as well, cookie or not.
        ({"origin": "https://evil.example"}, False),
        # Scripts.
        ({"authorization": "Bearer abc"}, True),
        ({"authorization": "Bearer abc", "origin": "https://evil.example"}, True),
        ({"authorization": "Bearer abc", "origin": "https://evil.example", "cookie": "a=b"}, False),
        ({"authorization": "Basic abc", "origin": "https://evil.example"}, False),
        ({}, True),
        ({"cookie": "a=b"}, False),
    ],
)
def test_changes_come_from_own_pages(given: dict[str, str], let_in: bool) -> None:
    assert from_own_page(headers(**given), WebSettings()) is let_in


@pytest.mark.parametrize(
    ("origin", "let_in"),
    [
        ("https://label.example.org", True),
        ("https://rank.example.org", True),
        ("http://label.example.org", False),
        ("https://label.example.org:8443", False),
        ("https://label.example.org.evil.example", False),
    ],
)
@pytest.mark.parametrize("site", ["cross-site", "same-site", None])
def test_trusted_origins_behind_a_proxy(origin: str, let_in: bool, site: str | None) -> None:
    given = {"origin": origin, "cookie": "a=b"} | ({"sec_fetch_site": site} if site else {})
    assert from_own_page(headers(**given), PROXIED) is let_in


@pytest.mark.parametrize(
    ("host", "known"),
    [
        ("127.0.0.1:8400", True),
        ("localhost:8400", True),
        ("[::1]:8400", True),
        ("192.168.7.4:8400", True),  # an address cannot be rebound, only a name can
        ("rank.example.org", True),
        ("label.example.org:443", True),
        ("evil.example", False),
        ("evil.example:8400", False),
        ("127.0.0.1.evil.example", False),
        ("", False),
        ("[half", False),
    ],
)
def test_names_that_are_not_ours_are_refused(host: str, known: bool) -> None:
    assert known_host(host, PROXIED) is known


def test_reading_needs_no_origin_but_a_known_host() -> None:
    assert refusal("GET", headers(sec_fetch_site="cross-site", cookie="a=b"), WebSettings()) is None
    strange = refusal("GET", Headers({"host": "evil.example"}), WebSettings())
    assert strange is not None
    assert strange.status == 421


@pytest.mark.parametrize("length", ["1048577", "-1", "many", "\u00b2"])
def test_long_bodies_are_refused_before_they_are_read(length: str) -> None:
    found = refusal("POST", headers(content_length=length), WebSettings(max_body=1048576))
    assert found is not None
    assert found.status == 413


def test_what_every_answer_says() -> None:
    said = security_headers(WebSettings())
    policy = said["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert "http:" not in policy
    assert "data:" not in policy
    assert said["X-Content-Type-Options"] == "nosniff"
    assert "Strict-Transport-Security" not in said
    assert "Strict-Transport-Security" in security_headers(PROXIED)


def test_settings_know_how_they_are_reached() -> None:
    assert not WebSettings().is_public
    assert not WebSettings(host="localhost").is_public
    assert not WebSettings(host="::1").is_public
    assert WebSettings(host="0.0.0.0").is_public
    assert WebSettings(host="192.168.7.4").is_public
    assert WebSettings(host="somewhere.example").is_public
    assert WebSettings(host="").is_public
    assert WebSettings(host="0.0.0.0", port=99).url == "http://127.0.0.1:99"
    assert PROXIED.url == "https://rank.example.org"
    assert PROXIED.cookie == "__Host-preflab_8400"
    assert WebSettings().cookie == "preflab_8400"


@pytest.mark.parametrize("origin", ["label.example.org", "ftp://label.example.org", "https://a.example/path", "*"])
def test_origins_that_are_none_are_refused(origin: str) -> None:
    with pytest.raises(PreflabError, match="origin"):
        WebSettings(trusted_origins=(origin,))
