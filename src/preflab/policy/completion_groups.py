"""Groups of K adjacent completions per prompt: sample them, compute their log-probabilities, score and replace them.

Shared by the loops that compare the completions of a prompt with one another (GRPO family, Online DPO). PPO uses
`score_rollouts` too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor

from preflab.errors import PreflabError
from preflab.models.trunk import Trunk
from preflab.policy.on_policy_run import OnPolicyRun, PromptIds
from preflab.records import Prompt
from preflab.seeds import derive_seed
from preflab.training.batches import Collate, token_budget_batches
from preflab.training.protocols import Scorer, ScoringItem, check_scores
from preflab.training.rollouts import Rollouts
from preflab.training.row_order import row_at


@dataclass(frozen=True)
class GroupSource:
    """Everything needed to sample groups, except the moments that seed them."""

    run: OnPolicyRun[Any]
    num_completions: int
    """K, completions per prompt."""

    @property
    def prompts(self) -> PromptIds:
        """All prompts, from which groups are chosen."""
        return self.run.prompts

    @property
    def seed(self) -> int:
        """The run's seed."""
        return self.run.seed

    def prompt(self, position: int) -> tuple[Prompt, tuple[int, ...]]:
        """The prompt at a position of the endless stream of prompts; each pass is shuffled anew."""
        return self.prompts[row_at(position, len(self.prompts), self.seed)]

    def any_prompt(self, *moment: int) -> tuple[Prompt, tuple[int, ...]]:
        """A random prompt that depends only on the seed and the moment."""
        return self.prompts[derive_seed(self.seed, "any prompt", *moment) % len(self.prompts)]

    def draw(self, chosen: PromptIds, *moments: tuple[int, ...]) -> Rollouts:
        """Sample K completions of each chosen prompt; `moments` (step, group, …), one per prompt, seed them.

        A completion depends neither on the number of processes nor on the batch in which it is decoded. With an
        environment the episodes of a group have the same start.
        """
        rows = [pair for pair in chosen for _ in range(self.num_completions)]
        seeds = [
            derive_seed(self.seed, "rollout", *moment, k) for moment in moments for k in range(self.num_completions)
        ]
        places = [moment[1] * self.num_completions + k for moment in moments for k in range(self.num_completions)]
        starts = [derive_seed(self.seed, "start", *moment) for moment in moments for _ in range(self.num_completions)]
        return self.run.sample(rows, seeds=seeds, starts=starts, rows=places)


def group_source(run: OnPolicyRun[Any]) -> GroupSource:
    """The group source of a run."""
    return GroupSource(run, run.settings.num_completions_per_prompt)


@torch.no_grad()
def ask_policy_and_reference(
    trunk: Trunk,
    rollouts: Rollouts,
    *,
    temperature: float,
    tokens_per_batch: int,
    exact: bool,
    entropy: bool = False,
    parts: Sequence[list[int]] | None = None,
    collate: Collate | None = None,
) -> Rollouts:
    """Fill in the log-probabilities of policy and reference and the exact KL at every position.

    Args:
        trunk: has the roles policy and reference.
        rollouts: the sampler's fields are filled in already.
        temperature: the sampling temperature.
        tokens_per_batch: tokens in one forward pass.
        exact: whether the sampler's log-probabilities are π_old (`Sampler.exact`). If False, π_old is the policy's,
            computed here.
        entropy: whether the entropy of each position is filled in too.
        parts: the rows of each forward pass; None: batches of at most `tokens_per_batch` tokens.
        collate: makes the batches; None: the trunk.

    Returns:
        The same rollouts.
    """
    for part in parts or token_budget_batches(rollouts.lengths, tokens_per_batch):
        tokens = (collate or trunk.collate)([rollouts.sequences[i] for i in part])
        states = rollouts.states_of(part) if exact else None
        outputs = trunk(
            tokens,
            ("policy", "reference"),
            temperature=temperature,
            entropy=entropy,
            entropy_gradient=False,
            exact_kl=True,
            policy_states=states,
        )
        for target, source in (
            (rollouts.trainer_logps, outputs["policy"].logps),
            (rollouts.ref_logps, outputs["reference"].logps),
            (rollouts.exact_kl, outputs["policy"].kl),
            (rollouts.entropy, outputs["policy"].entropy),
        ):
            target[part, : source.shape[1]] = source.cpu()
    if not exact:
        rollouts.take_trainers_logps()
    rollouts.states[:] = [None] * len(rollouts)  # not needed again, and large
    return rollouts


def score_rollouts(
    scorer: Scorer, rollouts: Rollouts, *, missing_eos_penalty: float
) -> tuple[Tensor, dict[str, Tensor]]:
    """Score the completions.

    Returns:
        (B,) rewards with those of an environment, less the penalty for completions cut by a limit; terms and details
        by name, for the log.

    Raises:
        PreflabError: the scorer did not return one finite reward per completion, or a term has the environment's name.
    """
    items = scoring_items(rollouts)
    scores = scorer.score(items)
    check_scores(scores.total, items)
    terms, own = {**scores.terms, **scores.details}, rollouts.environment_terms()
    if both := terms.keys() & own.keys():
        raise PreflabError(
            f"a term of the reward is named {', '.join(sorted(both))}",
            "another name: `environment` is the reward of the environment",
            "rename the term with `name`",
        )
    total = scores.total + rollouts.turn_rewards.sum(1)
    return total - missing_eos_penalty * (~rollouts.finished).float(), {**own, **terms}


def scoring_items(rollouts: Rollouts) -> list[ScoringItem]:
    """The rollouts as items for a scorer, dialogues with their turns.

    A dialogue whose last turn the policy ended is a complete text (`stop`), even if a limit of turns cut the episode.
    """
    rows = zip(
        rollouts.prompts,
        rollouts.texts,
        rollouts.sequences,
        rollouts.closed.tolist(),
        rollouts.turns,
        strict=True,
    )
    return [
        ScoringItem(
            prompt,
            text,
            sequence.prompt_ids,
            sequence.completion_ids,
            "stop" if closed else "length",
            turns if len(turns) > 1 else (),
            sequence.policy_tokens,
        )
        for prompt, text, sequence, closed, turns in rows
    ]


def with_rows(rollouts: Rollouts, rows: Sequence[int], new: Rollouts) -> Rollouts:
    """A copy of the rollouts in which `new` replaces those at `rows`; padded to the longest completion of both."""
    width = max(rollouts.completion_mask.shape[1], new.completion_mask.shape[1])
    changes: dict[str, object] = {}
    for name in (field.name for field in fields(Rollouts)):
        old, other = getattr(rollouts, name), getattr(new, name)
        if isinstance(old, list):
            merged: object = list(old)
            for row, value in zip(rows, other, strict=True):
                merged[row] = value  # type: ignore[index]
        else:
            merged = old.clone() if old.ndim == 1 else _widened(old, width)
            merged[list(rows)] = other if other.ndim == 1 else _widened(other, width)
        changes[name] = merged
    return replace(rollouts, **changes)  # type: ignore[arg-type]


def _widened(tensor: Tensor, width: int) -> Tensor:
    """Pad (B, T) to (B, width) with zeros or False."""
    return torch.nn.functional.pad(tensor, (0, width - tensor.shape[1]))
