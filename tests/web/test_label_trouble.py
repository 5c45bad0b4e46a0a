"""Nothing a person entered is lost: reloads, two tabs, a server that is away, a sign-in that ran out, haste."""

from __future__ import annotations

from typing import Any

import pytest

from labelling_site import Site, go_on, press, submit_by_enter, watched
from preflab.labelling.accounts import Account, revoke
from preflab.labelling.sessions import close_session
from preflab.records import Campaign
from web_app import PASSWORD

pytestmark = pytest.mark.browser

PAIR = ["one answer", "another answer"]


def begun(site: Site, browser: Any, campaign: Campaign, who: Account | None = None) -> Any:
    """The first task, ready for keys."""
    page = site.context(browser, who or site.labeler(campaign)).new_page()
    page.goto(f"/c/{campaign.id}")
    page.wait_for_selector("html.scripted", state="attached")
    return page


def say(page: Any, text: str) -> None:
    """Wait until the page says this about saving."""
    page.wait_for_function(
        "text => document.getElementById('saved').textContent.includes(text) "
        "&& document.getElementById('saved').dataset.state !== 'pending'",
        arg=text,
    )


def test_a_draft_survives_a_reload_and_another_device(site: Site, browser: Any) -> None:
    campaign = site.campaign("ranking", [PAIR])
    me = site.labeler(campaign)
    page = begun(site, browser, campaign, me)
    press(page, "1 2 n")
    page.keyboard.type("half a thought")
    say(page, "Draft saved")
    page.reload()
    press(page, "Shift")
    assert page.locator("#so-far").inner_text() == "A › B"
    assert page.locator("textarea").input_value() == "half a thought"
    elsewhere = begun(site, browser, campaign, me)
    assert elsewhere.locator("#so-far").inner_text() == "A › B"
    assert elsewhere.locator("textarea").input_value() == "half a thought"


def test_two_tabs_the_second_keeps_its_text_and_may_replace_the_first(site: Site, browser: Any) -> None:
    campaign = site.campaign("ranking", [PAIR])
    me = site.labeler(campaign)
    context = site.context(browser, me)
    tabs = [context.new_page(), context.new_page()]
    for tab in tabs:
        tab.goto(f"/c/{campaign.id}")
        tab.wait_for_selector("html.scripted", state="attached")
    press(tabs[0], "2 1")
    submit_by_enter(tabs[0])
    press(tabs[1], "1 2 n")
    tabs[1].keyboard.type("my words")
    press(tabs[1], "Control+Enter")
    notice = tabs[1].locator("#notice")
    notice.get_by_text("already submitted this task elsewhere").wait_for()
    assert tabs[1].locator("textarea").input_value() == "my words"
    assert tabs[1].locator("#so-far").inner_text() == "A › B"
    (stored,) = site.judgments(campaign)
    assert stored.revision == 1
    notice.get_by_role("button", name="Submit this one instead").click()
    tabs[1].get_by_text("Thank you").wait_for()
    (stored,) = site.judgments(campaign)
    assert (stored.revision, stored.note) == (2, "my words")


def test_two_tabs_the_other_version_can_be_loaded(site: Site, browser: Any) -> None:
    campaign = site.campaign("ranking", [PAIR])
    context = site.context(browser, site.labeler(campaign))
    tabs = [context.new_page(), context.new_page()]
    for tab in tabs:
        tab.goto(f"/c/{campaign.id}")
    press(tabs[0], "2 1")
    submit_by_enter(tabs[0])
    press(tabs[1], "1 2 Enter")
    go_on(tabs[1], tabs[1].get_by_role("button", name="Load the other one").click)
    assert "/t/" in tabs[1].url
    assert tabs[1].locator("#so-far").inner_text() == "B › A"


