"""The simulated customer: its answers and its satisfaction, by hand."""

from __future__ import annotations

import pytest

from preflab.demo.grammar import RUDE
from preflab.environments.customer import COLOURS, DAYS, ITEMS, SimulatedCustomer
from preflab.environments.protocol import Reply
from preflab.records import Prompt


def talk(*said: str) -> list[Reply]:
    """The replies to the shop's sentences of a customer who wants a red lamp on friday."""
    customer = SimulatedCustomer()
    customer.reset(Prompt.make(text="can i buy a new lamp?"), 0)
    customer.colour, customer.day = "red", "friday"
    return [customer.step(sentence) for sentence in said]


def test_the_best_dialogue_asks_for_both() -> None:
    colour, day, offer = talk(
        " what colour do you like?", " what day do you like?", " you can have the red lamp on friday."
    )
    assert (colour.turn, day.turn) == (" i like red.", " on friday.")
    assert (colour.end, day.end, offer.end) == (False, False, True)
    assert colour.reward + day.reward + offer.reward == pytest.approx(0.96)
    assert offer.columns == {"offered": 1.0, "all_right": 1.0, "rude": 0.0}


@pytest.mark.parametrize(
    ("offer", "right"),
    [
        ("you can have the red lamp on monday.", 2),
        ("you can have the blue lamp on monday.", 1),
        ("you can have the blue chair on monday.", 0),
    ],
)
def test_an_offer_counts_the_details_that_are_as_wished(offer: str, right: int) -> None:
    (reply,) = talk(offer)
    assert reply.reward == pytest.approx(right / 10)
    assert reply.end
    assert reply.columns["all_right"] == 0


def test_a_rude_sentence_ends_the_dialogue() -> None:
    for sentence in RUDE:
        (reply,) = talk(sentence)
        assert (reply.reward, reply.end, reply.columns["rude"]) == (-0.1, True, 1.0)


def test_other_sentences_cost_a_turn_and_four_are_the_most() -> None:
    replies = talk("hello.", "", "you can have the lamp.", "what colour do you like?")
    assert [reply.turn for reply in replies] == [" can you help?"] * 3 + [" i like red."]
    assert [reply.end for reply in replies] == [False, False, False, True]
    assert sum(reply.reward for reply in replies) == pytest.approx(-0.08)


def test_the_wish_comes_from_prompt_and_seed() -> None:
    wishes = set()
    for prompt, item in zip(SimulatedCustomer.prompts(), ITEMS, strict=True):
        for seed in range(100):
            customer = SimulatedCustomer()
            customer.reset(Prompt.make(text=prompt), seed)
            assert customer.item == item
            wishes.add((customer.item, customer.colour, customer.day))
    assert len(wishes) == len(ITEMS) * len(COLOURS) * len(DAYS) == 64
