"""A real tiny model learns Bradley–Terry preferences whose utilities are known for every possible completion.

Three letters, completions of two: nine of them for each of four prompts, every pair of every prompt with its exact
probability as a soft label. The utilities are linear in nothing the model is told. What it learns has to match them
within each prompt, the constant per prompt being free.
"""

from __future__ import annotations

import itertools
import random
from math import exp
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from accelerate import Accelerator

from preflab.models.tiny import build_model, build_tokenizer
from preflab.models.trunk import Trunk
from preflab.rewards.rankings import LabelledPair, Ranking
from preflab.rewards.train import score_rankings, train_reward_model
from preflab.settings.learning import OptimiserSettings, RewardSettings
from preflab.training.batches import TokenSequence
from tiny_encoder_decoders import tiny_bart, tiny_t5

LETTERS = ["a", "b", "c"]
PROMPTS = ["p", "q", "r", "s"]
COMPLETIONS = [" ".join(letters) for letters in itertools.product(LETTERS, repeat=2)]
NUM_STEPS = 150


def tiny_decoder(tokenizer: Any) -> Any:
    """A random Llama."""
    return build_model(tokenizer, num_layers=2, hidden_size=32, num_heads=2, context=8, seed=0)


MODELS = {"llama": tiny_decoder, "t5": lambda t: tiny_t5(len(t)), "bart": lambda t: tiny_bart(len(t))}


def world(name: str = "llama") -> tuple[Trunk, list[TokenSequence], np.ndarray]:
    """A trunk, the sequences of all completions of each prompt, and their utilities (prompts, completions)."""
    tokenizer = build_tokenizer([" ".join(LETTERS + PROMPTS)], context=8)
    model = MODELS[name](tokenizer)
    rng = random.Random(0)
    utilities = np.array([[rng.gauss(0.0, 1.5) for _ in COMPLETIONS] for _ in PROMPTS])

    def ids(text: str) -> tuple[int, ...]:
        return tuple(tokenizer(text, add_special_tokens=False)["input_ids"])

    sequences = [
        TokenSequence((tokenizer.bos_token_id, *ids(prompt)), (*ids(text), tokenizer.eos_token_id))
        for prompt in PROMPTS
        for text in COMPLETIONS
    ]
    return Trunk(model, tokenizer, lora=None, roles=("reward",)), sequences, utilities


def rankings(sequences: list[TokenSequence], utilities: np.ndarray) -> list[Ranking]:
    """One ranking per prompt with all its pairs, labels σ(u_i − u_j) exactly, each pair weighing 1/number of pairs."""
    places = list(itertools.combinations(range(len(COMPLETIONS)), 2))
    num = len(COMPLETIONS)
    return [
        Ranking(
            prompt_id=prompt,
            sequences=tuple(sequences[p * num : (p + 1) * num]),
            pairs=tuple(
                LabelledPair(i, j, 1 / (1 + exp(utilities[p, j] - utilities[p, i])), 1 / len(places)) for i, j in places
            ),
            ranks=(None,) * num,
            lengths=(1,) * num,
        )
        for p, prompt in enumerate(PROMPTS)
    ]


def trained_scores(
    trunk: Trunk, groups: list[Ranking], folder: Path, learning_rate: float = 3e-3, num_steps: int = NUM_STEPS
) -> np.ndarray:
    settings = RewardSettings(
        model="-",
        preferences="-",
        lora=None,
        num_rankings_per_step=len(PROMPTS),
        optimiser=OptimiserSettings(learning_rate=learning_rate, warmup_share=0.1),
    )
    accelerator = Accelerator(cpu=True)
    train_reward_model(trunk, groups, settings, num_steps=num_steps, folder=folder, seed=0, accelerator=accelerator)
    return torch.stack(score_rankings(trunk, groups, 4096)).numpy()


def within_prompts(scores: np.ndarray, utilities: np.ndarray) -> float:
    """Correlation after taking each prompt's mean away."""
    centred = [table - table.mean(1, keepdims=True) for table in (scores, utilities)]
    return float(np.corrcoef(centred[0].ravel(), centred[1].ravel())[0, 1])


@pytest.mark.parametrize(("name", "learning_rate"), [("llama", 3e-3), ("t5", 3e-3), ("bart", 3e-3)])
def test_known_utilities_are_recovered_up_to_a_constant_per_prompt(
    name: str, learning_rate: float, tmp_path: Path
) -> None:
    trunk, sequences, utilities = world(name)
    scores = trained_scores(trunk, rankings(sequences, utilities), tmp_path, learning_rate)
    assert within_prompts(scores, utilities) > 0.99
    # Not only the order: Bradley–Terry fixes the differences themselves.
    differences = [(s[:, None, :] - s[:, :, None]).ravel() for s in (scores, utilities)]
    slope = float(differences[0] @ differences[1] / (differences[1] @ differences[1]))
    assert slope == pytest.approx(1.0, abs=0.1)


def test_shuffled_labels_teach_nothing_about_the_utilities(tmp_path: Path) -> None:
    # Labels of one prompt's pairs in random order say nothing about which completion they were given for.
    # Over permutations of the completions the correlation is 0 on average with a spread of about 1/√32.
    trunk, sequences, utilities = world()
    rng = np.random.default_rng(5)
    shuffled = np.stack([rng.permutation(row) for row in utilities])
    scores = trained_scores(trunk, rankings(sequences, shuffled), tmp_path, num_steps=2 * NUM_STEPS)  # learned by heart
    assert within_prompts(scores, shuffled) > 0.99
    expected = within_prompts(shuffled, utilities)
    assert abs(within_prompts(scores, utilities) - expected) < 0.05


def test_equal_preferences_give_equal_scores(tmp_path: Path) -> None:
    # Every label ½: the loss is least at ln 2, where all scores of a prompt are the same.
    trunk, sequences, utilities = world()
    scores = trained_scores(trunk, rankings(sequences, np.zeros_like(utilities)), tmp_path)
    assert np.abs(scores - scores.mean(1, keepdims=True)).max() < 0.05
