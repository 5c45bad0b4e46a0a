"""Kappa, agreement beyond chance: of two labelers (Cohen 1960), and of several who may vary by unit (Fleiss 1971)."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence

import numpy as np

from preflab.errors import PreflabError
from preflab.feedback.estimates import NOTHING, Estimate, estimate_coefficient, sum_by_task


def cohen_kappa(
    first: Sequence[Hashable], second: Sequence[Hashable], tasks: Sequence[Hashable] | None = None
) -> Estimate:
    """kappa = (p_o − p_e) / (1 − p_e), with p_o the share of equal answers and p_e = Σ_c p_first(c) · p_second(c).

    Args:
        first: one labeler's answers; None where an answer is missing.
        second: the other labeler's answers to the same units.
        tasks: the task of each unit; None: each unit is a task.

    Raises:
        PreflabError: different numbers of answers.
    """
    if len(first) != len(second):
        raise PreflabError(
            f"{len(first)} and {len(second)} answers",
            "the same number from both labelers",
            "align them, with None for a missing answer",
        )
    both = [i for i, pair in enumerate(zip(first, second, strict=True)) if None not in pair]
    places: dict[Hashable, int] = {}
    rows = np.array([places.setdefault(first[i], len(places)) for i in both], dtype=int)
    columns = np.array([places.setdefault(second[i], len(places)) for i in both], dtype=int)
    num = len(places)
    confusions = np.eye(num * num)[rows * num + columns].reshape(len(both), num * num)
    units = None if tasks is None else [tasks[i] for i in both]
    return estimate_coefficient(sum_by_task(confusions, units), cohen_of(num), lambda sums: _share_outside(sums, num))


def fleiss_kappa(counts: Sequence[Sequence[int]], tasks: Sequence[Hashable] | None = None) -> Estimate:
    """kappa = (P̄ − P_e) / (1 − P_e); each unit may have been judged by different labelers.

        P_u = (Σ_c n_uc² − m_u) / (m_u · (m_u − 1)),  P_e = Σ_c p_c²,  p_c = Σ_u n_uc / Σ_u m_u

    In Fleiss's paper m is the same for all units; where it differs, P̄ is the mean over units with two or more answers.

    Args:
        counts: (units, categories), the number of labelers who gave each answer.
        tasks: the task of each unit; None: each unit is a task.
    """
    if not len(counts):
        return Estimate(None, None, None, 0, NOTHING)
    table = np.array(counts, dtype=float, ndmin=2)
    comparable = table.sum(axis=1) >= 2
    task_of_unit = None if tasks is None else [task for task, keep in zip(tasks, comparable, strict=True) if keep]
    addends = sum_by_task(fleiss_addends(table[comparable]), task_of_unit)
    return estimate_coefficient(addends, fleiss, lambda sums: 1 - sums[:, 2:].max(axis=1) / sums[:, 2:].sum(axis=1))


def fleiss_addends(table: np.ndarray) -> np.ndarray:
    """(units, 2 + C): P_u, 1 and the counts of units with two or more answers, (units, C)."""
    num_answers = table.sum(axis=1)
    agreed = ((table**2).sum(axis=1) - num_answers) / (num_answers * (num_answers - 1))
    return np.column_stack([agreed, np.ones(len(table)), table])


def cohen_of(num: int) -> Callable[[np.ndarray], np.ndarray]:
    """The function of summed confusions (R, num · num) that returns kappa (R,)."""
    return lambda sums: _cohen(sums, num)


def _share_outside(sums: np.ndarray, num: int) -> np.ndarray:
    """The share of both labelers' answers (R,) that differ from the most frequent one."""
    table = sums.reshape(len(sums), num, num)
    totals = table.sum(axis=1) + table.sum(axis=2)
    return np.asarray(1 - totals.max(axis=1) / totals.sum(axis=1))


def _cohen(sums: np.ndarray, num: int) -> np.ndarray:
    shares = sums.reshape(len(sums), num, num) / sums.sum(axis=1)[:, None, None]
    observed = np.trace(shares, axis1=1, axis2=2)
    return _beyond_chance(observed, (shares.sum(axis=2) * shares.sum(axis=1)).sum(axis=1))


def fleiss(sums: np.ndarray) -> np.ndarray:
    """Kappa (R,) of summed addends (R, 2 + C)."""
    shares = sums[:, 2:] / sums[:, 2:].sum(axis=1, keepdims=True)
    return _beyond_chance(sums[:, 0] / sums[:, 1], (shares**2).sum(axis=1))


def _beyond_chance(observed: np.ndarray, expected: np.ndarray) -> np.ndarray:
    """(observed − expected) / (1 − expected); NaN where expected is 1 because all answers are the same."""
    varied = expected < 1 - 1e-12
    return np.where(varied, (observed - expected) / np.where(varied, 1 - expected, 1), np.nan)
