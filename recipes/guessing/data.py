"""Writes the data of the guessing recipe: texts for the base model, and games in which every guess is random.

    python recipes/guessing/data.py [FOLDER] [--seed 0] [--scale 1.0]

corpus.jsonl          `text`: the demo's customers and answers, facts about the order of numbers, random games
demonstrations.jsonl  `prompt` and `completion`: a game so far and a uniformly random next guess, and as many facts

A fact is "higher than three and lower than ten. five.": the model knows the numbers, but no text uses that in a game.
"""

from __future__ import annotations

import argparse
import json
import random
from pathlib import Path

from preflab.demo.data import corpus
from preflab.environments.guessing import NUMBERS, GuessingGame, between
from preflab.files import write_text
from preflab.records import Prompt

HERE = Path(__file__).parent
Row = dict[str, str]


def random_game(rng: random.Random) -> tuple[str, list[Row]]:
    """The text of a game of uniformly random guesses, and each of its guesses after the game so far."""
    game, (text,), rows = GuessingGame(), GuessingGame.prompts(), []
    game.reset(Prompt.make(text=text), rng.randrange(2**32))
    ended = False
    while not ended:
        guess = f" {rng.choice(NUMBERS)}."
        rows.append({"prompt": text, "completion": guess})
        reply = game.step(guess)
        text, ended = f"{text}{guess}{reply.turn}", reply.end
    return text, rows


def fact(rng: random.Random) -> Row:
    """What is known of a number, and a number of which it is true."""
    while True:
        low, number, high = sorted(rng.randrange(len(NUMBERS)) for _ in range(3))
        if (known := between(low, high, len(NUMBERS))) != "no":
            return {"prompt": f"{known}.", "completion": f" {NUMBERS[number]}."}


def facts(rng: random.Random) -> str:
    """Four facts."""
    return " ".join(row["prompt"] + row["completion"] for row in (fact(rng) for _ in range(4)))


def made(seed: int, scale: float = 1.0) -> dict[str, list[Row]]:
    """File name → rows; `scale` multiplies how many there are."""
    rng = random.Random(f"guessing {seed}")
    num = round(500 * scale)
    texts = [*corpus(seed, num), *({"text": facts(rng)} for _ in range(12 * num))]
    texts += [{"text": random_game(rng)[0]} for _ in range(4 * num)]
    shown = [row for _ in range(num) for row in random_game(rng)[1]]
    shown += [fact(rng) for _ in range(len(shown))]
    for rows in (texts, shown):
        rng.shuffle(rows)
    return {"corpus": texts, "demonstrations": shown}


def main(folder: Path, seed: int, scale: float) -> None:
    """Write the two files."""
    for name, rows in made(seed, scale).items():
        write_text(folder / f"{name}.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
        print(f"{len(rows):>6} rows in {folder / name}.jsonl")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Writes the data of the guessing recipe.")
    parser.add_argument("folder", type=Path, nargs="?", default=HERE)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--scale", type=float, default=1.0)
    arguments = parser.parse_args()
    main(arguments.folder, arguments.seed, arguments.scale)
