"""Several reward models as one reward that can penalise their disagreement on a completion.

    score_m' = score_m − mean of score_m over the prompt's reference completions
    mean:            (1/M) Σ_m score_m'
    minimum:         min_m score_m'
    mean_minus_std:  mean − std_coef · std,   std over the M members (population)

Scores of a reward model are defined only up to one constant per prompt, which differs between members. If it were not
removed, the minimum would select the member with the lowest constant, and the spread would measure the constants.
Members that are adapters on one base share one trunk, and their adapters are exchanged on it. Source: Coste et al. 2023
(arXiv 2310.02743), worst-case and uncertainty-weighted optimisation; the latter uses the variance there and the
standard deviation here, which has the unit of the reward. Limits of ensembles: Eisenstein et al. 2023
(arXiv 2312.09244).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from preflab.errors import PreflabError
from preflab.models.adapters import adapter_state, load_adapter_state
from preflab.models.trunk import Trunk
from preflab.training.protocols import Scorer, Scores, ScoringItem

Combine = Literal["mean", "minimum", "mean_minus_std"]


def combine_scores(scores: Tensor, how: Combine, std_coef: float = 1.0) -> Tensor:
    """(M, B) scores of M members → (B,) combined scores, by the formulas of the module."""
    if how == "minimum":
        return scores.amin(0)
    mean = scores.mean(0)
    return mean if how == "mean" else mean - std_coef * scores.std(0, correction=0)


@dataclass(frozen=True)
class Baselines:
    """Each member's mean score of the reference completions."""

    of_prompt: Mapping[str, Tensor]
    """Prompt id → (M,) means of its reference completions."""
    overall: Tensor
    """(M,) mean over prompts, for prompts without a reference completion."""

    @classmethod
    def measure(cls, members: Sequence[Scorer], reference: Sequence[ScoringItem]) -> Baselines:
        """The baselines on completions of the reference model; prompts have equal weights in `overall`.

        Raises:
            PreflabError: there are no reference completions.
        """
        if not reference:
            raise PreflabError(
                "an ensemble without reference completions",
                "completions of the policy's start, whose mean score per prompt is removed",
                "name a `sample` stage in the ensemble's `reference`",
            )
        scores = torch.stack([member.score(reference).total for member in members])
        places: dict[str, list[int]] = defaultdict(list)
        for i, item in enumerate(reference):
            places[item.prompt.id].append(i)
        means = {prompt: scores[:, columns].mean(1) for prompt, columns in places.items()}
        return cls(means, torch.stack(list(means.values())).mean(0))

    def __call__(self, items: Sequence[ScoringItem]) -> Tensor:
        """(M, B) baselines to subtract from the members' scores of the items."""
        return torch.stack([self.of_prompt.get(item.prompt.id, self.overall) for item in items], 1)


class EnsembleScorer:
    """A `Scorer`: the members' scores minus their baselines, combined.

    Args:
        members: scorers of reward models.
        baselines: see `Baselines.measure`.
        how: mean, minimum, or mean minus std_coef · standard deviation.
        std_coef: penalty per unit of the standard deviation.
    """

    def __init__(self, members: Sequence[Scorer], baselines: Baselines, how: Combine, std_coef: float = 1.0) -> None:
        self.members, self.baselines, self.how, self.std_coef = tuple(members), baselines, how, std_coef

    def score(self, items: Sequence[ScoringItem]) -> Scores:
        """Scores (B,) of the items; the details are each member's score minus its baseline, and their spread."""
        scores = torch.stack([member.score(items).total for member in self.members]) - self.baselines(items)
        details = {f"member_{number}": row for number, row in enumerate(scores, 1)}
        details["spread"] = scores.std(0, correction=0)
        return Scores(combine_scores(scores, self.how, self.std_coef), details=details)


class ExchangedMember:
    """A member that shares its trunk with others: its adapter and head are loaded before it scores."""

    def __init__(self, trunk: Trunk, scorer: Scorer) -> None:
        """Copy the current reward role of the trunk."""
        self.trunk, self.scorer = trunk, scorer
        self.adapter = {name: tensor.clone() for name, tensor in adapter_state(trunk.model, "reward").items()}
        self.head = {name: tensor.clone() for name, tensor in trunk.head("reward").state_dict().items()}

    @torch.no_grad()
    def score(self, items: Sequence[ScoringItem]) -> Scores:
        """Scores (B,) by this member's weights."""
        load_adapter_state(self.trunk.model, "reward", self.adapter, "ensemble member")
        self.trunk.head("reward").load_state_dict(self.head)
        return self.scorer.score(items)


Items = Callable[[str], Sequence[ScoringItem]]
"""Name of a stage that makes completions → its completions as items to score."""