def test_a_server_that_is_away_gets_the_answer_once_when_it_is_back(site: Site, browser: Any) -> None:
    campaign = site.campaign("ranking", [PAIR])
    page = begun(site, browser, campaign)
    site.stop()
    press(page, "1 2")
    say(page, "kept in this browser")
    press(page, "Enter")
    page.locator("#notice").get_by_text("the server does not answer").wait_for()
    page.wait_for_event("requestfailed", lambda asked: asked.method == "POST")  # it tries again by itself
    assert page.locator("#judging").is_visible()
    assert page.locator("#so-far").inner_text() == "A › B"
    assert page.evaluate("Object.keys(localStorage).some(key => key.startsWith('preflab:out:'))")
    site.start()
    page.get_by_text("Thank you").wait_for(timeout=20_000)
    (stored,) = site.judgments(campaign, all_revisions=True)
    assert stored.revision == 1
    assert page.evaluate("Object.keys(localStorage).filter(key => key.startsWith('preflab:out:')).length") == 0


def test_a_lost_reply_is_asked_again_under_the_same_key(site: Site, browser: Any) -> None:
    """The answer was stored, the reply was not heard: the retry makes no second judgment and no conflict."""
    campaign = site.campaign("ranking", [PAIR])
    page = begun(site, browser, campaign)
    keys: list[str] = []

    def once_lost(route: Any) -> None:
        if route.request.method != "POST":
            return route.continue_()
        fields = dict(part.split("=") for part in route.request.post_data.split("&"))
        keys.append(fields["key"])
        reply = route.fetch()
        if len(keys) == 1:
            return route.abort()
        return route.fulfill(response=reply)

    page.route("**/t/*", once_lost)
    press(page, "2 1 Enter")
    page.get_by_text("Thank you").wait_for(timeout=20_000)
    assert len(keys) == 2
    assert len(set(keys)) == 1
    (stored,) = site.judgments(campaign, all_revisions=True)
    assert stored.revision == 1


def test_an_answer_left_in_the_browser_is_sent_on_the_next_visit(site: Site, browser: Any) -> None:
    campaign = site.campaign("ranking", [PAIR])
    page = begun(site, browser, campaign)
    page.route("**/t/*", lambda route: route.abort())
    press(page, "1 2 Enter")
    page.locator("#notice").get_by_text("the server does not answer").wait_for()
    page.unroute("**/t/*")
    page.goto("about:blank")
    page.goto(f"/c/{campaign.id}")
    page.get_by_text("Thank you").wait_for()
    assert len(site.judgments(campaign)) == 1


def test_an_answer_left_behind_that_is_stale_by_then_is_offered_again(site: Site, browser: Any) -> None:
    """Sent into the void on one page, answered on another device, and then the first browser comes back."""
    campaign = site.campaign("ranking", [PAIR, ["x", "y"]])
    me = site.labeler(campaign)
    page = begun(site, browser, campaign, me)
    address = page.evaluate("document.getElementById('judging').dataset.editUrl")
    page.route("**/t/*", lambda route: route.abort())
    press(page, "1 1 n")
    page.keyboard.type("left behind")
    press(page, "Control+Enter")
    page.locator("#notice").get_by_text("the server does not answer").wait_for()
    page.unroute("**/t/*")
    page.goto("about:blank")
    elsewhere = begun(site, browser, campaign, me)
    press(elsewhere, "2 1")
    submit_by_enter(elsewhere)
    page.goto(f"/c/{campaign.id}")
    say(page, "was not accepted")
    page.goto(address)
    page.get_by_role("button", name="Use the draft").click()
    assert page.locator("textarea").input_value() == "left behind"
    press(page, "a")
    submit_by_enter(page)
    assert sorted(each.revision for each in site.judgments(campaign, all_revisions=True)) == [1, 2]


def test_a_browser_that_keeps_nothing_still_submits_and_drafts(site: Site, browser: Any) -> None:
    campaign = site.campaign("ranking", [PAIR])
    context = site.context(browser, site.labeler(campaign))
    context.add_init_script("Object.defineProperty(window, 'localStorage', { get() { throw new Error('forbidden') } })")
    page = context.new_page()
    wrong = watched(page)
    page.goto(f"/c/{campaign.id}")
    press(page, "2 1")
    say(page, "Draft saved")
    submit_by_enter(page)
    assert len(site.judgments(campaign)) == 1
    assert wrong == []


