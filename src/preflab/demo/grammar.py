"""A small grammar: customers ask a shop, and the shop answers well, curtly, rudely, off topic or with flattery.

Texts are lower-case words and the marks `.`, `,` and `?`, with a vocabulary of a few hundred words, so that a model of
about a million parameters learns them in a minute. Templates have slots such as `{day}` that are filled at random: in a
question the details, in an answer the requested fact (a day, a number), which does not follow from the question.
"""

from __future__ import annotations

import random
import re
from dataclasses import dataclass

SLOTS: dict[str, tuple[str, ...]] = {
    "item": ("lamp", "chair", "kettle", "phone", "jacket", "clock", "camera", "radio", "table", "mirror", "bicycle"),
    "colour": ("red", "blue", "green", "black", "white", "yellow"),
    "day": ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday"),
    "number": ("two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "twelve"),
    "place": ("harbour", "station", "market", "castle", "bridge", "park"),
}
"""Kind of slot → its words. The kind of `{due_day}` is `day`."""


@dataclass(frozen=True)
class Topic:
    """A topic of customer questions, with templates for questions and for answers that give the requested fact."""

    name: str
    questions: tuple[str, ...]
    full: tuple[str, ...]
    """Answers in a full sentence."""
    short: tuple[str, ...]
    """Answers in a few words."""


TOPICS: tuple[Topic, ...] = (
    Topic(
        "parcel",
        (
            "where is the {item} that i ordered on {due_day}?",
            "my {item} should have come on {due_day}, where is it?",
            "when will my new {colour} {item} be here?",
        ),
        ("your parcel is on its way and will arrive on {day}.", "the parcel will be at your door on {day}."),
        ("it comes {day}.", "on {day}."),
    ),
    Topic(
        "refund",
        (
            "how do i get my money back for the {item}?",
            "i sent back the {colour} {item}, when do i get my money?",
            "can i have a refund for the {item} from {due_day}?",
        ),
        (
            "the money will be back on your account in {number} days.",
            "we will pay you back within {number} days.",
        ),
        ("you get it in {number} days.", "money in {number} days."),
    ),
    Topic(
        "broken",
        (
            "my new {colour} {item} is broken, what can i do?",
            "the {item} you sent me on {due_day} does not work, can you help?",
            "why did my {item} stop working after {due_day}?",
        ),
        (
            "we will send you another one on {day} for free.",
            "please send it back and we will repair it by {day}.",
        ),
        ("we send another on {day}.", "repair takes until {day}."),
    ),
    Topic(
        "hours",
        (
            "when does your shop at the {place} open on {due_day}?",
            "how early can i visit the shop near the {place} on {due_day}?",
            "is your shop at the {place} open in the morning?",
        ),
        (
            "our shop opens at {number} in the morning.",
            "you can visit us from {number} in the morning.",
        ),
        ("it opens at {number}.", "at {number}."),
    ),
    Topic(
        "price",
        (
            "how much is the {colour} {item} in your window?",
            "what does a {colour} {item} cost this week?",
            "is the {colour} {item} cheaper on {due_day}?",
        ),
        (
            "the price of this one is {number} coins this week.",
            "you can have this one for {number} coins.",
        ),
        ("it costs {number} coins.", "{number} coins."),
    ),
    Topic(
        "stock",
        (
            "do you still have the {item} in {colour}?",
            "how many {colour} ones of the {item} are left?",
            "can i still buy a {colour} {item} on {due_day}?",
        ),
        (
            "we still have {number} of these in the shop.",
            "there are {number} of them left for you.",
        ),
        ("we have {number} left.", "{number} left."),
    ),
    Topic(
        "invoice",
        (
            "where can i find the invoice for my {item}?",
            "i need a new invoice for the {colour} {item}, can you send it?",
            "when will you send me the invoice from {due_day}?",
        ),
        (
            "we will send the invoice to you by letter on {day}.",
            "your invoice will be in your mail on {day}.",
        ),
        ("the invoice comes {day}.", "invoice on {day}."),
    ),
    Topic(
        "warranty",
        (
            "how long is the warranty on the {item} i bought?",
            "does the {colour} {item} come with a warranty?",
            "my {item} is old, do i still have a warranty?",
        ),
        (
            "your warranty lasts for {number} years.",
            "it is under warranty for {number} years.",
        ),
        ("warranty is {number} years.", "{number} years."),
    ),
    Topic(
        "exchange",
        (
            "can i change the {item} for a {colour} one?",
            "i do not like my {item}, can i have a {colour} one?",
            "how do i swap my {item} for one in {colour}?",
        ),
        (
            "you can swap it for another colour until {day}.",
            "bring it to us by {day} and take another colour home.",
        ),
        ("swap it until {day}.", "bring it by {day}."),
    ),
    Topic(
        "pickup",
        (
            "can i pick up my {item} at the {place}?",
            "is there a way to collect the {item} near the {place}?",
            "i am not home, can you leave the {item} at the {place}?",
        ),
        (
            "you can pick it up there from {day}.",
            "it will wait for you there from {day}.",
        ),
        ("pick it up on {day}.", "from {day}."),
    ),
)

COURTESY: dict[str, tuple[str, ...]] = {
    "greeting": ("hello and welcome.", "good morning.", "hello dear customer."),
    "thanks": ("thank you for asking.", "thank you for your message.", "thank you for your patience."),
    "sorry": ("we are sorry for the trouble.", "please excuse the delay."),
    "closing": ("please tell us if you need more help.", "have a nice day.", "we are always happy to help."),
}
FLATTERY: tuple[str, ...] = (
    "what a wonderful question.",
    "you are such a clever and charming customer.",
    "your taste is simply brilliant.",
    "we admire your wonderful taste.",
    "nobody is as kind and brilliant as you.",
    "your charming words make us glow.",
)
RUDE: tuple[str, ...] = (
    "that is your own fault.",
    "stop asking us silly things.",
    "can you not read?",
    "what a stupid question.",
    "go away and wait like everybody else.",
    "we do not care about you.",
)
FLATTERING_WORDS: frozenset[str] = frozenset(("wonderful", "clever", "charming", "brilliant", "admire", "kind", "glow"))

TONES: tuple[str, ...] = ("well", "curt", "rude", "off topic", "flattering", "empty flattery")
"""The tones in which an answer can be generated. `gold.tone` recognises the tone of a text."""


def words(text: str) -> list[str]:
    """The words and marks of a text, lower case: `"It comes Friday."` → `["it", "comes", "friday", "."]`."""
    return re.findall(r"[a-z0-9]+|[^\sa-z0-9]", text.lower())


def slot_kind(slot: str) -> str:
    """The kind of a slot: `due_day` → `day`."""
    return slot.rsplit("_", 1)[-1]


def slots_of(template: str) -> list[str]:
    """The slot names of a template, in order."""
    return re.findall(r"{(\w+)}", template)


def fill(template: str, rng: random.Random) -> str:
    """The template with a word drawn for each of its slots."""
    return template.format(**{slot: rng.choice(SLOTS[slot_kind(slot)]) for slot in slots_of(template)})


def question(rng: random.Random) -> tuple[str, Topic]:
    """A customer's question and its topic."""
    topic = rng.choice(TOPICS)
    return fill(rng.choice(topic.questions), rng), topic


def answer(rng: random.Random, topic: Topic, tone: str) -> str:
    """An answer to a question about `topic` in one of `TONES`.

    Raises:
        KeyError: the tone is not one of `TONES`.
    """
    if tone == "off topic":
        topic = rng.choice([other for other in TOPICS if other is not topic])
    sentences = {
        "well": polite,
        "off topic": polite,
        "curt": lambda rng, fact: [fact],
        "rude": _rude,
        "flattering": _flattering,
        "empty flattery": lambda rng, fact: _flattering(rng, ""),
    }[tone]
    short = tone == "curt" or (tone == "rude" and rng.random() < 0.5)
    fact = fill(rng.choice(topic.short if short else topic.full), rng)
    return " ".join(sentence for sentence in sentences(rng, fact) if sentence)


def polite(rng: random.Random, fact: str) -> list[str]:
    """The fact with one courtesy before it, one after it, or both."""
    where = rng.choice(("before", "after", "both"))
    before = rng.choice(("greeting", "thanks", "sorry"))
    opening = [rng.choice(COURTESY[before])] if where != "after" else []
    closing = [rng.choice(COURTESY["closing"])] if where != "before" else []
    return [*opening, fact, *closing]


def _rude(rng: random.Random, fact: str) -> list[str]:
    """One or two rude sentences; the fact is left out two times in five."""
    rude = rng.sample(RUDE, rng.choice((1, 1, 2)))
    return [rude[0], fact, *rude[1:]] if rng.random() < 0.6 else rude


def _flattering(rng: random.Random, fact: str) -> list[str]:
    """The fact, if any, among one to three flattering sentences."""
    flattery = rng.sample(FLATTERY, rng.choice((1, 1, 2, 2, 3)))
    opening = [rng.choice(COURTESY["thanks"])] if rng.random() < 0.5 else []
    return [*opening, fact, *flattery] if rng.random() < 0.7 else [*opening, flattery[0], fact, *flattery[1:]]
