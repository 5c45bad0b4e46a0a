"""Interfaces that the training loops require: a sampler that writes completions and a scorer that rewards them.

The stage passes both to the loop, so a loop imports neither `sampling` nor `rewards`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

import torch

from preflab.errors import PreflabError
from preflab.records import Completion, FinishReason, Message, Prompt, Span, spans_of_turns
from preflab.settings.sampling import DecodingSettings
from preflab.training.kept_tokens import KeptTokens


@dataclass(frozen=True)
class SampleRequest:
    """Request for one completion; adjacent requests with equal prompts share one prefill."""

    prompt_ids: tuple[int, ...]
    seed: int
    """The only source of randomness of this completion, which therefore does not depend on the rest of the batch."""


@dataclass(frozen=True)
class SampledCompletion:
    """The completion sampled for a request."""

    token_ids: tuple[int, ...]
    """Includes the stop token if the completion ended with one."""
    logps: tuple[float, ...]
    """Log-probability of each token under the distribution from which it was drawn, nats."""
    finish_reason: Literal["stop", "length"]
    policy_version: int = 0
    """Optimiser steps the policy had taken when it wrote this completion."""
    states: torch.Tensor | None = field(default=None, compare=False, repr=False)
    """(tokens, H) last hidden state before each token, from an engine that decodes with the trained module itself.
    They save the trainer a forward pass of the policy."""
    kept: KeptTokens | None = field(default=None, compare=False, repr=False)
    """The ids that each token was drawn from, if sampling was truncated and the engine gives them."""


class Decode(Protocol):
    """Converts token ids to text."""

    def __call__(self, ids: Sequence[int], prompt: Prompt | None = None) -> str:
        """The text of a completion of this prompt; without a prompt, the text of the tokens by themselves."""
        ...


class Sampler(Protocol):
    """Samples completions: token ids in, token ids out, so that nothing is decoded and re-encoded.

    A new sampler holds the policy's weights at the time of its creation. A loop calls `sync` before it collects, and
    `release` after the rollouts are complete. Both are collective calls: every process must make them.
    """

    @property
    def exact(self) -> bool:
        """Whether its log-probabilities equal the trainer's up to float32 rounding, so that they can serve as π_old.

        If not, the trainer's own pass over the rollouts gives π_old.
        """
        ...

    def sync(self, version: int) -> None:
        """Take over the policy's current weights, and mark all further completions with `version`.

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
        """One completion per request, in the order of the requests; `on_done(n)` is called when n more are finished."""
        ...

    def release(self) -> None:
        """Free the device memory held besides the trained model; the next `sync` allocates it again."""
        ...


@dataclass(frozen=True)
class Episode:
    """A rollout: a completion of one turn, or several turns of the policy with what an environment answered."""

    prompt: Prompt
    """As the policy read it."""
    prompt_ids: tuple[int, ...]
    token_ids: tuple[int, ...]
    """All tokens after the prompt, up to the last that the policy wrote."""
    logps: tuple[float, ...]
    """Log-probability of each token under the sampler, nats; not read where the policy did not write the token."""
    text: str
    """The turns up to the policy's last one, as they are scored."""
    finished: bool
    """True: it ended by itself; False: a limit of tokens or turns cut it."""
    written: tuple[bool, ...] | None = None
    """Per token, True = the policy wrote it; None: it wrote all."""
    states: torch.Tensor | None = field(default=None, compare=False, repr=False)
    """(written tokens, H), as in `SampledCompletion`."""
    kept: KeptTokens | None = field(default=None, compare=False, repr=False)
    """Of the written tokens, as in `SampledCompletion`."""
    turns: tuple[Message, ...] = ()
    """The turns up to the policy's last one; () for a completion of one turn without an environment."""
    last_turn: str = ""
    """The environment's turn at the end, which the policy does not read; "" if there is none."""
    rewards: tuple[float, ...] | None = None
    """Per token, the environment's reward of a turn at the turn's last token, 0 elsewhere; None: no environment."""
    columns: Mapping[str, float] = field(default_factory=dict)
    """Numbers of the environment for the log."""
    terminal: bool | None = None
    """True: nothing would follow it. An episode that its environment ended is terminal even if a limit cut one of its
    turns. None: as `finished`."""
    closed: bool | None = None
    """True: the policy ended its last turn; False: a limit of tokens cut that turn. None: as `finished`."""


class Episodes(Protocol):
    """Plays episodes of the policy with an environment; `environments.episodes` implements it."""

    def play(self, prompts: Sequence[Prompt], seeds: Sequence[int], starts: Sequence[int]) -> list[Episode]:
        """One episode per prompt, in their order.

        Args:
            prompts: the prompt of each episode.
            seeds: the only source of randomness of the policy's turns.
            starts: the seed of each environment; episodes of a group share it.

        Raises:
            PreflabError: an environment raised, returned something else than its contract says, or took too long.
        """
        ...


@dataclass(frozen=True)
class ScoringItem:
    """A completion to score, as text for functions and classifiers and as tokens for a reward model."""

    prompt: Prompt
    text: str
    prompt_ids: tuple[int, ...] = ()
    completion_ids: tuple[int, ...] = ()
    finish_reason: FinishReason = "stop"
    turns: tuple[Message, ...] = ()
    """The turns of the completion, if its text alone cannot represent them; otherwise ()."""
    policy_tokens: tuple[bool, ...] | None = None
    """Per completion token, True = the policy wrote it; None: it wrote all."""

    @classmethod
    def of(cls, prompt: Prompt, completion: Completion) -> ScoringItem:
        """The item of a completion record, with its turns and finish reason; the scorer tokenizes it itself."""
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
    """The reward of each completion, and its terms."""

    total: torch.Tensor
    """(B,) float32."""
    terms: dict[str, torch.Tensor] = field(default_factory=dict)
    """Name → (B,) weighted term; `total` is their sum."""
    details: dict[str, torch.Tensor] = field(default_factory=dict)
    """Name → (B,) further numbers to log: scores of an ensemble's members and their spread, a judge's criteria."""


class Scorer(Protocol):
    """Gives every completion a reward."""

    def score(self, items: Sequence[ScoringItem]) -> Scores:
        """Rewards of the items, in their order.

        Raises:
            PreflabError: a reward function raised, or a reward is not a finite number; it is never replaced by 0.
        """
        ...


def check_scores(scores: torch.Tensor, items: Sequence[ScoringItem], what: str = "rewards") -> None:
    """Check that there is one finite number per completion; `what` is the noun for the numbers in errors.

    Raises:
        PreflabError: there are too few or too many, or one is NaN or infinite; the first such completion is shown.
    """
    if scores.shape != (len(items),):
        raise PreflabError(
            f"{what} of shape {tuple(scores.shape)} for {len(items)} completions",
            f"shape ({len(items)},), one number per completion",
            "correct the reward function or model",
        )
    wrong = (~torch.isfinite(scores)).nonzero().flatten().tolist()
    if wrong:
        item = items[wrong[0]]
        raise PreflabError(
            f"{len(wrong)} of {len(items)} {what} are not finite; the first is {scores[wrong[0]].item()}, of "
            f"completion {wrong[0]} {item.text[:60]!r} to {item.prompt.shown[:60]!r}",
            "finite numbers",
            "correct the reward function or model; such a reward is never replaced by 0",
        )
