"""The leads' pages in a real Chromium: every page at two widths, inside the window, without an error or an outside
request; what works by keyboard alone; the link that is copied."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from labelling_site import go_on
from lead_world import LeadWorld, make_lead_world
from preflab.labelling.adjudication import read_queue
from preflab.labelling.sessions import open_session
from preflab.web.settings import WebSettings
from web_app import serving

pytestmark = pytest.mark.browser
WIDTHS = (390, 1280)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LeadWorld]:
    """A small campaign with simulated labelers."""
    made = make_lead_world(tmp_path_factory.mktemp("lead") / "w", num_tasks=60)
    yield made
    made.ws.close()


@pytest.fixture(scope="module")
def served(world: LeadWorld) -> Iterator[WebSettings]:
    """It is served."""
    with serving(world.ws) as settings:
        yield settings


@pytest.fixture
def problems() -> list[str]:
    """What went wrong in the browser."""
    return []


def opened(browser: Any, served: WebSettings, world: LeadWorld, problems: list[str], **options: Any) -> Any:
    """A page on which the lead is signed in, and which writes down errors and outside requests."""
    context = browser.new_context(base_url=served.url, **options)
    cookie = {"name": served.cookie, "value": open_session(world.ws, world.lead.id), "url": served.url}
    context.add_cookies([cookie])
    page = context.new_page()
    page.on("console", lambda said: problems.append(said.text) if said.type == "error" else None)
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("response", lambda reply: problems.append(f"{reply.status} {reply.url}") if reply.status >= 400 else None)
    page.on("request", lambda sent: problems.append(sent.url) if not sent.url.startswith(served.url) else None)
    return page


def addresses(world: LeadWorld) -> list[str]:
    """Every page of leads, with labels and without."""
    home, empty = f"/lead/c/{world.campaign.id}", f"/lead/c/{world.empty.id}"
    task, labeler = read_queue(world.ws, world.campaign.id).open[0].task_id, next(iter(world.habits))
    tabs = ["", "/agreement", "/labelers", "/disagreements", "/adjudicate", "/export", "/settings"]
    others = ["/lead", "/lead/new", "/lead/people", "/lead/audit", f"/lead/people/{world.people.anna.id}/erase"]
    detail = [f"{home}/adjudicate/{task}", f"{home}/labelers/{labeler}"]
    return [*others, *detail, *(f"{at}{tab}" for at in (home, empty) for tab in tabs)]


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_page_fits_its_window_without_an_error(
    browser: Any, served: WebSettings, world: LeadWorld, problems: list[str], width: int, scheme: str
) -> None:
    page = opened(browser, served, world, problems, viewport={"width": width, "height": 844}, color_scheme=scheme)
    for address in addresses(world):
        page.goto(address)
        assert page.evaluate("document.documentElement.scrollWidth") <= width, address
        assert page.locator("h1").count() == 1, address
        assert page.evaluate("document.querySelectorAll('[id]').length") == page.evaluate(
            "new Set([...document.querySelectorAll('[id]')].map(each => each.id)).size"
        ), address
        unnamed = page.evaluate(
            "[...document.querySelectorAll('input:not([type=hidden]), select, textarea')]"
            ".filter(each => !each.labels?.length && !each.ariaLabel).map(each => each.name)"
        )
        assert unnamed == [], address
    assert problems == []


def test_buttons_and_choices_are_large_enough_for_a_thumb(
    browser: Any, served: WebSettings, world: LeadWorld, problems: list[str]
) -> None:
    page = opened(browser, served, world, problems, viewport={"width": 390, "height": 844}, has_touch=True)
    task = read_queue(world.ws, world.campaign.id).open[0].task_id
    page.goto(f"/lead/c/{world.campaign.id}/adjudicate/{task}")
    for box in [each.bounding_box() for each in page.locator(".ranks label, button.main").all()]:
        assert box["width"] >= 44
        assert box["height"] >= 44


def test_a_task_is_decided_by_keyboard_alone(
    browser: Any, served: WebSettings, world: LeadWorld, problems: list[str]
) -> None:
    page = opened(browser, served, world, problems, viewport={"width": 1280, "height": 900})
    before = read_queue(world.ws, world.campaign.id).open
    page.goto(f"/lead/c/{world.campaign.id}/adjudicate/{before[0].task_id}")
    page.locator(".ranks input").first.focus()
    num = page.locator(".ranks").count()
    for place in range(num):
        page.keyboard.press("Space")
        for _ in range(place):
            page.keyboard.press("ArrowRight")
        page.keyboard.press("Tab")
    page.keyboard.press("Tab") if page.evaluate("document.activeElement.name") != "note" else None
    page.keyboard.type("by the keyboard")
    page.keyboard.press("Tab")
    go_on(page, lambda: page.keyboard.press("Enter"))
    assert before[0].task_id not in page.url
    found = read_queue(world.ws, world.campaign.id)
    assert before[0].task_id not in {each.task_id for each in found.open}
    assert found.decided[0].note == "by the keyboard"
    assert problems == []


def test_an_invitation_is_copied_and_the_preview_shows_markdown(
    browser: Any, served: WebSettings, world: LeadWorld, problems: list[str]
) -> None:
    page = opened(
        browser, served, world, problems, viewport={"width": 1280, "height": 900},
        permissions=["clipboard-read", "clipboard-write"],
    )  # fmt: skip
    page.goto("/lead/people")
    go_on(page, page.get_by_role("button", name="Make a link").click)
    page.get_by_role("button", name="Copy").click()
    page.get_by_role("button", name="Copied").wait_for()
    link = page.evaluate("navigator.clipboard.readText()")
    assert link.startswith(f"{served.url}/invite/")
    page.goto(f"/lead/c/{world.campaign.id}/settings")
    page.locator("textarea[name=text]").fill("# Title\n\nsome **bold** words")
    go_on(page, page.get_by_role("button", name="Preview").click)
    assert page.locator(".preview strong").first.inner_text() == "bold"
    assert page.locator("textarea[name=text]").input_value() == "# Title\n\nsome **bold** words"
    assert problems == []


def test_a_campaign_is_made_in_the_browser_and_opens(
    browser: Any, served: WebSettings, world: LeadWorld, problems: list[str]
) -> None:
    page = opened(browser, served, world, problems, viewport={"width": 390, "height": 844})
    page.goto("/lead/new")
    rows = '{"prompt": "Hello?", "completions": ["hi", "go away"]}\n'
    page.locator("input[name=file]").set_input_files(
        {"name": "greetings.jsonl", "mimeType": "application/json", "buffer": rows.encode()}
    )
    page.get_by_role("textbox", name="Name", exact=True).fill("Greetings")
    go_on(page, page.get_by_role("button", name="Make the campaign").click)
    assert "/lead/c/campaign-" in page.url
    assert page.locator("h1").inner_text() == "Greetings"
    assert "1 task waits for 3 labels" in page.locator("main").inner_text()
    assert problems == []
