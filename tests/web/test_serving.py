"""A real server: where it may listen, the first link, proxies, and a browser on a plain-HTTP address of the network."""

from __future__ import annotations

import socket
from typing import Any

import httpx
import pytest

from preflab.errors import PreflabError
from preflab.labelling.accounts import create_account, list_accounts
from preflab.labelling.sessions import open_session
from preflab.store.workspace import Workspace
from preflab.web.serve import check_bind, first_link, listening
from preflab.web.settings import WebSettings
from web_app import PASSWORD, People, client, serving

PUBLIC = ("0.0.0.0", "::", "", "192.168.7.4", "somewhere.example")


@pytest.mark.parametrize("host", PUBLIC)
def test_others_cannot_reach_it_before_a_lead_has_a_password(ws: Workspace, host: str) -> None:
    settings = WebSettings(host=host)
    with pytest.raises(PreflabError, match="no lead has a password"):
        check_bind(ws, settings)
    create_account(ws, "Anna", "labeler", PASSWORD)
    create_account(ws, "Robot", "lead")  # a token alone is no password
    with pytest.raises(PreflabError, match="no lead has a password"), listening(ws, settings):
        pass
    create_account(ws, "Lea", "lead", PASSWORD)
    check_bind(ws, settings)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1", "127.0.0.9"])
def test_this_machine_may_always(ws: Workspace, host: str) -> None:
    check_bind(ws, WebSettings(host=host))


def test_it_listens_on_loopback_unless_told_otherwise(ws: Workspace) -> None:
    with listening(ws, WebSettings(port=0)) as (_, listener, found):
        assert listener.getsockname()[0] == "127.0.0.1"
        assert found.port == listener.getsockname()[1] > 0


def test_answers_are_not_held_back_for_an_acknowledgement(ws: Workspace) -> None:
    # Accepted connections inherit it; without it each answer on an open connection takes 40 ms more.
    with listening(ws, WebSettings(port=0)) as (_, listener, _):
        assert listener.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) != 0


def test_a_port_that_is_taken_is_said_in_words(ws: Workspace) -> None:
    with (
        listening(ws, WebSettings(port=0)) as (_, _, found),
        pytest.raises(PreflabError, match=f"127.0.0.1:{found.port}: Address already in use"),
        listening(ws, found),
    ):
        pass
    with pytest.raises(PreflabError, match="203.0.113.9"), listening(ws, WebSettings(host="203.0.113.9")):
        pass


def test_the_first_link_makes_the_lead_and_is_the_only_one(ws: Workspace) -> None:
    link = first_link(ws, WebSettings(port=8400))
    assert link is not None
    browser = client(ws)
    path = link.removeprefix("http://127.0.0.1:8400")
    assert path.startswith("/invite/")
    reply = browser.post(path, data={"name": "Lea", "password": PASSWORD})
    assert (reply.status_code, reply.headers["location"]) == (303, "/lead")
    assert [(account.name, account.role) for account in list_accounts(ws)] == [("Lea", "lead")]
    assert first_link(ws, WebSettings()) is None
    check_bind(ws, WebSettings(host="0.0.0.0"))


def test_a_real_server_says_nothing_of_itself(ws: Workspace) -> None:
    with serving(ws) as settings, httpx.Client(base_url=settings.url) as caller:
        reply = caller.get("/healthz")
        assert reply.json() == {"status": "ok"}
        assert "server" not in reply.headers
        assert caller.get("/healthz", headers={"Host": "rebound.evil.example"}).status_code == 421
        assert caller.post("/signin", content=b"x" * (settings.max_body + 1)).status_code == 413


def test_only_behind_a_proxy_is_the_sender_the_one_that_is_named(ws: Workspace) -> None:
    """Rate limits count per sender: without a proxy nobody may name another one."""
    with listening(ws, WebSettings(port=0)) as (server, _, _):
        assert server.config.proxy_headers is False
    with listening(ws, WebSettings(port=0, public_url="https://label.example.org")) as (server, _, _):
        assert server.config.proxy_headers is True
        allowed = set(str(server.config.forwarded_allow_ips).split(","))
        assert allowed <= {"127.0.0.1", "::1"}  # the proxy beside it, nobody else


def own_address() -> str:
    """An address of this machine that is not a loopback one."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # nothing is sent
            found = str(probe.getsockname()[0])
        except OSError:
            found = "127.0.0.1"
    if found.startswith("127."):
        pytest.skip("this machine has no address but loopback ones")
    return found


@pytest.mark.browser
def test_forms_work_on_a_plain_http_address_of_the_network(browser: Any, ws: Workspace, people: People) -> None:
    """Browsers send no Sec-Fetch-Site there, and `Origin: null` from forms under the policy no-referrer."""
    host = own_address()
    with serving(ws, WebSettings(host="0.0.0.0", port=0)) as settings:
        url = f"http://{host}:{settings.port}"
        page = browser.new_page(base_url=url)
        sent: list[dict[str, str]] = []
        page.on("request", lambda asked: sent.append(asked.all_headers()) if asked.method == "POST" else None)
        page.goto("/signin")
        page.fill("input[name=name]", "Anna")
        page.fill("input[name=password]", PASSWORD)
        page.click("button.main")
        page.wait_for_url(f"{url}/")
        assert "sec-fetch-site" not in sent[0]
        assert sent[0]["origin"] == url
        page.goto("/me")
        page.click("summary")
        page.fill("form[action='/me/tokens'] input", "mine")
        page.click("form[action='/me/tokens'] button")
        assert page.locator("code.secret").count() == 1
        page.click("text=Sign out")
        page.wait_for_url(f"{url}/signin")
        page.close()


@pytest.mark.browser
def test_a_page_of_another_site_changes_nothing(browser: Any, ws: Workspace, people: People) -> None:
    """A page of another origin, in the same browser, with the session's cookie there."""
    with serving(ws) as settings:
        context = browser.new_context()
        context.add_cookies([
            {"name": settings.cookie, "value": open_session(ws, people.anna.id), "url": settings.url}
        ])  # fmt: skip
        page = context.new_page()
        evil = f"""<form method="post" action="{settings.url}/me/tokens" target="_top"><input name="name" value="x">
            <button>press</button></form>"""
        context.route("http://evil.example/**", lambda route: route.fulfill(content_type="text/html", body=evil))
        page.goto("http://evil.example/")
        page.evaluate(
            "url => fetch(url, {method: 'POST', mode: 'no-cors', credentials: 'include'}).catch(() => null)",
            f"{settings.url}/signout",
        )
        with page.expect_navigation() as arrived:
            page.click("button")
        assert arrived.value.status == 403
        page.goto(f"{settings.url}/me")
        assert "Anna" in page.locator("main").inner_text()
        assert page.locator("table").count() == 0
        frame = f'<iframe src="{settings.url}/me"></iframe>'
        context.unroute("http://evil.example/**")
        context.route("http://evil.example/**", lambda route: route.fulfill(content_type="text/html", body=frame))
        page.goto("http://evil.example/")  # until the frame has its answer too
        assert not any("Anna" in (each.content() if each.url.startswith("http://127") else "") for each in page.frames)
        context.close()
