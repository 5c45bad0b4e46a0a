"""The models that Python code holds, and what they write: `load` and `sample`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from preflab.errors import PreflabError
from preflab.models.loading import best_device
from preflab.models.precision import resolved
from preflab.records import Completion, Message, Prompt
from preflab.rewards.score import RewardModelScorer, load_reward_model
from preflab.settings.sampling import SampleSettings
from preflab.stages.data import Row, prompt_of
from preflab.stages.sample import Writer

Asked = str | Sequence[Mapping[str, Any]] | Mapping[str, Any] | Prompt
"""A prompt: a text, the turns of a conversation, a row with `prompt` and further columns, or the record itself."""


@dataclass(frozen=True)
class Model:
    """A language model: where it lies, and in which precision it computes. Made by `load` and `train`."""

    path: Path | str
    """Its folder, `package:NAME`, or a Hub id. Of a trained model: `model/` in the folder of its run."""
    precision: str = "float32"
    """`float32`, `bfloat16` or `float16`."""

    @cached_property
    def writer(self) -> Writer:
        """The weights with their tokenizer and the engine that samples, read at the first use."""
        return Writer.load(self.path, SampleSettings(model=str(self.path), prompts="prompts"), 0, self.precision)


@dataclass(frozen=True)
class RewardModel:
    """A reward model as `train_reward` leaves it; a judge for `judge`, `evaluate` and the rewards of `train`."""

    path: Path
    """Its folder: `reward/` in the folder of its run, beside `reward_report.json`."""
    precision: str = "float32"
    """As of a `Model`."""

    @cached_property
    def scorer(self) -> RewardModelScorer:
        """The weights, read at the first use."""
        trunk, encoder = load_reward_model(self.path, dtype=self.precision)
        trunk.to(best_device())
        return RewardModelScorer(trunk, encoder, "reward", takes_tokens=False)


@dataclass(frozen=True)
class Answers:
    """The K completions of one prompt."""

    prompt: Prompt
    """As the model was asked: a text is a user's turn where the model has a chat template."""
    completions: tuple[Completion, ...]
    """Their tokens, log-probabilities and how they ended: see the record `Completion`."""

    @property
    def texts(self) -> list[str]:
        """(K,) the completions as text."""
        return [completion.text for completion in self.completions]


def load(path: Path | str, *, precision: str = "float32") -> Model:
    """A language model from a folder, `package:NAME` or the Hub, ready to sample.

    Args:
        path: what a recipe's `model` may name.
        precision: `float32`, `bfloat16`, `float16`, or `auto` (bfloat16 on a GPU that has it, else float32).

    Raises:
        PreflabError: nothing there, or a model that cannot write.
    """
    model = Model(place_of(path), resolved(precision))
    _ = model.writer
    return model


def sample(
    model: Model,
    prompts: Sequence[Asked],
    *,
    num_completions: int = 4,
    max_new_tokens: int = 48,
    temperature: float = 1.0,
    seed: int = 0,
) -> list[Answers]:
    """K completions of every prompt, in the order of the prompts.

    A text becomes a user's turn where the model has a chat template. The seed of a completion follows from `seed`, its
    prompt and its place among the K, so other prompts in the call change nothing.

    Args:
        model: from `load` or `train`.
        prompts: texts, conversations, or rows with `prompt` and further columns.
        num_completions: completions per prompt (K).
        max_new_tokens: longest completion in tokens.
        temperature: divides the logits; 0 takes the likeliest token.
        seed: of all draws.

    Raises:
        PreflabError: one text in the place of a list, or a prompt that is empty or leaves no room for its completion in
            the model's context.
        ValueError: a number outside its limits.
    """
    if isinstance(prompts, str):
        raise PreflabError("one text for prompts", "a list of prompts", f"write [{prompts[:40]!r}]")
    settings = SampleSettings(
        model=str(model.path),
        prompts="prompts",
        num_completions=num_completions,
        max_new_tokens=max_new_tokens,
        temperature=temperature,
    )
    writer = replace(model.writer, settings=settings, seed=seed, ids={})
    asked = [prompt_record(each, number, writer.renderer.template.exists) for number, each in enumerate(prompts, 1)]
    completions = writer.write(writer.fit(asked), lambda num_done: None)
    starts = range(0, len(completions), num_completions)
    return [
        Answers(prompt, tuple(completions[start : start + num_completions]))
        for prompt, start in zip(asked, starts, strict=True)
    ]


def place_of(path: Path | str) -> Path | str:
    """A folder by its whole path; anything else as it was named."""
    return Path(path).absolute() if Path(path).is_dir() else str(path)


def prompt_record(asked: Asked, number: int, turns: bool) -> Prompt:
    """The record of a prompt; a text is a user's turn where `turns` says so."""
    if isinstance(asked, Prompt):
        return asked
    row = dict(asked) if isinstance(asked, Mapping) else {"prompt": asked if isinstance(asked, str) else list(asked)}
    prompt = prompt_of(Row(row, f"prompt {number}"))
    if turns and prompt.text:
        return Prompt.make(messages=(Message("user", prompt.text),), columns=prompt.columns, source=prompt.source)
    return prompt
