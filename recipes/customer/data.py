"""Writes the data of the recipe with a simulated customer: texts for the base model, and dialogues of a careless shop.

    python recipes/customer/data.py [FOLDER] [--seed 0] [--scale 1.0]

corpus.jsonl          `text`: the demo's customers and answers, and dialogues of the careless shop
demonstrations.jsonl  `prompt` and `completion`: a dialogue so far, and the careless shop's next sentence

The careless shop draws each sentence: an offer, one of the two questions, or a rude sentence. An offer has
the details that were heard; those that were not heard are drawn.
"""

from __future__ import annotations

import argparse
import json
import random
from pathlib import Path

from preflab.demo.data import corpus
from preflab.demo.grammar import RUDE
from preflab.environments.customer import ASK_COLOUR, ASK_DAY, COLOURS, DAYS, SimulatedCustomer
from preflab.files import write_text
from preflab.records import Prompt

HERE = Path(__file__).parent
SHARES = {"offer": 0.25, "question": 0.6, "rude": 0.15}
"""Probability of each kind of sentence."""
Row = dict[str, str]


def careless(rng: random.Random, customer: SimulatedCustomer) -> str:
    """A sentence of the careless shop."""
    (kind,) = rng.choices(list(SHARES), list(SHARES.values()))
    if kind == "offer":
        colour = customer.colour if ASK_COLOUR in customer.asked else rng.choice(COLOURS)
        day = customer.day if ASK_DAY in customer.asked else rng.choice(DAYS)
        return f"you can have {colour} on {day}."
    return rng.choice((ASK_COLOUR, ASK_DAY) if kind == "question" else RUDE)


def dialogue(rng: random.Random) -> tuple[str, list[Row]]:
    """The text of a dialogue with the careless shop, and each of its sentences after the dialogue so far."""
    customer, text, rows = SimulatedCustomer(), rng.choice(SimulatedCustomer.prompts()), list[Row]()
    customer.reset(Prompt.make(text=text), rng.randrange(2**32))
    ended = False
    while not ended:
        said = careless(rng, customer)
        rows.append({"prompt": text, "completion": f" {said}"})
        reply = customer.step(said)
        text, ended = f"{text} {said}{reply.turn}", reply.end
    return text, rows


def made(seed: int, scale: float = 1.0) -> dict[str, list[Row]]:
    """File name → rows; `scale` multiplies how many there are."""
    rng = random.Random(f"customer {seed}")
    num = round(2_000 * scale)
    texts = [*corpus(seed, num // 2), *({"text": dialogue(rng)[0]} for _ in range(3 * num))]
    rng.shuffle(texts)
    shown = [row for _ in range(num) for row in dialogue(rng)[1]]
    return {"corpus": texts, "demonstrations": shown}


def main(folder: Path, seed: int, scale: float) -> None:
    """Write the two files."""
    for name, rows in made(seed, scale).items():
        write_text(folder / f"{name}.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
        print(f"{len(rows):>6} rows in {folder / name}.jsonl")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Writes the data of the recipe with a simulated customer.")
    parser.add_argument("folder", type=Path, nargs="?", default=HERE)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--scale", type=float, default=1.0)
    arguments = parser.parse_args()
    main(arguments.folder, arguments.seed, arguments.scale)
