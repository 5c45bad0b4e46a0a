"""Takes the pictures of README and pages from this version: the labelling app served for real, pages, and a report.

python docs/pictures.py                                  docs/images: labelling.png, phone.png, lead.png, simulator.png
python docs/pictures.py preflab-demo/report.html         and report.png: the top of this report

Needs Chromium, by $PREFLAB_CHROMIUM or on the PATH.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(REPOSITORY / "tests"), str(REPOSITORY / "src")]
IMAGES = REPOSITORY / "docs" / "images"

DESK = {"width": 1120, "height": 720}
PHONE = {"width": 390, "height": 720}
PROMPT = "How do I return a pair of shoes?"
COMPLETIONS = (
    "You can't.",
    "Within 30 days, unworn, with the label from *My orders*.",
    "1. Open *My orders*.\n2. Choose **Return**.\n3. Print the label, put it on the box, and bring it to any post "
    "office.\n\nThe money is back within five days.",
)
RANKS = {"You": 3, "Within": 2, "Open": 1}
"""First word of a completion as it is shown → its rank."""


@contextmanager
def browser() -> Iterator[Any]:
    """Chromium without a window."""
    from playwright.sync_api import sync_playwright

    names = (os.environ.get("PREFLAB_CHROMIUM"), shutil.which("chromium"), shutil.which("google-chrome"))
    path = next((name for name in names if name), None)
    if path is None:
        raise SystemExit("no Chromium was found: install it or set PREFLAB_CHROMIUM")
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield opened
        opened.close()


def take_labelling(chromium: Any, folder: Path) -> None:
    """The labelling page with a ranking that is complete, on a desk and on a phone."""
    from labelling_site import Site, press, texts_by_letter

    site = Site(folder)
    campaign = site.campaign(
        "ranking",
        [COMPLETIONS],
        prompts=[PROMPT],
        name="Helpful support, round 2",
        question="Which answer helps the customer most?",
        content="markdown",
        overlap=2,
    )
    site.start()
    try:
        for name, size in (("labelling", DESK), ("phone", PHONE)):
            page = site.context(chromium, site.labeler(campaign), viewport=size).new_page()
            page.goto(f"/c/{campaign.id}")
            page.wait_for_selector("[data-card]")
            for letter, text in texts_by_letter(page).items():
                press(page, f"{letter.lower()} {RANKS[text.split()[0]]}")
            page.get_by_text("Draft saved").wait_for()
            page.evaluate("scrollTo(0, 0); document.activeElement.blur()")
            page.screenshot(path=str(IMAGES / f"{name}.png"))
    finally:
        site.close()


def take_lead(chromium: Any, folder: Path) -> None:
    """The lead's overview of a campaign that simulated labelers have nearly finished."""
    from lead_world import make_lead_world
    from preflab.labelling.sessions import open_session
    from preflab.web.settings import WebSettings
    from web_app import serving

    world = make_lead_world(folder)
    with serving(world.ws, WebSettings(port=0)) as served:
        context = chromium.new_context(base_url=served.url, viewport=DESK)
        secret = open_session(world.ws, world.lead.id)
        context.add_cookies([{"name": served.cookie, "value": secret, "url": served.url}])
        page = context.new_page()
        page.goto(f"/lead/c/{world.campaign.id}")
        page.screenshot(path=str(IMAGES / "lead.png"))
    world.ws.close()


def take_simulator(chromium: Any) -> None:
    """The simulator of docs/ where gold is best: controls, completions and chart."""
    page = chromium.new_context(viewport={"width": 1280, "height": 860}).new_page()
    page.goto((REPOSITORY / "docs" / "simulator.html").as_uri())
    page.get_by_role("button", name="Skip the guess").click()
    page.get_by_role("button", name="ppo 0.25").click()
    page.wait_for_timeout(500)  # the completions have taken their places
    page.screenshot(path=str(IMAGES / "simulator.png"))
    page.context.close()


def take_report(chromium: Any, report: Path) -> None:
    """The top of a report."""
    page = chromium.new_context(viewport={"width": 1120, "height": 1000}).new_page()
    page.goto(report.resolve().as_uri())
    page.screenshot(path=str(IMAGES / "report.png"))


def main() -> None:
    """Take all pictures; a report that is not there ends the program before the first one."""
    missing = [report for report in sys.argv[1:] if not Path(report).is_file()]
    if missing:
        raise SystemExit(f"no such report: {', '.join(missing)}; `make demo` writes preflab-demo/report.html")
    with tempfile.TemporaryDirectory() as folder, browser() as chromium:
        take_labelling(chromium, Path(folder) / "labelling")
        take_lead(chromium, Path(folder) / "lead")
        take_simulator(chromium)
        for report in sys.argv[1:]:
            take_report(chromium, Path(report))


if __name__ == "__main__":
    main()
