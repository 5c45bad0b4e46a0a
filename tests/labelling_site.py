"""The labelling app really served, for tests with a browser: campaigns, people, a server that can be stopped."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from preflab.labelling.accounts import Account, create_account
from preflab.labelling.campaign_names import free_name
from preflab.labelling.campaigns import read_guideline
from preflab.labelling.sessions import open_session
from preflab.records import Campaign, Judgment
from preflab.store.workspace import Workspace
from preflab.web.settings import WebSettings
from web_app import PASSWORD, make_campaign, serving


class Site:
    """A workspace and a server in a thread."""

    def __init__(self, folder: Path) -> None:
        self.ws = Workspace.open(folder / "workspace", create=True)
        self.settings = WebSettings(port=0)
        self._running: AbstractContextManager[WebSettings] | None = None
        self.num_people = 0

    def start(self) -> None:
        """Serve; the port stays the same from the first start on."""
        self._running = serving(self.ws, self.settings)
        self.settings = self._running.__enter__()

    def stop(self) -> None:
        """End the server; the workspace stays open."""
        if self._running is not None:
            self._running.__exit__(None, None, None)
            self._running = None

    def close(self) -> None:
        """End everything."""
        self.stop()
        self.ws.close()

    def campaign(self, way: str, texts: Sequence[Sequence[str]], **options: Any) -> Campaign:
        """A campaign with one task per list of texts, one label per task wanted."""
        if way == "likert":
            options.setdefault("criteria", ("helpful", "honest"))
        name = free_name(self.ws, f"Try {way}")
        return make_campaign(self.ws, texts, **{"way": way, "overlap": 1, "name": name} | options)

    def labeler(self, *has_read: Campaign) -> Account:
        """A new labeler, who has read the instructions of these campaigns."""
        self.num_people += 1
        account = create_account(self.ws, f"Person {self.num_people}", "labeler", PASSWORD)
        for campaign in has_read:
            read_guideline(self.ws, campaign.id, account.labeler_id, 1)
        return account

    def judgments(self, campaign: Campaign, *, all_revisions: bool = False) -> list[Judgment]:
        """The judgments of a campaign, the latest revision of each unless all are wanted."""
        return list(self.ws.judgments(campaign_id=campaign.id, all_revisions=all_revisions))

    def context(self, browser: Any, account: Account, **options: Any) -> Any:
        """A browser context that is signed in as this person."""
        size = {"viewport": {"width": 1280, "height": 900}}
        context = browser.new_context(base_url=self.settings.url, **size | options)
        context.set_default_timeout(10_000)
        secret = open_session(self.ws, account.id)
        context.add_cookies([{"name": self.settings.cookie, "value": secret, "url": self.settings.url}])
        return context


def texts_by_letter(page: Any) -> dict[str, str]:
    """Letter on the page → text of that completion."""
    return dict(
        page.evaluate(
            "[...document.querySelectorAll('[data-card]')].map(card => "
            "[card.dataset.card, card.querySelector('.content').innerText.trim()])"
        )
    )


def watched(page: Any) -> list[str]:
    """What goes wrong on a page from now on: console errors, exceptions, requests that leave the host."""
    wrong: list[str] = []
    page.on("console", lambda message: wrong.append(message.text) if message.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("request", lambda asked: None if "//127.0.0.1:" in asked.url else wrong.append(f"asked {asked.url}"))
    return wrong


def press(page: Any, keys: str) -> None:
    """One key after the other, once the page listens; names of keys stand between spaces: `2 1 Enter`."""
    page.wait_for_selector("html.scripted", state="attached")
    for key in keys.split():
        page.keyboard.press(key)


ARRIVED = (
    "(!window.before && document.readyState === 'complete' "
    "&& (!document.getElementById('judging') || document.documentElement.classList.contains('scripted')))"
)
ASKED = "(window.before && document.getElementById('notice')?.hidden === false)"


def go_on(page: Any, act: Callable[[], object]) -> None:
    """Act, and return when the next page is there and listens: neither a click nor a key waits for the page it opens.

    The page needs scripts; without them, `page.expect_navigation` waits for the next one.
    """
    leave(page, act)
    page.wait_for_function(f"() => {ARRIVED}")


def go_on_unless_asked(page: Any, act: Callable[[], object]) -> bool:
    """`go_on`, or return when this page shows a notice instead; whether the next page is there."""
    leave(page, act)
    page.wait_for_function(f"() => {ARRIVED} || {ASKED}")
    return not page.evaluate("Boolean(window.before)")


def leave(page: Any, act: Callable[[], object]) -> None:
    """Mark the page, and act; the next page does not have the mark."""
    page.evaluate("window.before = true")
    act()


def submit_by_enter(page: Any) -> None:
    """Enter, until the next page is there and listens."""
    go_on(page, lambda: press(page, "Enter"))
