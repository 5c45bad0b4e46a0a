"""Labelling by keyboard alone, in a real browser: all six ways, notes and flags, undo, skipping, the table of keys."""

from __future__ import annotations

from typing import Any

import pytest

from labelling_site import Site, go_on, press, submit_by_enter, texts_by_letter, watched
from preflab.records import Campaign, LikertAnswer, RankingAnswer, SideBySideAnswer, ThumbsAnswer

pytestmark = pytest.mark.browser

THREE = ["the good one", "the bad one", "asdf qwer"]


def begun(site: Site, browser: Any, campaign: Campaign) -> Any:
    """The first task of a new labeler, ready for keys."""
    context = site.context(browser, site.labeler(campaign))
    page = context.new_page()
    page.goto(f"/c/{campaign.id}")
    page.wait_for_selector("html.scripted", state="attached")
    return page


def keys_for(page: Any, key_of_text: dict[str, str]) -> str:
    """The keys that say this of each text, in the order of the page."""
    return " ".join(key_of_text[text] for text in texts_by_letter(page).values())


def the_answer(site: Site, campaign: Campaign) -> Any:
    (judgment,) = site.judgments(campaign)
    assert judgment.active_ms > 0
    return judgment.answer


def test_a_ranking_with_a_tie_and_a_fail(site: Site, browser: Any) -> None:
    campaign = site.campaign("ranking", [[*THREE, "as good as the first"]])
    page = begun(site, browser, campaign)
    wrong = watched(page)
    assert page.evaluate("document.activeElement.id") == "question"
    press(page, keys_for(page, {THREE[0]: "1", THREE[1]: "3", THREE[2]: "f", "as good as the first": "1"}))
    letters = {text: letter for letter, text in texts_by_letter(page).items()}
    so_far = page.locator("#so-far").inner_text()
    first = " = ".join(sorted((letters[THREE[0]], letters["as good as the first"])))
    assert so_far == f"{first} › {letters[THREE[1]]} · failed: {letters[THREE[2]]}"
    submit_by_enter(page)
    assert the_answer(site, campaign) == RankingAnswer((1, 3, None, 1))
    assert "Thank you" in page.locator("h1").inner_text()
    assert wrong == []


@pytest.mark.parametrize(("key", "choice"), [("1", 0), ("0", None), ("2", 1)])
def test_side_by_side(site: Site, browser: Any, key: str, choice: int | None) -> None:
    campaign = site.campaign("side_by_side", [THREE[:2]])
    page = begun(site, browser, campaign)
    shown = list(texts_by_letter(page).values())
    press(page, key)
    submit_by_enter(page)
    index = None if choice is None else THREE.index(shown[choice])
    assert the_answer(site, campaign) == SideBySideAnswer("equal" if index is None else ("first", "second")[index])


def test_side_by_side_with_a_fail_needs_no_choice(site: Site, browser: Any) -> None:
    campaign = site.campaign("side_by_side", [["fine", "asdf"]])
    page = begun(site, browser, campaign)
    letters = {text: letter for letter, text in texts_by_letter(page).items()}
    press(page, f"{letters['asdf'].lower()} f")
    submit_by_enter(page)
    assert the_answer(site, campaign) == SideBySideAnswer(None, None, (False, True))


def test_the_best_of_several(site: Site, browser: Any) -> None:
    campaign = site.campaign("best_of", [THREE])
    page = begun(site, browser, campaign)
    letters = {text: letter for letter, text in texts_by_letter(page).items()}
    press(page, f"{letters[THREE[2]].lower()} f {1 + 'ABC'.index(letters[THREE[0]])}")
    submit_by_enter(page)
    assert the_answer(site, campaign) == SideBySideAnswer(None, 0, (False, False, True))


def test_likert_scores_per_criterion(site: Site, browser: Any) -> None:
    campaign = site.campaign("likert", [THREE], scale_ends={"helpful": ("no help", "solves it")})
    page = begun(site, browser, campaign)
    press(page, keys_for(page, {THREE[0]: "5 4", THREE[1]: "2 3", THREE[2]: "f"}))
    submit_by_enter(page)
    scores = {"helpful": (5, 2, None), "honest": (4, 3, None)}
    assert the_answer(site, campaign) == LikertAnswer(scores, (False, False, True))


def test_thumbs(site: Site, browser: Any) -> None:
    campaign = site.campaign("thumbs", [THREE])
    page = begun(site, browser, campaign)
    press(page, keys_for(page, {THREE[0]: "1", THREE[1]: "0", THREE[2]: "f"}))
    submit_by_enter(page)
    assert the_answer(site, campaign) == ThumbsAnswer((True, False, None), (False, False, True))


