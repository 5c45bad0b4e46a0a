"""Rollouts of one step as tensors: B completions of up to T tokens."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from preflab.maths.masks import zero_masked
from preflab.messages import Message
from preflab.records import Prompt
from preflab.training.batches import TokenSequence, padded, padded_floats
from preflab.training.protocols import Episode, SampledCompletion


@dataclass
class Rollouts:
    """Completions of one step, with the log-probabilities, KL and values that the roles compute for them.

    All (B, T) tensors are 0 outside `completion_mask`.
    """

    prompts: list[Prompt]
    sequences: list[TokenSequence]
    texts: list[str]
    finished: Tensor
    """(B,) bool, True = it ended with a stop token or by its environment, False = a limit of tokens or turns cut it."""
    terminal: Tensor
    """(B,) bool, True = nothing would follow its last token; also for an episode that its environment ended after a
    limit of tokens had cut one of the turns."""
    closed: Tensor
    """(B,) bool, True = the policy ended its last turn, False = a limit of tokens cut that turn."""
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
    """(B, T) π/π_old of each token when the step's updates last visited it (`visit`, `note_ratios`); 1 before."""
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
    turn_rewards: Tensor
    """(B, T) reward that an environment gave a turn, at the last token of the turn; 0 without an environment."""
    turns: list[tuple[Message, ...]]
    """Per row the turns of a dialogue, up to the policy's last one; () for a completion without an environment."""
    last_turns: list[str]
    """Per row what the environment said at the end; "" if nothing."""
    columns: list[Mapping[str, float]]
    """Per row the numbers of its environment for the log; empty without an environment."""

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
        episodes = [
            Episode(
                prompt,
                ids,
                one.token_ids,
                one.logps,
                text,
                one.finish_reason == "stop",
                states=one.states,
                kept=one.kept,
            )
            for prompt, ids, one, text in zip(prompts, prompt_ids, sampled, texts, strict=True)
        ]
        return cls.of_episodes(episodes, seeds=seeds, rows=rows)

    @classmethod
    def of_episodes(
        cls, episodes: Sequence[Episode], *, seeds: Sequence[int] | None = None, rows: Sequence[int] | None = None
    ) -> Rollouts:
        """Rollouts of episodes; `seeds` and `rows` as in `start`. Tokens of the other side are masked."""
        num_tokens = max(len(one.token_ids) for one in episodes)
        zeros = torch.zeros(len(episodes), num_tokens)
        written = [one.written or (True,) * len(one.token_ids) for one in episodes]
        mask = padded(written, False, num_tokens).bool()
        sampler_logps = zero_masked(padded_floats([one.logps for one in episodes], num_tokens), mask)
        rewards = [one.rewards or (0.0,) * len(one.token_ids) for one in episodes]
        return cls(
            prompts=[one.prompt for one in episodes],
            sequences=[TokenSequence(one.prompt_ids, one.token_ids, one.written, one.kept) for one in episodes],
            texts=[one.text for one in episodes],
            finished=torch.tensor([one.finished for one in episodes]),
            terminal=torch.tensor([one.finished if one.terminal is None else one.terminal for one in episodes]),
            closed=torch.tensor([one.finished if one.closed is None else one.closed for one in episodes]),
            completion_mask=mask,
            sampler_logps=sampler_logps,
            trainer_logps=zeros.clone(),
            old_logps=sampler_logps.clone(),
            ref_logps=zeros.clone(),
            exact_kl=zeros.clone(),
            entropy=zeros.clone(),
            ratio=mask.float(),
            values=zeros.clone(),
            last_values=torch.zeros(len(episodes)),
            states=[one.states for one in episodes],
            seeds=[0] * len(episodes) if seeds is None else list(seeds),
            rows=list(range(len(episodes)) if rows is None else rows),
            turn_rewards=padded_floats(rewards, num_tokens),
            turns=[one.turns for one in episodes],
            last_turns=[one.last_turn for one in episodes],
            columns=[one.columns for one in episodes],
        )

    def __post_init__(self) -> None:
        self._visits: list[tuple[list[int], Tensor]] = []

    def __len__(self) -> int:
        return len(self.sequences)

    def environment_terms(self) -> dict[str, Tensor]:
        """Name → (B,) reward of the environment over all turns, and its further numbers; {} without an environment."""
        if not self.columns[0]:
            return {}
        numbers = {name: torch.tensor([row[name] for row in self.columns]) for name in self.columns[0]}
        return {
            "environment": self.turn_rewards.sum(1),
            **{f"environment/{name}": column.float() for name, column in numbers.items()},
        }

    def take_trainers_logps(self) -> None:
        """Use the trainer's log-probabilities as log π_old, because sampler and trainer round differently.

        Both sides of the ratio π / π_old then come from the same computation, so it is 1 before the first update. With
        the sampler's numbers the ratio of a token would be off by rounding in every pass, and the clip would act on it.
        """
        self.old_logps = self.trainer_logps.clone()

    def visit(self, rows: Sequence[int], logps: Tensor) -> None:
        """Keep the log-probabilities (N, ≤ T) that an update computed for some rows, where they are: `note_ratios`."""
        self._visits.append((list(rows), logps.detach()))

    def note_ratios(self) -> None:
        """Fill in `ratio` from the visits since the last call. They are copied from the device together."""
        visits, self._visits = self._visits, []
        if not visits:
            return
        sizes = [logps.numel() for _, logps in visits]
        numbers = torch.cat([logps.flatten() for _, logps in visits]).cpu().split(sizes)
        for (rows, logps), flat in zip(visits, numbers, strict=True):
            places = (rows, slice(0, logps.shape[1]))
            log_ratio = flat.view(logps.shape) - self.old_logps[places]
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


def repeat_shares(
    rows: Sequence[Sequence[int]], written: Sequence[Sequence[bool] | None] | None = None, n: int = 3
) -> list[float]:
    """Share of a completion's n-grams that repeat an earlier one, for each completion that has such n-grams.

    Args:
        rows: token ids of the completions.
        written: per completion, which tokens the policy wrote; None: all. Only n-grams within one turn of it count.
        n: tokens of an n-gram.
    """
    shares = []
    for row, own in zip(rows, written or [None] * len(rows), strict=True):
        places = [i for i in range(len(row) - n + 1) if own is None or all(own[i : i + n])]
        ngrams = [tuple(row[i : i + n]) for i in places]
        if ngrams:
            shares.append(1.0 - len(set(ngrams)) / len(ngrams))
    return shares
