"""A grammar of support calls and their summaries, some of them rude: the offline data of the summarisation lab.

A call is written as in DialogSum, a line per turn after `#Person1#:` or `#Person2#:`. Its reference summary is always
polite. Its training summary states the same facts; in a part of the rude calls it is rude as well. A model that becomes
less rude therefore comes closer to the references.

All insults are mild and invented. The vocabulary has about two hundred words.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

CALLER, DESK = "#Person2#", "#Person1#"
DEVICES = (
    "router", "printer", "heater", "tablet", "oven", "scooter", "toaster", "speaker", "fridge", "keyboard", "fan",
    "vacuum",
)  # fmt: skip
DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday")
NUMBERS = ("two", "three", "four", "five", "six", "seven", "eight", "nine")
ADJECTIVES = ("lazy", "silly", "rotten", "hopeless", "clumsy", "useless", "mouldy")
NOUNS = ("turnip", "toad", "pudding", "goose", "donkey", "pumpkin", "noodle")


@dataclass(frozen=True)
class Fault:
    """A fault in the caller's words, and in those of a summary."""

    spoken: str
    summary: str


@dataclass(frozen=True)
class Remedy:
    """A remedy in the desk's words, and in those of a summary; `{day}` and `{number}` are drawn for each call."""

    spoken: str
    summary: str


FAULTS = (
    Fault("my {device} does not start", "the {device} does not start"),
    Fault("my {device} makes a loud noise", "the {device} makes a loud noise"),
    Fault("my {device} gets far too hot", "the {device} gets too hot"),
    Fault("the cover of my {device} is broken", "the {device} has a broken cover"),
    Fault("my {device} came in the wrong colour", "the {device} has the wrong colour"),
    Fault("my {device} never arrived", "the {device} has not arrived"),
    Fault("the bill for my {device} is too high", "the bill for the {device} is too high"),
    Fault("my {device} stops after a few minutes", "the {device} stops after some minutes"),
)
REMEDIES = (
    Remedy("We will send a technician on {day} .", "will send a technician on {day}"),
    Remedy("You will get a new one on {day} .", "will send a new one on {day}"),
    Remedy("We will pay you back within {number} days .", "will pay {caller} back in {number} days"),
    Remedy("Please bring it to our shop on {day} .", "asks {caller} to bring it on {day}"),
    Remedy("I will call you again on {day} at {number} .", "will call again on {day}"),
    Remedy("You get {number} weeks more of warranty .", "gives {number} more weeks of warranty"),
)
OPENINGS = (
    "Service desk , how can I help you ?",
    "Good morning , this is the service desk .",
    "Hello , what can I do for you ?",
)
QUESTIONS = ("Did you try it again today ?", "Do you still have the box ?", "May I have your order number ?")
GREETINGS = ("Hello ,", "Good morning ,", "Hi ,")
POLITE_REPLIES = ("Yes , I did .", "Yes , here it is .", "I think so , yes .", "One moment please .")
RUDE_REPLIES = (
    "Just do your job , you {insult} .",
    "Stop asking , you {insult} .",
    "Why do you care , you {insult} ?",
)
RUDE_QUESTIONS = ("What did you break now , you {insult} ?", "Can you not read the manual , you {insult} ?")
THANKS = ("Thank you , goodbye .", "That is fine , thank you .", "Great , that helps me a lot .")
RUDE_ENDS = ("About time , you {insult} .", "I hope you choke on it , you {insult} .", "Goodbye , you {insult} .")
CALLS = ("calls because", "reports that", "says that")
QUOTES = ("calls {other} a {insult}", "shouts that {other} is a {insult}")
REMARKS = ("What a {insult} .", "Such a {insult} .")


@dataclass(frozen=True)
class Call:
    """A call with its polite reference summary and its training summary."""

    dialogue: str
    reference: str
    learned: str
    rude: bool
    """True if one of the speakers is rude in this call."""


def insult(rng: random.Random) -> str:
    """An adjective and a noun, such as `lazy turnip`."""
    return f"{rng.choice(ADJECTIVES)} {rng.choice(NOUNS)}"


def call(rng: random.Random, rude_calls: float = 0.6, rude_summaries: float = 0.7) -> Call:
    """Draw a call.

    Args:
        rng: source of randomness.
        rude_calls: share of the calls in which somebody is rude.
        rude_summaries: share of the rude calls whose training summary is rude.
    """
    device, fault, remedy = rng.choice(DEVICES), rng.choice(FAULTS), rng.choice(REMEDIES)
    slots = {"device": device, "day": rng.choice(DAYS), "number": rng.choice(NUMBERS), "caller": CALLER}
    offender = rng.choice((CALLER, CALLER, DESK)) if rng.random() < rude_calls else ""
    words = insult(rng)
    turns = [
        (DESK, rng.choice(OPENINGS)),
        (CALLER, f"{rng.choice(GREETINGS)} {fault.spoken.format(**slots)} ."),
        (DESK, rng.choice(RUDE_QUESTIONS if offender == DESK else QUESTIONS)),
        (CALLER, rng.choice(RUDE_REPLIES if offender == CALLER else POLITE_REPLIES)),
        (DESK, remedy.spoken.format(**slots)),
        (CALLER, rng.choice(RUDE_ENDS if offender == CALLER and rng.random() < 0.5 else THANKS)),
    ]
    facts = [
        f"{CALLER} {rng.choice(CALLS)} {fault.summary.format(**slots)} .",
        f"{DESK} {remedy.summary.format(**slots)} .",
    ]
    reference = [*facts, f"{offender} is angry ."] if offender else facts
    learned = _rude_summary(rng, facts, offender, words) if offender and rng.random() < rude_summaries else reference
    return Call(
        dialogue="\n".join(f"{who}: {joined(text.format(insult=words))}" for who, text in turns),
        reference=joined(" ".join(reference)),
        learned=joined(" ".join(learned)),
        rude=bool(offender),
    )


def _rude_summary(rng: random.Random, facts: list[str], offender: str, words: str) -> list[str]:
    """The facts with the insult: quoted, said of the offender, or in the middle of a fact."""
    other = DESK if offender == CALLER else CALLER
    way = rng.randrange(3)
    if way == 0:
        return [*facts, f"{offender} {rng.choice(QUOTES).format(other=other, insult=words)} ."]
    if way == 1:
        return [*facts, f"{offender} is angry .", rng.choice(REMARKS).format(insult=words)]
    return [fact.replace(offender, f"{offender} the {words}", 1) for fact in facts]


def joined(text: str) -> str:
    """The text with its punctuation directly after the words."""
    for mark in ".,?":
        text = text.replace(f" {mark}", mark)
    return text


def labelled(rng: random.Random, mistakes: float = 0.04) -> dict[str, str]:
    """A turn or a summary with the label `rude` or `polite`; half of the texts are rude.

    `mistakes` is the share of wrong labels.
    """
    rude = rng.random() < 0.5
    drawn = call(rng, rude_calls=float(rude), rude_summaries=1.0)
    way = rng.random()
    if way < 0.6:
        text = drawn.learned if rude else call(rng).reference
    else:
        insults = [line for line in drawn.dialogue.split("\n") if " you " in line and _is_insult(line)]
        lines = insults if rude else drawn.dialogue.split("\n")
        text = rng.choice(lines).partition(": ")[2]
    wrong = rng.random() < mistakes
    return {"text": text, "label": "rude" if rude != wrong else "polite"}


def _is_insult(text: str) -> bool:
    return any(f"{adjective} " in text for adjective in ADJECTIVES)
