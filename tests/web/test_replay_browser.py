"""The replay in a real browser: numbers of the record, credit by hand, keys, comparison, alarms, hostile texts."""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pyarrow import parquet

from preflab.explain import replay_rows
from preflab.explain.replay_data import replay_data
from preflab.explain.replay_page import replay_page
from replay_runs import PER_TOKEN, dialogue, pairs_run, ppo_run, rollout, sentence
from web.test_hostile_browser import ATTACKS, RUN

pytestmark = pytest.mark.browser

OpenPage = Callable[..., Any]
"""Writes the replay of run folders and opens it in Chromium; the page's `wrong` lists what must not happen."""


@pytest.fixture
def open_page(browser: Any, tmp_path: Path) -> Iterator[OpenPage]:
    contexts = []

    def opened(*folders: Path, width: int = 1280, **looks: Any) -> Any:
        file = tmp_path / "replay.html"
        file.write_text(replay_page(replay_data(folders)), encoding="utf-8")
        context = browser.new_context(viewport={"width": width, "height": 900}, **looks)
        contexts.append(context)
        page = context.new_page()
        page.wrong = []
        page.on("request", lambda asked: page.wrong.append(asked.url) if asked.url != file.as_uri() else None)
        page.on("console", lambda said: page.wrong.append(said.text))
        page.on("pageerror", lambda error: page.wrong.append(str(error)))
        page.on("dialog", lambda dialog: (page.wrong.append(dialog.message), dialog.dismiss()))
        page.goto(file.as_uri())
        return page

    yield opened
    for context in contexts:
        assert not [wrong for page in context.pages for wrong in page.wrong]
        context.close()


def read_number(text: str) -> float:
    """A number of the page: true minus, perhaps a sign, perhaps a unit."""
    return float(text.replace("−", "-").removeprefix("+").split()[0])


def select(page: Any, name: str, value: str) -> None:
    page.locator(f"#{name}").select_option(value)


def token_values(page: Any, quantity: str, place: int = 0) -> list[float]:
    """The numbers below the tokens, coloured by a quantity."""
    select(page, "quantity", quantity)
    page.locator("#numbers").check()
    return [read_number(text) for text in page.locator(".strip").nth(place).locator(".value").all_inner_texts()]


def figure(page: Any, name: str) -> float:
    """A number of the chosen token."""
    return read_number(page.locator(f"#selected-numbers [data-figure={name}] dd").inner_text())


def test_numbers_are_those_of_the_parquet_files(open_page: OpenPage, tmp_path: Path) -> None:
    run = ppo_run(tmp_path / "runs")
    page = open_page(run)
    record = parquet.read_table(run / "rollouts" / "step-000005.parquet").to_pylist()
    for number, button in enumerate(page.locator("#rows button").all()):
        button.click()
        row = record[number]
        for place in (0, len(row["tokens"]) - 1):
            page.locator(".token").nth(place).click()
            sampler, trainer, reference = (row[name][place] for name in PER_TOKEN[:3])
            assert figure(page, "sampler") == pytest.approx(sampler, rel=1e-5)
            assert figure(page, "trainer") == pytest.approx(trainer, rel=1e-5)
            assert figure(page, "reference") == pytest.approx(reference, rel=1e-5)
            assert figure(page, "difference") == pytest.approx(sampler - trainer, rel=5e-3)
            assert figure(page, "logratio") == pytest.approx(trainer - reference, rel=1e-5)
            for name in ("kl", "advantages", "entropy", "ratio", "values", "returns"):
                assert figure(page, name) == pytest.approx(row[name][place], rel=1e-5)
        said = f"reward {0.5 + 0.25 * number:g} (rm 0.5, brief {0.25 * number:g})"
        assert said in page.locator("article .facts").first.inner_text()
        assert row["completion_id"] in page.locator(".identity").inner_text()
        assert row["prompt_id"] in page.locator(".identity").inner_text()
        page.locator("article details.all > summary").click()
        page.locator("article details.all tbody tr").first.wait_for()
        cells = page.locator("article details.all tbody tr").nth(1).locator("td").all_inner_texts()
        expected = [row[name][1] for name in PER_TOKEN[:3]]
        assert [read_number(cell) for cell in cells[2:5]] == pytest.approx(expected, rel=1e-5)


