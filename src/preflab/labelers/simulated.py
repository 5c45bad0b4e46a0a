"""Simulated labelers: they rank by a known utility, with noise and known vices, and are always called simulated.

    perceived = utility + length_bias · standardised length + flattery_bias · flattering words + noise

A careless one ranks at random without reading, a reversed one reads the scale backwards. Everything they do follows
from the seed, the labeler and the task, so it does not depend on the order in which they are asked.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from preflab.records import Completion, Labeler, RankingAnswer, content_id
from preflab.seeds import derive_seed
from preflab.settings.feedback import PanelSettings


@dataclass(frozen=True)
class Known:
    """What is known of one completion before anybody looks at it."""

    text: str
    utility: float | None
    """The true utility; None for an F."""
    length: float
    """Words, standardised over all completions of the campaign."""
    num_flattering: int


def panel(settings: PanelSettings, seed: int) -> list[Labeler]:
    """The labelers of a panel, the vices dealt out among them by the seed."""
    habits = ["careless"] * settings.careless + ["reversed"] * settings.reversed
    habits += ["attentive"] * (settings.num - len(habits))
    order = np.random.default_rng(derive_seed(seed, "panel")).permutation(settings.num)
    labelers = []
    for place, habit in enumerate(habits[i] for i in order):
        vices = settings.model_dump(include={"length_bias", "flattery_bias", "noise", "tie_width"})
        known = {"habit": habit, "utility": settings.utility, "seed": seed} | vices
        name = f"simulated {place + 1}"
        labelers.append(Labeler(content_id("labeler", {"name": name} | known), name, "simulated", known))
    return labelers


def known_of(
    completions: Sequence[Completion], utilities: Sequence[float | None], flattering_words: Sequence[str]
) -> dict[str, Known]:
    """Completion id → what is known of it; lengths are standardised over these completions (all equal: 0)."""
    texts = [re.findall(r"\w+", completion.text.lower()) for completion in completions]
    lengths = np.array([len(words) for words in texts], dtype=float)
    lengths = (lengths - lengths.mean()) / (lengths.std() or 1.0)
    flattering = frozenset(flattering_words)
    return {
        completion.id: Known(completion.text, utility, float(length), sum(word in flattering for word in words))
        for completion, utility, length, words in zip(completions, utilities, lengths, texts, strict=True)
    }


def perceived(known: Known, settings: PanelSettings) -> float | None:
    """The utility a labeler sees before noise; None for an F."""
    if known.utility is None:
        return None
    return known.utility + settings.length_bias * known.length + settings.flattery_bias * known.num_flattering


def ranks_with_ties(utilities: Sequence[float | None], tie_width: float) -> tuple[int | None, ...]:
    """Ranks from 1; what lies less than `tie_width` below the best of a tie joins it; None stays None (F).

    Example:
        >>> ranks_with_ties((1.0, None, 0.9, 0.2), tie_width=0.3)
        (1, None, 1, 3)
    """
    order = sorted((i for i, u in enumerate(utilities) if u is not None), key=lambda i: -(utilities[i] or 0.0))
    ranks: list[int | None] = [None] * len(utilities)
    best, rank = float("inf"), 0
    for place, i in enumerate(order, start=1):
        utility = utilities[i] or 0.0
        if rank == 0 or best - utility >= tie_width:
            best, rank = utility, place
        ranks[i] = rank
    return tuple(ranks)


def rank(labeler: Labeler, seen: Sequence[Known], settings: PanelSettings, rng: np.random.Generator) -> RankingAnswer:
    """One simulated labeler's ranking of the completions of one task; equal texts are seen alike."""
    habit = labeler.settings["habit"]
    if habit == "careless":
        return RankingAnswer(ranks_with_ties(rng.normal(size=len(seen)).tolist(), settings.tie_width))
    noise = {known.text: settings.noise * float(rng.normal()) for known in seen}
    scale = -1.0 if habit == "reversed" else 1.0
    utilities = [perceived(known, settings) for known in seen]
    noisy = [
        None if utility is None else scale * (utility + noise[known.text])
        for utility, known in zip(utilities, seen, strict=True)
    ]
    return RankingAnswer(ranks_with_ties(noisy, settings.tie_width))
