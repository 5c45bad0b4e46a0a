"""The decided pairs and best completions of a preference, and the columns written beside them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from preflab.records import Completion, PairOutcome, Preference, Prompt, content_id
from preflab.store.exports.base import Material, Row
from preflab.store.formats.base import OURS
from preflab.store.formats.trl import MODEL

TIED, EQUAL, NO_PAIR = "tied pairs", "pairs of equal texts", "preferences without a decided pair"
UNRESOLVED = "pairs left to an adjudicator"
NO_BEST = "preferences without a best completion"
SIDE_SCORES = ("score", "rating", "reward")
"""Criteria whose scores are written beside a pair, as `score_chosen` and `score_rejected`; others are left out."""

PAIRS, BESIDE_PAIRS = frozenset({"pairs"}), frozenset({"models", "side_scores"})
"""Parts of records that rows of pairs keep, and those in columns that a strict export omits."""


@dataclass(frozen=True)
class Pair:
    """One decided pair."""

    preference: Preference
    outcome: PairOutcome
    prompt: Prompt
    chosen: Completion
    rejected: Completion


def decided_pairs(preference: Preference, material: Material) -> Iterator[Pair]:
    """The training pairs of a preference with two different completions; other pairs are counted as dropped."""
    num = 0
    for outcome in preference.pairs:
        if not outcome.learned:
            material.drop(TIED if outcome.margin == 0 else UNRESOLVED)
            continue
        order = (outcome.first, outcome.second) if outcome.margin > 0 else (outcome.second, outcome.first)
        chosen, rejected = (material.completions[preference.completion_ids[index]] for index in order)
        if chosen.spans == rejected.spans:
            material.drop(EQUAL)
            continue
        num += 1
        yield Pair(preference, outcome, material.prompts[preference.prompt_id], chosen, rejected)
    for pair in _failed_pairs(preference, material) if material.settings.failed_as_rejected else ():
        num += 1
        yield pair
    if not num:
        material.drop(NO_PAIR)


def _failed_pairs(preference: Preference, material: Material) -> Iterator[Pair]:
    """Pairs of every completion that is not F with every completion that is; they have no votes."""
    places = range(len(preference.ranks))
    for good in (i for i in places if preference.ranks[i] is not None):
        for bad in (i for i in places if preference.ranks[i] is None):
            chosen, rejected = (material.completions[preference.completion_ids[i]] for i in (good, bad))
            if chosen.spans != rejected.spans:
                outcome = PairOutcome(good, bad, 0.0, 0.0, 0.0)
                yield Pair(preference, outcome, material.prompts[preference.prompt_id], chosen, rejected)


def best_completions(preference: Preference, material: Material) -> Iterator[Completion]:
    """The completions with rank 1 that won a pair, each text once: demonstrations to imitate."""
    winners = {index for index, _, _ in preference.chosen_rejected()}
    best = [i for i in sorted(winners) if preference.ranks[i] == 1]
    if not best:
        material.drop(NO_BEST)
    seen = set()
    for index in best:
        completion = material.completions[preference.completion_ids[index]]
        if completion.spans not in seen:
            seen.add(completion.spans)
            yield completion


def beside(pair: Pair, material: Material) -> Row:
    """The columns beside a pair: models, scores and origin unless strict, and the margin if wanted."""
    outcome = pair.outcome
    margin = {"margin": abs(outcome.margin)} if material.settings.margin else {}
    if material.settings.strict:
        return margin
    wins, losses = max(outcome.num_for, outcome.num_against), min(outcome.num_for, outcome.num_against)
    num = wins + losses + outcome.num_tie
    columns = {
        "prompt_id": pair.prompt.id,
        "pair_id": content_id("pair", [pair.preference.id, pair.chosen.id, pair.rejected.id]),
        "chosen_id": pair.chosen.id,
        "rejected_id": pair.rejected.id,
        "n_labels": num,
        "n_for": wins,
        "n_against": losses,
        "n_tie": outcome.num_tie,
        "confidence": (wins + outcome.num_tie / 2) / num if num else None,
        "weight": outcome.weight,
        "source": pair.preference.source,
    }
    return _models(pair) | _scores(pair) | margin | {f"{OURS}{name}": value for name, value in columns.items()}


def _models(pair: Pair) -> Row:
    sides = {"chosen": pair.chosen, "rejected": pair.rejected}
    return {f"{side}_model": each.model for side, each in sides.items() if each.model != MODEL}


def _scores(pair: Pair) -> Row:
    """The scores of both completions by the criteria in `SIDE_SCORES`, which an import reads."""
    places = {
        side: pair.preference.completion_ids.index(each.id)
        for side, each in {"chosen": pair.chosen, "rejected": pair.rejected}.items()
    }
    return {
        f"{criterion}_{side}": values[place]
        for criterion, values in sorted(pair.preference.scores.items())
        if criterion in SIDE_SCORES
        for side, place in places.items()
        if values[place] is not None
    }


def origin(preference: Preference, completion: Completion, material: Material) -> Row:
    """The columns with the origin of a single completion; {} in strict mode."""
    if material.settings.strict:
        return {}
    columns = {"prompt_id": preference.prompt_id, "completion_id": completion.id, "source": preference.source}
    return {f"{OURS}{name}": value for name, value in columns.items()}
