"""The wheel alone, in an empty environment: every page opens, nothing is missing, nothing is asked of another host."""

from __future__ import annotations

import json
import subprocess
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from labelling_site import go_on
from wheels import build_wheel, clean_environment, install_wheel

pytestmark = [pytest.mark.slow, pytest.mark.browser]

SERVE = """
import json, sys
from pathlib import Path
import preflab
from preflab.labelling.accounts import create_account
from preflab.labelling.assignment import next_turn
from preflab.labelling.campaigns import create_campaign
from preflab.labelling.options import CampaignOptions
from preflab.labelling.sessions import open_session
from preflab.labelling.submissions import Submission, submit
from preflab.records import Completion, Prompt, RankingAnswer
from preflab.store.workspace import Workspace
from preflab.web.app import ROUTERS
from preflab.web.serve import serve
from preflab.web.settings import WebSettings

with Workspace.open(sys.argv[1], create=True) as ws:
    prompt = Prompt.make(text="Why?")
    made = [Completion.make(prompt.id, text, "m", index=i) for i, text in enumerate(("Because.", "No."))]
    ws.put([prompt, *made])
    ids = [completion.id for completion in made]
    campaigns = {}
    for way in ("ranking", "side_by_side", "best_of", "likert", "thumbs", "score_then_rank"):
        options = CampaignOptions(name=way, way=way, criteria=("helpful",) if way == "likert" else ())
        campaigns[way] = create_campaign(ws, options, [ids], "Be *fair*.").id
    lead = create_account(ws, "Lea", "lead", "correct horse battery")
    anna = create_account(ws, "Anna", "labeler", "correct horse battery")
    ben = create_account(ws, "Ben", "labeler", "correct horse battery")
    task = next_turn(ws, campaigns["ranking"], ben.labeler_id).task.id
    submit(ws, Submission("key", task, ben.labeler_id, 0, RankingAnswer((1, 2)), note="so"))
    next_turn(ws, campaigns["ranking"], lead.labeler_id)
    routes = [route for router in ROUTERS for route in router.routes if getattr(route, "path", None)]
    addresses = sorted({route.path for route in routes if "GET" in (route.methods or ())})
    def ready(settings):
        print(json.dumps({
            "package": preflab.__file__, "url": settings.url, "cookie": settings.cookie, "campaigns": campaigns,
            "tasks": {way: ws.tasks(campaign_id=id)[0].id for way, id in campaigns.items()},
            "lead": open_session(ws, lead.id), "anna": open_session(ws, anna.id),
            "labeler": ben.labeler_id, "account": ben.id,
            "addresses": addresses,
        }), flush=True)
    serve(ws, WebSettings(port=0), ready)
"""
NOT_PAGES = ("/api/", "/static/", "/image/", "/favicon.ico", "/healthz", "/invite/")


@pytest.fixture(scope="module")
def wheel(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_wheel(repository, tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def server(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """The app served from an environment that has the wheel, and its dependencies from here."""
    folder = tmp_path_factory.mktemp("environment")
    programs = install_wheel(wheel, folder)
    program = [str(programs / "python"), "-c", SERVE, str(folder / "workspace")]
    process = subprocess.Popen(program, stdout=subprocess.PIPE, text=True, env=clean_environment(), cwd=folder)
    assert process.stdout is not None
    try:
        said = json.loads(process.stdout.readline())
        assert Path(said["package"]).is_relative_to(folder)
        yield said
    finally:
        process.terminate()
        process.wait(20)
        process.stdout.close()


def pages(server: dict[str, Any], way: str) -> list[str]:
    """Every page's address, filled in for the campaign of one way of judging."""
    known = {
        "{campaign_id}": server["campaigns"][way], "{task_id}": server["tasks"][way],
        "{labeler_id}": server["labeler"], "{account_id}": server["account"],
    }  # fmt: skip
    found = []
    for address in server["addresses"]:
        path = address
        for name, value in known.items():
            path = path.replace(name, value)
        if not path.startswith(NOT_PAGES):
            assert "{" not in path, f"say in this test how {address} is filled in"
            found.append(path)
    return [*found, "/api/docs"]


def opened(browser: Any, server: dict[str, Any], who: str, paths: list[str]) -> list[str]:
    """What goes wrong when these pages are opened one after the other."""
    wrong: list[str] = []
    url = server["url"]
    context = browser.new_context(base_url=url)
    context.add_cookies([{"name": server["cookie"], "value": server[who], "url": url}])
    page = context.new_page()
    page.on("request", lambda asked: None if asked.url.startswith(url) else wrong.append(f"asked {asked.url}"))
    page.on("response", lambda came: wrong.append(f"{came.status} {came.url}") if came.status >= 400 else None)
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("console", lambda said: wrong.append(said.text) if said.type in ("error", "warning") else None)
    for path in paths:
        page.goto(path)
        page.wait_for_load_state("networkidle")
    context.close()
    return wrong


def test_every_page_opens_and_asks_for_nothing_else(browser: Any, server: dict[str, Any]) -> None:
    assert len(pages(server, "ranking")) > 12
    assert not opened(browser, server, "lead", pages(server, "ranking"))


@pytest.mark.parametrize("way", ["ranking", "side_by_side", "best_of", "likert", "thumbs", "score_then_rank"])
def test_labelers_pages_open_for_every_way_of_judging(browser: Any, server: dict[str, Any], way: str) -> None:
    campaign = server["campaigns"][way]
    context = browser.new_context(base_url=server["url"])
    context.add_cookies([{"name": server["cookie"], "value": server["anna"], "url": server["url"]}])
    page = context.new_page()
    page.goto(f"/c/{campaign}")
    go_on(page, page.locator("main form button").first.click)  # the instructions are read
    assert page.locator("[data-card]").count() == 2
    context.close()
    paths = ["/", "/me", f"/c/{campaign}", f"/c/{campaign}/instructions", f"/c/{campaign}/done"]
    assert not opened(browser, server, "anna", paths)


def test_the_wheel_holds_what_is_not_python(wheel: Path, repository: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    source = repository / "src"
    others = {
        file.relative_to(source).as_posix()
        for file in (source / "preflab").rglob("*")
        if file.is_file() and "__pycache__" not in file.parts
    }
    assert not sorted(others - names)