def test_keys_among_the_reasons_for_skipping_rank_nothing(site: Site, browser: Any) -> None:
    campaign = site.campaign("ranking", [PAIR])
    page = begun(site, browser, campaign)
    press(page, "s 1 2 f")
    assert page.locator("#so-far").inner_text() == ""
    press(page, "Escape 1")
    assert page.locator("#so-far").inner_text() == "A"


def test_a_sign_in_that_ran_out_keeps_everything(site: Site, browser: Any) -> None:
    campaign = site.campaign("ranking", [PAIR])
    me = site.labeler(campaign)
    page = begun(site, browser, campaign, me)
    cookie = next(each for each in page.context.cookies() if each["name"] == site.settings.cookie)
    close_session(site.ws, cookie["value"])
    press(page, "1 1 n")
    page.keyboard.type("kept")
    press(page, "Control+Enter")
    asked: list[str] = []
    page.on("dialog", lambda dialog: (asked.append(dialog.type), dialog.accept()))
    go_on(page, page.get_by_role("link", name="Sign in and continue").click)
    page.get_by_label("Name").fill(me.name)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in").click()
    page.get_by_text("Thank you").wait_for()  # what had been submitted went on by itself
    assert asked == []
    (stored,) = site.judgments(campaign)
    assert stored.note == "kept"


def test_leaving_asks_only_while_something_is_unsaved(site: Site, browser: Any) -> None:
    campaign = site.campaign("ranking", [PAIR])
    page = begun(site, browser, campaign)
    asked: list[str] = []
    page.on("dialog", lambda dialog: (asked.append(dialog.type), dialog.accept()))
    page.reload()
    assert asked == []
    press(page, "1")
    page.reload()
    assert asked == ["beforeunload"]
    press(page, "1 2")
    say(page, "Draft saved")
    page.reload()
    assert asked == ["beforeunload"]


def test_haste_in_the_order_shown_is_asked_about_once(site: Site, browser: Any) -> None:
    campaign = site.campaign("ranking", [["a b", "c d", "e f"]])
    page = begun(site, browser, campaign)
    press(page, "1 2 3 Enter")
    page.locator("#notice").get_by_text("exactly in the order shown").wait_for()
    assert site.judgments(campaign) == []
    press(page, "Enter")  # a second Enter out of habit looks again, it does not submit
    assert not page.locator("#notice").is_visible()
    assert site.judgments(campaign) == []
    page.locator("[data-submit]").click()
    page.get_by_role("button", name="Yes, submit it").click()
    page.get_by_text("Thank you").wait_for()
    assert len(site.judgments(campaign)) == 1


def test_an_account_that_was_ended_is_told_so_and_keeps_its_text(site: Site, browser: Any) -> None:
    campaign = site.campaign("ranking", [PAIR])
    me = site.labeler(campaign)
    page = begun(site, browser, campaign, me)
    revoke(site.ws, me.id, "")
    press(page, "1 2 Enter")
    page.get_by_text("You are signed out").wait_for()
    assert page.locator("#so-far").inner_text() == "A › B"


def test_without_scripts_a_plain_form_does_it(site: Site, browser: Any) -> None:
    campaign = site.campaign("score_then_rank", [["x", "y", "z"]])
    page = site.context(browser, site.labeler(campaign), java_script_enabled=False).new_page()
    wrong = watched(page)
    page.goto(f"/c/{campaign.id}")
    for place, score in enumerate("542"):
        page.locator(f"input[name=score_{place}_0][value='{score}']").check(force=True)
    with page.expect_navigation():
        page.get_by_role("button", name="Submit").click()
    assert "Still to do: a rank for A, B and C" in page.locator("#notice").inner_text()
    for place, rank in enumerate("213"):
        page.locator(f"input[name=rank_{place}][value='{rank}']").check(force=True)
    with page.expect_navigation():
        page.get_by_role("button", name="Submit").click()
    assert "Thank you" in page.locator("h1").inner_text()
    (stored,) = site.judgments(campaign)
    shown = [stored.answer.ranks[index] for index in stored.shown_order]
    assert shown == [2, 1, 3]
    assert [text for text in wrong if "422" not in text] == []
