"""Writes the data of the guessing recipe: texts for the base model, and games in which every guess is random.

    python recipes/guessing/data.py [FOLDER] [--seed 0] [--scale 1.0]

corpus.jsonl          `text`: the demo's customers and answers, which numbers lie between which, and random games
demonstrations.jsonl  `prompt` and `completion`: a game so far, and a uniformly random next guess
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


def fact(rng: random.Random) -> str:
    """What is known of a number, and a number of which it is true."""
    low, number, high = sorted(rng.randrange(len(NUMBERS)) for _ in range(3))
    known = between(low, high, len(NUMBERS))
    return f"{known}. {NUMBERS[number]}." if known != "no" else fact(rng)


def made(seed: int, scale: float = 1.0) -> dict[str, list[Row]]:
    """File name → rows; `scale` multiplies how many there are."""
    rng = random.Random(f"guessing {seed}")
    num = round(1_500 * scale)
    texts = [*corpus(seed, num), *({"text": " ".join(fact(rng) for _ in range(4))} for _ in range(2 * num))]
    texts += [{"text": random_game(rng)[0]} for _ in range(num)]
    rng.shuffle(texts)
    shown = [row for _ in range(num // 2) for row in random_game(rng)[1]]
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
