"""`load` opens a model for Python code, `sample` writes completions with it."""

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
from preflab.stages.common.data import Row, prompt_of
from preflab.stages.sample import Writer

Asked = str | Sequence[Mapping[str, Any]] | Mapping[str, Any] | Prompt
"""A prompt: a text, the turns of a conversation, a row with `prompt` and further columns, or the record itself."""


@dataclass(frozen=True)
class Model:
    """A language model: its path and its precision. `load` and `train` return it."""

    path: Path | str
    """Its folder, `package:NAME`, or a Hub id. For a trained model it is `model/` in the run's folder."""
    precision: str = "float32"
    """`float32`, `bfloat16` or `float16`."""

    @cached_property
    def writer(self) -> Writer:
        """The weights, the tokenizer and the sampling engine, loaded at the first use."""
        return Writer.load(self.path, SampleSettings(model=str(self.path), prompts="prompts"), 0, self.precision)


@dataclass(frozen=True)
class RewardModel:
    """A reward model from `train_reward`; `judge`, `evaluate` and the rewards of `train` take it as a judge."""

    path: Path
    """Its folder: `reward/` in the run's folder, beside `reward_report.json`."""
    precision: str = "float32"
    """`float32`, `bfloat16` or `float16`."""

    @cached_property
    def scorer(self) -> RewardModelScorer:
        """The loaded reward model, ready to score; loaded at the first use."""
        trunk, encoder = load_reward_model(self.path, dtype=self.precision)
        trunk.to(best_device())
        return RewardModelScorer(trunk, encoder, "reward", takes_tokens=False)


@dataclass(frozen=True)
class Answers:
    """The K completions of one prompt."""

    prompt: Prompt
    """The prompt as the model got it: a text became a user's turn if the model has a chat template."""
    completions: tuple[Completion, ...]
    """The completions with tokens, log-probabilities and finish reason; see the record `Completion`."""

    @property
    def texts(self) -> list[str]:
        """(K,) the completions as text."""
        return [completion.text for completion in self.completions]


def load(path: Path | str, *, precision: str = "float32") -> Model:
    """A language model from a folder, `package:NAME` or the Hub, ready to sample.

    Args:
        path: a folder, `package:NAME` or a Hub id.
        precision: `float32`, `bfloat16`, `float16`, or `auto` (bfloat16 on a GPU that has it, else float32).

    Raises:
        PreflabError: there is no model, or it cannot generate text.
    """
    model = Model(place_of(path), resolved(precision))
    _ = model.writer  # load the weights now, so that errors show here
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

    A text becomes a user's turn if the model has a chat template. A completion's seed depends only on `seed`, its
    prompt and its position among the K, so other prompts of the call have no effect on it.

    Args:
        model: from `load` or `train`.
        prompts: texts, conversations, or rows with `prompt` and further columns.
        num_completions: completions per prompt (K).
        max_new_tokens: longest completion in tokens.
        temperature: divides the logits; 0 takes the likeliest token.
        seed: seed of all draws.

    Raises:
        PreflabError: `prompts` is a single text, or a prompt is empty or leaves no room for its completion in the
            model's context.
        ValueError: a number is outside its limits.
    """
    if isinstance(prompts, str):
        raise PreflabError("a single text as `prompts`", "a list of prompts", f"write [{prompts[:40]!r}]")
    settings = SampleSettings(
        model=str(model.path),
        prompts="prompts",
        num_completions=num_completions,
        max_new_tokens=max_new_tokens,
        temperature=temperature,
    )
    writer = replace(model.writer, settings=settings, seed=seed, ids={})
    records = [prompt_record(each, number, writer.renderer.template.exists) for number, each in enumerate(prompts, 1)]
    completions = writer.write(writer.fit(records), lambda num_done: None)
    starts = range(0, len(completions), num_completions)
    return [
        Answers(prompt, tuple(completions[start : start + num_completions]))
        for prompt, start in zip(records, starts, strict=True)
    ]


def place_of(path: Path | str) -> Path | str:
    """The absolute path of an existing folder; any other name as a string."""
    return Path(path).absolute() if Path(path).is_dir() else str(path)


def prompt_record(asked: Asked, number: int, turns: bool) -> Prompt:
    """The record of a prompt; with `turns` a text becomes a user's turn. `number` is its position, for errors."""
    if isinstance(asked, Prompt):
        return asked
    row = dict(asked) if isinstance(asked, Mapping) else {"prompt": asked if isinstance(asked, str) else list(asked)}
    prompt = prompt_of(Row(row, f"prompt {number}"))
    if turns and prompt.text:
        return Prompt.make(messages=(Message("user", prompt.text),), columns=prompt.columns, source=prompt.source)
    return prompt
