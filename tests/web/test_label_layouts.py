"""Keyboards of the world: each press is what its layout types (`key`) at its place (`code`), in a real browser."""

from __future__ import annotations

from typing import Any

import pytest

from labelling_site import Site, texts_by_letter

pytestmark = pytest.mark.browser

TEXTS = ["one", "two", "three", "four", "five"]
AZERTY = "&é\"'(-è_çà"
CZECH = "+ěščřžýáíé"
ROWS = {
    "azerty": AZERTY,
    "czech": CZECH,
    "thai": "ๅ/-ภถุึคตจ",
    "lithuanian": "ąčęėįšųū„“",
    "qwerty": "1234567890",
    "dvorak": "1234567890",
    "arabic digits": "١٢٣٤٥٦٧٨٩٠",
    "persian digits": "۱۲۳۴۵۶۷۸۹۰",
    "bengali digits": "১২৩৪৫৬৭৮৯০",
    "devanagari digits": "१२३४५६७८९०",
    "thai digits": "๑๒๓๔๕๖๗๘๙๐",
    "fullwidth digits": "１２３４５６７８９０",
    "mathematical digits": "𝟙𝟚𝟛𝟜𝟝𝟞𝟟𝟠𝟡𝟘",
}
"""What the row of digits types without Shift, from the key of 1 to that of 0."""

LETTERS = {
    # layout: (what the keys of f, d, i and w of a US keyboard type)
    "cyrillic": {"f": "а", "d": "в", "i": "ш", "w": "ц"},
    "greek": {"f": "φ", "d": "δ", "i": "ι", "w": "ς"},
    "hebrew": {"f": "כ", "d": "ג", "i": "ן", "w": "'"},
    "arabic": {"f": "ب", "d": "ي", "i": "ه", "w": "ص"},
    "persian": {"f": "ب", "d": "ی", "i": "ه", "w": "ص"},
    "georgian": {"f": "ფ", "d": "დ", "i": "ი", "w": "წ"},
    "hindi": {"f": "ि", "d": "्", "i": "ग", "w": "ै"},
    "thai": {"f": "ด", "d": "ก", "i": "ร", "w": "ไ"},
    "korean": {"f": "ㄹ", "d": "ㅇ", "i": "ㅑ", "w": "ㅈ"},
    "qwerty": {"f": "f", "d": "d", "i": "i", "w": "w"},
}


@pytest.fixture(scope="module")
def task(site: Site, browser: Any) -> Any:
    """A task of five short completions and one long one below them, on one page for all presses."""
    campaign = site.campaign("ranking", [[*TEXTS, "long " * 2_000]])
    page = site.context(browser, site.labeler(campaign)).new_page()
    page.goto(f"/c/{campaign.id}")
    page.wait_for_selector("html.scripted", state="attached")
    return page


def press(page: Any, key: str, code: str, **more: Any) -> bool:
    """One press as a browser reports it; whether the page took it."""
    return page.evaluate(
        """([key, code, more]) => {
            const event = new KeyboardEvent('keydown', {key, code, bubbles: true, cancelable: true, ...more});
            (document.querySelector('dialog[open]') ?? document.activeElement).dispatchEvent(event);
            return event.defaultPrevented;
        }""",
        [key, code, more],
    )


def reset(page: Any, letter: str = "A") -> None:
    """Nothing chosen, the focus in a completion."""
    page.evaluate(
        """letter => {
            document.querySelectorAll('.group input:checked').forEach(one => one.checked = false);
            document.querySelectorAll('dialog[open]').forEach(one => one.close());
            document.querySelector(`[data-card="${letter}"] input`).focus({preventScroll: true});
        }""",
        letter,
    )


def chosen(page: Any) -> list[str]:
    return page.evaluate("[...document.querySelectorAll('.group input:checked')].map(one => one.value)")


@pytest.mark.parametrize("layout", ROWS)
def test_the_row_of_digits_gives_ranks(task: Any, layout: str) -> None:
    assert len(texts_by_letter(task)) == 6
    for place, typed in enumerate(ROWS[layout][:6], 1):
        reset(task)
        assert press(task, typed, f"Digit{place}")
        assert chosen(task) == [str(place)], f"{typed} on the key of {place}"


def test_the_numeric_pad_gives_ranks(task: Any) -> None:
    for key, code in (("3", "Numpad3"), ("٣", "Numpad3"), ("۳", "Numpad3")):
        reset(task)
        assert press(task, key, code)
        assert chosen(task) == ["3"]
    reset(task)
    assert not press(task, "PageDown", "Numpad3"), "without the number lock it is another key"
    assert chosen(task) == []


@pytest.mark.parametrize(
    ("key", "code", "rank"),
    [
        ("Dead", "Digit5", "5"),
        ("Dead", "KeyF", "F"),
        ("Unidentified", "Digit2", "2"),
        ("Unidentified", "Numpad3", "3"),
        ("Unidentified", "KeyF", "F"),
    ],
)
def test_a_key_without_a_character_works_by_place(task: Any, key: str, code: str, rank: str) -> None:
    reset(task)
    press(task, "й" if key == "Dead" else "r", "KeyR")  # among Latin letters a dead key is a mark: Bépo's ^ is no y
    assert press(task, key, code)
    assert chosen(task) == [rank]