def test_curve_has_its_numbers_as_a_table(open_page: OpenPage, tmp_path: Path) -> None:
    page = open_page(ppo_run(tmp_path / "runs"), ppo_run(tmp_path / "runs", "other", steps=3))
    select(page, "metric", "kl/exact")
    page.locator("#trend-table summary").click()
    page.locator("#trend-table tbody tr").first.wait_for()
    rows = [" ".join(row.inner_text().split()) for row in page.locator("#trend-table tbody tr").all()]
    assert rows == ["0 0 0", "1 0.5 0.5", "2 1 1", "3 1.5 –", "4 2 –", "5 2.5 –"]
    assert "from 0 to 2.5 over steps 0 to 5" in page.locator("#chart svg").get_attribute("aria-label")


def test_credit_of_the_end_reward_by_hand(open_page: OpenPage, tmp_path: Path) -> None:
    """R = 2, γ = 1, V = 1, 1/2, 1.

    λ = 1/2: credit 2/4, 2/2, 2. δ = −1/2, 1/2, 1, so A₂ = 1, A₁ = 1/2 + 1/2 = 1, A₀ = −1/2 + 1/2 = 0.
    λ = 1: credit 2 everywhere and A = R − V = 1, 3/2, 1. λ = 0: 0, 0, 2 and A = δ.
    """
    row = rollout(0, 0, ["a", "b", ""], reward=2.0, values=[1.0, 0.5, 1.0])
    page = open_page(ppo_run(tmp_path / "runs", steps=1, rows={0: [row]}, alarms=[]))
    expected = {
        "0.5": ([0.5, 1, 2], [0, 1, 1]),
        "1": ([2, 2, 2], [1, 1.5, 1]),
        "0": ([0, 0, 2], [-0.5, 0.5, 1]),
    }
    for lam, (credit, advantage) in expected.items():
        select(page, "quantity", "credit")
        page.locator("#lambda").fill(lam)
        assert token_values(page, "credit") == credit
        assert token_values(page, "gae") == advantage
    select(page, "quantity", "kl")
    assert page.locator("#lambda-field").is_hidden()


def test_credit_skips_tokens_that_the_policy_did_not_write(open_page: OpenPage, tmp_path: Path) -> None:
    """R = 2 and γλ = 1/2 over the written tokens 0 and 2 alone: 1 and 2; δ₀ = V₂ − V₀ = 0, A₂ = 2 − 1 = 1, A₀ = 1/2."""
    row = rollout(0, 0, ["a", "tool", "b"], reward=2.0, values=[1.0, 9.0, 1.0], written=[True, False, True])
    page = open_page(ppo_run(tmp_path / "runs", steps=1, rows={0: [row]}, alarms=[]))
    select(page, "quantity", "credit")
    page.locator("#lambda").fill("0.5")
    page.locator("#numbers").check()
    assert page.locator(".value").all_inner_texts() == ["+1", "", "+2"]
    select(page, "quantity", "gae")
    assert page.locator(".value").all_inner_texts() == ["+0.5", "", "+1"]
    assert "not written by the policy" in page.locator(".token").nth(1).get_attribute("aria-label")


