"""The simulator's page about pools that attack it, that have little in them, or that are broken."""

from __future__ import annotations

import copy
from collections.abc import Callable
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


def text(page: Any, of: str) -> str:
    return str(page.locator(of).inner_text())


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


def test_hostile_texts_stay_whole_and_inert(simulator: Open) -> None:
    page = simulator(hostile_world(), viewport={"width": 390, "height": 800})
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


def test_the_reference_alone_is_grey_where_it_cannot_tell(simulator: Open, world: dict[str, Any]) -> None:
    page = simulator({**without(world, 1, 2, 3, 4), "runs": []})
    page.locator("#beta").press("Home")
    assert "unsure" in text(page, "#doubt")
    assert page.locator("#chart .dot").count() == 0
    assert page.evaluate(
        "() => { const sim = makeModel(JSON.parse(byId('data').textContent)); setReward(sim, startingState(sim));"
        " return sim.curve.filter(({beta}) => beta < sim.spread / 5).every(({doubts}) => doubts.length > 0); }"
    )
    page.get_by_text("Every number behind the chart").click()
    page.locator("#tables table").wait_for()


def test_without_a_criterion_there_is_no_guess(simulator: Open, world: dict[str, Any]) -> None:
    data = copy.deepcopy(world)
    data["criteria"], data["samples"]["criteria"] = [], []
    for run in data["runs"]:
        run["criteria"] = []
    page = simulator(data)
    assert page.locator("#guess").is_hidden()
    assert page.locator("#criterion-tile").is_hidden()
    assert "No gold, no other criterion" in text(page, "#situation")
    assert text(page, "#chart-title") == "Learned reward rises with KL"
    page.locator("#generate").click()
    assert page.locator("#drawn").is_visible()


def test_constant_rewards_change_nothing(simulator: Open, world: dict[str, Any]) -> None:
    data = copy.deepcopy(world)
    data["samples"]["terms"] = [[1.5] * len(column) for column in data["samples"]["terms"]]
    data["runs"] = []
    page = simulator(data)
    page.locator("#beta").press("Home")
    assert text(page, "#at-reward") == "1.50"
    assert "NaN" not in text(page, "#lab")
    assert page.locator("#chart svg").evaluate("svg => !svg.outerHTML.includes('NaN')")


def test_scores_that_are_missing_are_said(simulator: Open) -> None:
    data = random_pool(5, num_prompts=3, most=9, num_policies=3, sharp=0.5)
    data["criteria"][0]["fail"] = None
    data["criteria"].append({"name": "j", "label": "judge", "higher_is_better": False, "fail": None})
    data["samples"]["criteria"].append([None] * len(data["samples"]["text"]))
    page = simulator(data)
    assert "got no score and is left out" in text(page, "#criterion-change")
    page.locator("#criterion").select_option("1")
    assert "100\u00a0% of what is written got no score" in text(page, "#criterion-change")
    assert text(page, "#at-criterion") == "–"
    assert "judge gave none" in text(page, "#completions")
    assert "NaN" not in page.locator("#chart").inner_html()


def test_a_criterion_without_any_score_is_not_asked_about(simulator: Open) -> None:
    data = random_pool(6, num_prompts=3, most=9, num_policies=3, sharp=0.5)
    data["criteria"][0]["fail"] = None
    data["samples"]["criteria"] = [[None] * len(data["samples"]["text"])]
    page = simulator(data)
    assert page.evaluate("document.activeElement === document.body"), "the guess was there, and was skipped"
    assert page.locator("#guess").is_hidden()
    assert page.locator("#lab").is_visible()


def test_one_prompt_needs_no_buttons(simulator: Open) -> None:
    page = simulator(shop(num_prompts=1, per_policy=10, seed=1))
    assert page.locator("#next").is_disabled()
    assert page.locator("#prompt option").count() == 1


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
