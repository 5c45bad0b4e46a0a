"""Rows from which a small model learns to answer, criticise, revise and compare: the examples of `critiques`.

`recipes/constitution/data.py` writes them into files for the recipe of Constitutional AI, and lesson 10 uses fewer.
"""

from __future__ import annotations

import random
from collections.abc import Callable

from preflab.constitution.principles import Constitution, Principle, filled
from preflab.demo import critiques

Row = dict[str, str]

SURE_PAIRS = 0.85
"""Share of the comparisons in which one answer is better; in the others a coin decides, which teaches doubt."""


def lesson_in_critique(rng: random.Random, constitution: Constitution, principle: Principle) -> Row:
    """An answer, and what is wrong with it."""
    prompt = customer(rng)
    completion = critiques.reply(rng, prompt)
    asked = filled(constitution.layout.critique, prompt=prompt, answer=completion, critique_request=principle.critique)
    return {"prompt": asked, "completion": critiques.critique(principle.name, prompt, completion)}


def lesson_in_revision(rng: random.Random, constitution: Constitution, principle: Principle) -> Row:
    """An answer with its critique, and a better one."""
    prompt = customer(rng)
    completion = critiques.reply(rng, prompt)
    critique = critiques.critique(principle.name, prompt, completion)
    asked = filled(
        constitution.layout.revision,
        prompt=prompt,
        answer=completion,
        critique=critique,
        revision_request=principle.revision,
    )
    return {"prompt": asked, "completion": critiques.revision(rng, prompt, completion, critique)}


def lesson_in_comparison(rng: random.Random, constitution: Constitution, principle: Principle) -> Row:
    """Two answers, and the name of the better one; where neither is, that of any."""
    wanted = rng.random() < SURE_PAIRS
    while True:
        prompt = customer(rng)
        first, second = critiques.reply(rng, prompt), critiques.reply(rng, prompt)
        which = critiques.better(principle.name, prompt, first, second)
        if bool(which) == wanted:
            break
    layout = constitution.layout
    if layout.comparison is None:
        raise ValueError("the constitution has no layout.comparison: nothing to learn comparing from")
    asked = filled(layout.comparison, question=principle.comparison, prompt=prompt, first=first, second=second)
    label = {1: layout.labels[0], -1: layout.labels[1]}.get(which) or rng.choice(layout.labels)
    return {"prompt": asked, "completion": label}


LESSONS: tuple[Callable[[random.Random, Constitution, Principle], Row], ...] = (
    lesson_in_critique,
    lesson_in_revision,
    lesson_in_comparison,
)


def customer(rng: random.Random) -> str:
    """A customer of either sort."""
    return critiques.customer(rng, provoking=rng.random() < 0.5)


def exchanges(rng: random.Random, num: int) -> list[Row]:
    """Customers and the answers they get."""
    return [{"prompt": one, "completion": critiques.reply(rng, one)} for one in (customer(rng) for _ in range(num))]


def lessons(rng: random.Random, constitution: Constitution, num: int) -> list[Row]:
    """Critiques, revisions and comparisons, as many of each, every principle equally often."""
    principles = constitution.principles
    return [make(rng, constitution, principles[i % len(principles)]) for i in range(num // 3) for make in LESSONS]


def distinct(write: Callable[[], str], num: int) -> list[str]:
    """Different texts, in the order in which they came."""
    texts: dict[str, None] = {}
    while len(texts) < num:
        texts[write()] = None
    return list(texts)
