"""What was written, as a browser shows it: line breaks, right-to-left lists, formulas, texts without a word; and what
must not move or zoom on the pages around it."""

from __future__ import annotations

from typing import Any

import pytest

from labelling_site import Site, watched
from preflab.labelling.accounts import create_account
from preflab.records import Campaign
from web_app import PASSWORD

pytestmark = pytest.mark.browser

PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}
ARABIC = "1. أولاً\n2. ثانياً\n3. API أولاً"
LISTS = {
    "arabic": ("1. أولاً\n2. ثانياً", "rtl"),
    "hebrew, loose": ("1. ראשון\n\n2. שני\n\n3. API שלישי", "rtl"),
    "hebrew, bullets": ("- ראשון\n- שני", "rtl"),
    "mixed, arabic first": (ARABIC, "rtl"),
    "mixed, english first": ("1. first\n2. ثانياً", "ltr"),
    "code first": ("1. `code` أولاً\n2. $x$ ثانياً", "rtl"),
    "nested": ("1. أولاً\n   1. first within\n   2. second within\n2. ثانياً", "rtl"),
    "many": ("\n".join(f"{number}. أولاً" for number in range(995, 1003)), "rtl"),
    "large numbers": ("123456789. أولاً\n2. ثانياً", "rtl"),
    "english": ("998. a\n999. b\n1000. c", "ltr"),
}


def shown(site: Site, browser: Any, texts: list[str], content: str = "chat", **options: Any) -> Any:
    """A task with these completions, in the order given."""
    campaign = site.campaign("ranking", [texts], content=content)
    page = site.context(browser, site.labeler(campaign), **options).new_page()
    page.goto(f"/c/{campaign.id}")
    page.wait_for_selector("html.scripted", state="attached")
    return page


def card(page: Any, text: str) -> Any:
    """The content of the completion that holds this."""
    return page.locator(".completion .content").filter(has_text=text).first


@pytest.mark.parametrize("content", ["markdown", "chat"])
def test_line_breaks_are_kept(site: Site, browser: Any, content: str) -> None:
    written = "Roses are red\nViolets are blue<br>Sugar <BR/> is sweet<br />\nAnd <b>so</b> `<br>` are you"
    page = shown(site, browser, [written, "other"], content)
    lines = card(page, "Roses").inner_text().split("\n")
    assert [line.strip() for line in lines] == [
        "Roses are red", "Violets are blue", "Sugar", "is sweet", "And <b>so</b> <br> are you",
    ]  # fmt: skip


MARKERS = """box => [...box.querySelectorAll('li')].map(item => {
    const list = item.parentElement, style = getComputedStyle(item), own = item.getBoundingClientRect();
    const range = document.createRange(); range.selectNodeContents(item);
    const rects = [...range.getClientRects()];
    const first = rects.filter(one => one.top < rects[0].bottom - 4);
    const words = {left: Math.min(...first.map(one => one.left)), right: Math.max(...first.map(one => one.right))};
    const edge = list.getBoundingClientRect(), card = box.getBoundingClientRect();
    const rtl = style.direction === 'rtl';
    const canvas = document.createElement('canvas').getContext('2d'); canvas.font = style.font;
    const value = list.tagName === 'UL' ? '•' : String(list.start + [...list.children].indexOf(item));
    return {
        rtl, room: rtl ? edge.right - own.right : own.left - edge.left,
        gap: rtl ? own.right - words.right : words.left - own.left,
        needs: canvas.measureText(value + '. ').width,
        inside: edge.right <= card.right + 0.5 && edge.left >= card.left - 0.5};
})"""


@pytest.mark.parametrize("name", LISTS)
@pytest.mark.parametrize("options", [{}, PHONE], ids=["desk", "phone"])
def test_numbers_of_lists_are_seen_on_the_side_where_reading_begins(
    site: Site, browser: Any, name: str, options: dict[str, Any]
) -> None:
    text, direction = LISTS[name]
    page = shown(site, browser, [text, "other"], **options)
    box = page.locator(".completion .content:has(li)")
    found = box.evaluate(MARKERS)
    assert len(found) >= 2
    outer = [each for each in found if each["rtl"] == (direction == "rtl")]
    assert outer, "the list is set in the direction of its first letter"
    for each in found:
        assert each["inside"], "the list lies within its card"
        assert each["room"] >= each["needs"], "the number has room beside its item"
        assert abs(each["gap"]) < 3, "the words stand beside their number"
    assert len(outer) == len(found) or name == "nested"


