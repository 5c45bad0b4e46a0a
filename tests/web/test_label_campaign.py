"""A whole campaign in a real browser: twelve tasks, three labelers, two by keyboard alone, one on a touch screen."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from labelling_site import Site, go_on, go_on_unless_asked, press, submit_by_enter, texts_by_letter, watched
from preflab.records import RankingAnswer

pytestmark = [pytest.mark.browser, pytest.mark.slow]

QUALITIES = ("excellent", "good", "middling", "poor", "bad")
PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}


def texts(number: int) -> list[str]:
    """From 2 to 5 completions; every third task has a nonsensical one, every fourth two equally good ones."""
    made = [f"a {quality} answer to {number}" for quality in QUALITIES[: 2 + number % 4]]
    if number % 3 == 0:
        made[-1] = f"nonsense {number}"
    if number % 4 == 0:
        made.append(f"an excellent answer to {number}, said otherwise")
    return made


def rank(text: str) -> int | None:
    """What an attentive labeler says of a text: its place among the qualities, None for nonsense."""
    return next((place for place, quality in enumerate(QUALITIES, 1) if quality in text), None)


def said(page: Any) -> dict[str, str]:
    """Letter → rank or F, ranks within the task's number of completions."""
    shown = texts_by_letter(page)
    return {letter: str(min(value, len(shown))) if (value := rank(text)) else "f" for letter, text in shown.items()}


def by_keys(page: Any) -> None:
    """One task by keys; the question in the order shown is answered by keys too."""
    press(page, " ".join(said(page).values()))
    task = page.locator("#judging").get_attribute("data-task")
    if not go_on_unless_asked(page, lambda: press(page, "Enter")):
        press(page, "Tab")
        submit_by_enter(page)
    assert page.locator(f"#judging[data-task='{task}']").count() == 0


def by_touch(page: Any) -> None:
    """One task by taps alone."""
    for letter, key in said(page).items():
        page.locator(f"[data-card='{letter}'] label.pick:has(input[data-key='{key}'])").tap()
    if not go_on_unless_asked(page, page.locator("[data-submit]").tap):
        go_on(page, page.get_by_role("button", name="Yes, submit it").tap)


def test_twelve_tasks_by_three_labelers(site: Site, browser: Any) -> None:
    campaign = site.campaign("ranking", [texts(number) for number in range(12)], overlap=3)
    workers = []
    for options, work in (({}, by_keys), ({"color_scheme": "dark"}, by_keys), (PHONE, by_touch)):
        page = site.context(browser, site.labeler(), **options).new_page()
        wrong = watched(page)
        page.goto("/")
        go_on(page, page.locator(f"a[href='/c/{campaign.id}']").first.click)
        go_on(page, page.get_by_role("button", name="I have read them: begin").click)
        workers.append((page, work, wrong))
    for _ in range(12):
        for page, work, _ in workers:
            work(page)
    for page, _, wrong in workers:
        page.get_by_text("Thank you").wait_for()
        assert wrong == []
    judgments = site.judgments(campaign, all_revisions=True)
    assert Counter(judgment.task_id for judgment in judgments) == dict.fromkeys(
        (task.id for task in site.ws.tasks(campaign_id=campaign.id)), 3
    )
    assert not any(judgment.surplus for judgment in judgments)
    text_of = {completion.id: completion.text for completion in site.ws.completions()}
    for judgment in judgments:
        num = len(judgment.completion_ids)
        ranks = [rank(text_of[completion_id]) for completion_id in judgment.completion_ids]
        assert judgment.answer == RankingAnswer(tuple(each and min(each, num) for each in ranks))
    orders = {judgment.shown_order for judgment in judgments if len(judgment.shown_order) == 5}
    assert len(orders) > 1
