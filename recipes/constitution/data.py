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
from pathlib import Path

from preflab.constitution.principles import Constitution, read_constitution
from preflab.demo import critiques
from preflab.files import write_text
from preflab.lessons.principles.rows import Row, customer, distinct, exchanges, lessons

HERE = Path(__file__).parent


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
