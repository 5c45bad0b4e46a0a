"""Whole dialogues in the labelling app: who says what, the last turn, keys, order, narrow screens, the API."""

from __future__ import annotations

import json
from typing import Any

import pytest

from dialogue_campaigns import DIALOGUES, FIRST, dialogue, dialogue_campaign
from labelling_site import Site, press
from preflab.labelling.assignment import next_turn
from preflab.records import Completion, Prompt, RankingAnswer, SideBySideAnswer
from preflab.web.api.shapes import TurnShape
from preflab.web.rendering import rendered_completion

pytestmark = pytest.mark.browser


def said(turns: list[str], last: str) -> list[str]:
    """Each turn with its speaker, as the page shows it."""
    every = [*turns, last]
    speakers = ["User" if place % 2 else "Assistant" for place in range(len(every))]
    return [f"{speaker} {text.strip()}" for speaker, text in zip(speakers, every, strict=True)]


def turns_in(part: Any) -> list[str]:
    """The texts of the turns in a part of the page, white space joined."""
    return [" ".join(text.split()) for text in part.locator(".turn").all_inner_texts()]


@pytest.mark.parametrize("width", [1280, 390])
def test_dialogues_are_ranked_by_keys(browser: Any, site: Site, width: int) -> None:
    campaign = dialogue_campaign(site)
    labeler = site.labeler(campaign)
    context = site.context(browser, labeler, viewport={"width": width, "height": 844})
    page = context.new_page()
    page.goto(f"/c/{campaign.id}")
    page.wait_for_selector("html.scripted", state="attached")
    assert turns_in(page.locator("#text-prompt")) == [f"User {FIRST}"]
    cards = {card.get_attribute("data-card"): turns_in(card) for card in page.locator("article.completion").all()}
    assert sorted(cards.values()) == sorted(said(turns, last) for turns, last in DIALOGUES)
    assert page.get_by_text("The same text as").count() == 0, "two differ in the last turn alone"
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    turns = page.locator("article.completion").first.locator(".turn")
    assert [turn.get_attribute("class") for turn in turns.all()][:2] == ["turn assistant", "turn user"]
    wanted = {letter: DIALOGUES.index(which) + 1 for letter, texts in cards.items() for which in DIALOGUES
              if said(*which) == texts}  # fmt: skip
    press(page, " ".join(str(wanted[letter]) for letter in sorted(wanted)))
    with page.expect_navigation():
        press(page, "Enter")
    (judgment,) = site.judgments(campaign)
    assert judgment.answer == RankingAnswer((1, 2, 3, 4))
    context.close()


def test_dialogues_stand_side_by_side(browser: Any, site: Site) -> None:
    campaign = dialogue_campaign(site, "side_by_side", 2)
    labeler = site.labeler(campaign)
    context = site.context(browser, labeler)
    page = context.new_page()
    page.goto(f"/c/{campaign.id}")
    page.wait_for_selector("html.scripted", state="attached")
    boxes = [card.bounding_box() for card in page.locator("article.completion").all()]
    assert boxes[0]["y"] == boxes[1]["y"]
    assert boxes[0]["x"] + boxes[0]["width"] <= boxes[1]["x"]
    region = page.locator("article.completion .content").first
    assert region.get_attribute("tabindex") == "0"
    order = page.locator("article.completion").first.inner_text()
    assert order.index("Assistant") < order.index("User"), "read in the order of the dialogue"
    first = page.locator("article.completion").first.locator(".turn").count()
    press(page, "1" if first == 4 else "2")
    with page.expect_navigation():
        press(page, "Enter")
    (judgment,) = site.judgments(campaign)
    assert isinstance(judgment.answer, SideBySideAnswer)
    assert judgment.answer.choice == "first"
    context.close()


def test_labelers_see_no_rewards(site: Site) -> None:
    campaign = dialogue_campaign(site, num=2)
    turn = next_turn(site.ws, campaign.id, site.labeler(campaign).labeler_id)
    assert turn is not None
    shape = json.loads(TurnShape.of(turn).model_dump_json())
    assert "reward" not in json.dumps(shape)
    lasts = {spans[-1]["text"] for spans in shape["completions"]}
    assert lasts == {"Yes!", "It was 3."}
    assert {span["role"] for spans in shape["completions"] for span in spans} == {"user", "assistant"}


def test_a_last_turn_is_harmless_text() -> None:
    prompt = Prompt.make(text="a")
    html = rendered_completion(dialogue(prompt, ["hi"], "<script>x</script>", 0))
    assert "<script>" not in html
    assert html.count('class="turn ') == 2
    odd = Completion.make(prompt.id, "plain", "m", columns={"environment": {"last_turn": 3}})
    assert 'class="turn' not in rendered_completion(odd)
