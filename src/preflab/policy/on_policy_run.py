"""Inputs and result of an on-policy run: PPO, the GRPO family, Online DPO."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

from preflab.errors import PreflabError
from preflab.models.trunk import Trunk
from preflab.records import Prompt
from preflab.settings.learning import OptimiserSettings, RunSettings
from preflab.settings.sampling import DecodingSettings
from preflab.settings.stopping import StopSettings
from preflab.training.alarms import Alarm
from preflab.training.batches import TokenBatch, TokenSequence
from preflab.training.processes import make_accelerator
from preflab.training.prompt_sharing import PromptSharing
from preflab.training.protocols import Decode, Episodes, Sampler, SampleRequest, Scorer
from preflab.training.rollouts import Rollouts

PromptIds = Sequence[tuple[Prompt, tuple[int, ...]]]
"""Prompts with their token ids."""
HeldOut = Callable[[int], tuple[float, float | None]]
"""Policy version → mean of the held-out criterion and its standard error (None if it cannot be estimated)."""


class OnPolicySettings(Protocol):
    """Settings of a loop that learns, in minibatches, from completions of its own policy."""

    @property
    def num_steps(self) -> int: ...
    @property
    def num_epochs(self) -> int: ...
    @property
    def num_minibatches(self) -> int: ...
    @property
    def num_kept_rollouts(self) -> int: ...
    @property
    def num_kept_alternatives(self) -> int: ...
    @property
    def max_record_mib(self) -> int: ...
    @property
    def decoding(self) -> DecodingSettings: ...
    @property
    def kl_budget(self) -> float | None: ...
    @property
    def optimiser(self) -> OptimiserSettings: ...
    @property
    def stop(self) -> StopSettings: ...
    @property
    def run(self) -> RunSettings: ...


LoopSettings = TypeVar("LoopSettings", bound=OnPolicySettings)


@dataclass
class OnPolicyRun(Generic[LoopSettings]):
    """The inputs of an on-policy run."""

    trunk: Trunk
    """Has the roles policy and reference, and for PPO also value."""
    settings: LoopSettings
    prompts: PromptIds
    """Training prompts with their token ids."""
    sampler: Sampler
    """Samples from the trunk's policy role."""
    scorer: Scorer
    decode: Decode
    folder: Path
    """Run folder for checkpoints, metrics, alarms and rollouts; a restart resumes from it."""
    seed: int
    name: str = "run"
    """The stage's name, for the progress bar."""
    episodes: Episodes | None = None
    """Plays rollouts with an environment; None: a rollout is one completion. With it the prompts have no token ids."""
    held_out: HeldOut | None = None
    """Measures the held-out criterion of the current policy; None: it is not measured."""
    accelerator: Any = field(default_factory=make_accelerator)
    sharing: PromptSharing | None = None
    """How completions of one prompt share rows in GRPO and Online DPO; None: one row per completion."""
    num_updates: int = 0
    """Optimiser steps the policy has taken; the sampler is synchronised to this version."""

    def batch(self, sequences: Sequence[TokenSequence]) -> TokenBatch:
        """Completions as a batch, in which adjacent ones of one prompt share rows if the run shares prompts."""
        if self.sharing is None:
            return self.trunk.collate(sequences)
        return self.sharing.batch(sequences, self.trunk.collate, self.trunk.device)

    def sample(
        self, chosen: PromptIds, *, seeds: Sequence[int], starts: Sequence[int], rows: Sequence[int]
    ) -> Rollouts:
        """Rollouts of the current policy for the chosen prompts: completions, or episodes with the environment.

        Args:
            chosen: the prompt of each rollout.
            seeds: the only source of randomness of the policy's tokens, one per rollout.
            starts: the seed of each rollout's environment; not read without an environment.
            rows: the place of each rollout among all of the step.
        """
        check_masks(self.sampler, self.settings.decoding)
        prompts = [prompt for prompt, _ in chosen]
        if self.episodes is not None:
            return Rollouts.of_episodes(self.episodes.play(prompts, seeds, starts), seeds=seeds, rows=rows)
        requests = [SampleRequest(ids, seed) for (_, ids), seed in zip(chosen, seeds, strict=True)]
        sampled = self.sampler.sample(requests, self.settings.decoding)
        texts = [self.decode(one.token_ids, prompt) for one, prompt in zip(sampled, prompts, strict=True)]
        return Rollouts.start(prompts, [ids for _, ids in chosen], sampled, texts, seeds=seeds, rows=rows)


def check_masks(sampler: Sampler, decoding: DecodingSettings) -> None:
    """Check that the sampler gives the ids that truncated sampling keeps.

    Raises:
        PreflabError: sampling is truncated, and the engine does not.
    """
    if decoding.truncated and not getattr(sampler, "gives_masks", False):
        raise PreflabError(
            f"decoding with top_k {decoding.top_k}, top_p {decoding.top_p}, min_p {decoding.min_p} and an engine that "
            "does not give the ids it kept",
            "sampling masks, or the full distribution (top_k 0, top_p 1, min_p 0): without masks truncated sampling "
            "biases the probability ratio",
            "set top_k 0, top_p 1 and min_p 0, or an engine that gives masks (docs/decisions/engines.md)",
        )


@dataclass(frozen=True)
class RunResult:
    """Number of steps of a finished run, why it stopped, and the alarms that fired."""

    num_steps: int
    stopped_because: str
    alarms: list[Alarm]
