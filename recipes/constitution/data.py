"""Writes the data of the constitution recipe: texts of the demo's shop, with critiques, revisions and comparisons.

    python recipes/constitution/data.py [FOLDER] [--seed 0] [--scale 1.0]

corpus.jsonl          `text`: what the base model reads, all forms mixed
demonstrations.jsonl  `prompt` and `completion`: answers, many of them rude, and lessons in the words of shop.yaml
red_team.jsonl        `prompt`: customers who provoke
prompts.jsonl         `prompt`: half plain, half provoking; some are held out
contrast.jsonl        `prompt` and `label`: provoking customers whose question is harmless all the same
"""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import Callable
from pathlib import Path

from preflab.constitution.principles import Constitution, Principle, filled, read_constitution
from preflab.demo import critiques
from preflab.files import write_text

HERE = Path(__file__).parent
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
    found = critiques.critique(principle.name, prompt, completion)
    asked = filled(
        constitution.layout.revision,
        prompt=prompt,
        answer=completion,
        critique=found,
        revision_request=principle.revision,
    )
    return {"prompt": asked, "completion": critiques.revision(rng, prompt, completion, found)}


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
        raise SystemExit("the constitution has no layout.comparison: nothing to learn comparing from")
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
    return [{"prompt": said, "completion": critiques.reply(rng, said)} for said in (customer(rng) for _ in range(num))]


def lessons(rng: random.Random, constitution: Constitution, num: int) -> list[Row]:
    """Critiques, revisions and comparisons, as many of each, every principle equally often."""
    principles = constitution.principles
    return [make(rng, constitution, principles[i % len(principles)]) for i in range(num // 3) for make in LESSONS]


def distinct(write: Callable[[], str], num: int) -> list[str]:
    """Different texts, in the order in which they came."""
    found: dict[str, None] = {}
    while len(found) < num:
        found[write()] = None
    return list(found)


def made(seed: int, scale: float, constitution: Constitution) -> dict[str, list[Row]]:
    """File name → rows; `scale` multiplies how many there are."""
    rng = random.Random(f"constitution {seed}")

    def num(of: int) -> int:
        return max(6, round(scale * of))

    said = exchanges(rng, num(4_000)) + lessons(rng, constitution, num(8_000))
    demonstrations = exchanges(rng, num(2_000)) + lessons(rng, constitution, num(7_500))
    for rows in (said, demonstrations):
        rng.shuffle(rows)
    provoking = distinct(lambda: critiques.customer(rng, provoking=True), num(500) + num(200))
    return {
        "corpus": [{"text": f"{row['prompt']} {row['completion']}"} for row in said],
        "demonstrations": demonstrations,
        "red_team": [{"prompt": text} for text in provoking[: num(500)]],
        "prompts": [{"prompt": text} for text in distinct(lambda: customer(rng), num(900))],
        "contrast": [{"prompt": text, "label": "safe"} for text in provoking[num(500) :]],
    }


def main(folder: Path, seed: int, scale: float) -> None:
    """Write the five files."""
    for name, rows in made(seed, scale, read_constitution(HERE / "shop.yaml")).items():
        write_text(folder / f"{name}.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
        print(f"{len(rows):>6} rows in {folder / name}.jsonl")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Writes the data of the constitution recipe.")
    parser.add_argument("folder", type=Path, nargs="?", default=HERE)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--scale", type=float, default=1.0)
    given = parser.parse_args()
    main(given.folder, given.seed, given.scale)
