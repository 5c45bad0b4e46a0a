"""Preference groups for the DPO loop; every completion of a group appears once.

A group is one prompt with its completions, the labelled pairs among them, and verdicts on single completions. A group
is never divided between optimiser steps or between the training and the held-out share. In shapes, N counts the
completions of some groups, concatenated, and P the pairs.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor

from preflab.maths.dpo import Pairs, Side, Verdicts
from preflab.training.batches import TokenSequence, whole_group_batches
from preflab.training.shared_prompts import packed_rows, row_length
from preflab.training.transfers import to_device


class LabelledPair(NamedTuple):
    """Indices of two completions of a group, the label P(first ≻ second) to learn, and the weight of the pair."""

    first: int
    second: int
    label: float
    weight: float


class Verdict(NamedTuple):
    """Index of one completion of a group, the share of judgments that call it good, and the weight of the verdict."""

    completion: int
    up: float
    weight: float


@dataclass(frozen=True)
class Group:
    """One preference group, tokenized."""

    prompt_id: str
    sequences: tuple[TokenSequence, ...]
    """One per completion that a pair or a verdict refers to; all have the same prompt."""
    pairs: tuple[LabelledPair, ...] = ()
    verdicts: tuple[Verdict, ...] = ()
    mismatched: tuple[TokenSequence, ...] = ()
    """This prompt with completions of other prompts, from which KTO's z₀ is estimated; () without KTO."""
    ref_logps: tuple[float, ...] = ()
    """Σ_t log π_ref of `sequences`, then of `mismatched`, nats; () before `with_reference`."""

    @property
    def asked(self) -> tuple[TokenSequence, ...]:
        """All sequences that need the reference's log-probabilities."""
        return self.sequences + self.mismatched

    @property
    def num_tokens(self) -> int:
        """Completion tokens of `sequences` that the policy wrote."""
        return sum(num_policy_tokens(sequence) for sequence in self.sequences)


class Weights(NamedTuple):
    """Denominators of the losses of one optimiser step, over all its micro-batches and processes."""

    pairs: float
    verdicts: float

    @classmethod
    def of(cls, groups: Sequence[Group]) -> Weights:
        """Sums of the weights of the step's groups; 1 in place of a sum of 0, so that the loss is 0 and not 0 / 0."""
        return cls(
            sum(pair.weight for group in groups for pair in group.pairs) or 1.0,
            sum(verdict.weight for group in groups for verdict in group.verdicts) or 1.0,
        )


def num_policy_tokens(sequence: TokenSequence) -> int:
    """Completion tokens that the policy wrote."""
    return len(sequence.completion_ids) if sequence.policy_tokens is None else sum(sequence.policy_tokens)


def only_used(group: Group) -> Group:
    """The same group without the completions that neither a pair nor a verdict refers to."""
    used = sorted({i for p in group.pairs for i in (p.first, p.second)} | {v.completion for v in group.verdicts})
    place = {old: new for new, old in enumerate(used)}
    return replace(
        group,
        sequences=tuple(group.sequences[i] for i in used),
        pairs=tuple(p._replace(first=place[p.first], second=place[p.second]) for p in group.pairs),
        verdicts=tuple(v._replace(completion=place[v.completion]) for v in group.verdicts),
    )


def with_mismatched(groups: Sequence[Group]) -> list[Group]:
    """Fill in `mismatched`: one completion of the next group per verdict; the last group takes those of the first.

    A single group takes its own completions, shifted by one, because there is no other prompt. Source: Ethayarajh et
    al. 2024, section 4.
    """

    def borrowed(group: Group, other: Group) -> tuple[TokenSequence, ...]:
        shift = 1 if other is group else 0
        return tuple(
            replace(
                other.sequences[(verdict.completion + shift) % len(other.sequences)],
                prompt_ids=group.sequences[0].prompt_ids,
            )
            for verdict in group.verdicts
        )

    following = [*groups[1:], *groups[:1]]
    return [replace(group, mismatched=borrowed(group, other)) for group, other in zip(groups, following, strict=True)]


def with_reference(groups: Sequence[Group], logps: Tensor) -> list[Group]:
    """The groups with `ref_logps` filled in from logps (N,), those of all `asked` sequences, concatenated."""
    parts = logps.split([len(group.asked) for group in groups])
    return [replace(group, ref_logps=tuple(part.tolist())) for group, part in zip(groups, parts, strict=True)]


def group_batches(groups: Sequence[Group], tokens_per_batch: int, longest_row: int | None = None) -> list[list[int]]:
    """Index lists of whole groups within the token budget, made by `whole_group_batches`.

    `longest_row`: maximum length of a row that the completions of a group share; None: one row per completion.
    """
    return whole_group_batches([_rows_of(group, longest_row) for group in groups], tokens_per_batch)


def padded_tokens(group: Group, longest_row: int | None = None) -> int:
    """Padded size of a group in tokens: rows × longest row. `longest_row` is that of `group_batches`."""
    num_rows, longest = _rows_of(group, longest_row)
    return num_rows * longest


def _rows_of(group: Group, longest_row: int | None) -> tuple[int, int]:
    """(number of rows of a group, tokens of the longest row)."""
    if longest_row is None:
        return len(group.sequences), max(len(sequence) for sequence in group.sequences)
    packed = packed_rows(group.sequences, longest_row)
    return len(packed), max(row_length([group.sequences[i] for i in row]) for row in packed)


def learned(logps: Tensor, groups: Sequence[Group]) -> tuple[Pairs, Verdicts]:
    """Inputs of the losses, from logps (N,), the policy's log-probabilities of the groups' sequences, with gradient."""
    everything = Side(
        logps,
        _column(logps, (value for g in groups for value in g.ref_logps[: len(g.sequences)])),
        _column(logps, (num_policy_tokens(s) for g in groups for s in g.sequences)),
    )
    starts = [0]
    for group in groups:
        starts.append(starts[-1] + len(group.sequences))
    pairs = [(start, pair) for start, group in zip(starts, groups, strict=False) for pair in group.pairs]
    verdicts = [(start, verdict) for start, group in zip(starts, groups, strict=False) for verdict in group.verdicts]
    return (
        Pairs(
            _rows(everything, [start + pair.first for start, pair in pairs]),
            _rows(everything, [start + pair.second for start, pair in pairs]),
            _column(logps, (pair.label for _, pair in pairs)),
            _column(logps, (pair.weight for _, pair in pairs)),
        ),
        Verdicts(
            _rows(everything, [start + verdict.completion for start, verdict in verdicts]),
            _column(logps, (verdict.up for _, verdict in verdicts)),
            _column(logps, (verdict.weight for _, verdict in verdicts)),
        ),
    )


def _column(like: Tensor, values: Iterator[float]) -> Tensor:
    return to_device(torch.tensor(list(values), dtype=torch.float32), like.device)


def _rows(side: Side, places: list[int]) -> Side:
    index = to_device(torch.tensor(places, dtype=torch.long), side.logps.device)
    return Side(*(part[index] for part in side))