def test_score_then_rank_in_two_steps(site: Site, browser: Any) -> None:
    campaign = site.campaign("score_then_rank", [THREE])
    page = begun(site, browser, campaign)
    assert not page.locator("fieldset[data-ranks]").first.is_visible()
    press(page, keys_for(page, {THREE[0]: "6", THREE[1]: "2", THREE[2]: "f"}))
    press(page, "Enter")
    assert page.locator("fieldset[data-ranks]").first.is_visible()
    assert "You scored it 6" in page.locator("[data-card]", has_text=THREE[0]).inner_text()
    press(page, keys_for(page, {THREE[0]: "1", THREE[1]: "2", THREE[2]: "j"}).replace("j", ""))
    submit_by_enter(page)
    assert the_answer(site, campaign) == RankingAnswer((1, 2, None), {"overall": (6, 2, None)})


def test_enter_says_what_is_missing_and_goes_there(site: Site, browser: Any) -> None:
    campaign = site.campaign("ranking", [THREE])
    page = begun(site, browser, campaign)
    press(page, "a 1 c 2 Enter")
    assert page.locator("#saved").inner_text() == "Still to do: a rank for B"
    assert page.evaluate("document.activeElement.name") == "rank_1"
    assert site.judgments(campaign) == []


def test_note_flag_undo_and_a_new_revision(site: Site, browser: Any) -> None:
    campaign = site.campaign("ranking", [THREE, ["x", "y"]])
    page = begun(site, browser, campaign)
    press(page, "2 1 3 g n")
    page.keyboard.type("Because of the 1st one; f, s and u are letters here.")
    press(page, "Escape")  # back to where one was: at the button that submits
    assert page.evaluate("document.activeElement.hasAttribute('data-submit')")
    assert site.judgments(campaign) == []
    submit_by_enter(page)
    go_on(page, lambda: press(page, "u"))
    assert "/t/" in page.url
    press(page, "a 3")
    submit_by_enter(page)
    both = site.judgments(campaign, all_revisions=True)
    first, second = sorted(both, key=lambda judgment: judgment.revision)
    assert (first.revision, second.revision) == (1, 2)
    assert first.note == second.note == "Because of the 1st one; f, s and u are letters here."
    assert first.flagged
    assert second.flagged
    shown = [second.answer.ranks[index] for index in second.shown_order]
    assert shown == [3, 1, 3]
    assert next(iter(texts_by_letter(page).values())) in "xy"


def test_skipping_with_a_reason(site: Site, browser: Any) -> None:
    campaign = site.campaign("ranking", [THREE, ["x", "y"]])
    page = begun(site, browser, campaign)
    press(page, "s ArrowDown")
    submit_by_enter(page)
    assert set(texts_by_letter(page).values()) == {"x", "y"}
    page.goto(f"/c/{campaign.id}/done")
    assert "skipped" in page.locator(".done").inner_text()
    assert "The prompt makes no sense" in page.locator(".done").inner_text()


def test_instructions_and_the_table_of_keys_are_one_key_away(site: Site, browser: Any) -> None:
    campaign = site.campaign("ranking", [THREE], instructions="Read **everything**.")
    page = begun(site, browser, campaign)
    press(page, "1 i")
    assert page.locator("#instructions strong").inner_text() == "everything"
    press(page, "2 i")  # keys do not reach the task below; the same key closes
    assert not page.locator("#instructions").is_visible()
    assert page.locator("#so-far").inner_text() == "A"
    press(page, "?")
    for key, what in (
        ("f", "F: this completion failed"),
        ("1 … 3", "its rank"),
        ("u", "undo: open the last task again"),
    ):
        row = page.locator("#keys tr", has=page.get_by_text(key, exact=True)).filter(has_text=what)
        assert row.count() == 1
    press(page, "Escape")
    assert not page.locator("#keys").is_visible()


def test_single_keys_can_be_switched_off_and_the_rest_still_works(site: Site, browser: Any) -> None:
    """WCAG 2.1.4: for those who dictate. Tab, arrows, space and Enter are the browser's own."""
    campaign = site.campaign("side_by_side", [THREE[:2]])
    page = begun(site, browser, campaign)
    press(page, "? Tab Tab")
    page.locator("#keys-on").focus()
    press(page, "Space Escape 1")
    assert page.locator("input[name=choice]:checked").count() == 0
    page.locator("input[name=choice]").first.focus()
    press(page, "Space ArrowRight")
    submit_by_enter(page)
    assert the_answer(site, campaign) == SideBySideAnswer("equal")


def test_nothing_names_the_model(site: Site, browser: Any) -> None:
    campaign = site.campaign("ranking", [THREE])
    page = begun(site, browser, campaign)
    html = page.content()
    assert "secret-model" not in html
    for completion in site.ws.completions():
        assert completion.id not in html
