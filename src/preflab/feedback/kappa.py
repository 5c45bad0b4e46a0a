"""Fleiss' kappa (1971): agreement beyond chance of several labelers, who may vary by unit."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np

from preflab.feedback.estimates import NOTHING, Estimate, estimate_coefficient, sum_by_task


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


def fleiss(sums: np.ndarray) -> np.ndarray:
    """(P̄ − P_e) / (1 − P_e) of summed addends (R, 2 + C), (R,); NaN if all answers are the same, so that P_e is 1."""
    shares = sums[:, 2:] / sums[:, 2:].sum(axis=1, keepdims=True)
    observed, expected = sums[:, 0] / sums[:, 1], (shares**2).sum(axis=1)
    varied = expected < 1 - 1e-12
    return np.where(varied, (observed - expected) / np.where(varied, 1 - expected, 1), np.nan)