def test_a_dialogue_has_its_turns_and_their_rewards(open_page: OpenPage, tmp_path: Path) -> None:
    row = dialogue(0, 0)
    page = open_page(ppo_run(tmp_path / "runs", steps=1, rows={0: [row]}, alarms=[]))
    turns = page.locator(".strip [role=group]")
    assert [turn.get_attribute("aria-label") for turn in turns.all()] == [
        "Turn 1, Policy, reward +0.5", "Turn 2, Environment", "Turn 3, Policy, reward +2",
    ]  # fmt: skip
    assert turns.locator(".speaker").all_inner_texts() == ["Policy", "Environment", "Policy"]
    assert [turn.locator(".token").count() for turn in turns.all()] == [3, 8, 2]
    assert turns.locator(".earned").all_inner_texts() == ["reward +0.5", "reward +2"]
    last = page.locator("article > .turn.last")
    assert last.inner_text().splitlines()[0] == "Environment, at the end (the policy did not read it)"
    assert "right" in last.inner_text()
    page.locator("article details summary").first.click()
    said = " | ".join(page.locator("ol.dialogue > li").all_inner_texts()).split()
    assert " ".join(said) == (
        "Policy hello . reward +0.5 | Environment what is 2 + 2 ? | Policy four reward +2 | "
        "Environment, at the end (the policy did not read it) right"
    )
    assert page.locator("#rows .text").inner_text() == (
        "Policy: hello . · Environment: what is 2 + 2 ? · Policy: four · Environment: right"
    )
    facts = page.locator("article .facts").first.inner_text()
    assert "reward 2.5 (rm 2.5, brief 0) · 2 turns of the policy · 5 of 13 tokens · KL " in facts
    assert facts.endswith("ended by the environment")
    kl = sum(value for value, own in zip(row["kl"], row["written"], strict=True) if own)
    assert read_number(facts.partition("KL ")[2]) == pytest.approx(kl, rel=1e-3)


def test_tokens_of_the_environment_have_no_numbers(open_page: OpenPage, tmp_path: Path) -> None:
    page = open_page(ppo_run(tmp_path / "runs", steps=1, rows={0: [dialogue(0, 0)]}, alarms=[]))
    page.locator("#numbers").check()
    for name in page.locator("#quantity option").evaluate_all("all => all.map(one => one.value)"):
        select(page, "quantity", name)
        values = page.locator(".strip .value").all_inner_texts()
        assert [value != "" for value in values] == [True] * 3 + [False] * 8 + [True] * 2, name
        assert "NaN" not in page.locator("#legend").inner_text()
    assert page.locator(".token").nth(4).get_attribute("aria-label") == "what, not written by the policy"
    page.locator(".token").nth(4).click()
    said = page.locator("#selected-said").inner_text()
    assert said.endswith("token 5 of 13, Turn 2, Environment: not written by the policy, so it has no numbers")
    assert page.locator("#selected-numbers").inner_text() == ""
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowLeft")
    assert page.evaluate("document.activeElement.getAttribute('aria-posinset')") == "3", "from turn to turn"
    page.locator("#farthest summary").click()
    page.locator("#farthest li").first.wait_for()
    assert page.locator("#farthest li").count() == 5
    assert "NaN" not in page.locator("main").inner_text()


def test_rewards_of_turns_are_credited_by_hand(open_page: OpenPage, tmp_path: Path) -> None:
    """γλ = 1/2, rewards 1 and 4 at the ends of two turns of 2 tokens and of 1, and 8 of another term at the very end.

    Credit 12 of the last token; 1 + 12/2 = 7; 7/2 = 3.5. With V = 0 everywhere the advantage is the same.
    """
    row = dialogue(
        0, 0, tokens=list("abxyc"), token_ids=[1, 2, 3, 4, 5], written=[True, True, False, False, True],
        turns=["ab", "xy", "c"], turn_rewards=[0.0, 1.0, 0.0, 0.0, 4.0], reward=13.0,
    )  # fmt: skip
    row |= {name: row[name][:5] for name in (*PER_TOKEN, "returns")} | {"values": [0.0, 0.0, math.nan, math.nan, 0.0]}
    page = open_page(ppo_run(tmp_path / "runs", steps=1, rows={0: [row]}, alarms=[]))
    page.locator("#numbers").check()
    for name in ("credit", "gae"):
        select(page, "quantity", name)
        page.locator("#lambda").fill("0.5")
        assert page.locator(".strip .value").all_inner_texts() == ["+3.5", "+7", "", "", "+12"]


