"""Writes the prompts of the stories recipe: the first ten words of every story.

    python recipes/stories/prompts.py STORIES.txt

Stories are separated by lines of <|endoftext|>; stories that begin alike give one prompt.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

NUM_WORDS = 10


def main(stories: Path, out: Path) -> None:
    """Read the stories, write one JSON line per prompt."""
    texts = stories.read_text(encoding="utf-8").split("<|endoftext|>")
    starts = [" ".join(text.split()[:NUM_WORDS]) for text in texts if len(text.split()) > 3 * NUM_WORDS]
    unique = list(dict.fromkeys(starts))
    out.write_text("".join(json.dumps({"prompt": start}) + "\n" for start in unique), encoding="utf-8")
    print(f"{len(unique)} prompts in {out}")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(__file__).with_name("prompts.jsonl"))
