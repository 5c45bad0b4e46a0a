"""Lesson 10: the files of a small run of Constitutional AI, in which an assistant learns from principles alone."""

from __future__ import annotations

import json
import random
import shutil
from pathlib import Path

from preflab.constitution.principles import read_constitution
from preflab.demo import critiques
from preflab.files import write_text
from preflab.lessons.principles.rows import Row, distinct, exchanges, lessons
from preflab.recipe import Recipe, load_recipe

HERE = Path(__file__).parent
CONSTITUTION, RECIPE = "constitution.yaml", "recipe.yaml"
NUM_READ, NUM_SHOWN, NUM_RED_TEAM, NUM_PROMPTS = 8_000, 3_600, 300, 240


def prepare(folder: Path | str) -> Recipe:
    """Write data, constitution and recipe into a folder; returns the recipe. A constitution that is there stays."""
    folder = Path(folder).absolute()
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / CONSTITUTION).exists():
        shutil.copyfile(HERE / CONSTITUTION, folder / CONSTITUTION)
    shutil.copyfile(HERE / RECIPE, folder / RECIPE)
    read, shown = (_exchanges_and_examples(name, num) for name, num in (("read", NUM_READ), ("shown", NUM_SHOWN)))
    customers = provoking_customers()
    texts = {
        "corpus": [{"text": f"{row['prompt']} {row['completion']}"} for row in read],
        "demonstrations": shown,
        "red_team": [{"prompt": text} for text in customers[:NUM_RED_TEAM]],
        "prompts": [{"prompt": text} for text in customers[NUM_RED_TEAM : NUM_RED_TEAM + NUM_PROMPTS]],
    }
    for name, rows in texts.items():
        write_text(folder / f"{name}.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    return load_recipe(folder / RECIPE)


def _exchanges_and_examples(name: str, num: int) -> list[Row]:
    """A third exchanges, the rest examples of critiques, revisions and comparisons, in random order."""
    rng = random.Random(f"lesson 10, {name}")
    rows = exchanges(rng, num // 3)
    rows += lessons(rng, read_constitution(HERE / CONSTITUTION), num - len(rows))
    rng.shuffle(rows)
    return rows


def constitution(folder: Path | str) -> Path:
    """The constitution in a folder that `prepare` filled: edit it, and later stages run again."""
    return Path(folder).absolute() / CONSTITUTION


def new_customers(num: int = 300) -> list[str]:
    """Provoking customers who are in none of the files."""
    return provoking_customers()[-num:]


def provoking_customers() -> list[str]:
    """Different customers who provoke before they ask: the first for the red team, then those of the preferences."""
    rng = random.Random("provoking")
    return distinct(lambda: critiques.customer(rng, provoking=True), NUM_RED_TEAM + NUM_PROMPTS + 300)
