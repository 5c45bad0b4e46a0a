"""Hostile completions, prompts, instructions and names on the labelling pages: shown, and inert."""

from __future__ import annotations

from typing import Any

import pytest

from labelling_site import Site, go_on, press, submit_by_enter, texts_by_letter, watched
from preflab.labelling.campaign_names import free_name

pytestmark = pytest.mark.browser

SCRIPTS = [
    "<script>window.hacked = 1</script>",
    "<img src=x onerror='window.hacked = 1'><svg onload='window.hacked = 1'>",
    "[click me](javascript:window.hacked=1) <a href='javascript:window.hacked=1'>or me</a>",
    "![picture](https://tracker.invalid/pixel.png) <img src='https://tracker.invalid/pixel.png'>",
    "</textarea></form></main><form action='https://evil.invalid'><button data-command='1'>Submit</button></form>",
    "<style>body { display: none } @import url(https://evil.invalid/x.css);</style>"
    "<link rel=stylesheet href=https://evil.invalid/x.css><meta http-equiv=refresh content='0;url=//evil.invalid'>",
    "\u202egnol si siht\u202c \u2067right to left\u2069 \x1b[31m \x00 \ufeff",
    "<iframe src='https://evil.invalid'></iframe><object data='//evil.invalid'></object><base href='//evil.invalid'>",
    "{{ 7 * 7 }} {% raw %} ${7*7} <template id=notice-stale><script>window.hacked=1</script></template>",
]
LONG = "<b onclick=alert(1)>long</b> " * 7000


@pytest.mark.parametrize("content", ["plain", "markdown", "code", "chat", "image"])
def test_hostile_completions_do_nothing(site: Site, browser: Any, content: str) -> None:
    campaign = site.campaign(
        "ranking", [SCRIPTS, [LONG, "short"]], prompts=[SCRIPTS[0] + SCRIPTS[3] + SCRIPTS[6], LONG[:20_000]],
        content=content, instructions="\n\n".join(SCRIPTS), name=free_name(site.ws, SCRIPTS[1]), question=SCRIPTS[0],
    )  # fmt: skip
    page = site.context(browser, site.labeler()).new_page()
    wrong = watched(page)
    page.goto(f"/c/{campaign.id}")
    go_on(page, page.get_by_role("button", name="I have read").click)
    press(page, "i Escape")
    assert len(texts_by_letter(page)) == 9
    inert(page)
    press(page, "w w " + "1 " * 9)
    submit_by_enter(page)
    inert(page)
    assert sum(len(text) for text in texts_by_letter(page).values()) > 1000
    page.goto(f"/c/{campaign.id}/done")
    inert(page)
    assert wrong == []


def inert(page: Any) -> None:
    """Nothing ran, nothing was added to the page but text, and nothing hides it."""
    assert page.evaluate("window.hacked") is None
    strange = "iframe, object, base, main style, main script:not([src]), main img[src*='invalid'], main link, main meta"
    assert page.locator(strange).count() == 0
    assert page.locator("a[href^='javascript']").count() == 0
    assert page.locator("main form[action*='evil']").count() == 0
    assert page.locator("body").is_visible()
    assert page.evaluate("[...document.querySelectorAll('.text *')].every(one => one.attributes.length < 5 && "
                         "![...one.attributes].some(each => each.name.startsWith('on')))")  # fmt: skip


def test_a_text_of_200_kb_is_there_whole(site: Site, browser: Any) -> None:
    campaign = site.campaign("side_by_side", [[LONG, SCRIPTS[6]]], content="markdown")
    page = site.context(browser, site.labeler(campaign)).new_page()
    wrong = watched(page)
    page.goto(f"/c/{campaign.id}")
    letter = next(letter for letter, text in texts_by_letter(page).items() if "onclick" in text)
    content = page.locator(f"#text-{letter}")
    assert f"({len(LONG):,} characters)" in page.locator(f"#unfold-{letter}").inner_text()
    press(page, "w")
    assert content.inner_text().count("onclick=alert(1)") == 7000
    press(page, "1")
    submit_by_enter(page)
    assert wrong == []
