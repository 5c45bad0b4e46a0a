"""Which rows a step takes and how they are batched, counted by hand."""

from __future__ import annotations

import pytest
import torch

from preflab.errors import PreflabError
from preflab.training.batches import TokenSequence, padded_floats, token_budget_batches, whole_group_batches
from preflab.training.joined_rows import join_rows
from preflab.training.row_order import (
    micro_batches_of_pass,
    own_micro_batches,
    permutation,
    row_at,
    rows_of_step,
    split,
    steps_per_epoch,
)


def test_the_last_step_of_a_pass_takes_what_is_left() -> None:
    assert [steps_per_epoch(num, 4) for num in (1, 4, 5, 8)] == [1, 1, 2, 2]
    with pytest.raises(PreflabError, match="0 rows"):
        steps_per_epoch(0, 4)
    assert [len(rows_of_step(step, 10, 4, seed=0)) for step in range(6)] == [4, 4, 2, 4, 4, 2]


def test_every_pass_takes_each_row_once_in_another_order() -> None:
    passes = [[row for step in (0, 1, 2) for row in rows_of_step(3 * epoch + step, 10, 4, seed=0)] for epoch in (0, 1)]
    assert [sorted(rows) for rows in passes] == [list(range(10))] * 2
    assert passes[0] != passes[1]
    assert rows_of_step(0, 10, 4, seed=0) != rows_of_step(0, 10, 4, seed=1)
    streams = [[row_at(10 * epoch + place, 10, seed=0) for place in range(10)] for epoch in (0, 1)]
    assert [sorted(rows) for rows in streams] == [list(range(10))] * 2
    assert streams[0] != streams[1]
    assert [row_at(place, 10, seed=1) for place in range(10)] != streams[0]
    assert permutation(10, 3) == permutation(10, 3) != permutation(10, 4)
    assert sorted(permutation(10, 3)) == list(range(10))


def test_parts_differ_in_size_by_at_most_one() -> None:
    assert split([5, 6, 7, 8, 9], 2) == [[5, 6], [7, 8, 9]]
    assert split([5, 6, 7], 1) == [[5, 6, 7]]
    assert split([5, 6, 7, 8, 9, 10, 11], 3) == [[5, 6], [7, 8], [9, 10, 11]]


def test_a_pass_is_minibatches_of_micro_batches_within_the_budget() -> None:
    lengths = [1, 2, 3, 4, 5]
    passes = micro_batches_of_pass(lengths, 2, 5, seed=0)
    order = permutation(5, 0)
    assert [sorted(row for part in minibatch for row in part) for minibatch in passes] == [
        sorted(order[:2]), sorted(order[2:]),
    ]  # fmt: skip
    assert all(max(lengths[row] for row in part) * len(part) <= 5 for minibatch in passes for part in minibatch)


def test_every_process_gets_as_many_micro_batches() -> None:
    batches = [[0], [1], [2]]
    assert own_micro_batches(batches, 0, 2) == [([0], 2.0), ([2], 2.0)]
    assert own_micro_batches(batches, 1, 2) == [([1], 2.0), ([0], 0.0)]
    assert own_micro_batches(batches, 0, 1) == [([0], 1.0), ([1], 1.0), ([2], 1.0)]
    assert own_micro_batches([[0], [1], [2], [3]], 1, 2) == [([1], 2.0), ([3], 2.0)]


def test_batches_fill_the_budget_from_the_longest_down() -> None:
    # 9; then 3, 3, 2 padded to 3 each: exactly 9.
    assert token_budget_batches([3, 9, 3, 2], 9) == [[1], [0, 2, 3]]
    assert token_budget_batches([3, 9, 3, 2], 8) == [[1], [0, 2], [3]]
    assert token_budget_batches([], 8) == []
    assert whole_group_batches([(2, 3), (1, 9), (3, 3)], 15) == [[1], [0, 2]]
    assert whole_group_batches([(2, 3), (1, 9), (3, 3)], 14) == [[1], [0], [2]]
    # One row of 4, then two of 3 (12 padded to 4), then one of 2 (16 beyond 15), which begins a batch of its own.
    assert whole_group_batches([(1, 4), (2, 3), (1, 2), (6, 2)], 15) == [[0, 1], [2, 3]]


def test_rows_are_padded_on_the_right() -> None:
    batch = join_rows([TokenSequence((5, 6), (7,)), TokenSequence((8,), (9, 10, 11), (True, False, True))], pad_id=3)
    assert batch.input_ids.tolist() == [[5, 6, 7, 3], [8, 9, 10, 11]]
    assert batch.lengths.tolist() == [3, 4]
    assert batch.prompt_lengths.tolist() == [2, 1]
    assert batch.completion_ids.tolist() == [[7, 0, 0], [9, 10, 11]]
    assert batch.completion_mask.tolist() == [[True, False, False], [True, False, True]]
    assert batch.state_mask.tolist() == [[True, True, True, False], [True] * 4]
    # The token before each completion token; beyond the row the last place there is.
    assert batch.state_index.tolist() == [[1, 2, 3], [0, 1, 2]]
    assert batch.token_rows.tolist() == [0, 1, 1]
    rows, places = batch.last_places
    assert (rows.tolist(), places.tolist()) == ([0, 1], [2, 3])
    assert batch.model_inputs(torch.float32)["input_ids"] is batch.input_ids
    assert padded_floats([[1.5], [2.0, 3.0]], 3).tolist() == [[1.5, 0, 0], [2, 3, 0]]
    with pytest.raises(PreflabError, match="without a prompt token"):
        join_rows([TokenSequence((), (1,))], pad_id=0)


def test_places_beyond_a_row_are_its_last_one() -> None:
    batch = join_rows(
        [TokenSequence((5, 6, 7), (8,)), TokenSequence((1,), (2, 3, 4)), TokenSequence((1, 2), ())], pad_id=9
    )
    assert batch.state_index.tolist() == [[2, 3, 3], [0, 1, 2], [1, 2, 3]]
    assert batch.input_ids.tolist() == [[5, 6, 7, 8], [1, 2, 3, 4], [1, 2, 9, 9]]
    assert batch.completion_ids.tolist() == [[8, 0, 0], [2, 3, 4], [0, 0, 0]]
    assert batch.completion_mask.sum(1).tolist() == [1, 3, 0]
    assert batch.last_places[1].tolist() == [3, 3, 1]
