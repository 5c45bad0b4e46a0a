"""Images at their full size in a real browser: by mouse, by keys alone, by touch on a phone; for adjudicators, too."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from labelling_site import Site, press, watched
from pictures import png
from preflab.labelling.accounts import create_account
from preflab.labelling.assignment import next_turn
from preflab.labelling.submissions import Submission, submit
from preflab.records import Campaign, RankingAnswer
from preflab.store.images import add_image
from web_app import PASSWORD

pytestmark = pytest.mark.browser

SIZE = (6000, 4000)
PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}


@pytest.fixture(scope="module")
def pictures(site: Site, tmp_path_factory: pytest.TempPathFactory) -> Campaign:
    """A task with a large image, another of the same size, and a small one."""
    folder = tmp_path_factory.mktemp("images")
    names = []
    for number, (width, height) in enumerate((SIZE, SIZE, (300, 200))):
        file = Path(folder / f"{number}.png")
        file.write_bytes(png(width, height, 60 + 60 * number))
        names.append(add_image(site.ws.path, file))
    return site.campaign("ranking", [names], content="image", name="Pictures", overlap=9)


def opened(site: Site, browser: Any, pictures: Campaign, **options: Any) -> Any:
    page = site.context(browser, site.labeler(pictures), **options).new_page()
    page.goto(f"/c/{pictures.id}", wait_until="networkidle")
    page.wait_for_selector("html.scripted", state="attached")
    return page


def widths(page: Any) -> list[int]:
    """The widths in which the enlarged images are drawn."""
    page.wait_for_function(
        "() => { const all = [...document.querySelectorAll('.wall img')];"
        "return all.length && all.every(one => one.complete && one.naturalWidth); }"
    )
    return sorted(page.evaluate("[...document.querySelectorAll('.wall img')].map(one => one.width)"))


def test_a_click_enlarges_all_of_them_to_full_size_side_by_side(site: Site, browser: Any, pictures: Campaign) -> None:
    page = opened(site, browser, pictures)
    wrong = watched(page)
    assert max(page.evaluate("[...document.querySelectorAll('.image')].map(one => one.width)")) < 1000
    page.locator("a.enlarge").first.click()
    assert widths(page) == [300, 6000, 6000]
    boxes = [each.bounding_box() for each in page.locator(".wall").all()]
    assert len({box["y"] for box in boxes}) == 1, "side by side"
    letters = page.locator(".walls figcaption").all_inner_texts()
    assert letters == ["A", "B", "C"]
    wall = page.locator(".wall").nth(
        page.evaluate("[...document.querySelectorAll('.wall img')].findIndex(i => i.naturalWidth > 999)")
    )
    before = wall.evaluate("one => [one.scrollLeft, one.scrollTop]")
    page.keyboard.press("Escape")
    assert not page.locator("#images").is_visible()
    assert page.evaluate("document.activeElement.matches('a.enlarge')"), "the focus is back"
    assert min(before) >= 0
    assert wrong == []


def test_by_keys_alone(site: Site, browser: Any, pictures: Campaign) -> None:
    page = opened(site, browser, pictures)
    press(page, "b")
    press(page, "z")
    assert page.locator("#images").is_visible()
    assert page.evaluate("document.activeElement.getAttribute('aria-label')") == "Image B"
    widths(page)
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.getAttribute('aria-label')") == "Image C"
    large = (
        page.locator(".wall:has(img)")
        .filter(has=page.locator("img"))
        .evaluate_all("all => all.findIndex(one => one.querySelector('img').naturalWidth > 999)")
    )
    page.locator(".wall").nth(large).focus()
    start = page.locator(".wall").nth(large).evaluate("one => one.scrollTop")
    page.keyboard.press("PageDown")
    page.wait_for_function(
        "([place, start]) => document.querySelectorAll('.wall')[place].scrollTop > start", arg=[large, start]
    )
    page.keyboard.press("1")
    assert page.locator(".group input:checked").count() == 0, "keys do not reach the task below"
    page.keyboard.press("z")
    assert not page.locator("#images").is_visible()
    assert page.evaluate("document.activeElement.closest('[data-card]').dataset.card") == "B"
    page.locator("a.enlarge").nth(2).focus()
    page.keyboard.press("Enter")
    assert page.locator("#images").is_visible()
    page.locator("#images-fit").focus()
    page.keyboard.press("Space")
    assert max(widths(page)) <= 1280
    page.keyboard.press("Escape")
    assert page.evaluate("[...document.querySelectorAll('a.enlarge')].indexOf(document.activeElement)") == 2
    press(page, "?")
    assert "images at their full size" in page.locator("#keys").inner_text()


def fingers(client: Any, path: list[list[tuple[float, float]]]) -> None:
    """Fingers put down, moved along a path and lifted, as the screen reports them."""
    for place, points in enumerate(path):
        touches = [{"x": x, "y": y, "id": finger} for finger, (x, y) in enumerate(points)]
        kind = "touchMove" if place else "touchStart"
        client.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": touches})
    client.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})


def test_by_touch_on_a_phone(site: Site, browser: Any, pictures: Campaign) -> None:
    page = opened(site, browser, pictures, **PHONE)
    place = page.evaluate("[...document.querySelectorAll('.image')].findIndex(one => one.naturalWidth > 999)")
    page.locator("a.enlarge").nth(place).tap()
    assert widths(page) == [300, 6000, 6000]
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    wall = page.locator(".wall").nth(place)
    box, before = wall.bounding_box(), wall.evaluate("one => one.scrollTop")
    client = page.context.new_cdp_session(page)
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    assert 0 < y < 844, "the image that was tapped is in sight"
    fingers(client, [[(x, y - 10 * step)] for step in range(20)])
    page.wait_for_function(
        "([place, before]) => document.querySelectorAll('.wall')[place].scrollTop > before", arg=[place, before]
    )
    fingers(client, [[(x - 30 - 5 * step, y), (x + 30 + 5 * step, y)] for step in range(20)])
    page.wait_for_function("visualViewport.scale > 1.5")
    fingers(client, [[(x - 130 + 6 * step, y), (x + 130 - 6 * step, y)] for step in range(20)])
    page.wait_for_function("visualViewport.scale < 1.1")
    page.get_by_role("button", name="Close").tap()
    page.locator("#images").wait_for(state="hidden")


def test_without_a_script_the_link_opens_the_image(site: Site, browser: Any, pictures: Campaign) -> None:
    page = site.context(browser, site.labeler(pictures), java_script_enabled=False).new_page()
    page.goto(f"/c/{pictures.id}")
    href = page.locator("a.enlarge").first.get_attribute("href")
    assert page.context.request.get(f"{site.settings.url}{href}").headers["content-type"] == "image/png"


def test_the_adjudicators_page_enlarges_them_too(site: Site, browser: Any, pictures: Campaign) -> None:
    labeler = site.labeler(pictures)
    turn = next_turn(site.ws, pictures.id, labeler.labeler_id)
    submit(site.ws, Submission("images", turn.task.id, labeler.labeler_id, 0, RankingAnswer((1, 2, 3)), 5, 5))
    lead = create_account(site.ws, "Lead of pictures", "lead", PASSWORD)
    page = site.context(browser, lead).new_page()
    wrong = watched(page)
    page.goto(f"/lead/c/{pictures.id}/adjudicate/{turn.task.id}", wait_until="networkidle")
    page.locator("a.enlarge").first.click()
    assert widths(page) == [300, 6000, 6000]
    page.keyboard.press("Escape")
    assert page.evaluate("document.activeElement.matches('a.enlarge')")
    assert wrong == []
