"""What tests of pages share: a workspace, people in it, passwords that cost no time, a browser, simulator pages."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from argon2 import PasswordHasher

from labelling_site import Site
from preflab.explain.simulator_page import simulator_page
from preflab.labelling import passwords
from preflab.store.workspace import Workspace
from web_app import People, make_people


@pytest.fixture(autouse=True)
def quick_passwords(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same hashes with the least work; what they are worth is tested where they are made."""
    monkeypatch.setattr(passwords, "HASHER", PasswordHasher(time_cost=1, memory_cost=8, parallelism=1))


@pytest.fixture
def ws(tmp_path: Path) -> Iterator[Workspace]:
    """An empty workspace."""
    with Workspace.open(tmp_path / "workspace", create=True) as workspace:
        yield workspace


@pytest.fixture
def people(ws: Workspace) -> People:
    """A lead, an adjudicator and two labelers."""
    return make_people(ws)


@pytest.fixture(scope="module")
def browser(chromium: str) -> Iterator[Any]:
    """A headless Chromium."""
    sync = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with sync.sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield launched
        launched.close()


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """The labelling app, served, with no campaign yet."""
    served = Site(tmp_path_factory.mktemp("site"))
    served.start()
    yield served
    served.close()


@pytest.fixture
def simulator(browser: Any, tmp_path: Path) -> Iterator[Callable[..., Any]]:
    """Opens a page about some data from a file; what goes wrong in it fails the test."""
    contexts, wrong = [], []

    def open_page(data: dict[str, Any], *, guess: str | None = None, **options: Any) -> Any:
        file = tmp_path / f"simulator-{len(contexts)}.html"
        file.write_text(simulator_page(data), encoding="utf-8")
        context = browser.new_context(**{"viewport": {"width": 1280, "height": 900}, **options})
        context.set_default_timeout(10_000)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda said: wrong.append(said.text))
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("request", lambda asked: None if asked.url == file.as_uri() else wrong.append(f"asked {asked.url}"))
        page.goto(file.as_uri())
        page.wait_for_selector("html.scripted", state="attached")
        if guess:
            page.check(f"input[value={guess}]")
            page.get_by_role("button", name="Show what happens").click()
        elif page.locator("#guess").is_visible():
            page.get_by_role("button", name="Skip the guess").click()
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert wrong == []
