"""The simulator's page in a real browser: a guess, sliders, prompts, draws, tables, looks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from simulator_worlds import shop

pytestmark = pytest.mark.browser

Open = Callable[..., Any]


@pytest.fixture(scope="module")
def world() -> dict[str, Any]:
    """A small shop."""
    return shop(num_prompts=14, per_policy=14)


def move(page: Any, slider: str, to: float) -> None:
    """Set a slider as a drag would."""
    page.locator(f"#{slider}").evaluate(
        "(one, to) => { one.value = to; one.dispatchEvent(new Event('input', {bubbles: true})); }", to
    )


def text(page: Any, of: str) -> str:
    return str(page.locator(of).inner_text())


def test_the_guess_is_answered_by_what_happens(simulator: Open, world: dict[str, Any]) -> None:
    page = simulator(world, guess="rises")
    said = text(page, "#revealed-text")
    assert said.startswith("You guessed: “gold keeps rising with the learned reward”. Something else happens: it rises")
    assert "then falls to −" in said
    assert page.evaluate("document.activeElement.id") == "revealed-title"
    assert page.locator("#guess").is_hidden()
    page = simulator(world, guess="falls")
    assert "That is what happens" in text(page, "#revealed-text")


def test_the_reveal_tells_what_a_run_without_penalty_did(simulator: Open, world: dict[str, Any]) -> None:
    free = {**world["runs"][-1], "name": "ppo_free", "kl_coef": 0.0}
    free["criteria"] = [{"value": -2.5, "low": -2.7, "high": -2.3}]
    said = text(simulator({**world, "runs": [*world["runs"][:-1], free]}, guess="level"), "#revealed-text")
    assert "ppo_free was really trained without a penalty: it ended at gold −2.50, learned reward " in said


def test_the_guess_can_be_left_out_and_needs_a_choice(simulator: Open, world: dict[str, Any]) -> None:
    page = simulator(world)
    assert page.locator("#lab").is_visible()
    assert page.locator("#revealed").is_hidden()
    page.reload()
    page.get_by_role("button", name="Show what happens").click()
    assert text(page, "#guess-missing") == "Choose one of the three, or skip."
    assert page.evaluate("document.activeElement.name") == "guess"


def test_everything_is_reached_by_keyboard(simulator: Open, world: dict[str, Any]) -> None:
    page = simulator(world)
    page.reload()
    keys = ["Tab", "Tab", " ", "Tab", "Enter"]
    for key in keys:
        page.keyboard.press(key)
    assert page.locator("#lab").is_visible()
    reached = []
    for _ in range(60):
        page.keyboard.press("Tab")
        name = page.evaluate("document.activeElement.id || document.activeElement.textContent")
        if name in reached:
            break
        reached.append(name)
    shown = page.evaluate(
        "[...document.querySelectorAll('#lab :is(button, input, select, textarea)')]"
        ".filter(one => one.offsetParent && !one.disabled).map(one => one.id || one.textContent)"
    )
    assert set(shown) <= set(reached)
    page.locator("#beta").focus()
    before = text(page, "#at-kl")
    page.keyboard.press("End")
    assert page.locator("#beta").get_attribute("aria-valuetext") == "reference only"
    assert text(page, "#at-kl") == "0.00" != before
    page.keyboard.press("Home")
    assert text(page, "#situation").startswith("Scores high and reads as gibberish")


def test_sentences_follow_the_figures(simulator: Open, world: dict[str, Any]) -> None:
    page = simulator(world)
    assert page.locator("#doubt").is_hidden()
    assert text(page, "#situation").startswith("Better by both")
    page.get_by_role("button", name="reference only").click()
    assert text(page, "#situation") == "Nothing changes: KL 0.00. The policy writes what the reference writes."
    page.locator("#beta-number").fill("0.02")
    assert "This KL penalty is too small to hold it" in text(page, "#situation")
    assert text(page, "#doubt").startswith("Grey, because the pool is unsure of these figures: ")
    assert page.locator("#beta-number").input_value() == "0.02"
    page.locator("#spoken", has_text="β 0.02: KL").wait_for(state="attached")
    assert "The pool is unsure here." in page.locator("#spoken").text_content()
    assert text(page, "#chart-title").startswith("From KL")
    assert page.locator("#chart .unsure").count() >= 2
    assert page.locator("#chart .dot").count() == 2 * len(world["runs"])


def test_a_penalty_of_zero_means_the_smallest(simulator: Open, world: dict[str, Any]) -> None:
    page = simulator(world)
    page.locator("#beta-number").fill("0")
    page.locator("#beta-number").press("Enter")
    assert page.locator("#beta").input_value() == "0"
    assert float(page.locator("#beta-number").input_value()) > 0


def test_samples_of_the_reference_are_named_so(simulator: Open, world: dict[str, Any]) -> None:
    page = simulator(world)
    page.get_by_role("button", name="reference only").click()
    assert f"sampled from the reference ({world['policies'][0]})" in text(page, "#completions")


def test_completions_are_sorted_by_weights_that_sum_to_one(simulator: Open, world: dict[str, Any]) -> None:
    page = simulator(world)
    for beta in ("0.1", "0.4", "3"):
        page.locator("#beta-number").fill(beta)
        page.evaluate("() => { const more = byId('more'); if (more.textContent.startsWith('Show ' ) && !more.hidden && "
                      "!more.textContent.startsWith('Show only')) more.click(); }")  # fmt: skip
        widths = page.eval_on_selector_all("#completions .bar", "bars => bars.map(bar => parseFloat(bar.style.width))")
        assert widths == sorted(widths, reverse=True)
        assert abs(sum(widths) - 100) < 0.005 * len(widths) + 1e-9
    shown = page.eval_on_selector_all("#completions .text", "texts => texts.map(text => text.textContent)")
    samples = world["samples"]
    first = {each for each, x in zip(samples["text"], samples["prompt"], strict=True) if x == 0}
    assert len(shown) == len(set(shown))
    assert set(shown) == first


def test_prompts_change_by_list_and_buttons(simulator: Open, world: dict[str, Any]) -> None:
    page = simulator(world)
    texts = [each["text"] for each in world["prompts"]]
    assert text(page, "#prompt-text") == texts[0]
    page.locator("#next").click()
    assert text(page, "#prompt-text") == texts[1]
    page.locator("#previous").click()
    page.locator("#previous").click()
    assert text(page, "#prompt-text") == texts[-1]
    page.locator("#prompt").select_option("3")
    assert text(page, "#prompt-text") == texts[3]


def test_flaws_change_the_texts_and_say_that_they_may_not_reach(simulator: Open, world: dict[str, Any]) -> None:
    page = simulator(world)
    before = text(page, "#at-reward")
    move(page, "flaw-flattery", 1)
    assert "May not reach: no pooled run was trained on love of flattery" in text(page, "#untried")
    assert text(page, "#at-reward") != before
    # The runs' learned rewards were measured with another reward than the line's.
    assert page.locator("#chart .dot.reward").count() == 0
    page.locator("#flattery-words").fill("nothing like this")
    assert text(page, "#at-reward") == before
    page.locator("#reset").click()
    assert page.locator("#untried").is_hidden()
    assert page.locator("#flattery-words").input_value() == ", ".join(world["flattering_words"])
    assert page.locator("#chart .dot.reward").count() == len(world["runs"])
    move(page, "reversed", 100)
    assert "reversed labelers" in text(page, "#untried")
    assert "Worse" in text(page, "#situation") or "worse" in text(page, "#situation")
    page.locator("#reset").click()
    move(page, "weight-1", 0.1)
    assert "the weight of brevity" in text(page, "#untried")


def test_generate_draws_the_same_texts_again(simulator: Open, world: dict[str, Any]) -> None:
    drawn = []
    for _ in range(2):
        page = simulator(world)
        drawn.append([])
        for _ in range(4):
            page.locator("#generate").click()
            drawn[-1].append(text(page, "#drawn"))
    assert drawn[0] == drawn[1]
    assert len(set(drawn[0])) == 4
    assert all("This sample was really written by " in each for each in drawn[0])


def test_draws_follow_the_weights(simulator: Open, world: dict[str, Any]) -> None:
    """Of 4,000 draws with probabilities ½, ¼, 0, ¼ the counts lie within 5 standard deviations (at most 158)."""
    page = simulator(world)
    counts = page.evaluate(
        """() => {
            const next = seededNumbers(7);
            const counts = [0, 0, 0, 0];
            const pool = {starts: [0, 4]};
            for (let j = 0; j < 4000; j += 1) counts[drawSample(pool, [0.5, 0.25, 0, 0.25], 0, next())] += 1;
            return counts;
        }"""
    )
    assert counts[2] == 0
    assert all(abs(count - want) < 158 for count, want in zip(counts, (2000, 1000, 0, 1000), strict=True))


def test_every_number_is_in_the_table(simulator: Open, world: dict[str, Any]) -> None:
    page = simulator(world)
    page.get_by_text("Every number behind the chart").click()
    tables = page.locator("#tables table")
    tables.first.wait_for()
    assert tables.count() == 2
    # The reference, 30 values of β, 6 towards none at all, and the coefficients of the four runs.
    assert tables.nth(0).locator("tbody tr").count() == 1 + 30 + 6 + 4
    assert tables.nth(1).locator("tbody tr").count() == len(world["runs"])
    rows = tables.nth(0).locator("tbody tr")
    assert rows.first.locator("td").first.inner_text() == "reference only"
    assert "unsure" in rows.last.inner_text()


@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_the_screen(simulator: Open, world: dict[str, Any], width: int, scheme: str) -> None:
    page = simulator(world, viewport={"width": width, "height": 844}, color_scheme=scheme)
    page.evaluate("document.querySelectorAll('details').forEach(one => one.open = true)")
    page.locator("#beta").press("Home")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    small = page.evaluate(
        """[...document.querySelectorAll('button, select, textarea, summary, input')]
            .filter(one => one.offsetParent && !one.closest('label'))
            .map(one => [one.id || one.textContent, one.getBoundingClientRect()])
            .filter(([, box]) => box.height < 40 || box.width < 40).map(([name]) => name)"""
    )
    assert small == []
    outside = page.evaluate(
        """() => {
            const box = document.querySelector('#chart svg').getBoundingClientRect();
            return [...document.querySelectorAll('#chart text')].filter(text => {
                const own = text.getBoundingClientRect();
                return own.left < box.left - 2 || own.right > box.right + 6 || own.height < 11;
            }).map(text => text.textContent);
        }"""
    )
    assert outside == []


def test_nothing_moves_where_less_motion_is_asked_for(simulator: Open, world: dict[str, Any]) -> None:
    moved = {}
    for motion in ("reduce", "no-preference"):
        page = simulator(world, reduced_motion=motion)
        page.evaluate("() => { window.moves = 0; Element.prototype.animate = () => { window.moves += 1; }; }")
        page.locator("#beta").press("Home")
        moved[motion] = page.evaluate("window.moves") > 0
    assert moved == {"reduce": False, "no-preference": True}
