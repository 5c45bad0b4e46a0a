"""Simulated answers for every way of judging, all derived from the same perceived utility.

    score = 3 + offset + spread · z, rounded and kept within 1 to 5;  thumb up where z > 0

z is the perceived utility with noise, standardised over the campaign's completions. Each labeler has an offset and a
spread, so that their scales differ as people's do. A completion without a utility is marked F, except by careless
labelers. `Way.simulated` turns what the labeler perceives into an answer.
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
    """Simulate one judgment; the shown order comes from the same random stream and does not affect the answer."""
    rng = np.random.default_rng(derive_seed(seed, labeler.id, task.id))
    shown = tuple(int(i) for i in rng.permutation(len(task.completion_ids)))
    seen = [known[i] for i in task.completion_ids]
    answer = simulate_answer(campaign, labeler, seen, known, settings, rng)
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


def simulate_answer(
    campaign: Campaign,
    labeler: Labeler,
    seen: Sequence[Known],
    known: Mapping[str, Known],
    settings: PanelSettings,
    rng: np.random.Generator,
) -> Answer:
    """The labeler's answer to one task, in the campaign's way of judging and polarity."""
    perception = Perception(labeler, seen, known, settings, rng, campaign.polarity)
    answer: Answer = way_named(campaign.way).simulated(perception, campaign.criteria)
    return answer


@dataclass(frozen=True)
class View:
    """How one labeler perceives the completions of one task when each is judged separately."""

    z: tuple[float | None, ...]
    """Standardised perceived utility, noise included; None for F."""
    offset: float
    spread: float
    tie_width: float
    """Largest difference of z that still counts as a tie."""


@dataclass(frozen=True)
class Perception:
    """The completions of one task as one labeler perceives them (`ways.base.Seen`).

    Each method draws from `rng` when it is called, so the order of the calls matters.
    """

    labeler: Labeler
    completions: Sequence[Known]
    known: Mapping[str, Known]
    """All completions of the campaign, by id."""
    settings: PanelSettings
    rng: np.random.Generator
    polarity: int
    """−1 if the campaign asks for the worse completion: rankings and scores are then reversed."""

    @cached_property
    def view(self) -> View:
        """The completions as perceived when each is judged separately; drawn once."""
        return make_view(self.labeler, self.completions, self.known, self.settings, self.rng)

    def ranks(self) -> Ranks:
        """Ranks; 1 is the completion that fits the question best, equal ranks are a tie, None is F."""
        return turned_ranks(rank(self.labeler, self.completions, self.settings, self.rng).ranks, self.polarity)

    def scores(self, top: int, *, own_noise: bool = False) -> Ranks:
        """Scores from 1 to `top`, centred on the middle; `own_noise` adds noise, so that criteria differ slightly."""
        view, middle, width = self.view, (top + 1) / 2, (top - 1) / 4
        extra = self.rng.normal(size=len(view.z)) * 0.25 if own_noise else np.zeros(len(view.z))
        scores = [
            None if z is None else int(min(top, max(1, round(middle + view.offset + view.spread * width * (z + more)))))
            for z, more in zip(view.z, extra.tolist(), strict=True)
        ]
        return tuple(s if s is None or self.polarity > 0 else top + 1 - s for s in scores)

    def ranks_by_scores(self) -> Ranks:
        """Ranks consistent with the scores, from the same view."""
        return turned_ranks(ranks_with_ties(self.view.z, self.view.tie_width), self.polarity)

    def verdicts(self) -> tuple[bool | None, ...]:
        """True (good) where a completion is better than average; None for F."""
        return tuple(None if z is None else (z > 0) == (self.polarity > 0) for z in self.view.z)

    def failed(self) -> tuple[bool, ...]:
        """True where a completion is F; () if none is."""
        marks = tuple(z is None for z in self.view.z)
        return marks if any(marks) else ()


def make_view(
    labeler: Labeler,
    seen: Sequence[Known],
    known: Mapping[str, Known],
    settings: PanelSettings,
    rng: np.random.Generator,
) -> View:
    """Standardised perceived utilities; pure noise for a careless labeler, the negative for a reversed one."""
    mean, deviation = utility_scale(known, settings)
    habit = labeler.settings["habit"]
    noise = {completion.text: float(rng.normal()) for completion in seen}
    z: list[float | None] = []
    for completion in seen:
        utility = perceived(completion, settings)
        if habit == "careless":
            z.append(noise[completion.text])
        elif utility is None:
            z.append(None)
        else:
            sign = -1.0 if habit == "reversed" else 1.0
            z.append(sign * (utility + settings.noise * noise[completion.text] - mean) / deviation)
    scale_rng = np.random.default_rng(derive_seed(int(labeler.settings["seed"]), labeler.id, "scale"))
    offset = settings.scale_offset * float(scale_rng.normal())
    spread = math.exp(settings.scale_spread * float(scale_rng.normal()))
    # A careless labeler's z is noise of width 1 on no utility scale, so its tie width is not rescaled (as in `rank`).
    tie_width = settings.tie_width if habit == "careless" else settings.tie_width / deviation
    return View(tuple(z), offset, spread, tie_width)


def utility_scale(known: Mapping[str, Known], settings: PanelSettings) -> tuple[float, float]:
    """Mean and standard deviation of the perceived utilities of a campaign's completions, without F and noise."""
    values = [value for completion in known.values() if (value := perceived(completion, settings)) is not None]
    return (float(np.mean(values)), float(np.std(values)) or 1.0) if values else (0.0, 1.0)


def turned_ranks(ranks: Ranks, polarity: int) -> Ranks:
    """The ranks unchanged for polarity 1; reversed for −1, where the worst completion gets rank 1."""
    worst = max((place for place in ranks if place is not None), default=0)
    return ranks if polarity > 0 else tuple(None if r is None else worst + 1 - r for r in ranks)
