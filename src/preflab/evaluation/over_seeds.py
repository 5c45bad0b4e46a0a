"""The verdict over training seeds: the mean of each seed's paired difference, with Student's t over the seeds.

    value    mean over seeds s of d_s, d_s the paired difference to the baseline on the same prompts
    interval value ∓ t · s(d) / √S, t with S − 1 degrees of freedom

It covers other training seeds, on these prompts; the interval of each d_s covers other prompts. A difference counts as
found if this interval excludes 0 and the mean of the seeds is found over prompts too (`evaluation.mean_of_seeds`); its
p-value is the larger of the two.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from preflab.evaluation.corrected_verdicts import with_verdicts
from preflab.seeds import split_seed
from preflab.statistics.interval import NO_VARIATION, NOTHING, Interval, undefined
from preflab.statistics.training_runs import mean_over_runs

Compared = Mapping[str, Mapping[str, Interval]]
"""Model → measure → difference to the baseline."""
Means = Mapping[str, Mapping[str, Interval]]
"""Stage → measure → difference of the mean of its seeds, with an interval over prompts."""
ALL_ALIKE = "no interval over seeds: all are equal"
NOT_OVER_PROMPTS = "not found over prompts"


@dataclass(frozen=True)
class Verdicts:
    """The differences of an evaluation as JSON, with `family` and `p_holm`."""

    models: dict[str, dict[str, Any]]
    """Model → measure → difference over prompts; each seed of a stage is a model."""
    over_seeds: list[dict[str, Any]]
    """An entry per stage with several seeds, see the stage `evaluate`."""


def over_seeds(differences: Sequence[Mapping[str, Interval]]) -> dict[str, Interval]:
    """Measure → mean of the seeds' differences with its interval over seeds, for the measures that all seeds have."""
    measures = [name for name in differences[0] if all(name in one for one in differences)]
    return {name: _over_seeds([one[name].value for one in differences]) for name in measures}


def _over_seeds(values: Sequence[float]) -> Interval:
    if any(math.isnan(value) for value in values):
        return undefined(math.nan, len(values), NOTHING)
    interval = mean_over_runs(values)
    return replace(interval, note=ALL_ALIKE) if interval.note == NO_VARIATION else interval


def seed_verdicts(
    compared: Compared,
    stages: Mapping[str, Sequence[str]],
    means: Means,
    primary: str | None,
    *,
    baseline: str,
    apart: Collection[str] = (),
) -> Verdicts:
    """The verdicts of all models, and those of the stages over their seeds.

    A stage counts once among the models that are corrected together: by its difference over seeds. The seeds are no
    family, since they repeat one comparison; each seed is corrected as if the stage had been trained with it alone.

    Args:
        compared: the differences of all models.
        stages: stage with several seeds → their names among these models; {} without any.
        means: the differences of the means of their seeds.
        primary: the primary measure.
        baseline: the model they are compared with.
        apart: contestants that are no models, see `with_verdicts`.
    """
    of_seeds = {name for names in stages.values() for name in names}
    single = {name: measures for name, measures in compared.items() if name not in of_seeds}
    combined = {
        stage: {
            measure: replace(interval, p=float(np.fmax(interval.p, means[stage][measure].p)))
            for measure, interval in over_seeds([compared[name] for name in names]).items()
        }
        for stage, names in stages.items()
    }
    whole = with_verdicts({**single, **combined}, primary, apart=apart)
    models = {name: whole[name] for name in single}
    for seed in dict.fromkeys(split_seed(name)[1] for name in of_seeds):
        of_seed = {name: compared[name] for name in of_seeds if split_seed(name)[1] == seed}
        alone = with_verdicts({**single, **of_seed}, primary, apart=apart)
        models |= {name: alone[name] for name in of_seed}
    entries = [
        {
            "model": stage,
            "baseline": baseline,
            "seeds": list(names),
            "differences": {
                measure: {
                    **verdict,
                    **_counts([compared[name][measure] for name in names]),
                    "over_prompts": means[stage][measure].to_json(),
                    "doubt": _doubt(means[stage][measure], verdict["value"]),
                }
                for measure, verdict in whole[stage].items()
            },
        }
        for stage, names in stages.items()
    ]
    return Verdicts({name: models[name] for name in compared}, entries)


def _doubt(mean: Interval, value: float | None) -> str:
    """Why a difference over seeds is not found over prompts; "" if it is."""
    if mean.excludes_zero or (mean.note == NO_VARIATION and value):
        return ""
    return NOT_OVER_PROMPTS if mean.defined else f"over prompts there is {mean.note}"


def _counts(differences: Sequence[Interval]) -> dict[str, int]:
    """On how many seeds the interval over prompts excludes 0, above it and below it."""
    clear = [one for one in differences if one.excludes_zero]
    higher = sum(one.value > 0 for one in clear)
    return {"num_higher": higher, "num_lower": len(clear) - higher}
