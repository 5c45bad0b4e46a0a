"""Published human–human agreement rates on which of two completions is better, to compare a campaign with.

Agreement within the published range is normal. A reward model cannot be expected to agree with people more often than
they agree with one another.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class PublishedAgreement:
    """One published rate: a share of pairs, and half the width of its interval where the source gives it."""

    share: float
    plus_minus: float | None
    between: str
    source: str


PUBLISHED = (
    PublishedAgreement(0.63, None, "researchers and crowdworkers", "Bai et al. 2022 (arXiv:2204.05862), section 2.1"),
    PublishedAgreement(0.657, None, "one person and the majority of others", "AlpacaEval, README: AlpacaFarm's data"),
    PublishedAgreement(0.726, 0.015, "training labelers", "Ouyang et al. 2022 (arXiv:2203.02155), section 3.4"),
    PublishedAgreement(0.73, 0.04, "researchers", "Stiennon et al. 2020 (arXiv:2009.01325), section 3.3"),
    PublishedAgreement(0.77, 0.02, "labelers and researchers", "Stiennon et al. 2020 (arXiv:2009.01325), section 3.3"),
    PublishedAgreement(0.773, 0.013, "held-out labelers", "Ouyang et al. 2022 (arXiv:2203.02155), section 3.4"),
)
"""Lowest first."""
HUMAN_LOW, HUMAN_HIGH = 0.63, 0.77
"""The range of the published rates."""
