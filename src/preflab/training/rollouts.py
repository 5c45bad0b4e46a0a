"""Rollouts of one step as tensors: B completions of up to T tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from preflab.maths.masks import completion_mask_from_lengths, zero_masked
from preflab.records import Prompt
from preflab.training.batches import TokenSequence, padded_floats
from preflab.training.protocols import SampledCompletion


@dataclass
class Rollouts:
    """Completions of one step, with the log-probabilities, KL and values that the roles compute for them.

    All (B, T) tensors are 0 outside `completion_mask`.
    """

    prompts: list[Prompt]
    sequences: list[TokenSequence]
    texts: list[str]
    finished: Tensor
    """(B,) bool, True = the completion ended with a stop token, False = the length limit cut it."""
    completion_mask: Tensor
    """(B, T) bool, True = a token the policy wrote."""
    sampler_logps: Tensor
    """(B, T) log-probability of each token under the sampler, nats."""
    trainer_logps: Tensor
    """(B, T) the same from the trainer's head, on its own or the sampler's states. The difference is the mismatch."""
    old_logps: Tensor
    """(B, T) log π_old of each token: the sampler's, or after `take_trainers_logps` the trainer's."""
    ref_logps: Tensor
    """(B, T) log π_ref of each token."""
    exact_kl: Tensor
    """(B, T) exact KL(policy ‖ reference) of the next-token distribution, nats."""
    entropy: Tensor
    """(B, T) entropy of the distribution that each token was drawn from, nats; 0 if it was not asked for."""
    ratio: Tensor
    """(B, T) π/π_old of each token when the step's updates last visited it (`visit`); 1 before."""
    values: Tensor
    """(B, T) values predicted before the update."""
    last_values: Tensor
    """(B,) value of the state after the last token, predicted before the update."""
    states: list[Tensor | None]
    """Per row (tokens, H): the sampler's last hidden state before each token; None if the sampler keeps no states."""
    seeds: list[int]
    """Per row the seed of its completion."""
    rows: list[int]
    """Per row its place among the completions of the step on all processes."""

    @classmethod
    def start(
        cls,
        prompts: list[Prompt],
        prompt_ids: Sequence[tuple[int, ...]],
        sampled: Sequence[SampledCompletion],
        texts: list[str],
        *,
        seeds: Sequence[int] | None = None,
        rows: Sequence[int] | None = None,
    ) -> Rollouts:
        """Rollouts with the sampler's fields filled in, and zeros in the fields that the trainer computes.

        Without `seeds` they are 0; without `rows` these are all completions of the step.
        """
        num_tokens = max(len(one.token_ids) for one in sampled)
        lengths = torch.tensor([len(one.token_ids) for one in sampled])
        zeros = torch.zeros(len(sampled), num_tokens)
        sampler_logps = padded_floats([one.logps for one in sampled], num_tokens)
        mask = completion_mask_from_lengths(lengths, num_tokens)
        return cls(
            prompts=prompts,
            sequences=[TokenSequence(ids, one.token_ids) for ids, one in zip(prompt_ids, sampled, strict=True)],
            texts=texts,
            finished=torch.tensor([one.finish_reason == "stop" for one in sampled]),
            completion_mask=mask,
            sampler_logps=sampler_logps,
            trainer_logps=zeros.clone(),
            old_logps=sampler_logps.clone(),
            ref_logps=zeros.clone(),
            exact_kl=zeros.clone(),
            entropy=zeros.clone(),
            ratio=mask.float(),
            values=zeros.clone(),
            last_values=torch.zeros(len(sampled)),
            states=[one.states for one in sampled],
            seeds=[0] * len(sampled) if seeds is None else list(seeds),
            rows=list(range(len(sampled)) if rows is None else rows),
        )

    def __len__(self) -> int:
        return len(self.sequences)

    def take_trainers_logps(self) -> None:
        """Use the trainer's log-probabilities as log π_old, because sampler and trainer round differently.

        Both sides of the ratio π / π_old then come from the same computation, so it is 1 before the first update. With
        the sampler's numbers the ratio of a token would be off by rounding in every pass, and the clip would act on it.
        """
        self.old_logps = self.trainer_logps.clone()

    def visit(self, rows: Sequence[int], logps: Tensor) -> None:
        """Note π/π_old of the tokens of some rows, from the log-probabilities (N, ≤ T) that an update computed."""
        places = (list(rows), slice(0, logps.shape[1]))
        log_ratio = logps.detach().cpu() - self.old_logps[places]
        self.ratio[places] = zero_masked(log_ratio.exp(), self.completion_mask[places])

    def states_of(self, rows: Sequence[int]) -> Tensor | None:
        """(N, H) states before the tokens of these rows, concatenated; None if a row has no states."""
        states = [state for state in (self.states[row] for row in rows) if state is not None]
        return torch.cat(states) if len(states) == len(rows) else None

    @property
    def lengths(self) -> list[int]:
        """Number of prompt and completion tokens of each row."""
        return [len(sequence) for sequence in self.sequences]

    @property
    def num_tokens(self) -> int:
        """Number of completion tokens in all rows."""
        return int(self.completion_mask.sum())


def repeat_shares(rows: Sequence[Sequence[int]], n: int = 3) -> list[float]:
    """Share of a completion's n-grams that repeat an earlier one, for each completion of at least n tokens."""
    shares = []
    for row in rows:
        ngrams = [tuple(row[i : i + n]) for i in range(len(row) - n + 1)]
        if ngrams:
            shares.append(1.0 - len(set(ngrams)) / len(ngrams))
    return shares
