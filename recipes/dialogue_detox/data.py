"""Writes the data of the offline summarisation lab: support calls with summaries, some of them rude.

    python recipes/dialogue_detox/data.py [FOLDER] [--seed 0] [--scale 1.0]

train.jsonl    `id`, `dialogue`, `summary`, `topic` as in DialogSum; the summaries of many rude calls are rude
test.jsonl     the same for other calls, with polite summaries: the references
labels.jsonl   `text` and `label`, `polite` or `rude`; some labels are wrong, as people's are
"""

from __future__ import annotations

import argparse
import json
import random
from pathlib import Path

from preflab.demo.dialogues import Call, call, labelled
from preflab.files import write_text

HERE = Path(__file__).parent
NUM_TRAIN, NUM_TEST, NUM_LABELS = 4_000, 400, 6_000
Row = dict[str, str]


def distinct_calls(rng: random.Random, num: int) -> list[Call]:
    """Calls with different dialogues, so that no call of the test is among those to learn."""
    calls: dict[str, Call] = {}
    while len(calls) < num:
        drawn = call(rng)
        calls.setdefault(drawn.dialogue, drawn)
    return list(calls.values())


def made(seed: int, scale: float = 1.0) -> dict[str, list[Row]]:
    """The rows of each file."""
    rng = random.Random(f"dialogue detox {seed}")
    num_train, num_test, num_labels = (max(2, round(scale * num)) for num in (NUM_TRAIN, NUM_TEST, NUM_LABELS))
    calls = distinct_calls(rng, num_train + num_test)
    return {
        "train": [_row("train", number, each, each.learned) for number, each in enumerate(calls[:num_train])],
        "test": [_row("test", number, each, each.reference) for number, each in enumerate(calls[num_train:])],
        "labels": [labelled(rng) for _ in range(num_labels)],
    }


def _row(part: str, number: int, drawn: Call, summary: str) -> Row:
    topic = "rude call" if drawn.rude else "call"
    return {"id": f"{part}_{number}", "dialogue": drawn.dialogue, "summary": summary, "topic": topic}


def main(folder: Path, seed: int, scale: float) -> None:
    """Write the three files."""
    for name, rows in made(seed, scale).items():
        write_text(folder / f"{name}.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
        print(f"{len(rows):>6} rows in {folder / name}.jsonl")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Writes the data of the offline summarisation lab.")
    parser.add_argument("folder", type=Path, nargs="?", default=HERE)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--scale", type=float, default=1.0)
    arguments = parser.parse_args()
    main(arguments.folder, arguments.seed, arguments.scale)
