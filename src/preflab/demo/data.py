"""The demo's data files: the corpus of the base model, the demonstrations of SFT, and the prompts."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping
from pathlib import Path

from preflab.demo.grammar import TONES, answer, question
from preflab.files import write_text

CORPUS_TONES: Mapping[str, float] = {
    "well": 0.3, "curt": 0.2, "rude": 0.2, "off topic": 0.1, "flattering": 0.12, "empty flattery": 0.08
}  # fmt: skip
DEMONSTRATION_TONES: Mapping[str, float] = {
    "well": 0.36, "curt": 0.2, "rude": 0.3, "off topic": 0.04, "flattering": 0.07, "empty flattery": 0.03
}  # fmt: skip
"""Share of each tone. The demonstrations hold many bad answers on purpose, so that the rankings can teach more."""

Row = dict[str, str]


def exchange(rng: random.Random, tones: Mapping[str, float]) -> tuple[str, str]:
    """A question, and an answer to it in a tone drawn with these shares."""
    text, topic = question(rng)
    (tone,) = rng.choices(TONES, [tones[name] for name in TONES])
    return text, answer(rng, topic, tone)


def corpus(seed: int, num: int) -> list[Row]:
    """Texts for the base model: exchanges, and lists of questions without answers.

    The lists make the base model continue a question with another question as readily as with an answer.
    """
    rng = random.Random(f"corpus {seed}")
    rows = []
    for _ in range(num):
        if rng.random() < 0.65:
            parts = list(exchange(rng, CORPUS_TONES))
        else:
            parts = [question(rng)[0] for _ in range(rng.choice((2, 3)))]
        rows.append({"text": " ".join(parts)})
    return rows


def demonstrations(seed: int, num: int) -> list[Row]:
    """Rows of question and answer, in the tones of DEMONSTRATION_TONES."""
    rng = random.Random(f"demonstrations {seed}")
    return [dict(zip(("prompt", "completion"), exchange(rng, DEMONSTRATION_TONES), strict=True)) for _ in range(num)]


def prompts(seed: int, num: int) -> list[Row]:
    """Distinct questions, in random order."""
    rng = random.Random(f"prompts {seed}")
    texts: dict[str, None] = {}
    while len(texts) < num:
        texts[question(rng)[0]] = None
    return [{"prompt": text} for text in texts]


def write_demo_data(
    folder: Path, seed: int, num_texts: int = 15_000, num_demonstrations: int = 2_400, num_prompts: int = 1_000
) -> dict[str, Path]:
    """Write corpus.jsonl (`text`), demonstrations.jsonl (`prompt`, `completion`) and prompts.jsonl (`prompt`)."""
    made = {
        "corpus": corpus(seed, num_texts),
        "demonstrations": demonstrations(seed, num_demonstrations),
        "prompts": prompts(seed, num_prompts),
    }
    paths = {name: folder / f"{name}.jsonl" for name in made}
    for name, rows in made.items():
        write_text(paths[name], "".join(json.dumps(row) + "\n" for row in rows))
    return paths