def test_an_item_of_another_direction_is_read_in_its_own(site: Site, browser: Any) -> None:
    page = shown(site, browser, ["1. أولاً\n2. It ends here.", "other"])
    ends = (
        page.locator(".completion li")
        .nth(1)
        .evaluate(
            """item => { const text = item.firstChild, range = document.createRange(), n = text.length;
            const at = (from, to) => {
                range.setStart(text, from); range.setEnd(text, to);
                return range.getBoundingClientRect().left;
            };
            return [at(0, 1), at(n - 1, n)]; }"""
        )
    )
    assert ends[1] > ends[0], "the full stop stands at the end, to the right"


def test_an_empty_completion_says_so_and_differs_from_the_words(site: Site, browser: Any) -> None:
    for content in ("plain", "markdown", "chat", "code"):
        page = shown(site, browser, ["", "(empty)", " \n\t ", "\u200b\u2060"], content)
        quiet = page.locator(".completion .nothing")
        expected = 3 if content != "code" else 2  # in code, marks without a width are written out
        assert quiet.count() == expected
        assert all(text.startswith("(empty)") for text in quiet.all_inner_texts())
        looks = (
            "one => { const style = getComputedStyle(one); return [style.fontStyle, style.color, style.fontFamily]; }"
        )
        literal = page.locator(".completion .text").filter(has_text="(empty)").first
        assert all(
            own != other for own, other in zip(quiet.first.evaluate(looks), literal.evaluate(looks), strict=True)
        )
        heard = page.locator(".completion .nothing").first.text_content()
        assert "written" in heard, "a screen reader hears that it is no text"
        page.context.close()


def test_a_formula_is_drawn_and_scrolls_within_its_card(site: Site, browser: Any) -> None:
    long = "$$" + " + ".join(f"x_{{{number}}}^2" for number in range(60)) + "$$"
    page = shown(site, browser, [f"so $\\frac{{a}}{{b}}$ is\n{long}\nend", "other"], **PHONE)
    wrong = watched(page)
    half = page.locator("math mfrac").first.bounding_box()
    assert half["height"] > 15
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    box = page.locator(".math.display")
    page.wait_for_function("() => document.querySelector('.math.display').tabIndex === 0")
    box.focus()
    page.keyboard.press("ArrowRight")
    page.wait_for_function("() => document.querySelector('.math.display').scrollLeft > 0")
    annotation = page.locator("annotation").first
    assert not annotation.is_visible()
    assert annotation.text_content() == r"\frac{a}{b}"
    assert wrong == []


UNREACHED = """[...document.querySelectorAll('.scroll, pre, .math.display')]
    .filter(one => one.scrollWidth > one.clientWidth + 1 && one.tabIndex < 0).length"""
WIDE = "| " + " | ".join(f"column-{number}" for number in range(30)) + " |\n" + "|--" * 30 + "|"


OPENED = {
    "dialog#instructions": "document.getElementById('instructions').showModal()",
    "details.whole": "document.querySelector('details.whole').open = true",
}


@pytest.mark.parametrize("place", OPENED)
def test_what_scrolls_is_reached_as_soon_as_it_is_shown(site: Site, browser: Any, place: str) -> None:
    """Before the next frame is drawn, so that neither a person nor a program finds a box that keys do not reach."""
    texts = ["word " * 10_000 + f"\n\n{WIDE}", WIDE]
    campaign = site.campaign("ranking", [texts], content="chat", instructions=WIDE)
    page = site.context(browser, site.labeler(campaign), **PHONE).new_page()
    page.goto(f"/c/{campaign.id}")
    assert page.evaluate(UNREACHED) == 0
    shown_boxes = f"[...document.querySelectorAll('{place} .scroll')].map(one => [one.checkVisibility(), one.tabIndex])"
    found = page.evaluate(f"async () => {{ {OPENED[place]}; await null; return {shown_boxes}; }}")
    assert found == [[True, 0]]
    assert page.evaluate(UNREACHED) == 0


