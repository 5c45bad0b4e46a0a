"""Several rewards as one: a weighted sum whose terms are kept and logged apart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from preflab.errors import PreflabError
from preflab.training.protocols import Scorer, Scores, ScoringItem, check_scores

TAKEN = ("mean", "std")
"""`reward/mean` and `reward/std` are metrics of the sum."""


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
        PreflabError: no terms, or two terms of one name (their metrics would overwrite each other), `mean` and `std`
            being names of the sum.
    """

    def __init__(self, terms: Sequence[Term]) -> None:
        names = [term.name for term in terms]
        if not names or len({*names, *TAKEN}) < len(names) + len(TAKEN):
            raise PreflabError(
                f"reward terms named {', '.join(names) or '(none)'}",
                "at least one term, each with a name of its own, and none called mean or std",
                "rename a function, or put terms that are there twice together with one weight",
            )
        self.terms = tuple(terms)

    def score(self, items: Sequence[ScoringItem]) -> Scores:
        """Scores (B,) of the items; the terms are already multiplied by their weights, their details are as they came.

        Raises:
            PreflabError: a term or the sum is not one finite number per completion; with the term's name.
        """
        scored = {term.name: term.scorer.score(items) for term in self.terms}
        weighted = {term.name: term.weight * scored[term.name].total for term in self.terms}
        for name, values in weighted.items():
            check_scores(values, items, f"rewards {name}")
        total = torch.stack(list(weighted.values())).sum(0)
        check_scores(total, items, "sums of rewards")
        details = {f"{name}/{what}": values for name, one in scored.items() for what, values in one.details.items()}
        return Scores(total, weighted, details)
