"""Clips of playouts in a real browser: by keys, by mouse, by touch, for screen readers, without scripts."""

from __future__ import annotations

from typing import Any

import pytest

from labelling_site import Site, go_on, press, watched
from playouts import DANCE, PLAYOUTS, SHORTEST, make_playout_campaign
from preflab.clips import clip_in
from preflab.labelling.accounts import create_account
from preflab.labelling.assignment import next_turn
from preflab.labelling.submissions import Submission, submit
from preflab.records import Campaign, Completion, RankingAnswer, SideBySideAnswer
from preflab.web.clips import rendered_clip
from preflab.web.rendering import rendered_completion
from web_app import PASSWORD

PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}
STARTED = ["......", ".##.#.", "@.....", "SCCCCG"]


def test_clip_without_frames_is_named_and_its_words_are_shown() -> None:
    html = rendered_completion(Completion.make("prompt-1", "right <b>", "m"), "playout")
    assert "No clip can be shown: no clip" in html
    assert "right &lt;b&gt;" in html
    assert "<figure" not in html


def test_hostile_cells_and_words_stay_text() -> None:
    parts = {"frames": [[['"<']], [["<b>"]]], "looks": {"<b>": "wall"}, "end": "</script><script>alert(1)</script>"}
    html = rendered_clip(clip_in(parts, "'\"><img/src=x>"))
    assert "<script" not in html
    assert "<img" not in html
    assert "<b>" not in html


@pytest.fixture(scope="module")
def ranking(site: Site) -> Campaign:
    """One task with four playouts."""
    return make_playout_campaign(site.ws, "ranking", open_to="everybody")


def opened(site: Site, browser: Any, campaign: Campaign, **options: Any) -> Any:
    page = site.context(browser, site.labeler(campaign), **options).new_page()
    page.goto(f"/c/{campaign.id}", wait_until="networkidle")
    page.wait_for_selector("html.scripted", state="attached")
    return page


def board(page: Any, letter: str) -> list[str]:
    """The rows of a clip's board as they are drawn."""
    return page.evaluate(
        "letter => [...document.querySelectorAll(`[data-card=${letter}] .board .line`)].map(line => line.innerText"
        ".replaceAll(/\\s/g, ''))",
        letter,
    )


def said(page: Any, letter: str) -> str:
    return str(page.locator(f"[data-card={letter}] .now").inner_text())


def letter_of(page: Any, moves: str) -> str:
    """The letter of the playout with these moves."""
    found = page.evaluate(
        "moves => [...document.querySelectorAll('[data-card]')].find(card => "
        "[...card.querySelectorAll('.moves li')].map(one => one.textContent).join(' ') === moves).dataset.card",
        moves,
    )
    return str(found)


@pytest.mark.browser
def test_by_keys_alone(site: Site, browser: Any, ranking: Campaign) -> None:
    page = opened(site, browser, ranking)
    wrong = watched(page)
    letters = ["A", "B", "C", "D"]
    assert [board(page, each) for each in letters] == [STARTED] * 4
    press(page, ".")
    assert [said(page, each)[:9] for each in letters] == ["Move 1 of"] * 4, "without a focus a key is for all clips"
    press(page, ",")
    shortest = letter_of(page, SHORTEST)
    press(page, f"{shortest.lower()} . .")
    assert board(page, shortest) == ["......", ".##.#.", "S.@...", "SCCCCG"]
    assert said(page, shortest) == "Move 2 of 6: right."
    others = [each for each in letters if each != shortest]
    assert [said(page, each) for each in others] == ["Before the first move."] * 3
    press(page, ". . . . . .")
    assert said(page, shortest) == "Move 6 of 6: down. The game ended with result 1."
    press(page, "1")
    assert page.locator(f"[data-card={shortest}] input:checked").get_attribute("value") == "1"
    press(page, "?")
    assert "play or pause the clip" in page.locator("#keys").inner_text()
    assert wrong == []


@pytest.mark.browser
def test_a_word_that_was_not_played_is_said(site: Site, browser: Any, ranking: Campaign) -> None:
    page = opened(site, browser, ranking)
    press(page, ". . .")
    texts = [said(page, each) for each in "ABCD"]
    assert "Move 2 of 2: right. Word 3, jump, was not played: it is not a legal move there." in texts
    assert "Move 2 of 2: down. The game ended with result -1." in texts


