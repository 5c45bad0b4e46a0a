"""Labelling on a phone by touch alone, and what holds at every width: it fits, it can be hit, it is labelled."""

from __future__ import annotations

from typing import Any

import pytest

from labelling_site import Site, texts_by_letter, watched
from preflab.records import LikertAnswer, RankingAnswer, SideBySideAnswer

pytestmark = pytest.mark.browser

PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}
WAYS = ("ranking", "side_by_side", "best_of", "likert", "thumbs", "score_then_rank")
LEAST = 44
"""Pixels of a target, both ways (WCAG 2.5.5)."""
TARGETS = """() => [...document.querySelectorAll('main :is(a, button, summary, label.pick, label.tick, textarea)')]
    .filter(one => one.checkVisibility() && !one.closest('.text'))
    .map(one => [one.textContent.trim() || one.name, one.getBoundingClientRect()])
    .filter(([, box]) => box.height && (box.height < 43.5 || box.width < 43.5))
    .map(([name, box]) => `${name}: ${box.width} x ${box.height}`)"""


def on_phone(site: Site, browser: Any, way: str, texts: list[str]) -> tuple[Any, Any]:
    """A campaign and its first task on a phone."""
    campaign = site.campaign(way, [texts])
    page = site.context(browser, site.labeler(campaign), **PHONE).new_page()
    page.goto(f"/c/{campaign.id}")
    page.wait_for_selector("html.scripted", state="attached")
    return campaign, page


def tap(page: Any, name: str, value: str) -> None:
    """One tap on a radio or box, scrolled to as a finger would."""
    page.locator(f"label.pick:has(input[name={name}][value='{value}'])").tap()


def finish(page: Any) -> None:
    page.locator("[data-submit]").tap()
    page.get_by_text("Thank you").wait_for()


@pytest.mark.parametrize("options", [PHONE, {}], ids=["phone", "desk"])
def test_it_fits_and_every_target_is_large_enough(site: Site, browser: Any, options: dict[str, Any]) -> None:
    texts = ["short", "long " * 2000, "w" * 400, "four", "five", "six", "seven", "eight", "nine"]
    campaigns = [site.campaign(way, [texts[: 2 if way == "side_by_side" else 9]]) for way in WAYS]
    page = site.context(browser, site.labeler(*campaigns), **options).new_page()
    wrong = watched(page)
    for campaign in campaigns:
        page.goto(f"/c/{campaign.id}")
        page.wait_for_selector("html.scripted", state="attached")
        page.evaluate("document.querySelectorAll('details').forEach(one => one.open = true)")
        assert page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")
        assert page.evaluate(TARGETS) == []
    assert wrong == []


def test_a_ranking_by_touch(site: Site, browser: Any) -> None:
    campaign, page = on_phone(site, browser, "ranking", ["good", "bad", "asdf"])
    for place, text in enumerate(texts_by_letter(page).values()):
        tap(page, f"rank_{place}", {"good": "1", "bad": "2", "asdf": "F"}[text])
    finish(page)
    assert site.judgments(campaign)[0].answer == RankingAnswer((1, 2, None))


def test_scrolling_over_the_buttons_changes_nothing(site: Site, browser: Any) -> None:
    """A finger that moves is scrolling (Open-Assistant #1543: it dragged answers)."""
    _, page = on_phone(site, browser, "ranking", ["text " * 300, "other " * 300])
    page.locator("label.pick").first.scroll_into_view_if_needed()
    box = page.locator("label.pick").first.bounding_box()
    client = page.context.new_cdp_session(page)
    x, y, before = box["x"] + 20, box["y"] + 20, page.evaluate("scrollY")
    client.send("Input.dispatchTouchEvent", {"type": "touchStart", "touchPoints": [{"x": x, "y": y}]})
    for moved in range(20, 320, 20):
        client.send("Input.dispatchTouchEvent", {"type": "touchMove", "touchPoints": [{"x": x, "y": y + moved}]})
    client.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
    page.wait_for_function("before => Math.abs(scrollY - before) > 100", arg=before)
    assert page.locator(".group input:checked").count() == 0


def test_side_by_side_by_touch_with_the_choice_always_in_reach(site: Site, browser: Any) -> None:
    campaign, page = on_phone(site, browser, "side_by_side", ["text " * 500, "other " * 500])
    for height in (0, 400, 100_000):
        page.evaluate("height => window.scrollTo(0, height)", height)
        box = page.locator("label.pick:has(input[value=equal])").bounding_box()
        assert 0 < box["y"] < 844 - LEAST
    tap(page, "choice", "equal")
    finish(page)
    assert site.judgments(campaign)[0].answer == SideBySideAnswer("equal")


def test_likert_by_touch_with_a_fail(site: Site, browser: Any) -> None:
    campaign, page = on_phone(site, browser, "likert", ["fine", "asdf"])
    places = {text: place for place, text in enumerate(texts_by_letter(page).values())}
    tap(page, f"failed_{places['asdf']}", "1")
    tap(page, f"score_{places['fine']}_0", "4")
    tap(page, f"score_{places['fine']}_1", "5")
    finish(page)
    scores = {"helpful": (4, None), "honest": (5, None)}
    assert site.judgments(campaign)[0].answer == LikertAnswer(scores, (False, True))


def test_the_prompt_stays_in_sight_and_folds(site: Site, browser: Any) -> None:
    _, page = on_phone(site, browser, "ranking", ["text " * 500, "other " * 500])
    page.locator(".completion").last.scroll_into_view_if_needed()
    page.evaluate("window.scrollTo(0, document.documentElement.scrollHeight / 2)")
    box = page.locator(".prompt").bounding_box()
    assert -1 <= box["y"] <= 100
    page.locator(".prompt summary").tap()
    page.locator(".prompt details:not([open])").wait_for()
    assert page.locator(".prompt").bounding_box()["height"] < 80


def test_a_long_text_can_be_seen_whole(site: Site, browser: Any) -> None:
    _, page = on_phone(site, browser, "ranking", ["begin " + "word " * 1200 + "THE END", "short"])
    letter = next(letter for letter, text in texts_by_letter(page).items() if text.startswith("begin"))
    button = page.locator(f"#unfold-{letter}")
    content = page.locator(f"#text-{letter}")
    assert content.evaluate("box => box.clientHeight < box.scrollHeight")
    button.tap()
    page.locator(f"#unfold-{letter}[aria-expanded=true]").wait_for()
    assert content.evaluate("box => box.clientHeight >= box.scrollHeight - 1")
    assert button.get_attribute("aria-expanded") == "true"
    assert page.locator("#unfold-A, #unfold-B").filter(visible=True).count() == 1


def test_what_a_screen_reader_is_told(site: Site, browser: Any) -> None:
    """Every radio has a group with a name that holds the completion's letter, and a name of its own."""
    _, page = on_phone(site, browser, "likert", ["one", "two"])
    for letter in "AB":
        for criterion in ("Helpful", "Honest"):
            group = page.get_by_role("group", name=f"{criterion} of completion {letter}")
            assert group.get_by_role("radio").count() == 5
            assert group.get_by_role("radio", name="1, not at all").count() == 1
        assert page.get_by_role("heading", name=f"Completion {letter}").count() == 1
    assert page.locator("#saved").get_attribute("role") == "status"
    assert page.locator("#notice").get_attribute("role") == "alert"
    assert page.get_by_role("checkbox", name="F, completion A failed").count() == 1
