"""Groups of completions as DPO sees them, written out: what is used and borrowed, rows, the columns of a step."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from preflab.policy import dpo
from preflab.policy.dpo_groups import (
    Group,
    LabelledPair,
    Verdict,
    Weights,
    group_batches,
    learned,
    num_policy_tokens,
    only_used,
    padded_tokens,
    with_mismatched,
    with_reference,
)
from preflab.training.batches import TokenSequence

FIRST = Group(
    "a",
    (TokenSequence((5, 6), (1,)), TokenSequence((5, 6), (2, 2)), TokenSequence((5, 6), (3, 3, 3), (True, False, True))),
    (LabelledPair(2, 1, 0.75, 0.5), LabelledPair(1, 2, 1.0, 0.25)),
    (Verdict(2, 1.0, 2.0),),
)
SECOND = Group(
    "b", (TokenSequence((7,), (4, 4)), TokenSequence((7,), (5,))), (LabelledPair(0, 1, 0.5, 1.0),),
    (Verdict(0, 0.0, 1.0), Verdict(1, 0.5, 3.0)),
)  # fmt: skip


def test_completions_that_nothing_names_are_left_out_and_the_others_move_up() -> None:
    used = only_used(FIRST)
    assert used.sequences == FIRST.sequences[1:]
    assert used.pairs == (LabelledPair(1, 0, 0.75, 0.5), LabelledPair(0, 1, 1.0, 0.25))
    assert used.verdicts == (Verdict(1, 1.0, 2.0),)
    by_verdict = only_used(replace(FIRST, pairs=()))
    assert (by_verdict.sequences, by_verdict.verdicts) == (FIRST.sequences[2:], (Verdict(0, 1.0, 2.0),))


def test_mismatched_completions_are_those_of_the_next_group_at_the_same_places() -> None:
    """Place 2 of a group of two is its place 0; the last group borrows from the first."""
    first, second = with_mismatched([FIRST, SECOND])
    assert first.mismatched == (TokenSequence((5, 6), (4, 4)),)
    assert second.mismatched == (TokenSequence((7,), (1,)), TokenSequence((7,), (2, 2)))
    (alone,) = with_mismatched([SECOND])
    assert alone.mismatched == (TokenSequence((7,), (5,)), TokenSequence((7,), (4, 4))), "its own, moved by one"


def test_reference_is_handed_out_in_the_order_it_was_asked() -> None:
    groups = with_mismatched([FIRST, SECOND])
    assert [len(group.asked) for group in groups] == [4, 4]
    with_logps = with_reference(groups, torch.arange(8.0))
    assert [group.ref_logps for group in with_logps] == [(0.0, 1.0, 2.0, 3.0), (4.0, 5.0, 6.0, 7.0)]


def test_tokens_count_where_the_policy_wrote_them() -> None:
    assert [num_policy_tokens(sequence) for sequence in FIRST.sequences] == [1, 2, 2]
    assert (FIRST.num_tokens, SECOND.num_tokens) == (5, 3)


def test_rows_of_a_group_alone_and_shared() -> None:
    """Three rows of up to 5 tokens; shared 2 + 1 + 2 + 3 = 8 in one row, or 5 and 5 in two."""
    assert padded_tokens(FIRST) == 15
    assert padded_tokens(FIRST, 8) == 8
    assert padded_tokens(FIRST, 7) == 10
    assert padded_tokens(SECOND) == 6
    assert padded_tokens(SECOND, 4) == 4, "1 + 2 + 1 in one row"
    assert padded_tokens(SECOND, 3) == 6, "two rows of 3 and 2 tokens"
    assert group_batches([SECOND, FIRST], 25) == [[1, 0]], "five rows of 5"
    assert group_batches([SECOND, FIRST], 24) == [[1], [0]]
    assert group_batches([SECOND, FIRST], 16, 8) == [[1, 0]], "two rows of 8"
    assert group_batches([SECOND, FIRST], 15, 8) == [[1], [0]]


def test_weights_of_a_step_are_sums_and_1_of_nothing() -> None:
    assert Weights.of([FIRST, SECOND]) == (1.75, 6.0)
    assert Weights.of([replace(FIRST, pairs=(), verdicts=())]) == (1.0, 1.0)


def test_columns_of_a_step_by_hand() -> None:
    groups = with_reference(with_mismatched([FIRST, SECOND]), torch.tensor([-1.0, -2, -3, 9, -4, -5, 9, 9]))
    logps = torch.tensor([-1.5, -2.5, -3.5, -4.5, -5.5])
    pairs, verdicts = learned(logps, groups)
    assert pairs.chosen.logps.tolist() == [-3.5, -2.5, -4.5]
    assert pairs.chosen.ref_logps.tolist() == [-3, -2, -4]
    assert pairs.chosen.lengths.tolist() == [2, 2, 2]
    assert pairs.rejected.logps.tolist() == [-2.5, -3.5, -5.5]
    assert pairs.rejected.lengths.tolist() == [2, 2, 1]
    assert pairs.labels.tolist() == [0.75, 1.0, 0.5]
    assert pairs.weights.tolist() == [0.5, 0.25, 1.0]
    assert verdicts.completions.logps.tolist() == [-3.5, -4.5, -5.5]
    assert verdicts.completions.ref_logps.tolist() == [-3, -4, -5]
    assert verdicts.up.tolist() == [1.0, 0.0, 0.5]
    assert verdicts.weights.tolist() == [2.0, 1.0, 3.0]
    nothing, none = learned(logps, [replace(group, pairs=(), verdicts=()) for group in groups])
    assert [len(column) for column in (nothing.labels, nothing.chosen.logps, none.up, none.completions.logps)] == [
        0
    ] * 4
    assert pairs.labels.dtype == none.up.dtype == torch.float32


def test_reference_point_is_the_mean_log_ratio_of_mismatched_completions(monkeypatch: pytest.MonkeyPatch) -> None:
    """log π of the two mismatched completions −1 and −2, of the reference −3 and −4: both ratios are 2."""
    one, other = TokenSequence((1,), (2,)), TokenSequence((1,), (3,))
    group: Any = SimpleNamespace(sequences=(one,), mismatched=(one, other), ref_logps=(-9.0, -3.0, -4.0))
    run: Any = SimpleNamespace(
        trunk=None, accelerator=None, settings=SimpleNamespace(optimiser=SimpleNamespace(tokens_per_micro_batch=1))
    )
    monkeypatch.setattr(dpo, "all_logps", lambda trunk, sequences, role, *_: torch.tensor([-1.0, -2.0]))
    assert dpo.reference_point(run, [group]) == 2.0
    assert dpo.reference_point(run, [SimpleNamespace(mismatched=())]) == 0.0  # type: ignore[list-item]
