"""What a loop asks of the rooms beside it: a sampler that writes completions and a scorer that rewards them.

The pipeline hands both to the loop; a loop imports neither `sampling` nor `rewards`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

import torch

from preflab.errors import PreflabError
from preflab.records import Completion, FinishReason, Message, Prompt, Span, spans_of_turns
from preflab.settings.sampling import DecodingSettings


@dataclass(frozen=True)
class SampleRequest:
    """One completion wanted; equal prompts next to each other share one prefill."""

    prompt_ids: tuple[int, ...]
    seed: int
    """All randomness of this completion comes from it: what shares the batch does not matter."""


@dataclass(frozen=True)
class SampledCompletion:
    """What came of a request."""

    token_ids: tuple[int, ...]
    """The stop token included when it ended itself."""
    logps: tuple[float, ...]
    """Log-probability of each token under the distribution it was drawn from, nats."""
    finish_reason: Literal["stop", "length"]
    policy_version: int = 0
    """Optimiser steps the policy had taken when it wrote this."""
    states: torch.Tensor | None = field(default=None, compare=False, repr=False)
    """(tokens, H) last hidden state before each token, from an engine that decodes with the learning module: a pass
    of the policy less."""


class Decode(Protocol):
    """Token ids as text."""

    def __call__(self, ids: Sequence[int], prompt: Prompt | None = None) -> str:
        """The words of a completion of this prompt; without a prompt, the text of some tokens by themselves."""
        ...


class Sampler(Protocol):
    """Token ids in, token ids out; nothing is decoded and re-encoded.

    A new engine holds the weights as they are when it is made. A loop calls `sync` before it collects, and `release`
    once the rollouts are complete. Both are collective calls: every process makes them.
    """

    @property
    def exact(self) -> bool:
        """Whether its log-probabilities may serve as log π_old: those of the trainer's pass up to float32 rounding.

        Where they may not, the trainer's own pass over the rollouts gives π_old.
        """
        ...

    def sync(self, version: int) -> None:
        """Write with the policy's weights as they are now, and note `version` on every completion from here on.

        Args:
            version: optimiser steps the policy has taken.
        """
        ...

    def sample(
        self,
        requests: Sequence[SampleRequest],
        decoding: DecodingSettings,
        *,
        on_done: Callable[[int], None] | None = None,
    ) -> list[SampledCompletion]:
        """One completion per request, in the order of the requests; `on_done(n)` is told of n more finished ones."""
        ...

    def release(self) -> None:
        """Free what it holds of the device beside the learning model; the next `sync` takes it again."""
        ...


@dataclass(frozen=True)
class ScoringItem:
    """A completion to be rewarded: as text for functions and classifiers, as tokens for a reward model."""

    prompt: Prompt
    text: str
    prompt_ids: tuple[int, ...] = ()
    completion_ids: tuple[int, ...] = ()
    finish_reason: FinishReason = "stop"
    turns: tuple[Message, ...] = ()
    """The turns of a completion that its text alone cannot hold."""

    @classmethod
    def of(cls, prompt: Prompt, completion: Completion) -> ScoringItem:
        """The item of a record, to be read with the scorer's own tokenizer: its turns whole, and how it ended."""
        spans = completion.spans
        is_text = len(spans) == 1 and spans[0].message is None and spans[0].role == "assistant"
        turns = () if is_text else tuple(span.message or Message(span.role, span.text) for span in spans)
        return cls(prompt, completion.text, finish_reason=completion.finish_reason, turns=turns)

    @property
    def completion(self) -> Completion:
        """The completion as a record, without its tokens."""
        spans = spans_of_turns(self.turns) if self.turns else (Span(self.text),)
        return Completion.make(self.prompt.id, self.text, "", spans=spans, finish_reason=self.finish_reason)


@dataclass(frozen=True)
class Scores:
    """The reward of each completion and the terms it is the sum of."""

    total: torch.Tensor
    """(B,) float32."""
    terms: dict[str, torch.Tensor] = field(default_factory=dict)
    """Name → (B,) weighted term."""
    details: dict[str, torch.Tensor] = field(default_factory=dict)
    """Name → (B,) what is worth watching beside them: an ensemble's members and spread, a judge's criteria."""


class Scorer(Protocol):
    """Gives every completion a number to learn from."""

    def score(self, items: Sequence[ScoringItem]) -> Scores:
        """Rewards of the items, in their order.

        Raises:
            PreflabError: a reward raised, is NaN or infinite, or is not a number; nothing becomes 0.
        """
        ...


def check_scores(scores: torch.Tensor, items: Sequence[ScoringItem], what: str = "rewards") -> None:
    """One finite number per completion; `what` they are called.

    Raises:
        PreflabError: too few or too many, NaN or infinite; with the first completion it happened to.
    """
    if scores.shape != (len(items),):
        raise PreflabError(
            f"{what} of shape {tuple(scores.shape)} for {len(items)} completions",
            f"shape ({len(items)},), one number per completion",
            "mend the reward",
        )
    wrong = (~torch.isfinite(scores)).nonzero().flatten().tolist()
    if wrong:
        item = items[wrong[0]]
        raise PreflabError(
            f"{len(wrong)} of {len(items)} {what} are not finite; the first is {scores[wrong[0]].item()}, of "
            f"completion {wrong[0]} {item.text[:60]!r} to {item.prompt.shown[:60]!r}",
            "finite numbers",
            "mend the reward; nothing is counted as 0",
        )
