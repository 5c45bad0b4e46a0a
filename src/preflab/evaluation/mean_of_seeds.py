"""The mean of a stage's training seeds against the baseline, with intervals over prompts.

Seeds share their prompts and their baseline. If training hardly depends on the seed, their differences agree closely
although all of them may come from the choice of prompts. So a difference over seeds is found only if it is found over
prompts too, for the mean of the seeds: leaving out or redrawing a prompt does so in all seeds at once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from preflab.evaluation.diversity import distinct_n_left_out, words
from preflab.evaluation.paired import NUM_DISTINCT, Sheet, differences
from preflab.evaluation.spread import spread_left_out
from preflab.statistics.interval import FEWEST, Interval
from preflab.statistics.jackknife import FEWEST_FOR_SPREAD, jackknife_interval

Array = NDArray[np.float64]
LeftOut = tuple[float, Array]
"""A figure of a whole set, and (C,) the figure without each prompt."""


def mean_differences(baseline: Sheet, seeds: Sequence[Sheet], *, seed: int = 0) -> dict[str, Interval]:
    """Measure → mean of the seeds − baseline, with an interval over prompts.

    Means and shares: each prompt has the rows of all seeds. Spread and distinct-n: the mean of the seeds' figures, with
    the jackknife.

    Args:
        baseline: the model they are compared with.
        seeds: the same stage trained with several seeds; all answer the baseline's prompts in the same order.
        seed: of the resamples.
    """
    found = differences(_joined([baseline] * len(seeds)), _joined(seeds), seed=seed)
    for name in sorted(baseline.spreads.keys() & set.intersection(*(set(one.spreads) for one in seeds))):
        parts = [spread_left_out(one.spreads[name], one.prompt_ids) for one in (baseline, *seeds)]
        found[name] = _jackknife(parts, FEWEST_FOR_SPREAD)
    if not any(one.repeated for one in (baseline, *seeds)):
        texts = [[words(text) for text in one.texts] for one in (baseline, *seeds)]
        for n in NUM_DISTINCT:
            found[f"distinct/{n}"] = _jackknife([distinct_n_left_out(each, n, baseline.prompt_ids) for each in texts])
    return found


def _joined(sheets: Sequence[Sheet]) -> Sheet:
    """The rows of all sheets below one another, without the spreads, whose mean is not that of the joined rows."""

    def columns(all_columns: Sequence[Mapping[str, Array]]) -> dict[str, Array]:
        names = set.intersection(*(set(one) for one in all_columns))
        return {name: np.concatenate([one[name] for one in all_columns]) for name in sorted(names)}

    first = sheets[0]
    return Sheet(
        first.model,
        first.prompt_ids * len(sheets),
        tuple(text for one in sheets for text in one.texts),
        tuple(num for one in sheets for num in one.num_tokens),
        tuple(logp for one in sheets for logp in one.sum_logps) if all(one.sum_logps for one in sheets) else (),
        columns([one.means for one in sheets]),
        columns([one.shares for one in sheets]),
        repeated=True,
    )


def _jackknife(parts: Sequence[LeftOut], fewest: int = FEWEST) -> Interval:
    """Mean of the later parts − the first."""
    (value, left_out), *others = parts
    difference = float(np.mean([one for one, _ in others])) - value
    apart = np.mean([one for _, one in others], axis=0) - left_out
    return jackknife_interval(difference, apart, fewest=fewest)
