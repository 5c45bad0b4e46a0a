"""Simulated labelers: they rank by a known utility, with noise and biases. Their `kind` is always "simulated".

    perceived = utility + length_bias · standardised length + flattery_bias · flattering words + noise

A careless labeler ranks at random without reading; a reversed labeler reads the scale backwards. Every answer is
determined by the seed, the labeler and the task, so it does not depend on the order in which labelers are asked.
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
    """The properties of one completion that a simulated labeler responds to."""

    text: str
    utility: float | None
    """The true utility; None for F (fail)."""
    length: float
    """Number of words, standardised over all completions of the campaign."""
    num_flattering: int


def panel(settings: PanelSettings, seed: int) -> list[Labeler]:
    """Make the labelers of a panel; the seed decides which of them are careless or reversed."""
    habits = ["careless"] * settings.careless + ["reversed"] * settings.reversed
    habits += ["attentive"] * (settings.num - len(habits))
    order = np.random.default_rng(derive_seed(seed, "panel")).permutation(settings.num)
    labelers = []
    for place, habit in enumerate(habits[i] for i in order):
        biases = settings.model_dump(include={"length_bias", "flattery_bias", "noise", "tie_width"})
        labeler_settings = {"habit": habit, "utility": settings.utility, "seed": seed} | biases
        name = f"simulated {place + 1}"
        labeler_id = content_id("labeler", {"name": name} | labeler_settings)
        labelers.append(Labeler(labeler_id, name, "simulated", labeler_settings))
    return labelers


def known_of(
    completions: Sequence[Completion], utilities: Sequence[float | None], flattering_words: Sequence[str]
) -> dict[str, Known]:
    """Completion id → its `Known`; lengths are standardised over these completions (0 if all are equal)."""
    texts = [re.findall(r"\w+", completion.text.lower()) for completion in completions]
    lengths = np.array([len(words) for words in texts], dtype=float)
    lengths = (lengths - lengths.mean()) / (lengths.std() or 1.0)
    flattering = frozenset(flattering_words)
    return {
        completion.id: Known(completion.text, utility, float(length), sum(word in flattering for word in words))
        for completion, utility, length, words in zip(completions, utilities, lengths, texts, strict=True)
    }


def perceived(known: Known, settings: PanelSettings) -> float | None:
    """The utility that a labeler perceives, before noise; None for F."""
    if known.utility is None:
        return None
    return known.utility + settings.length_bias * known.length + settings.flattery_bias * known.num_flattering


def ranks_with_ties(utilities: Sequence[float | None], tie_width: float) -> tuple[int | None, ...]:
    """Ranks from 1 by utility; None stays None (F).

    A completion less than `tie_width` below the best of the current tie joins that tie.

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
    """Rank the completions of one task as one simulated labeler; equal texts get equal noise."""
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
