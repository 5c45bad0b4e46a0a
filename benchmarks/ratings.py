"""Models of people's points on twelve summaries of a hundred articles: learned from experts or from everybody.

    python recipes/summeval/ratings.py ../shared/data/votes/summeval_ratings.jsonl
    python recipes/summeval/ratings.py ../shared/data/votes/summeval_ratings.jsonl --who all
    python benchmarks/ratings.py                    five folds of articles, three draws of the folds

Heads on the states of an encoder that does not learn (`frozen.py`), tested on experts' points of articles not seen;
recipes/summeval_rating.yaml is the model with adapters. Beside it what three experts tell of one another, and what the
length of a summary tells. One thread; time is that of the process's CPU.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

os.environ |= {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent / "src")]

import numpy as np  # noqa: E402
import torch  # noqa: E402
from frozen import ENCODER, FrozenTrunk, row, states  # noqa: E402
from numpy.typing import NDArray  # noqa: E402
from running import table, write_json  # noqa: E402
from scipy.stats import kendalltau  # noqa: E402

from preflab.feedback.consensus import preferences_of  # noqa: E402
from preflab.feedback.reading import Reading  # noqa: E402
from preflab.models.loading import load_tokenizer  # noqa: E402
from preflab.models.packages import resolve_package  # noqa: E402
from preflab.records import Judgment, LikertAnswer  # noqa: E402
from preflab.rewards.rankings import Encoder  # noqa: E402
from preflab.rewards.ratings import Rated, choose_criteria, fit_scales, make_rated  # noqa: E402
from preflab.rewards.regression import rating_scores, train_on_ratings  # noqa: E402
from preflab.seeds import derive_seed  # noqa: E402
from preflab.settings.rating import RatingSettings  # noqa: E402
from preflab.statistics.interval import Interval, sentence  # noqa: E402
from preflab.statistics.means import mean_interval  # noqa: E402
from preflab.store.formats import read_file  # noqa: E402
from preflab.training.processes import make_accelerator  # noqa: E402
from preflab.training.row_order import permutation, split, steps_per_epoch  # noqa: E402

RATINGS = HERE.parent / "recipes" / "summeval"
NUM_FOLDS = 5
Array = NDArray[np.float64]
SETTINGS = RatingSettings(
    model=ENCODER,
    preferences="file",
    num_epochs=3,
    optimiser={"learning_rate": 2e-3, "warmup_share": 0.1, "tokens_per_micro_batch": 10**6},  # type: ignore[arg-type]
    run={"save_every": 10**6},  # type: ignore[arg-type]
)
SCALE = 0.25
"""Of the states: a head starts with scores of this spread."""


@dataclass(frozen=True)
class Rates:
    """What some labelers say together: a row per completion, criteria in the columns."""

    criteria: tuple[str, ...]
    rows: list[Rated]
    systems: list[str]
    """Which system wrote the completion of each row."""
    judgments: list[Judgment]


def read(name: str) -> Rates:
    """The ratings of experts.jsonl or all.jsonl, as a recipe reads them."""
    found = read_file(RATINGS / f"{name}.jsonl", "judgments")
    texts = {completion.id: completion.text for completion in found.completions}
    agreed = preferences_of(found.judgments, Reading(criterion="coherence"), texts=texts)
    criteria = tuple(choose_criteria(agreed, {}))
    encoder = Encoder(load_tokenizer(resolve_package(ENCODER), writes=False), False, 96)
    completions = {completion.id: completion for completion in found.completions}
    prompts = {prompt.id: prompt for prompt in found.prompts}
    rows = make_rated(agreed, prompts, completions, encoder, criteria)
    systems = [completions[i].model for preference in agreed for i in preference.completion_ids]
    return Rates(criteria, rows, systems, found.judgments)


def predicted(rates: Rates, learned: Sequence[int], tested: Sequence[int], found: torch.Tensor, seed: int) -> Any:
    """(tested, C) points foretold, and (C,) the mean of those learned from."""
    train, test = ([replace(rates.rows[i], sequence=row(i)) for i in part] for part in (learned, tested))
    scales = fit_scales(train, rates.criteria)
    trunk: Any = FrozenTrunk(found)
    with tempfile.TemporaryDirectory() as place:
        train_on_ratings(
            trunk,
            train,
            scales,
            SETTINGS,
            num_steps=SETTINGS.num_epochs * steps_per_epoch(len(train), SETTINGS.num_completions_per_step),
            folder=Path(place),
            seed=seed,
            accelerator=make_accelerator(cpu=True),
        )
    scores = rating_scores(trunk, test, 10**6).numpy()
    mean, std = (np.array([getattr(scale, what) for scale in scales]) for what in ("mean", "std"))
    return mean + std * scores, mean


def cross_validated(rates: Rates, found: torch.Tensor, repeats: int) -> tuple[Array, Array]:
    """(N, C) points foretold by models that saw nothing of the article, averaged over draws; the means likewise."""
    articles = sorted({rated.prompt_id for rated in rates.rows})
    totals, means = (np.zeros((len(rates.rows), len(rates.criteria))) for _ in range(2))
    for repeat in range(repeats):
        for number, part in enumerate(split(permutation(len(articles), derive_seed("folds", repeat)), NUM_FOLDS)):
            apart = {articles[i] for i in part}
            tested = [i for i, rated in enumerate(rates.rows) if rated.prompt_id in apart]
            learned = [i for i, rated in enumerate(rates.rows) if rated.prompt_id not in apart]
            scores, mean = predicted(rates, learned, tested, found, derive_seed("model", repeat, number))
            totals[tested] += scores / repeats
            means[tested] += mean / repeats
    return totals, means


# What came out


def taus(articles: Sequence[str], truth: Array, foretold: Array) -> tuple[list[float], list[str]]:
    """Kendall's tau-b within every article whose summaries differ; 0 where nothing is ordered."""
    places: dict[str, list[int]] = defaultdict(list)
    for i, article in enumerate(articles):
        places[article].append(i)
    kept = {name: part for name, part in places.items() if len(set(truth[part])) > 1}
    values = [float(kendalltau(truth[part], foretold[part]).statistic) for part in kept.values()]
    return [0.0 if np.isnan(value) else value for value in values], list(kept)


