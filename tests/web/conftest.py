"""What tests of the app share: a workspace, people in it, and passwords that cost no time."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from argon2 import PasswordHasher

from labelling_site import Site
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
