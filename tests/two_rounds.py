"""A recipe of two rounds with people's labels, tiny enough to be run, and the commands that the product prints."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

WORDS = [
    "my",
    "parcel",
    "lamp",
    "clock",
    "is",
    "here",
    "today",
    "soon",
    "please",
    "wait",
    "on",
    "friday",
    "now",
    "late",
    "thanks",
]
RECIPE = """
recipe: 1
data:
  corpus: {path: corpus.jsonl}
  prompts: {path: prompts.jsonl}
stages:
  base: {kind: tiny, text: corpus, num_layers: 1, hidden_size: 32, num_heads: 2, context: 24, num_steps: 5}
  answers: {kind: sample, model: base, prompts: prompts, num_completions: 2, max_new_tokens: 6}
  labels: {kind: judge, completions: answers, overlap: 2}
  prefs: {kind: preferences, judgments: labels}
  rm: {kind: reward, model: base, preferences: prefs, num_epochs: 1, held_out: 0.25, lora: {rank: 2}}
  ppo: {kind: ppo, model: base, prompts: prompts, rewards: [{model: rm}], num_steps: 2, num_completions_per_step: 4,
        decoding: {max_new_tokens: 6}, lora: {rank: 2}, run: {save_every: 2}}
  report: {kind: report, of: [rm, ppo]}
rounds: {num: 2, repeat: [answers, labels, prefs, rm, ppo]}
"""
NUM_TASKS = 8


def prepared(folder: Path) -> Path:
    """The recipe with its data in a folder."""
    texts = [{"text": " ".join(WORDS[i : i + 6])} for i in range(len(WORDS))]
    prompts = [{"prompt": f"my {word} is"} for word in WORDS[:NUM_TASKS]]
    for name, rows in (("corpus", texts), ("prompts", prompts)):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "recipe.yaml").write_text(RECIPE)
    return folder / "recipe.yaml"


def worth(text: str) -> int:
    """What both people like: different words."""
    return len(set(text.split()))


def printed_command(said: str, *words: str) -> list[str]:
    """The words of the command that the last line tells one to type, which begins with these words."""
    commands = [shlex.split(found) for found in re.findall(r"`preflab ([^`]+)`", said.splitlines()[-1])]
    (found,) = [each for each in commands if each[: len(words)] == list(words)]
    return found
