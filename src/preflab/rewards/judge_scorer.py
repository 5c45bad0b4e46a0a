"""An AI judge's ratings as a reward: one call per criterion, weighted, mapped to people's scale if a line was fitted.

    reward = Σ_criteria weight · line(points) / Σ |weight|

An answer that cannot be read is an error, never a reward of 0.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch

from preflab.errors import PreflabError
from preflab.training.protocols import Scores, ScoringItem

Rate = Callable[[str, Sequence[tuple[str, str]]], Sequence[float | None]]
"""Criterion, (prompt, completion) pairs → points 1 to 5, None if the judge's answer could not be read."""


class JudgeScorer:
    """A `Scorer` that asks a judge.

    Args:
        rate: calls the judge.
        criteria: criterion → weight.
        lines: criterion → (intercept, slope) from its points to people's; without a line, points stay unchanged.
        name: the term's name in the metrics.
    """

    def __init__(
        self,
        rate: Rate,
        criteria: Mapping[str, float],
        lines: Mapping[str, tuple[float, float]] | None = None,
        name: str = "judge",
    ) -> None:
        self.rate, self.criteria, self.lines, self.name = rate, dict(criteria), dict(lines or {}), name

    def score(self, items: Sequence[ScoringItem]) -> Scores:
        """Rewards (B,); the details are the points of each criterion, on people's scale if a line was fitted.

        Raises:
            PreflabError: an answer cannot be read, even after a second request.
        """
        texts = [(item.prompt.shown, item.text) for item in items]
        details: dict[str, torch.Tensor] = {}
        for criterion in self.criteria:
            points = self.rate(criterion, texts)
            for item, point in zip(items, points, strict=True):
                if point is None:
                    raise PreflabError(
                        f"the judge's points for {criterion} cannot be read; completion {item.text[:80]!r}",
                        "a line `SCORE: 1` to `SCORE: 5`",
                        "use a judge that follows instructions, or a local one by likelihood",
                    )
            intercept, slope = self.lines.get(criterion, (0.0, 1.0))
            details[criterion] = intercept + slope * torch.tensor([float(point or 0) for point in points])
        total = sum(abs(weight) for weight in self.criteria.values())
        weighted = [weight * details[name] for name, weight in self.criteria.items()]
        return Scores(torch.stack(weighted).sum(0) / total, details=details)
