"""Static files: a browser asks for each once, also for the modules that other modules import."""

from __future__ import annotations

import re

import pytest

from preflab.store.workspace import Workspace
from preflab.web.pages import static_files, static_url
from web_app import client

IMPORTED = re.compile(rb'from "\./([\w.-]+)"')


@pytest.mark.parametrize("name", sorted(static_files()))
def test_each_is_kept_for_a_year(ws: Workspace, name: str) -> None:
    reply = client(ws).get(static_url(name))
    assert (reply.status_code, reply.content) == (200, static_files()[name])
    assert reply.headers["cache-control"] == "public, max-age=31536000, immutable"


def test_what_a_module_imports_lies_beside_it() -> None:
    imported = {found.decode() for data in static_files().values() for found in IMPORTED.findall(data)}
    assert len(imported) > 5
    assert imported <= set(static_files())
    assert len({static_url(name).rpartition("/")[0] for name in imported}) == 1


def test_a_page_of_another_version_gets_todays_files_and_does_not_keep_them(ws: Workspace) -> None:
    reply = client(ws).get("/static/0123456789ab/label.js")
    assert (reply.status_code, reply.headers["cache-control"]) == (200, "no-cache")
    assert client(ws).get("/static/0123456789ab/nothing.js").status_code == 404
