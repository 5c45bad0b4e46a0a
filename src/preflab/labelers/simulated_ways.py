"""Simulated labelers by every way of judging: one perceived utility, answered as the campaign asks.

    score = 3 + offset + spread · z, rounded and kept within 1 to 5;  thumb up where z > 0

z is the perceived utility, noise included, standardised over the campaign's completions; offset and spread are the
labeler's own, so that their scales differ as people's do. F wherever the utility has none, but for careless labelers.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from preflab.labelers.simulated import Known, perceived, rank, ranks_with_ties
from preflab.records import (
    Answer,
    Campaign,
    Judgment,
    Labeler,
    LikertAnswer,
    RankingAnswer,
    SideBySideAnswer,
    Task,
    ThumbsAnswer,
    Way,
    content_id,
)
from preflab.seeds import derive_seed
from preflab.settings.feedback import PanelSettings

OVERALL = "overall"


@dataclass(frozen=True)
class View:
    """How one labeler sees the completions of one task."""

    z: tuple[float | None, ...]
    """Standardised perceived utility, noise included; None for F."""
    offset: float
    spread: float
    rng: np.random.Generator
    tie_width: float
    """What lies nearer than this is a tie, on the scale of z."""

    @property
    def failed(self) -> tuple[bool, ...]:
        """Which are F; () where none is."""
        marks = tuple(z is None for z in self.z)
        return marks if any(marks) else ()


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
    if campaign.way in FROM_RANKS:
        return FROM_RANKS[campaign.way](turned_ranks(rank(labeler, seen, settings, rng), campaign.polarity))
    return turned_scores(_scored(campaign, labeler, seen, known, settings, rng), campaign.polarity)


def _scored(
    campaign: Campaign,
    labeler: Labeler,
    seen: Sequence[Known],
    known: Mapping[str, Known],
    settings: PanelSettings,
    rng: np.random.Generator,
) -> Answer:
    view = view_of(labeler, seen, known, settings, rng)
    if campaign.way == "thumbs":
        return ThumbsAnswer(tuple(None if z is None else z > 0 for z in view.z), view.failed)
    if campaign.way == "likert":
        return LikertAnswer({name: _scores(view, 5, noisy=True) for name in campaign.criteria}, view.failed)
    scores = _scores(view, 7)
    return RankingAnswer(rank_of_view(view), {OVERALL: scores})


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
    return View(tuple(z), offset, spread, rng, tie_width)


def scale_of(known: Mapping[str, Known], settings: PanelSettings) -> tuple[float, float]:
    """Mean and standard deviation of what is perceived of a campaign's completions, F left out."""
    values = [value for each in known.values() if (value := perceived(each, settings)) is not None]
    return (float(np.mean(values)), float(np.std(values)) or 1.0) if values else (0.0, 1.0)


def _scores(view: View, top: int, noisy: bool = False) -> tuple[int | None, ...]:
    """Scores from 1 to `top`, its middle for the average; several criteria differ by a little noise of their own."""
    middle, width = (top + 1) / 2, (top - 1) / 4
    own = view.rng.normal(size=len(view.z)) * 0.25 if noisy else np.zeros(len(view.z))
    return tuple(
        None if z is None else int(min(top, max(1, round(middle + view.offset + view.spread * width * (z + extra)))))
        for z, extra in zip(view.z, own.tolist(), strict=True)
    )


def rank_of_view(view: View) -> tuple[int | None, ...]:
    """The ranking that goes with the scores given before it."""
    return ranks_with_ties(view.z, view.tie_width)


def _side_by_side(answer: RankingAnswer) -> Answer:
    """A, B or equal; an F loses nothing and wins nothing."""
    first, second = answer.ranks
    failed = _failed(answer)
    if first is None or second is None or first == second:
        return SideBySideAnswer("equal", failed=failed)
    return SideBySideAnswer("first" if first < second else "second", failed=failed)


def _best_of(answer: RankingAnswer) -> Answer:
    """The best one; where several are, none is better."""
    best = [i for i, place in enumerate(answer.ranks) if place == 1]
    failed = _failed(answer)
    return SideBySideAnswer(None, best[0], failed) if len(best) == 1 else SideBySideAnswer("equal", None, failed)


def _failed(answer: RankingAnswer) -> tuple[bool, ...]:
    marks = tuple(place is None for place in answer.ranks)
    return marks if any(marks) else ()


FROM_RANKS: Mapping[Way, Callable[[RankingAnswer], Answer]] = {
    "ranking": lambda answer: answer,
    "side_by_side": _side_by_side,
    "best_of": _best_of,
}
"""Ways whose answers follow from a ranking."""


def turned_ranks(answer: RankingAnswer, polarity: int) -> RankingAnswer:
    """The ranking as it is given when the worse one is asked for: the worst is 1."""
    worst = max((place for place in answer.ranks if place is not None), default=0)
    ranks = answer.ranks if polarity > 0 else tuple(None if r is None else worst + 1 - r for r in answer.ranks)
    return replace(answer, ranks=ranks)


def turned_scores(answer: Answer, polarity: int) -> Answer:
    """Scores and thumbs as they are given when the worse one is asked for: the scale from its other end."""
    if polarity > 0:
        return answer
    match answer:
        case RankingAnswer(scores=scores):
            return replace(turned_ranks(answer, polarity), scores=_flipped(scores, 8))
        case LikertAnswer(scores):
            return replace(answer, scores=_flipped(scores, 6))
        case ThumbsAnswer(up):
            return replace(answer, up=tuple(None if thumb is None else not thumb for thumb in up))
        case _:
            return answer


def _flipped(scores: Mapping[str, tuple[int | None, ...]], total: int) -> dict[str, tuple[int | None, ...]]:
    return {name: tuple(None if s is None else total - s for s in row) for name, row in scores.items()}
