"""The simulator's page in a real browser: a guess, sliders, texts that attack, pools with little in them, looks."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from preflab.errors import PreflabError
from preflab.explain.inline import json_in_script
from preflab.explain.simulator_page import simulator_page
from simulator_worlds import random_pool, shop

pytestmark = pytest.mark.browser

Open = Callable[..., Any]


@pytest.fixture(scope="module")
def world() -> dict[str, Any]:
    """A small shop."""
    return shop(num_prompts=14, per_policy=14)


@pytest.fixture
def opened(browser: Any, tmp_path: Path) -> Iterator[Open]:
    """Opens a page about some data from a file; what goes wrong in it fails the test."""
    contexts, wrong = [], []

    def open_page(data: dict[str, Any], *, guess: str | None = None, **options: Any) -> Any:
        file = tmp_path / f"simulator-{len(contexts)}.html"
        file.write_text(simulator_page(data), encoding="utf-8")
        context = browser.new_context(**{"viewport": {"width": 1280, "height": 900}, **options})
        context.set_default_timeout(10_000)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda said: wrong.append(said.text))
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("request", lambda asked: None if asked.url == file.as_uri() else wrong.append(f"asked {asked.url}"))
        page.goto(file.as_uri())
        page.wait_for_selector("html.scripted", state="attached")
        if guess:
            page.check(f"input[value={guess}]")
            page.get_by_role("button", name="Show what happens").click()
        elif page.locator("#guess").is_visible():
            page.get_by_role("button", name="Skip the guess").click()
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert wrong == []


def move(page: Any, slider: str, to: float) -> None:
    """Set a slider as a drag would."""
    page.locator(f"#{slider}").evaluate(
        "(one, to) => { one.value = to; one.dispatchEvent(new Event('input', {bubbles: true})); }", to
    )


def text(page: Any, of: str) -> str:
    return str(page.locator(of).inner_text())


def test_the_guess_is_answered_by_what_happens(opened: Open, world: dict[str, Any]) -> None:
    page = opened(world, guess="rises")
    said = text(page, "#revealed-text")
    assert said.startswith("You guessed: “gold keeps rising with the learned reward”. Something else happens: it rises")
    assert "then falls to −" in said
    assert page.evaluate("document.activeElement.id") == "revealed-title"
    assert page.locator("#guess").is_hidden()
    page = opened(world, guess="falls")
    assert "That is what happens" in text(page, "#revealed-text")


def test_the_guess_can_be_left_out_and_needs_a_choice(opened: Open, world: dict[str, Any]) -> None:
    page = opened(world)
    assert page.locator("#lab").is_visible()
    assert page.locator("#revealed").is_hidden()
    page.reload()
    page.get_by_role("button", name="Show what happens").click()
    assert text(page, "#guess-missing") == "Choose one of the three, or skip."
    assert page.evaluate("document.activeElement.name") == "guess"


def test_everything_is_reached_by_keyboard(opened: Open, world: dict[str, Any]) -> None:
    page = opened(world)
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


def test_sentences_follow_the_figures(opened: Open, world: dict[str, Any]) -> None:
    page = opened(world)
    assert page.locator("#doubt").is_hidden()
    assert text(page, "#situation").startswith("Better by both")
    page.get_by_role("button", name="reference only").click()
    assert text(page, "#situation") == "Nothing changes: KL 0.00. The policy writes what the reference writes."
    page.locator("#beta-number").fill("0.02")
    assert "No KL penalty holds it" in text(page, "#situation")
    assert text(page, "#doubt").startswith("Grey, because the pool is unsure of these figures: ")
    assert page.locator("#beta-number").input_value() == "0.02"
    page.locator("#spoken", has_text="β 0.02: KL").wait_for(state="attached")
    assert "The pool is unsure here." in page.locator("#spoken").text_content()
    assert text(page, "#chart-title").startswith("From KL")
    assert page.locator("#chart .unsure").count() >= 2
    assert page.locator("#chart .dot").count() == 2 * len(world["runs"])


def test_completions_are_sorted_by_weights_that_sum_to_one(opened: Open, world: dict[str, Any]) -> None:
    page = opened(world)
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


def test_prompts_change_by_list_and_buttons(opened: Open, world: dict[str, Any]) -> None:
    page = opened(world)
    texts = [each["text"] for each in world["prompts"]]
    assert text(page, "#prompt-text") == texts[0]
    page.locator("#next").click()
    assert text(page, "#prompt-text") == texts[1]
    page.locator("#previous").click()
    page.locator("#previous").click()
    assert text(page, "#prompt-text") == texts[-1]
    page.locator("#prompt").select_option("3")
    assert text(page, "#prompt-text") == texts[3]


def test_flaws_change_the_texts_and_say_that_they_may_not_reach(opened: Open, world: dict[str, Any]) -> None:
    page = opened(world)
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


def test_generate_draws_the_same_texts_again(opened: Open, world: dict[str, Any]) -> None:
    drawn = []
    for _ in range(2):
        page = opened(world)
        drawn.append([])
        for _ in range(4):
            page.locator("#generate").click()
            drawn[-1].append(text(page, "#drawn"))
    assert drawn[0] == drawn[1]
    assert len(set(drawn[0])) == 4
    assert all("This sample was really written by " in each for each in drawn[0])


def test_draws_follow_the_weights(opened: Open, world: dict[str, Any]) -> None:
    """Of 4,000 draws with probabilities ½, ¼, 0, ¼ the counts lie within 5 standard deviations (at most 158)."""
    page = opened(world)
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


def test_every_number_is_in_the_table(opened: Open, world: dict[str, Any]) -> None:
    page = opened(world)
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


HOSTILE = [
    "</script><script>document.title = 'hacked'</script>",
    "<img src=x onerror=\"document.title='hacked'\"><!--<script>",
    "line\u2028separator\u2029paragraph",
    "\u202eright to left\u202c \u2066isolated",
    "a NUL \x00 and \x1b[31m escape",
    "alone \ud800 surrogate",
    "",
    "word " * 100_000,
]


def hostile_world() -> dict[str, Any]:
    data = shop(num_prompts=1, per_policy=8, seed=3)
    samples = data["samples"]
    for i, each in enumerate(HOSTILE):
        samples["text"][i] = each
    samples["num_tokens"][7] = 100_000
    data["title"] = "</title><script>document.title = 'hacked'</script>"
    data["prompts"][0]["text"] = "<b>prompt</b></script>"
    data["policies"][1] = data["policy_info"][1]["name"] = data["runs"][0]["name"] = "<i>run</i>"
    data["criteria"][0]["label"] = "<u>gold</u>"
    return data


def test_hostile_texts_stay_whole_and_inert(opened: Open) -> None:
    page = opened(hostile_world(), viewport={"width": 390, "height": 800})
    page.locator("#more").click()
    assert page.title() == "</title><script>document.title = 'hacked'</script>"
    for button in page.get_by_role("button", name="Show all 100,000 tokens").all():
        button.click()
    shown = page.eval_on_selector_all("#completions .text", "texts => texts.map(one => one.textContent)")
    # Playwright's transport replaces a lone surrogate; its code is read in the page.
    wanted = {each.replace("\ud800", "\ufffd") for each in HOSTILE if each}
    assert wanted <= {each.replace("\ud800", "\ufffd") for each in shown}
    assert page.evaluate(
        "[...document.querySelectorAll('#completions .text')].some(one => one.textContent.includes('\\ud800'))"
    )
    assert page.locator("#completions .nothing").inner_text() == "(empty)"
    assert page.locator("#completions :is(img, script, b)").count() == 0
    assert page.locator("#lab :is(i, u)").count() == 0
    assert text(page, "#prompt-text") == "<b>prompt</b></script>"
    assert page.evaluate("document.documentElement.scrollWidth") <= 390


def without(data: dict[str, Any], *policies: int) -> dict[str, Any]:
    """The data without some policies and their samples."""
    kept = copy.deepcopy(data)
    samples = kept["samples"]
    rows = [i for i, k in enumerate(samples["policy"]) if k not in policies]
    stay = [k for k in range(len(data["policies"])) if k not in policies]
    for name in ("prompt", "policy", "text", "num_tokens", "num_words", "finished"):
        samples[name] = [samples[name][i] for i in rows]
    samples["policy"] = [stay.index(k) for k in samples["policy"]]
    samples["logps"] = [[samples["logps"][k][i] for i in rows] for k in stay]
    for name in ("terms", "criteria"):
        samples[name] = [[column[i] for i in rows] for column in samples[name]]
    kept["policies"] = [kept["policies"][k] for k in stay]
    kept["policy_info"] = [kept["policy_info"][k] for k in stay]
    return kept


def test_the_reference_alone_is_grey_where_it_cannot_tell(opened: Open, world: dict[str, Any]) -> None:
    page = opened({**without(world, 1, 2, 3, 4), "runs": []})
    page.locator("#beta").press("Home")
    assert "unsure" in text(page, "#doubt")
    assert page.locator("#chart .dot").count() == 0
    assert page.evaluate(
        "() => { const sim = makeModel(JSON.parse(byId('data').textContent)); setReward(sim, startingState(sim));"
        " return sim.curve.filter(({beta}) => beta < sim.spread / 5).every(({doubts}) => doubts.length > 0); }"
    )
    page.get_by_text("Every number behind the chart").click()
    page.locator("#tables table").wait_for()


def test_without_a_criterion_there_is_no_guess(opened: Open, world: dict[str, Any]) -> None:
    data = copy.deepcopy(world)
    data["criteria"], data["samples"]["criteria"] = [], []
    for run in data["runs"]:
        run["criteria"] = []
    page = opened(data)
    assert page.locator("#guess").is_hidden()
    assert page.locator("#criterion-tile").is_hidden()
    assert "No gold, no other criterion" in text(page, "#situation")
    assert text(page, "#chart-title") == "Learned reward rises with KL"
    page.locator("#generate").click()
    assert page.locator("#drawn").is_visible()


def test_constant_rewards_change_nothing(opened: Open, world: dict[str, Any]) -> None:
    data = copy.deepcopy(world)
    data["samples"]["terms"] = [[1.5] * len(column) for column in data["samples"]["terms"]]
    data["runs"] = []
    page = opened(data)
    page.locator("#beta").press("Home")
    assert text(page, "#at-reward") == "1.50"
    assert "NaN" not in text(page, "#lab")
    assert page.locator("#chart svg").evaluate("svg => !svg.outerHTML.includes('NaN')")


def test_scores_that_are_missing_are_said(opened: Open) -> None:
    data = random_pool(5, num_prompts=3, most=9, num_policies=3, sharp=0.5)
    data["criteria"][0]["fail"] = None
    data["criteria"].append({"name": "j", "label": "judge", "higher_is_better": False, "fail": None})
    data["samples"]["criteria"].append([None] * len(data["samples"]["text"]))
    page = opened(data)
    page.locator("#criterion").select_option("1")
    assert text(page, "#at-criterion") == "–"
    assert "judge gave none" in text(page, "#completions")
    assert "NaN" not in page.locator("#chart").inner_html()


def test_one_prompt_needs_no_buttons(opened: Open) -> None:
    page = opened(shop(num_prompts=1, per_policy=10, seed=1))
    assert page.locator("#next").is_disabled()
    assert page.locator("#prompt option").count() == 1


@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_the_screen(opened: Open, world: dict[str, Any], width: int, scheme: str) -> None:
    page = opened(world, viewport={"width": width, "height": 844}, color_scheme=scheme)
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


def test_nothing_moves_where_less_motion_is_asked_for(opened: Open, world: dict[str, Any]) -> None:
    moved = {}
    for motion in ("reduce", "no-preference"):
        page = opened(world, reduced_motion=motion)
        page.evaluate("() => { window.moves = 0; Element.prototype.animate = () => { window.moves += 1; }; }")
        page.locator("#beta").press("Home")
        moved[motion] = page.evaluate("window.moves") > 0
    assert moved == {"reduce": False, "no-preference": True}


def test_four_thousand_samples_stay_below_five_megabytes() -> None:
    data = shop(num_prompts=40, per_policy=20)
    assert len(data["samples"]["text"]) == 4_000
    assert len(simulator_page(data).encode()) < 5_000_000


def test_the_data_are_checked(world: dict[str, Any]) -> None:
    short = copy.deepcopy(world)
    short["samples"]["logps"][1].pop()
    with pytest.raises(PreflabError, match=r"samples\.logps\[1\] has 979 values"):
        simulator_page(short)
    turned = copy.deepcopy(world)
    turned["samples"]["prompt"].reverse()
    with pytest.raises(PreflabError, match="not sorted by prompt"):
        simulator_page(turned)
    with pytest.raises(PreflabError, match="schema 2"):
        simulator_page({**world, "schema": 2})
    with pytest.raises(PreflabError, match="null"):
        json_in_script({"value": float("nan")})
    assert json_in_script({"a": "<&>\u2028\u202e\ud800é"}) == '{"a":"\\u003c\\u0026\\u003e\\u2028\\u202e\\ud800é"}'
