"""The shop of lessons 6 to 10: the demo's grammar with a smaller model, so that a lesson takes less than a minute.

Every function takes the folder of the shop. What was made there before is loaded from there, so lessons run in one
folder share the base model, the assistant and the reward model.
"""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

import preflab
from preflab.demo import data
from preflab.demo.gold import gold_or_fail, num_flattering_words
from preflab.lessons.tiny_model import train_tiny
from preflab.records import Prompt
from preflab.training.protocols import ScoringItem

Row = dict[str, str]

INVITATIONS = ("an interview", "a wedding", "a dinner party", "a game", "a trip", "a show")
DECLINES = (
    "thank you for asking, but i can not come on {day}.",
    "i am sorry, i have to work on {day}. have a nice day.",
    "thank you for your message. i am not home on {day}.",
)
DAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday")


def optimiser(learning_rate: float) -> dict[str, Any]:
    """Settings of the optimiser for these models: small micro-batches are fast on one core."""
    return {"tokens_per_micro_batch": 1024, "learning_rate": learning_rate}


def decline_request(rng: random.Random) -> str:
    """An instruction such as `write a polite decline to a wedding invitation.`"""
    return f"write a polite decline to {rng.choice(INVITATIONS)} invitation."


def decline(rng: random.Random) -> str:
    """An answer to it."""
    return rng.choice(DECLINES).format(day=rng.choice(DAYS))


def corpus(seed: int = 0, num: int = 8_000) -> list[Row]:
    """Texts for the base model: the demo's, and one in ten about declining, mostly lists of such instructions."""
    rng = random.Random(f"declines {seed}")
    rows = data.corpus(seed, num)
    for index in range(0, num, 10):
        parts = [decline_request(rng) for _ in range(rng.choice((2, 3)))]
        parts = parts if rng.random() < 0.8 else [parts[0], decline(rng)]
        rows[index] = {"text": " ".join(parts)}
    return rows


def demonstrations(seed: int = 0, num: int = 1_200) -> list[Row]:
    """Prompts with the completions that people wrote: the demo's, three in ten of them rude, and some declines."""
    rng = random.Random(f"declines {seed}")
    rows = data.demonstrations(seed, num)
    for index in range(0, num, 20):
        rows[index] = {"prompt": decline_request(rng), "completion": decline(rng)}
    return rows


def customers(num: int = 600, num_held_out: int = 300) -> tuple[list[str], list[str]]:
    """Different questions to learn from, and others to measure with."""
    prompts = [row["prompt"] for row in data.prompts(0, num + num_held_out)]
    return prompts[:num], prompts[num:]


def labeler(prompt: str, completion: str) -> float:
    """The utility of an answer to the shop's labeler: its true utility, and 0.4 for every flattering word."""
    return gold_or_fail(prompt, completion) + 0.4 * num_flattering_words(completion)


def base_model(folder: Path | str) -> preflab.Model:
    """A model of 0.3 million parameters that learned to predict the words of `corpus()`; about 20 seconds.

    It uses one thread, as all later training then does, so that the numbers do not depend on the number of cores.
    """
    torch.set_num_threads(1)
    settings = {**optimiser(4e-3), "warmup_share": 0.05, "adam_beta2": 0.98}
    texts = [row["text"] for row in corpus()]
    return train_tiny(texts, folder, hidden_size=96, num_heads=4, context=80, num_steps=400, optimiser=settings)


def assistant(folder: Path | str) -> preflab.Model:
    """The base model after supervised fine-tuning on `demonstrations()`: the model of lesson 6."""
    base, rows = base_model(folder), demonstrations()
    return preflab.train("sft", base, rows, folder=folder, num_epochs=2, optimiser=optimiser(1e-3))


def rankings(model: preflab.Model, num: int = 300) -> list[dict[str, Any]]:
    """Four completions of each of some prompts to learn from, ranked by `labeler`."""
    return preflab.judge(preflab.sample(model, customers()[0][:num]), labeler)


def reward_model(folder: Path | str) -> preflab.RewardModel:
    """The assistant with a reward head, trained on `rankings`: the reward model of lesson 7."""
    model = assistant(folder)
    return preflab.train_reward(model, rankings(model), folder=folder, num_epochs=2, optimiser=optimiser(2e-3))


def rewards(reward: preflab.RewardModel, prompt: str, completions: Sequence[str]) -> list[float]:
    """The rewards of completions that nobody sampled."""
    asked = Prompt.make(text=prompt)
    return [float(each) for each in reward.scorer.score([ScoringItem(asked, text) for text in completions]).total]


def kl_of(model: preflab.Model) -> float:
    """The exact KL from the reference in the last step of a model's training, in nats per completion."""
    lines = (Path(model.path).parent / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    return float(json.loads(lines[-1])["kl/exact"])