def test_repeats_are_those_of_the_policy(open_page: OpenPage, tmp_path: Path) -> None:
    """a b c | a b c | a b c: only the last c ends a 3-gram that the policy had written; none spans two turns."""
    row = dialogue(
        0, 0, tokens=list("abcabcabc"), token_ids=[1, 2, 3] * 3, written=[True] * 3 + [False] * 3 + [True] * 3,
        turns=["abc"] * 3, turn_rewards=[0.0] * 9,
    )  # fmt: skip
    row |= {name: row[name][:9] for name in (*PER_TOKEN, "values", "returns")}
    page = open_page(ppo_run(tmp_path / "runs", steps=1, rows={0: [row]}, alarms=[]))
    page.locator("#numbers").check()
    select(page, "quantity", "repeat")
    assert page.locator(".strip .value").all_inner_texts() == ["0", "0", "0", "", "", "", "0", "0", "1"]


def test_credit_counts_the_tokens_of_a_gap(
    open_page: OpenPage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Five tokens, the third left out; R = 16, γλ = 1/2: 1, 2, (4), 8, 16. A needs the values of the gap before it.

    V = 0 everywhere, so A of the last two is the credit: 8 and 16.
    """
    monkeypatch.setattr(replay_rows, "MOST_TOKENS", 4)
    monkeypatch.setattr(replay_rows, "HEAD", 2)
    row = rollout(0, 0, list("abcde"), reward=16.0, values=[0.0] * 5)
    page = open_page(ppo_run(tmp_path / "runs", steps=1, rows={0: [row]}, alarms=[]))
    select(page, "quantity", "credit")
    page.locator("#lambda").fill("0.5")
    assert token_values(page, "credit") == [1, 2, 8, 16]
    assert page.locator(".missing").inner_text() == "[… 1 token not on this page …]"
    assert page.locator(".token").nth(2).get_attribute("aria-posinset") == "4"
    select(page, "quantity", "gae")
    assert page.locator(".value").all_inner_texts() == ["–", "–", "+8", "+16"]


def test_one_walks_from_trend_to_token_by_keyboard(open_page: OpenPage, tmp_path: Path) -> None:
    page = open_page(ppo_run(tmp_path / "runs"))
    page.locator("#step").focus()
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowLeft")
    assert page.locator("#rollouts-title").inner_text() == "Rollouts of step 3"
    assert page.locator("#step").get_attribute("aria-valuetext") == "3: reward/mean 0.3"
    page.keyboard.press("Enter")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    focused = "document.activeElement.getAttribute('aria-posinset')"
    assert page.locator("#rows [aria-pressed=true] .prompt").inner_text() == "Where is my parcel no. 1?"
    assert page.evaluate(focused) == "1"
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    assert page.evaluate(focused) == "3"
    assert "token 3 of 12" in page.locator("#selected-said").inner_text()
    assert page.locator("#selected-said").get_attribute("role") == "status"
    page.keyboard.press("End")
    assert page.evaluate(focused) == "12"
    page.keyboard.press("Escape")
    assert page.evaluate("document.activeElement.className") == "row"
    page.keyboard.press("Escape")
    assert page.evaluate("document.activeElement.id") == "step"


def test_a_click_on_the_chart_chooses_a_step(open_page: OpenPage, tmp_path: Path) -> None:
    page = open_page(ppo_run(tmp_path / "runs"))
    dots = page.locator("#chart .kept")
    dots.nth(2).click(force=True)
    assert page.locator("#rollouts-title").inner_text() == "Rollouts of step 2"


def test_every_token_says_its_value(open_page: OpenPage, tmp_path: Path) -> None:
    row = rollout(0, 0, ["good", " ", ""], kl=[0.25, 0.5, 0.0])
    page = open_page(ppo_run(tmp_path / "runs", steps=1, rows={0: [row]}, alarms=[]))
    select(page, "quantity", "kl")
    said = [token.get_attribute("aria-label") for token in page.locator(".token").all()]
    assert said == [
        "good, KL to the reference 0.25 nats",
        "␣, KL to the reference 0.5 nats",
        "⟨13⟩, KL to the reference 0 nats",
    ]
    assert page.locator(".legend .swatch").all_inner_texts() == ["0", "0.125", "0.25", "0.375", "0.5"]


def test_an_alarm_leads_to_the_tokens_that_raised_it(open_page: OpenPage, tmp_path: Path) -> None:
    rows = [rollout(3, row, ["a", "b", "c"], kl=[0.1, 0.2 + row, 0.0]) for row in range(3)]
    page = open_page(ppo_run(tmp_path / "runs", rows={3: rows}))
    assert page.locator("#chart .rule.alarm").count() == 2
    page.locator("#alarms button").first.click()
    found = page.locator("#alarms .found-tokens li").all_inner_texts()
    assert found[:2] == [
        "“b” KL to the reference 2.2 nats, row 2, token 2",
        "“b” KL to the reference 1.2 nats, row 1, token 2",
    ]
    assert page.locator("#rollouts-title").inner_text() == "Rollouts of step 3"
    assert page.locator(".token[aria-selected=true]").get_attribute("aria-label") == "b, KL to the reference 2.2 nats"
    page.locator("#alarms .found-tokens button").nth(1).click()
    assert "row 1" in page.locator("article h3").inner_text()
    page.get_by_role("button", name="Show the rollouts").click()
    assert page.locator("#rows .facts").first.inner_text().startswith("20 tokens")


@pytest.mark.parametrize(
    ("alarm", "columns", "found"),
    [
        # |ln 2| = 0.69, |ln 1/4| = 1.39: the ratio 1/4 is farther from 1.
        ("first ratio is not 1", {"ratio": [2.0, 0.25, 1.0]}, "“b” ratio π / π_old 0.25, row 0, token 2"),
        ("entropy collapse", {"entropy": [0.5, 0.25, 0.125]}, "“c” entropy 0.125 nats, row 0, token 3"),
        (
            "sampler holds other weights",
            {"sampler_logps": [-1.0, -1.0, -1.0], "trainer_logps": [-1.5, -1.0, -0.25]},
            "“c” sampler less trainer −0.75 nats, row 0, token 3",
        ),
        (
            "hardly moved",
            {"trainer_logps": [-1.0, -1.0, -1.0], "ref_logps": [-1.5, -0.25, -1.0]},
            "“b” log-ratio to the reference −0.75 nats, row 0, token 2",
        ),
    ],
)
def test_each_alarm_ranks_tokens_by_its_quantity(
    open_page: OpenPage, tmp_path: Path, alarm: str, columns: dict[str, list[float]], found: str
) -> None:
    row = rollout(0, 0, ["a", "b", "c"], **columns)
    raised = [{"step": 0, "alarm": alarm, "message": "look", "setting": "kl_coef"}]
    page = open_page(ppo_run(tmp_path / "runs", steps=1, rows={0: [row]}, alarms=raised))
    page.locator("#alarms button").first.click()
    assert page.locator("#alarms .found-tokens li").first.inner_text() == found


def test_repeated_3_grams_are_found(open_page: OpenPage, tmp_path: Path) -> None:
    """a b c d a b c: only the last c ends three tokens that were written before."""
    row = rollout(0, 0, list("abcdabc"), token_ids=[1, 2, 3, 4, 1, 2, 3])
    raised = [{"step": 0, "alarm": "repeated n-grams", "message": "look", "setting": "kl_coef"}]
    page = open_page(ppo_run(tmp_path / "runs", steps=1, rows={0: [row]}, alarms=raised))
    page.locator("#alarms button").first.click()
    assert page.locator("#alarms .found-tokens li").all_inner_texts() == [
        "“c” repeats an earlier 3-gram 1, row 0, token 7"
    ]
    assert token_values(page, "repeat") == [0, 0, 0, 0, 0, 0, 1]


def test_an_alarm_of_a_step_that_was_not_kept_leads_to_the_nearest(open_page: OpenPage, tmp_path: Path) -> None:
    raised = [{"step": 9, "alarm": "length drift", "message": "look", "setting": "kl_coef"}]
    page = open_page(ppo_run(tmp_path / "runs", alarms=raised))
    page.locator("#alarms button").click()
    assert "Step 9 is not on this page; step 5 is the nearest." in page.locator("#alarms .found").inner_text()
    assert page.locator("#rollouts-title").inner_text() == "Rollouts of step 5"


def test_the_farthest_tokens_of_a_step_are_listed(open_page: OpenPage, tmp_path: Path) -> None:
    rows = [rollout(0, 0, ["a", "b"], advantages=[1.0, -3.0]), rollout(0, 1, ["c"], advantages=[2.0])]
    page = open_page(ppo_run(tmp_path / "runs", steps=1, rows={0: rows}, alarms=[]))
    select(page, "quantity", "advantages")
    page.locator("#farthest summary").click()
    page.locator("#farthest li").first.wait_for()
    said = page.locator("#farthest li").all_inner_texts()
    assert said == [
        "“b” advantage −3, row 0, token 2",
        "“c” advantage 2, row 1, token 1",
        "“a” advantage 1, row 0, token 1",
    ]
    page.locator("#farthest button").nth(1).click()
    assert page.locator("article h3").inner_text() == "ppo · step 0 · row 1"


def test_two_runs_stand_side_by_side(open_page: OpenPage, tmp_path: Path) -> None:
    page = open_page(ppo_run(tmp_path / "runs"), ppo_run(tmp_path / "runs", "other"))
    same = page.locator("#other optgroup").first
    assert same.get_attribute("label") == "The same prompt"
    assert same.locator("option").count() == 11  # 6 steps of two runs, less the open one
    page.locator("#other").select_option(label="other · step 5 · row 0 · 0.5")
    assert page.locator("article h3").all_inner_texts() == ["ppo · step 5 · row 0", "other · step 5 · row 0"]
    boxes = [article.bounding_box() for article in page.locator("article").all()]
    assert boxes[0]["y"] == boxes[1]["y"]
    assert boxes[0]["x"] < boxes[1]["x"]
    assert token_values(page, "kl", 0) == token_values(page, "kl", 1)
    select(page, "run", "1")
    assert page.locator("article h3").all_inner_texts() == ["other · step 5 · row 0"]


def test_pairs_show_margins_and_both_sides(open_page: OpenPage, tmp_path: Path) -> None:
    """At step 4 every token of the chosen side has log-ratio 0.4, every one of the rejected side −0.4."""
    page = open_page(pairs_run(tmp_path / "runs"))
    assert page.locator("#metric option").first.inner_text() == "margin of every kept pair"
    assert page.locator("#chart .line").count() == 4  # three pairs and their mean
    assert page.locator("#chart .line.open").count() == 1
    assert (
        "implicit reward 0.24, margin of the pair +0.48 · 6 tokens · log-ratio to the reference +2.4 nats"
        in page.locator("article .facts").first.inner_text()
    )
    assert page.locator("#rows .worth").all_inner_texts() == ["margin +0.48", "margin +0.49", "margin +0.5"]
    assert token_values(page, "logratio", 0) == pytest.approx([0.4] * 6)
    assert token_values(page, "logratio", 1) == pytest.approx([-0.4] * 6)
    page.locator("#trend-table summary").click()
    page.locator("#trend-table tbody tr").first.wait_for()
    cells = page.locator("#trend-table tbody tr").last.inner_text().split()
    assert [read_number(cell) for cell in cells] == pytest.approx([4, 0.48, 0.49, 0.5, 0.49])


def test_a_reward_model_shows_scores_and_margins(open_page: OpenPage, tmp_path: Path) -> None:
    page = open_page(pairs_run(tmp_path / "runs", "reward"))
    assert "score 0.24, margin of the pair +0.48" in page.locator("article .facts").first.inner_text()
    assert page.locator("#colouring").is_hidden()
    assert page.locator(".token").first.get_attribute("aria-label") == page.locator(".token").first.inner_text()
    bare = open_page(pairs_run(tmp_path / "bare", "reward", kept=False))
    assert "num_kept_pairs" in bare.locator("#left-out").inner_text()
    assert bare.locator("#tokens").is_hidden()


def test_alternatives_where_they_were_kept(open_page: OpenPage, tmp_path: Path) -> None:
    """Probabilities 1/2 and 1/4 as logarithms."""
    row = rollout(
        0, 0, ["a", "b"], top_ids=[[99, 2]] * 2, top_tokens=[["a", "<b>x"]] * 2, top_logps=[[-0.693147, -1.386294]] * 2
    )
    page = open_page(ppo_run(tmp_path / "runs", steps=1, rows={0: [row]}, alarms=[]))
    cells = [each.inner_text().split("\t") for each in page.locator("#alternatives tbody tr").all()]
    assert cells == [["a (written)", "0.5", "−0.6931"], ["<b>x", "0.25", "−1.386"]]


def test_long_and_empty_rollouts_do_not_break_it(open_page: OpenPage, tmp_path: Path) -> None:
    rows = [rollout(0, 0, sentence(0, 100_000)), rollout(0, 1, []), rollout(0, 2, ["w" * 5_000], completion="")]
    page = open_page(ppo_run(tmp_path / "runs", steps=1, rows={0: rows}, alarms=[]), width=390)
    assert page.locator(".token").count() == 400
    assert page.locator(".pager").inner_text().splitlines()[1] == "Tokens 1 to 400 of 100,000"
    page.locator(".token").first.click()
    page.keyboard.press("End")
    assert "token 100,000 of 100,000" in page.locator("#selected-said").inner_text()
    assert page.locator(".pager").inner_text().splitlines()[1] == "Tokens 99,601 to 100,000 of 100,000"
    assert "Of 1 long rollout only the first and the last tokens" in page.locator("#left-out").inner_text()
    page.locator("#rows button").nth(1).click()
    assert page.locator(".strip").inner_text() == "(no tokens)"
    assert page.locator("#selected").is_hidden()
    page.locator("#rows button").nth(2).click()
    page.locator("article details summary").first.click()
    assert page.locator("article .nothing").inner_text() == "(empty)"
    assert page.evaluate("document.documentElement.scrollWidth") <= 390


@pytest.mark.parametrize("width", [1280, 390])
def test_nothing_that_a_model_wrote_runs(open_page: OpenPage, tmp_path: Path, width: int) -> None:
    rows = [
        rollout(
            0, row, [attack[:3_000], attack[-50:], ""], prompt=attack, completion=attack, prompt_id=attack[:200],
            completion_id=attack[:200], finish_reason=attack[:200], **{f"reward/{ATTACKS[0]}": 1.0},
        )
        for row, attack in enumerate(ATTACKS)
    ]  # fmt: skip
    alarm = {"step": 0, "alarm": ATTACKS[1], "message": ATTACKS[0], "setting": ATTACKS[4]}
    run = ppo_run(tmp_path / "runs", steps=1, rows={0: rows[:12]}, alarms=[alarm])
    name = f"x{ATTACKS[3].replace('/', '')}"[:60]
    other = ppo_run(tmp_path / "runs", name, steps=1, rows={0: rows[12:]}, alarms=[])
    page = open_page(run, other, width=width)
    for number in range(2):
        select(page, "run", str(number))
        for button in page.locator("#rows button").all():
            button.click()
            page.locator(".token").first.click()
    page.locator("#alarms button").click()
    page.evaluate("document.querySelectorAll('details').forEach(one => one.open = true)")
    page.wait_for_timeout(200)
    assert not page.evaluate("window.hacked")
    assert page.title().startswith("Replay of ppo and x")
    assert page.locator("main script, main img, main iframe, main svg[onload], main style, main base").count() == 0
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_the_policy_stops_markup_that_gets_in(open_page: OpenPage, tmp_path: Path) -> None:
    page = open_page(ppo_run(tmp_path / "runs"))
    markup = f'<img src=x onerror="{RUN}">'
    page.evaluate("markup => document.querySelector('main').insertAdjacentHTML('beforeend', markup)", markup)
    page.wait_for_timeout(200)
    assert not page.evaluate("window.hacked")
    assert any("Content Security Policy" in each for each in page.wrong)
    page.wrong.clear()


def test_colours_have_signs_and_strengths(open_page: OpenPage, tmp_path: Path) -> None:
    """Strength is the share of the largest distance, at most 0.6; 1 → 0.6, −0.5 → 0.3, 0 → 0."""
    row = rollout(0, 0, ["a", "b", "c"], advantages=[1.0, -0.5, 0.0])
    page = open_page(ppo_run(tmp_path / "runs", steps=1, rows={0: [row]}, alarms=[]))
    select(page, "quantity", "advantages")
    tokens = page.locator(".token")
    assert [token.evaluate("one => one.style.getPropertyValue('--strength')") for token in tokens.all()] == [
        "0.600", "0.300", "0.000",
    ]  # fmt: skip
    assert [token.evaluate("one => one.classList.contains('below')") for token in tokens.all()] == [False, True, False]
    colours = {token.evaluate("one => getComputedStyle(one).backgroundColor") for token in tokens.all()}
    assert len(colours) == 3


def test_a_run_without_values_shows_what_it_has(open_page: OpenPage, tmp_path: Path) -> None:
    row = {name: value for name, value in rollout(0, 0, ["a", "b"]).items() if name not in ("values", "returns")}
    page = open_page(ppo_run(tmp_path / "runs", "grpo", steps=1, rows={0: [row]}, alarms=[], kind="grpo"))
    offered = page.locator("#quantity option").all_inner_texts()
    assert "credit of the end reward" in offered
    assert not {"value", "return", "advantage from the end reward"} & set(offered)


def test_two_steps_of_one_prompt_stand_side_by_side(open_page: OpenPage, tmp_path: Path) -> None:
    page = open_page(ppo_run(tmp_path / "runs"))
    assert page.locator("#rows .facts").first.inner_text().endswith("prompt kept 6 times")
    page.locator("#other").select_option(label="ppo · step 1 · row 0 · 0.1")
    assert page.locator("article h3").all_inner_texts() == ["ppo · step 5 · row 0", "ppo · step 1 · row 0"]
    page.locator(".strip").nth(1).locator(".token").nth(2).click()
    assert "token 3 of 8 of ppo · step 1 · row 0" in page.locator("#selected-said").inner_text()


def test_a_run_without_metrics_or_pairs_still_opens(open_page: OpenPage, tmp_path: Path) -> None:
    bare, run = pairs_run(tmp_path / "runs", "reward", kept=False), ppo_run(tmp_path / "runs", alarms=[])
    (run / "metrics.jsonl").write_text("")
    page = open_page(bare, run)
    assert page.locator("#step-said").inner_text() == "no step was kept"
    select(page, "run", "1")
    assert page.locator("#rows button").count() == 4
    assert page.locator("article h3").inner_text().startswith("ppo · step")
    alone = open_page(run)
    assert alone.locator("#rows button").count() == 4


def test_the_address_leads_to_a_token(open_page: OpenPage, tmp_path: Path) -> None:
    page = open_page(ppo_run(tmp_path / "runs"), ppo_run(tmp_path / "runs", "other"))
    page.evaluate("location.hash = '#run=other&step=2&row=1&token=4&by=entropy'")
    page.locator("article h3", has_text="other · step 2 · row 1").wait_for()
    assert "token 4 of 12: entropy" in page.locator("#selected-said").inner_text()
    page.locator(".token").nth(5).click()
    page.wait_for_timeout(600)
    assert page.evaluate("location.hash") == "#run=other&step=2&row=1&token=6&by=entropy"
    page.evaluate("location.hash = '#run=<img src=x onerror=alert(1)>&step=NaN&row=9'")
    page.locator("article h3", has_text="ppo · step 0 · row 1").wait_for()  # the prompt that was open before


def test_float32_of_a_tenth_is_shown_as_a_tenth(open_page: OpenPage, tmp_path: Path) -> None:
    tenth = struct.unpack("<f", struct.pack("<f", 0.1))[0]
    assert tenth != 0.1
    page = open_page(ppo_run(tmp_path / "runs", steps=1, rows={0: [rollout(0, 0, ["a"], kl=[0.1])]}, alarms=[]))
    assert page.locator("#selected-numbers [data-figure=kl] dd").inner_text() == "0.1 nats"
