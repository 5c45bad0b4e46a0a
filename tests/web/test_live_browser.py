"""New text on the simulator's page in a real browser: tokens one by one, their colours in words, when it is off."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from live_page import Typist, live_facts, served
from simulator_worlds import KL_COEFS, shop

pytestmark = pytest.mark.browser

Open = Callable[..., Any]
RUNS = list(KL_COEFS.items())
TOKENS = [("The", 0.0), (" most", 1.2), (" awesome", 2.5), (" coin", -0.7), ("", 0.01)]


@pytest.fixture(scope="module")
def data() -> dict[str, Any]:
    return {**shop(num_prompts=8, per_policy=8), "live": live_facts(RUNS)}


@pytest.fixture
def opened(browser: Any, data: dict[str, Any]) -> Iterator[Open]:
    """Opens the page as `simulate --live` serves it; what goes wrong in it fails the test."""
    wrong: list[str] = []
    with ExitStack() as stack:

        def open_page(typist: Typist, **options: Any) -> Any:
            address = stack.enter_context(served(data, typist))
            context = browser.new_context(**options)
            stack.callback(context.close)
            context.set_default_timeout(10_000)
            page = context.new_page()
            page.on("console", lambda said: wrong.append(said.text))
            page.on("pageerror", lambda error: wrong.append(str(error)))
            page.goto(address)
            page.get_by_role("button", name="Skip the guess").click()
            return page

        yield open_page
    assert wrong == []


def write(page: Any) -> None:
    page.get_by_role("button", name="Write new text with the model").click()


def finished(page: Any) -> str:
    """The sentence below the text, once it is whole."""
    page.locator("#live-facts", has_text=re.compile("learned reward|Stopped|does not answer|broke")).wait_for()
    return str(page.locator("#live-facts").inner_text())


def test_tokens_are_coloured_and_said_in_words(opened: Open) -> None:
    typist = Typist(TOKENS)
    page = opened(typist)
    page.locator("#beta-number").fill("0.275")
    assert (
        "α = 0.3 / 0.275 = 1.09, the penalty of ppo_low over this one: beyond ppo_low, away from sft."
        in page.locator("#live-about").inner_text()
    )
    write(page)
    said = finished(page)
    assert said.startswith("learned reward 1.25 · gold fails (−3.00) · log-ratio of the whole text 3.01 nats. ")
    # e^2.5 = 12.18 and e^1.2 = 3.32; e^0.7 = 2.01.
    assert said.endswith("Farthest from the reference: “awesome”, 12.2 times likelier, “most”, 3.32 times likelier and "
                         "“coin”, 2.01 times rarer.")  # fmt: skip
    assert page.locator("#live-tokens").inner_text() == "The most awesome coin"
    kinds = page.eval_on_selector_all("#live-tokens span", "all => all.map(one => one.className.split(' ')[1])")
    assert kinds == ["same", "likelier", "likelier", "rarer", "same"]
    strengths = page.eval_on_selector_all(
        "#live-tokens span", "all => all.map(one => Number(one.style.getPropertyValue('--strength')))"
    )
    assert strengths == [0, 0.4, 0.83, 0.23, 0]
    page.get_by_text("Every token in numbers").click()
    cells = page.locator("#live-more tbody tr").all_inner_texts()
    assert cells[2].split("\t") == ["“awesome”", "2.50", "61\u00a0%"]
    assert cells[4].startswith("the end")
    (asked,) = typist.asked
    assert asked["run"] == "ppo_low"
    assert asked["alpha"] == pytest.approx(0.3 / 0.275)
    assert asked["prompt"] == "prompt-0"
    assert asked["seed"] >= 0


def test_mixture_names_the_nearest_run_and_is_exact_at_the_ends(opened: Open) -> None:
    typist = Typist(TOKENS)
    page = opened(typist)
    about = page.locator("#live-about")
    page.get_by_role("button", name="ppo 0.55").click()
    assert about.inner_text() == "Writes with ppo itself, whose penalty this is."
    page.locator("#beta-number").fill("5")
    assert "α = 1.2 / 5 = 0.24, the penalty of ppo_high over this one: between sft and ppo_high." in about.inner_text()
    page.get_by_role("button", name="reference only").click()
    assert about.inner_text() == "Writes with sft alone."
    write(page)
    finished(page)
    assert typist.asked[0]["alpha"] == 0


def test_it_is_off_once_the_reward_has_changed(opened: Open) -> None:
    page = opened(Typist(TOKENS))
    button, about = page.locator("#live-write"), page.locator("#live-about")
    assert button.is_enabled()
    page.locator("#flaw-length").press("End")
    assert button.is_disabled()
    assert about.inner_text().startswith("Off: you have changed the reward, and no run was trained on the changed one.")
    page.get_by_role("button", name="Reset the reward").click()
    assert button.is_enabled()
    page.locator("#weight-0").press("Home")
    assert button.is_disabled()


def test_it_is_off_far_beyond_every_run(opened: Open) -> None:
    page = opened(Typist(TOKENS))
    page.locator("#beta-number").fill("0.005")
    assert page.locator("#live-write").is_disabled()
    assert (
        page.locator("#live-about")
        .inner_text()
        .startswith("Off: this penalty is 24 times smaller than that of ppo_free")
    )


def test_stop_ends_the_writing_and_gives_no_scores(opened: Open) -> None:
    typist = Typist([("x", 0.0)] * 1000, pause=0.02)
    page = opened(typist)
    write(page)
    page.locator("#live-tokens span").nth(5).wait_for()
    assert page.locator("#live-write").is_disabled()
    assert page.evaluate("document.activeElement.id") == "live-stop"
    page.keyboard.press("Enter")
    assert re.fullmatch(r"Stopped after \d+ tokens; a text that is not whole gets no scores\.", finished(page))
    page.wait_for_function("!byId('live-write').disabled")
    assert page.evaluate("document.activeElement.id") == "live-write"
    page.wait_for_timeout(200)
    num = typist.num_written
    page.wait_for_timeout(200)
    assert typist.num_written == num < 1000
    typist.tokens = TOKENS
    write(page)
    page.locator("#live-facts", has_text="learned reward").wait_for()


def test_another_prompt_ends_the_writing(opened: Open) -> None:
    typist = Typist([("x", 0.0)] * 1000, pause=0.02)
    page = opened(typist)
    write(page)
    page.locator("#live-tokens span").nth(5).wait_for()
    page.get_by_role("button", name="Next prompt").click()
    assert page.locator("#live-text").is_hidden()
    page.wait_for_function("!byId('live-write').disabled")
    typist.tokens, typist.pause = TOKENS, 0
    write(page)
    finished(page)
    assert typist.asked[-1]["prompt"] == "prompt-1"


def test_hostile_tokens_stay_text(opened: Open) -> None:
    hostile = [
        "<img src=x onerror=alert(1)>",
        "</script><script>alert(2)</script>",
        "\u202e",
        "&lt;b&gt;",
        "\u2028",
        "\ud800",
    ]
    page = opened(Typist([(text, 1.0) for text in hostile]))
    write(page)
    finished(page)
    shown = page.evaluate("byId('live-tokens').textContent")
    assert shown.startswith("".join(hostile[:5]))
    assert page.locator("#live-text :is(img, script, b)").count() == 0


def test_errors_are_said(opened: Open) -> None:
    typist = Typist(TOKENS)
    typist.fails_after = 1
    page = opened(typist)
    write(page)
    assert finished(page) == "the model broke. mend it."
    assert page.locator("#live-facts.missing").count() == 1
    typist.fails_after = None
    write(page)
    page.locator("#live-facts", has_text="learned reward").wait_for()
    assert page.locator("#live-facts.missing").count() == 0


def test_an_empty_text_says_so(opened: Open) -> None:
    page = opened(Typist([("", 0.0)]))
    write(page)
    assert "Every token is as likely as under the reference." in finished(page)
    assert page.locator("#live-tokens").inner_text() == "(empty)"


def test_the_file_has_no_button_for_it(browser: Any, tmp_path: Any, data: dict[str, Any]) -> None:
    from preflab.explain.simulator_page import simulator_page

    file = tmp_path / "simulator.html"
    file.write_text(simulator_page({**data, "live": None}), encoding="utf-8")
    page = browser.new_page()
    page.goto(file.as_uri())
    page.get_by_role("button", name="Skip the guess").click()
    assert page.locator("#live-write").count() == 0
    assert "sends nothing" in page.locator("footer").inner_text()
    page.close()