@pytest.mark.browser
def test_play_runs_to_the_end_and_again(site: Site, browser: Any, ranking: Campaign) -> None:
    page = opened(site, browser, ranking)
    letter = letter_of(page, DANCE)
    card = page.locator(f"[data-card={letter}]")
    play = card.locator("[data-do=play]")
    assert play.inner_text() == "Play"
    play.click()
    assert play.inner_text() == "Pause"
    assert card.locator(".now").get_attribute("aria-live") == "off", (
        "pictures that follow by themselves are not read out"
    )
    play.click()
    assert card.locator(".now").get_attribute("aria-live") == "polite"
    at = said(page, letter)
    page.wait_for_timeout(900)
    assert said(page, letter) == at, "it has paused"
    play.click()
    page.wait_for_function(
        "card => card.querySelector('.now').innerText.startsWith('Move 10 of 10')", arg=card.element_handle()
    )
    page.wait_for_function("button => button.innerText === 'Play'", arg=play.element_handle())
    assert board(page, letter) == ["......", ".##.#.", "S.....", "SCCCC@"]
    play.click()
    assert said(page, letter) == "Before the first move."


@pytest.mark.browser
@pytest.mark.parametrize("motion", ["reduce", "no-preference"])
def test_nothing_moves_by_itself(site: Site, browser: Any, ranking: Campaign, motion: str) -> None:
    page = opened(site, browser, ranking, reduced_motion=motion)
    page.wait_for_timeout(1_000)
    assert [said(page, each) for each in "ABCD"] == ["Before the first move."] * 4
    cells = "[...document.querySelectorAll('.cell')].map(one => getComputedStyle(one))"
    assert page.evaluate(f"{cells}.every(s => s.transitionDuration === '0s' && s.animationName === 'none')")


@pytest.mark.browser
def test_screen_readers_get_board_moves_and_place(site: Site, browser: Any, ranking: Campaign) -> None:
    page = opened(site, browser, ranking)
    letter = letter_of(page, SHORTEST)
    card = page.locator(f"[data-card={letter}]")
    rows = "......, .##.#., @....., SCCCCG"
    card.get_by_role("img", name=f"Board, row by row: {rows}", exact=True).wait_for()
    assert card.get_by_role("list").first.get_by_role("listitem").all_inner_texts() == SHORTEST.split()
    card.get_by_role("region", name=f"Clip of completion {letter}").wait_for()
    card.get_by_role("button", name="Step").click()
    card.get_by_role("img", name="Board, row by row: ......, .##.#., S@...., SCCCCG", exact=True).wait_for()
    assert card.get_by_role("status").inner_text() == "Move 1 of 6: right."
    assert card.get_by_role("status").get_attribute("aria-live") == "polite"


@pytest.mark.browser
def test_by_touch_on_a_phone(site: Site, browser: Any) -> None:
    pair = make_playout_campaign(site.ws, "side_by_side", PLAYOUTS[:2], open_to="everybody")
    page = opened(site, browser, pair, **PHONE)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    letter = letter_of(page, DANCE)
    card = page.locator(f"[data-card={letter}]")
    sizes = [each.bounding_box() for each in card.locator(".playing button").all()]
    assert all(size["height"] >= 44 and size["width"] >= 44 for size in sizes)
    for _ in range(3):
        card.get_by_role("button", name="Step").tap()
    card.get_by_role("button", name="Back").tap()
    assert said(page, letter) == "Move 2 of 10: right."
    page.get_by_role("radio", name=f"{letter} is better").check(force=True)
    go_on(page, lambda: page.locator("[data-submit]").tap())
    (judgment,) = site.judgments(pair)
    assert isinstance(judgment.answer, SideBySideAnswer)
    texts = {one.id: one.text for one in site.ws.completions(list(judgment.completion_ids))}
    assert texts[judgment.completion_ids[0 if judgment.answer.choice == "first" else 1]] == DANCE


@pytest.mark.browser
def test_without_a_script_first_and_last_picture_and_moves_are_there(
    site: Site, browser: Any, ranking: Campaign
) -> None:
    page = site.context(browser, site.labeler(ranking), java_script_enabled=False).new_page()
    page.goto(f"/c/{ranking.id}")
    texts = page.locator("[data-card] .content").all_inner_texts()
    assert len(texts) == 4
    (shortest,) = (text for text in texts if text.count("right") == 5 and "left" not in text)
    assert "At the end:" in shortest
    assert "The game ended with result 1." in shortest
    assert not page.locator(".playing").first.is_visible()


@pytest.mark.browser
def test_the_adjudicators_page_plays_them_too(site: Site, browser: Any, ranking: Campaign) -> None:
    labeler = site.labeler(ranking)
    turn = next_turn(site.ws, ranking.id, labeler.labeler_id)
    assert turn is not None
    submit(site.ws, Submission("clips", turn.task.id, labeler.labeler_id, 0, RankingAnswer((1, 2, 3, 4)), 5, 5))
    lead = create_account(site.ws, "Lead of clips", "lead", PASSWORD)
    page = site.context(browser, lead).new_page()
    wrong = watched(page)
    page.goto(f"/lead/c/{ranking.id}/adjudicate/{turn.task.id}", wait_until="networkidle")
    page.get_by_role("button", name="Step").first.click()
    assert page.locator(".now").first.inner_text().startswith("Move 1 of")
    assert wrong == []
