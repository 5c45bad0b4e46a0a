"""The weighted sum of several rewards, whose terms are kept and logged separately."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from preflab.errors import PreflabError
from preflab.training.protocols import Scorer, Scores, ScoringItem, check_scores

RESERVED = ("mean", "std")
"""Names that no term may have: `reward/mean` and `reward/std` are metrics of the sum."""


@dataclass(frozen=True)
class Term:
    """One reward of a sum."""

    name: str
    """Its name in the metrics: `reward/<name>`."""
    weight: float
    scorer: Scorer


class WeightedSum:
    """A `Scorer`: total = Σ weight · score; each weighted term is kept under its name.

    Raises:
        PreflabError: there are no terms, two terms have one name (their metrics would overwrite each other), or a term
            is named `mean` or `std`.
    """

    def __init__(self, terms: Sequence[Term]) -> None:
        names = [term.name for term in terms]
        if not names or len({*names, *RESERVED}) < len(names) + len(RESERVED):
            raise PreflabError(
                f"reward terms named {', '.join(names) or '(none)'}",
                "at least one term, each with a different name, and none named mean or std",
                "rename a term with `name`, or merge repeated terms into one with the sum of their weights",
            )
        self.terms = tuple(terms)

    def score(self, items: Sequence[ScoringItem]) -> Scores:
        """Scores (B,) of the items; terms are multiplied by their weights, details are not.

        Raises:
            PreflabError: a term or the sum is not one finite number per completion; the message names the term.
        """
        scored = {term.name: term.scorer.score(items) for term in self.terms}
        weighted = {term.name: term.weight * scored[term.name].total for term in self.terms}
        for name, values in weighted.items():
            check_scores(values, items, f"rewards {name}")
        total = torch.stack(list(weighted.values())).sum(0)
        check_scores(total, items, "sums of rewards")
        details = {f"{name}/{key}": values for name, one in scored.items() for key, values in one.details.items()}
        return Scores(total, weighted, details)


class NoReward(WeightedSum):
    """A sum without terms: 0 for every completion, where an environment gives all rewards."""

    def __init__(self) -> None:
        self.terms = ()

    def score(self, items: Sequence[ScoringItem]) -> Scores:
        """Zeros (B,), and no terms."""
        return Scores(torch.zeros(len(items)))