def figures(name: str, articles: Sequence[str], truth: Array, foretold: Array, of_mean: Array | None) -> list[str]:
    """A row of the table; explained = Σ (squared error of the mean − own) / Σ squared error of the mean."""
    tau = shown(mean_interval(*taus(articles, truth, foretold)))
    if of_mean is None:
        return [name, "", "", "", tau]
    own, mean = (foretold - truth) ** 2, (of_mean - truth) ** 2
    explained = shown(mean_interval(mean - own, articles, weights=mean))
    return [name, f"{own.mean() ** 0.5:.2f}", f"{mean.mean() ** 0.5:.2f}", explained, tau]


def shown(found: Interval) -> str:
    """`0.22 (0.17 to 0.26)`."""
    return f"{found.value:.2f} ({found.low:.2f} to {found.high:.2f})"


def of_system(systems: Sequence[str], articles: Sequence[str], truth: Array) -> Array:
    """The mean points of the same system's summaries of the other articles: what a model of style could reach."""
    found = np.zeros(len(truth))
    for i, (system, article) in enumerate(zip(systems, articles, strict=True)):
        others = [s == system and a != article for s, a in zip(systems, articles, strict=True)]
        found[i] = truth[others].mean()
    return found


def experts_among_themselves(judgments: Sequence[Judgment]) -> Iterator[tuple[str, str, Array, Array]]:
    """Criterion, article, what one expert gave, the mean of the two others: for each of the three."""
    by_task: dict[str, list[Judgment]] = defaultdict(list)
    for judgment in judgments:
        by_task[judgment.task_id].append(judgment)
    for found in by_task.values():
        for judgment in found:
            others = [other for other in found if other is not judgment]
            for name in scores_of(judgment):
                rest = np.mean([scores_of(other)[name] for other in others], axis=0)
                yield name, judgment.prompt_id, np.array(scores_of(judgment)[name], dtype=float), rest


def scores_of(judgment: Judgment) -> Mapping[str, Sequence[int | None]]:
    """The points of a Likert judgment."""
    assert isinstance(judgment.answer, LikertAnswer)
    return judgment.answer.scores


def expert_tau(judgments: Sequence[Judgment], criterion: str) -> str:
    """How far one expert orders an article's summaries as the two others do, over experts and articles."""
    found = [each[1:] for each in experts_among_themselves(judgments) if each[0] == criterion and np.ptp(each[2]) > 0]
    values = [float(kendalltau(own, rest).statistic) for _, own, rest in found]
    return shown(mean_interval(np.nan_to_num(values), [article for article, _, _ in found]))


HEAD = ("learned from", "error", "always the mean", "explained", "tau within article")


def main() -> None:
    """Runs both, prints a table per criterion."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--out", type=Path, default=HERE / "results" / "ratings")
    args = parser.parse_args()
    torch.set_num_threads(1)
    experts, everybody = read("experts"), read("all")
    assert [(r.prompt_id, r.length) for r in experts.rows] == [(r.prompt_id, r.length) for r in everybody.rows]
    found = SCALE * states([rated.sequence for rated in experts.rows], args.out / "states.pt")
    began = time.process_time()
    own, own_mean = cross_validated(experts, found, args.repeats)
    crowd, crowd_mean = cross_validated(everybody, found, args.repeats)
    articles = [rated.prompt_id for rated in experts.rows]
    lengths = np.array([float(rated.length) for rated in experts.rows])
    results: dict[str, list[list[str]]] = {}
    for c, criterion in enumerate(experts.criteria):
        truth = np.array([rated.ratings[c] for rated in experts.rows], dtype=float)
        elsewhere = of_system(experts.systems, articles, truth)
        results[criterion] = [
            figures("experts", articles, truth, own[:, c], own_mean[:, c]),
            figures("experts and crowd", articles, truth, crowd[:, c], crowd_mean[:, c]),
            figures("(the system's mean elsewhere)", articles, truth, elsewhere, own_mean[:, c]),
            figures("(the longer, the better)", articles, truth, lengths, None),
            ["(one expert by the two others)", "", "", "", expert_tau(experts.judgments, criterion)],
        ]
        print(f"\n{criterion}\n{table(HEAD, results[criterion])}")
        better = [taus(articles, truth, each[:, c]) for each in (crowd, own)]
        difference = mean_interval(np.array(better[1][0]) - np.array(better[0][0]), better[0][1])
        print(sentence(difference, "tau, experts − experts and crowd"))
    print(f"{time.process_time() - began:.0f} CPU s")
    write_json(args.out / "ratings.json", results)


if __name__ == "__main__":
    main()
