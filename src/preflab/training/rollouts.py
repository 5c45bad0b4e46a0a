"""What the policy did in one step, as tensors: B completions of up to T tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from preflab.maths.masks import completion_mask_from_lengths
from preflab.records import Prompt
from preflab.training.batches import TokenSequence, padded_floats
from preflab.training.protocols import SampledCompletion


@dataclass
class Rollouts:
    """Completions of the policy of this step with what every role said about them.

    All (B, T) tensors are 0 outside `completion_mask`.
    """

    prompts: list[Prompt]
    sequences: list[TokenSequence]
    texts: list[str]
    finished: Tensor
    """(B,) bool, True = the completion ended itself, False = it was cut by the length limit."""
    completion_mask: Tensor
    """(B, T) bool, True = a token the policy wrote."""
    sampler_logps: Tensor
    """(B, T) log-probability of each token as the sampler drew it."""
    trainer_logps: Tensor
    """(B, T) the same from the trainer's head, on its own states or the sampler's; their difference is the mismatch."""
    old_logps: Tensor
    """(B, T) log π_old of each token: the sampler's, or from `take_trainers_logps` on the trainer's."""
    ref_logps: Tensor
    """(B, T) log π_ref of each token."""
    exact_kl: Tensor
    """(B, T) exact KL(policy ‖ reference) of the next-token distribution, nats."""
    values: Tensor
    """(B, T) old values."""
    last_values: Tensor
    """(B,) old value of the state after the last token."""
    states: list[Tensor | None]
    """Of each row (tokens, H), the sampler's last hidden state before each token; None where it keeps none."""

    @classmethod
    def start(
        cls,
        prompts: list[Prompt],
        prompt_ids: Sequence[tuple[int, ...]],
        sampled: Sequence[SampledCompletion],
        texts: list[str],
    ) -> Rollouts:
        """Rollouts with the sampler's part filled in and zeros for what the trainer adds."""
        num_tokens = max(len(one.token_ids) for one in sampled)
        lengths = torch.tensor([len(one.token_ids) for one in sampled])
        zeros = torch.zeros(len(sampled), num_tokens)
        sampler_logps = padded_floats([one.logps for one in sampled], num_tokens)
        return cls(
            prompts=prompts,
            sequences=[TokenSequence(ids, one.token_ids) for ids, one in zip(prompt_ids, sampled, strict=True)],
            texts=texts,
            finished=torch.tensor([one.finish_reason == "stop" for one in sampled]),
            completion_mask=completion_mask_from_lengths(lengths, num_tokens),
            sampler_logps=sampler_logps,
            trainer_logps=zeros.clone(),
            old_logps=sampler_logps.clone(),
            ref_logps=zeros.clone(),
            exact_kl=zeros.clone(),
            values=zeros.clone(),
            last_values=torch.zeros(len(sampled)),
            states=[one.states for one in sampled],
        )

    def __len__(self) -> int:
        return len(self.sequences)

    def take_trainers_logps(self) -> None:
        """Let π_old be what the trainer's pass said, where sampler and trainer round differently.

        The ratio then is π / π_old of one and the same computation: 1 before the first update. With the sampler's
        numbers below it, it would be off by their rounding, persistently per token, and the clip would act on that.
        """
        self.old_logps = self.trainer_logps.clone()

    def states_of(self, rows: Sequence[int]) -> Tensor | None:
        """(N, H) states before the tokens of these rows, row after row; None where one of them has none."""
        states = [state for state in (self.states[row] for row in rows) if state is not None]
        return torch.cat(states) if len(states) == len(rows) else None

    @property
    def lengths(self) -> list[int]:
        """Prompt + completion tokens of each row, for batching."""
        return [len(sequence) for sequence in self.sequences]

    @property
    def num_tokens(self) -> int:
        """Completion tokens in all rows."""
        return int(self.completion_mask.sum())


def repeat_shares(rows: Sequence[Sequence[int]], n: int = 3) -> list[float]:
    """Share of its n-grams that stood earlier in the same completion, for each completion that has one."""
    shares = []
    for row in rows:
        ngrams = [tuple(row[i : i + n]) for i in range(len(row) - n + 1)]
        if ngrams:
            shares.append(1.0 - len(set(ngrams)) / len(ngrams))
    return shares