@pytest.mark.parametrize("code", ["Digit2", "KeyF"])
def test_a_key_of_an_input_method_is_left_alone(task: Any, code: str) -> None:
    for key, more in (("Process", {}), ("Dead", {"isComposing": True}), ("Unidentified", {"keyCode": 229})):
        reset(task)
        assert not press(task, key, code, **more)
        assert chosen(task) == []


@pytest.mark.parametrize(
    ("key", "code"), [("²", "Backquote"), ("º", "Backquote"), ("ª", "Backquote"), ("①", "IntlYen")]
)
def test_superscripts_and_ordinals_are_no_digits_or_letters(task: Any, key: str, code: str) -> None:
    reset(task, "C")
    for shifted in (False, True):
        assert not press(task, key, code, shiftKey=shifted)
    assert chosen(task) == []
    assert task.evaluate("document.activeElement.closest('[data-card]').dataset.card") == "C"


def test_full_width_letters_are_letters(task: Any) -> None:
    reset(task)
    assert press(task, "ｆ", "Convert")
    assert chosen(task) == ["F"]


@pytest.mark.parametrize("layout", LETTERS)
def test_letters_work_by_place_where_they_are_not_latin(task: Any, layout: str) -> None:
    typed = LETTERS[layout]
    reset(task)
    assert press(task, typed["f"], "KeyF")
    assert chosen(task) == ["F"]
    reset(task)
    assert press(task, typed["d"], "KeyD")
    assert task.evaluate("document.activeElement.closest('[data-card]').dataset.card") == "D"
    assert press(task, typed["w"], "KeyW")
    assert task.locator("button.unfold[aria-expanded=true]").count() == 1
    assert press(task, typed["w"], "KeyW")
    assert press(task, typed["i"], "KeyI")
    assert task.locator("#instructions").is_visible()
    assert press(task, typed["i"], "KeyI"), "the same key closes it"
    assert not task.locator("#instructions").is_visible()


def test_a_letter_with_shift_goes_to_a_later_completion(task: Any) -> None:
    for key in ("F", "А", "Φ"):
        reset(task)
        assert press(task, key, "KeyF", shiftKey=True)
        assert task.evaluate("document.activeElement.closest('[data-card]').dataset.card") == "F"


@pytest.mark.parametrize(
    ("layout", "key", "code", "card"),
    [
        ("dvorak", "e", "KeyD", "E"),
        ("dvorak", "b", "KeyN", "B"),
        ("colemak", "d", "KeyG", "D"),
        ("turkish f", "a", "KeyF", "A"),
        ("azerty", "a", "KeyQ", "A"),
        ("bépo", "b", "KeyQ", "B"),
    ],
)
def test_what_a_latin_key_types_wins_over_its_place(task: Any, layout: str, key: str, code: str, card: str) -> None:
    reset(task, "C")
    assert press(task, key, code), layout
    assert task.evaluate("document.activeElement.closest('[data-card]').dataset.card") == card
    assert chosen(task) == []


@pytest.mark.parametrize(
    ("layout", "key", "code"),
    [
        ("dvorak", "x", "KeyB"),
        ("dvorak", ",", "KeyW"),
        ("azerty", "q", "KeyA"),
        ("azerty", "m", "Semicolon"),
        ("turkish f", "ğ", "KeyE"),
        ("turkish q", "ı", "KeyI"),
        ("colemak", "p", "KeyR"),
        ("us", "!", "Digit1"),
        ("german", "Dead", "Equal"),
        ("bépo", "Dead", "KeyY"),
        ("us international", "Dead", "Digit6"),
    ],
)
def test_a_latin_key_that_means_nothing_does_nothing(task: Any, layout: str, key: str, code: str) -> None:
    reset(task)
    press(task, "r", "KeyR")  # a person who types Latin letters
    assert not press(task, key, code, shiftKey=code.startswith("Digit")), layout
    assert chosen(task) == []
    assert task.locator("dialog[open]").count() == 0


@pytest.mark.parametrize(
    "more",
    [
        {"ctrlKey": True},
        {"altKey": True},
        {"metaKey": True},
        {"modifierAltGraph": True},
        {"isComposing": True},
        {"keyCode": 229},
        {"repeat": True},
    ],
    ids=str,
)
@pytest.mark.parametrize(("key", "code"), [("1", "Digit1"), ("&", "Digit1"), ("а", "KeyF"), ("١", "Digit1")])
def test_keys_with_others_or_within_a_composition_are_left_alone(
    task: Any, more: dict[str, Any], key: str, code: str
) -> None:
    reset(task)
    assert not press(task, key, code, **more)
    assert chosen(task) == []


@pytest.mark.parametrize("selector", ["textarea[name=note]", "input[name=more]"])
def test_what_is_written_into_a_field_is_no_key(task: Any, selector: str) -> None:
    reset(task)
    task.evaluate("document.querySelectorAll('.extras details').forEach(one => one.open = true)")
    task.locator(selector).focus()
    for key, code in (("1", "Digit1"), ("&", "Digit1"), ("а", "KeyF"), ("ı", "KeyI")):
        assert not press(task, key, code)
    task.evaluate("document.querySelectorAll('.extras details').forEach(one => one.open = false)")
    assert chosen(task) == []


def test_other_question_marks_open_the_table_of_keys(task: Any) -> None:
    for key, code in (("?", "Comma"), ("؟", "Slash"), ("？", "Slash"), ("?", "Digit7")):
        reset(task)
        assert press(task, key, code, shiftKey=True)
        assert task.locator("#keys").is_visible()
