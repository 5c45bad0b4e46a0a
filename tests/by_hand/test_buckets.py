"""Sizes of decode steps, listed by hand."""

from __future__ import annotations

import pytest

from preflab.sampling.buckets import Buckets


def test_rows_are_powers_of_two_and_halfway_between() -> None:
    sizes = [Buckets(rows_from=1).num_rows(n) for n in range(1, 14)]
    assert sizes == [1, 2, 3, 4, 6, 6, 8, 8, 12, 12, 12, 12, 16]
    assert [Buckets().num_rows(n) for n in (0, 1, 8, 9, 25, 49, 64, 65, 97)] == [8, 8, 8, 12, 32, 64, 64, 96, 128]


def test_keys_are_multiples_that_grow() -> None:
    small = Buckets(keys=4)
    assert [small.num_keys(n) for n in (1, 4, 5, 32, 33, 40, 41, 64, 65)] == [4, 4, 8, 32, 40, 40, 48, 64, 80]


@pytest.mark.parametrize("wanted", [1, 7, 100, 1000, 5000])
def test_a_size_holds_what_is_wanted_and_wastes_little(wanted: int) -> None:
    assert wanted <= Buckets().num_rows(wanted) <= max(8, 1.5 * wanted)
    assert wanted <= Buckets().num_keys(wanted) <= wanted + max(128, wanted // 4)