def test_a_table_that_grows_in_its_box_can_be_reached(site: Site, browser: Any) -> None:
    page = shown(site, browser, ["| a |\n|--|\n| b |", "other"], **PHONE)
    box = page.locator(".completion .scroll")
    assert box.get_attribute("tabindex") is None
    size = "one => [one.clientWidth, one.clientHeight]"
    before = box.evaluate(size)
    for width, index in (("3000px", "0"), ("", None)):
        box.evaluate("(one, width) => one.firstElementChild.style.minWidth = width", width)
        page.wait_for_function(
            "index => document.querySelector('.completion .scroll').getAttribute('tabindex') === index", arg=index
        )
        assert box.evaluate(size) == before


def test_a_formula_is_not_mirrored_among_right_to_left_words(site: Site, browser: Any) -> None:
    page = shown(site, browser, ["$a+b$ هو المجموع", "other"])
    places = page.locator("math").evaluate(
        "math => [...math.querySelectorAll('mi')].map(one => one.getBoundingClientRect().left)"
    )
    assert places[0] < places[1]
    assert page.locator(".marked p:has(math)").evaluate("one => getComputedStyle(one).direction") == "rtl"


def test_what_is_copied_is_the_source(site: Site, browser: Any) -> None:
    page = shown(
        site,
        browser,
        ["so $x_1*y_1$ and\n$$\\frac{a}{b}$$", "other"],
        permissions=["clipboard-read", "clipboard-write"],
    )
    card(page, "so").evaluate("box => getSelection().selectAllChildren(box)")
    page.keyboard.press("Control+c")
    copied = page.evaluate("navigator.clipboard.readText()")
    assert "so $x_1*y_1$ and" in copied
    assert "$$\\frac{a}{b}$$" in copied
    page.locator("math").first.evaluate("math => getSelection().selectAllChildren(math.querySelector('mrow'))")
    page.keyboard.press("Control+c")
    assert page.evaluate("navigator.clipboard.readText()") == "$x_1*y_1$"


def fields_of(page: Any) -> list[str]:
    """Fields whose letters are smaller than 16 px, so that a phone zooms into them."""
    return page.evaluate(
        """() => { document.querySelectorAll('details').forEach(one => one.open = true);
            const others = '[type=radio], [type=checkbox], [type=hidden], [type=file]';
            return [...document.querySelectorAll(`input:not(${others}), select, textarea`)]
                .filter(one => one.checkVisibility() && parseFloat(getComputedStyle(one).fontSize) < 16)
                .map(one => one.name); }"""
    )


def lead_pages(campaign: Campaign) -> list[str]:
    home = f"/lead/c/{campaign.id}"
    return ["/lead/new", "/lead/people", "/lead/audit", home, f"{home}/settings", f"{home}/export"]


def test_no_field_is_so_small_that_a_phone_zooms(site: Site, browser: Any) -> None:
    campaign = site.campaign("ranking", [["a", "b"]])
    page = site.context(browser, site.labeler(campaign), **PHONE).new_page()
    for address in (f"/c/{campaign.id}", "/me"):
        page.goto(address)
        assert fields_of(page) == []
    lead = create_account(site.ws, "Lead of fields", "lead", PASSWORD)
    page = site.context(browser, lead, **PHONE).new_page()
    for address in lead_pages(campaign):
        page.goto(address)
        assert fields_of(page) == [], address
    page.goto("/signin")
    assert fields_of(page) == []


def test_the_tabs_stay_where_they_are(site: Site, browser: Any) -> None:
    campaign = site.campaign("ranking", [["a", "b"]])
    page = site.context(browser, create_account(site.ws, "Lead of tabs", "lead", PASSWORD)).new_page()
    seen = set()
    for tab in ("", "/labelers", "/disagreements", "/adjudicate", "/export", "/settings"):
        page.goto(f"/lead/c/{campaign.id}{tab}")
        seen.add(str(page.locator(".tabs a").evaluate_all("all => all.map(one => one.getBoundingClientRect().left)")))
    assert len(seen) == 1
