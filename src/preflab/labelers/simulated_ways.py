"""Simulated labelers by every way of judging: one perceived utility, answered as the campaign asks.

    score = 3 + offset + spread · z, rounded and kept within 1 to 5;  thumb up where z > 0

z is the perceived utility, noise included, standardised over the campaign's completions; offset and spread are the
labeler's own, so that their scales differ as people's do. F wherever the utility has none, but for careless labelers.
What a labeler makes of it is the way of judging's own (`ways`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from preflab.labelers.simulated import Known, perceived, rank, ranks_with_ties
from preflab.records import Answer, Campaign, Judgment, Labeler, Task, content_id
from preflab.seeds import derive_seed
from preflab.settings.feedback import PanelSettings
from preflab.ways.base import Ranks
from preflab.ways.registry import way_named


def judge(
    campaign: Campaign, task: Task, labeler: Labeler, known: Mapping[str, Known], settings: PanelSettings, seed: int
) -> Judgment:
    """One judgment; the order shown is drawn from the same seed, and does not sway a simulated labeler."""
    rng = np.random.default_rng(derive_seed(seed, labeler.id, task.id))
    shown = tuple(int(i) for i in rng.permutation(len(task.completion_ids)))
    seen = [known[i] for i in task.completion_ids]
    answer = answered(campaign, labeler, seen, known, settings, rng)
    return Judgment(
        id=content_id("judgment", {"task": task.id, "labeler": labeler.id, "seed": seed}),
        campaign_id=campaign.id,
        task_id=task.id,
        prompt_id=task.prompt_id,
        completion_ids=task.completion_ids,
        shown_order=shown,
        question=campaign.question,
        polarity=campaign.polarity,
        answer=answer,
        labeler_id=labeler.id,
        labeler_kind="simulated",
        guideline_version=campaign.guideline_version,
    )


def answered(
    campaign: Campaign,
    labeler: Labeler,
    seen: Sequence[Known],
    known: Mapping[str, Known],
    settings: PanelSettings,
    rng: np.random.Generator,
) -> Answer:
    """What the labeler answers, the better or the worse one being asked for."""
    eyes = Eyes(labeler, seen, known, settings, rng, campaign.polarity)
    answer: Answer = way_named(campaign.way).simulated(eyes, campaign.criteria)
    return answer


@dataclass(frozen=True)
class View:
    """How one labeler who judges each completion by itself sees those of one task."""

    z: tuple[float | None, ...]
    """Standardised perceived utility, noise included; None for F."""
    offset: float
    spread: float
    tie_width: float
    """What lies nearer than this is a tie, on the scale of z."""


@dataclass(frozen=True)
class Eyes:
    """The completions of one task as a labeler sees them; what is seen is drawn from `rng` when it is asked for."""

    labeler: Labeler
    completions: Sequence[Known]
    known: Mapping[str, Known]
    """All of the campaign."""
    settings: PanelSettings
    rng: np.random.Generator
    polarity: int
    """−1: the worse one is asked for; orders are then turned round, and scales read from their other end."""

    @cached_property
    def view(self) -> View:
        """Each completion by itself."""
        return view_of(self.labeler, self.completions, self.known, self.settings, self.rng)

    def ranks(self) -> Ranks:
        """A ranking from 1 for what is asked for most; equal = tie, None = F."""
        return turned_ranks(rank(self.labeler, self.completions, self.settings, self.rng).ranks, self.polarity)

    def scores(self, top: int, *, own_noise: bool = False) -> Ranks:
        """Scores from 1 to `top`, its middle for the average; criteria differ by a little noise of their own."""
        view, middle, width = self.view, (top + 1) / 2, (top - 1) / 4
        extra = self.rng.normal(size=len(view.z)) * 0.25 if own_noise else np.zeros(len(view.z))
        scores = [
            None if z is None else int(min(top, max(1, round(middle + view.offset + view.spread * width * (z + more)))))
            for z, more in zip(view.z, extra.tolist(), strict=True)
        ]
        return tuple(s if s is None or self.polarity > 0 else top + 1 - s for s in scores)

    def ranks_by_scores(self) -> Ranks:
        """The ranking that goes with the scores given before it."""
        return turned_ranks(ranks_with_ties(self.view.z, self.view.tie_width), self.polarity)

    def verdicts(self) -> tuple[bool | None, ...]:
        """Good where it is better than the average; None for F."""
        return tuple(None if z is None else (z > 0) == (self.polarity > 0) for z in self.view.z)

    def failed(self) -> tuple[bool, ...]:
        """Which are F; () where none is."""
        marks = tuple(z is None for z in self.view.z)
        return marks if any(marks) else ()


def view_of(
    labeler: Labeler,
    seen: Sequence[Known],
    known: Mapping[str, Known],
    settings: PanelSettings,
    rng: np.random.Generator,
) -> View:
    """Perceived utilities, standardised; a careless labeler sees noise alone, a reversed one the opposite."""
    mean, deviation = scale_of(known, settings)
    habit = labeler.settings["habit"]
    noise = {each.text: float(rng.normal()) for each in seen}
    z: list[float | None] = []
    for each in seen:
        utility = perceived(each, settings)
        if habit == "careless":
            z.append(noise[each.text])
        elif utility is None:
            z.append(None)
        else:
            sign = -1.0 if habit == "reversed" else 1.0
            z.append(sign * (utility + settings.noise * noise[each.text] - mean) / deviation)
    own = np.random.default_rng(derive_seed(int(labeler.settings["seed"]), labeler.id, "scale"))
    offset = settings.scale_offset * float(own.normal())
    spread = math.exp(settings.scale_spread * float(own.normal()))
    # Who does not read draws z itself, so that it is the width of a perceived utility, as in `simulated.rank`.
    tie_width = settings.tie_width if habit == "careless" else settings.tie_width / deviation
    return View(tuple(z), offset, spread, tie_width)


def scale_of(known: Mapping[str, Known], settings: PanelSettings) -> tuple[float, float]:
    """Mean and standard deviation of what is perceived of a campaign's completions, F left out."""
    values = [value for each in known.values() if (value := perceived(each, settings)) is not None]
    return (float(np.mean(values)), float(np.std(values)) or 1.0) if values else (0.0, 1.0)


def turned_ranks(ranks: Ranks, polarity: int) -> Ranks:
    """The ranking as it is given when the worse one is asked for: the worst is 1."""
    worst = max((place for place in ranks if place is not None), default=0)
    return ranks if polarity > 0 else tuple(None if r is None else worst + 1 - r for r in ranks)
