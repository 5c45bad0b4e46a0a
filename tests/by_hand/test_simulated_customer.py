"""The simulated customer: its answers and its satisfaction, by hand."""

from __future__ import annotations

import pytest

from preflab.demo.grammar import RUDE
from preflab.environments.customer import COLOURS, DAYS, SimulatedCustomer
from preflab.environments.protocol import Reply
from preflab.records import Prompt

ASK_COLOUR, ASK_DAY = " what colour do you like?", " what day do you like?"


def talk(*said: str) -> list[Reply]:
    """The replies to the shop's sentences of a customer who wants red on friday."""
    customer = SimulatedCustomer()
    customer.reset(Prompt.make(text="can i buy a new lamp?"), 0)
    customer.colour, customer.day = "red", "friday"
    return [customer.step(sentence) for sentence in said]


def test_the_best_dialogue_asks_for_both() -> None:
    colour, day, offer = talk(ASK_COLOUR, ASK_DAY, " you can have red on friday.")
    assert (colour.turn, day.turn) == (" i like red.", " i like red on friday.")
    assert (colour.end, day.end, offer.end) == (False, False, True)
    assert colour.reward + day.reward + offer.reward == pytest.approx(0.96)
    assert offer.columns == {"offered": 1.0, "as_wished": 1.0, "rude": 0.0}


def test_an_answer_says_only_what_was_asked() -> None:
    day, again, both = talk(ASK_DAY, ASK_DAY, ASK_COLOUR)
    assert (day.turn, again.turn, both.turn) == (
        " i like it on friday.",
        " i like it on friday.",
        " i like red on friday.",
    )


@pytest.mark.parametrize(
    ("offer", "satisfaction"),
    [
        ("you can have red on monday.", 0.1),
        ("you can have blue on friday.", 0.1),
        ("you can have blue on monday.", 0.0),
    ],
)
def test_an_offer_that_is_not_as_wished(offer: str, satisfaction: float) -> None:
    (reply,) = talk(offer)
    assert reply.reward == pytest.approx(satisfaction)
    assert (reply.end, reply.columns["as_wished"], reply.columns["offered"]) == (True, 0.0, 1.0)


def test_a_rude_sentence_ends_the_dialogue() -> None:
    for sentence in RUDE:
        (reply,) = talk(sentence)
        assert (reply.reward, reply.end, reply.columns["rude"]) == (-0.1, True, 1.0)


def test_other_sentences_cost_a_turn_and_four_are_the_most() -> None:
    replies = talk("hello.", "", "you can have red.", ASK_COLOUR)
    assert [reply.turn for reply in replies] == [" can you help?"] * 3 + [" i like red."]
    assert [reply.end for reply in replies] == [False, False, False, True]
    assert sum(reply.reward for reply in replies) == pytest.approx(-0.08)


def test_the_wish_comes_from_the_seed() -> None:
    wishes = set()
    for seed in range(200):
        first, second = SimulatedCustomer(), SimulatedCustomer()
        for customer in (first, second):
            customer.reset(Prompt.make(text=SimulatedCustomer.prompts()[0]), seed)
        assert (first.colour, first.day) == (second.colour, second.day)
        wishes.add((first.colour, first.day))
    assert len(wishes) == len(COLOURS) * len(DAYS) == 16
