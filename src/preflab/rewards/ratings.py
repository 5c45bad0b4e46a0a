"""Ratings for training: tokenized completions with one number per criterion, and the scale of every criterion."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from preflab.errors import PreflabError, nearest
from preflab.records import Completion, Preference, Prompt
from preflab.rewards.rankings import Encoder
from preflab.training.batches import TokenSequence
from preflab.words import count


@dataclass(frozen=True)
class Scale:
    """Standardises a criterion's ratings to mean 0 and variance 1: target = (rating − mean) / std."""

    mean: float
    std: float

    @classmethod
    def of(cls, criterion: str, ratings: Sequence[float]) -> Scale:
        """The scale of the training ratings.

        Raises:
            PreflabError: there are fewer than two ratings, or all are equal.
        """
        mean = sum(ratings) / max(1, len(ratings))
        variance = sum((rating - mean) ** 2 for rating in ratings) / max(1, len(ratings))
        if variance <= 0:
            raise PreflabError(
                f"criterion {criterion!r}: {count(len(ratings), 'rating')}, all equal",
                "ratings that differ",
                "leave the criterion out with `criteria`, or collect more ratings",
            )
        return cls(mean, variance**0.5)


@dataclass(frozen=True)
class Rated:
    """One completion with its mean rating per criterion."""

    prompt_id: str
    sequence: TokenSequence
    ratings: tuple[float | None, ...]
    """In the order of the criteria; None = nobody rated it."""
    length: int
    """Characters."""


def choose_criteria(preferences: Iterable[Preference], wanted: Mapping[str, float]) -> dict[str, float]:
    """Criterion → weight: the wanted ones, or all rated criteria with equal weights.

    Raises:
        PreflabError: there are no ratings, or nobody rated a wanted criterion.
    """
    names = sorted(
        {
            name
            for preference in preferences
            for name, values in preference.scores.items()
            if any(value is not None for value in values)
        }
    )
    if not names:
        raise PreflabError(
            "preferences without ratings",
            "scores per completion (Likert answers of a campaign, or an imported file with ratings)",
            "use a stage of kind `reward` for rankings and pairs",
        )
    for name in wanted:
        if name not in names:
            raise PreflabError(
                f"criterion {name!r}: nobody rated it",
                f"one of {', '.join(names)}" + (f"; near it: {near}" if (near := nearest(name, names)) else ""),
            )
    return dict(wanted) or dict.fromkeys(names, 1.0)


def make_rated(
    preferences: Iterable[Preference],
    prompts: Mapping[str, Prompt],
    completions: Mapping[str, Completion],
    encoder: Encoder,
    criteria: Sequence[str],
) -> list[Rated]:
    """Every completion with at least one rating; one that stands in several groups comes once per group."""
    rows = []
    for preference in preferences:
        prompt = prompts[preference.prompt_id]
        for place, completion_id in enumerate(preference.completion_ids):
            ratings = tuple(preference.scores[name][place] if name in preference.scores else None for name in criteria)
            if any(rating is not None for rating in ratings):
                completion = completions[completion_id]
                sequence = encoder(prompt, completion)
                rows.append(Rated(prompt.id, sequence, ratings, len(completion.text)))
    return rows


def fit_scales(rows: Sequence[Rated], criteria: Sequence[str]) -> list[Scale]:
    """The scale of every criterion on these rows."""
    columns = [[r.ratings[c] for r in rows] for c in range(len(criteria))]
    return [
        Scale.of(name, [value for value in column if value is not None])
        for name, column in zip(criteria, columns, strict=True)
    ]
