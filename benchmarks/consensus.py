"""Consensus and labeler read-outs on simulated campaigns, beside majority, Dawid–Skene and MACE of crowd-kit.

    python benchmarks/consensus.py                     everything (about ten minutes)
    python benchmarks/consensus.py --only methods --seeds 10

The campaigns are those of tests/simulated_campaigns.py: 12 labelers, of whom two are random and one reversed, 200 tasks
of four completions, three labels each. One generator, which suits a model with one accuracy per labeler: the figures
compare methods, they promise nothing about people. crowd-kit is a development tool and not needed by preflab.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import combinations
from pathlib import Path
from typing import Literal

import numpy as np

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent / "tests"), str(HERE.parent / "src")]

from running import table, write_json  # noqa: E402

from preflab.feedback.agreement import agreement  # noqa: E402
from preflab.feedback.asking import consensus_accuracy  # noqa: E402
from preflab.feedback.consensus import consensus_of  # noqa: E402
from preflab.feedback.labeler_groups import find_groups  # noqa: E402
from preflab.feedback.pair_votes import all_votes  # noqa: E402
from preflab.feedback.reading import Reading  # noqa: E402
from preflab.feedback.readout import standings  # noqa: E402
from preflab.feedback.standing import CARELESS, IN_LINE, REVERSED  # noqa: E402
from simulated_campaigns import BAD, SimulatedCampaign, campaign  # noqa: E402

Method = Literal["one_coin_em", "majority"]
Signs = dict[tuple[str, int, int], float]
"""(task, first, second) → 1, −1, or 0 where nothing is decided."""
NAMING = (
    (20, 4, 0.0), (40, 4, 0.0), (40, 4, 0.1), (40, 4, 0.2), (60, 4, 0.0), (100, 4, 0.0), (60, 3, 0.0), (60, 2, 0.0),
    (200, 2, 0.0),
)  # fmt: skip
"""Tasks per labeler, completions per task, share of gold tasks."""
FEW = (
    (2, 2, 50, False), (3, 2, 20, False), (3, 3, 7, False), (12, 2, 10, True), (12, 2, 50, True), (12, 3, 10, False),
    (12, 3, 10, True), (12, 3, 20, True),
)  # fmt: skip
"""Labelers, labels per task, tasks per labeler, whether three of them are bad."""
STANDING = {"random": CARELESS, "reversed": REVERSED, "attentive": IN_LINE}


def ours(world: SimulatedCampaign, method: Method, *, confirmed: bool = False) -> Signs:
    """The direction of every pair by the consensus order; open and tied pairs are undecided."""
    signs: Signs = {}
    turned = [name for name, manner in world.manners.items() if confirmed and manner == "reversed"]
    reading = Reading(consensus=method, confirmed_reversed=frozenset(turned))
    for found in consensus_of(world.judgments, reading):
        ranks = found.preference.ranks
        for pair in found.pairs:
            i, j = pair.outcome.first, pair.outcome.second
            by_rank = float(np.sign((ranks[j] or 0) - (ranks[i] or 0)))
            signs[found.task_id, i, j] = {"settled": np.sign(pair.outcome.margin), "implied": by_rank}.get(
                pair.state, 0
            )
    return signs


def crowdkit(world: SimulatedCampaign, name: str, ties: bool) -> Signs:
    """The same by an aggregation of crowd-kit over pairs, with ties as a third class or left out."""
    import crowdkit.aggregation as aggregation
    import pandas as pd

    votes = [vote for vote in all_votes(world.judgments) if ties or vote.outcome]
    rows = [(f"{v.task}/{v.first}/{v.second}", v.labeler, v.outcome) for v in votes]
    makers: dict[str, Callable[[], object]] = {
        "MajorityVote": aggregation.MajorityVote,
        "DawidSkene": lambda: aggregation.DawidSkene(n_iter=100),
        "OneCoinDawidSkene": lambda: aggregation.OneCoinDawidSkene(n_iter=100),
        "MACE": lambda: aggregation.MACE(random_state=0),
    }
    labels = makers[name]().fit_predict(pd.DataFrame(rows, columns=["task", "worker", "label"]))  # type: ignore[attr-defined]
    return {
        (t, int(i), int(j)): float(label) for (t, i, j), label in ((key.split("/"), v) for key, v in labels.items())
    }


def accuracy(world: SimulatedCampaign, signs: Signs) -> float:
    """The share of all pairs that point the way of the truth; an undecided one counts half."""

    def points() -> Iterator[float]:
        for row, qualities in enumerate(world.quality):
            for i, j in combinations(range(len(qualities)), 2):
                yield 0.5 + 0.5 * signs.get((f"{row:04d}", i, j), 0.0) * np.sign(qualities[i] - qualities[j])

    return float(np.mean(list(points())))


METHODS: dict[str, Callable[[SimulatedCampaign], Signs]] = {
    "preflab: one-coin EM, Kemeny": lambda world: ours(world, "one_coin_em"),
    "preflab: the same, reversal confirmed": lambda world: ours(world, "one_coin_em", confirmed=True),
    "preflab: majority, Kemeny": lambda world: ours(world, "majority"),
} | {
    f"crowd-kit {name}, {'three classes' if ties else 'ties left out'}": lambda world, n=name, t=ties: crowdkit(
        world, n, t
    )
    for name in ("MajorityVote", "DawidSkene", "OneCoinDawidSkene", "MACE")
    for ties in (True, False)
}


def methods(
    seeds: int, manners: tuple[tuple[str, str], ...] = BAD, names: Iterable[str] = METHODS
) -> dict[str, list[float]]:
    """Pair accuracy of the methods, per seed."""
    worlds = [campaign(seed, manners=manners) for seed in range(seeds)]
    return {name: [accuracy(world, METHODS[name](world)) for world in worlds] for name in names}


def named_rightly(world: SimulatedCampaign) -> bool:
    """Exactly the bad labelers are named, each by its right name."""
    called = standings(world.judgments, Reading(gold=world.gold))
    return all(called[name] == STANDING[manner] for name, manner in world.manners.items())


def lowest_are_bad(world: SimulatedCampaign) -> bool:
    """The bad labelers are the least reliable ones."""
    bad = {name for name, manner in world.manners.items() if manner != "attentive"}
    return set(Reading(gold=world.gold).least_reliable_first(world.judgments)[: len(bad)]) == bad


def naming(seeds: int) -> list[list[str]]:
    """Rows of how often the three bad labelers are named, and put last."""
    rows = []
    for tasks, completions, gold in NAMING:
        worlds = [
            campaign.__wrapped__(seed, num_tasks=4 * tasks, num_completions=completions, gold_share=gold)
            for seed in range(seeds)
        ]
        named, last = (float(np.mean([test(world) for world in worlds])) for test in (named_rightly, lowest_are_bad))
        rows.append([str(tasks), str(completions), f"{gold:.0%}", f"{named:.3f}", f"{last:.3f}"])
    return rows


def groups(seeds: int) -> list[list[str]]:
    """Rows of how often a group is shown, and rightly."""
    settings = {
        "none": (), "1 random": _several("random", 1), "1 reversed": _several("reversed", 1),
        "2 random, 1 reversed": BAD, "4 random": _several("random", 4), "2 reversed": _several("reversed", 2),
        "3 of another taste": _several("taste", 3), "4 of another taste": _several("taste", 4),
        "4 of another taste, 1 reversed, 1 random": (*_several("taste", 4), ("l05", "reversed"), ("l06", "random")),
    }  # fmt: skip
    rows = []
    for name, manners in settings.items():
        wanted = tuple(labeler for labeler, manner in manners if manner == "taste")
        worlds = [campaign.__wrapped__(seed, num_tasks=240, manners=manners) for seed in range(seeds)]
        found = [find_groups(all_votes(world.judgments)) for world in worlds]
        exact = sum(bool(group) and group[0].members == wanted for group in found)
        rows.append([name, f"{sum(map(bool, found))} of {seeds}", f"{exact} of {seeds}"])
    return rows


def few(seeds: int) -> list[list[str]]:
    """Rows of campaigns in which little is known of anybody: pair accuracy, and the share of pairs left open."""
    rows = []
    for labelers, overlap, tasks, bad in FEW:
        manners = BAD if bad else ()
        worlds = [
            campaign.__wrapped__(
                seed, num_labelers=labelers, overlap=overlap, num_tasks=tasks * labelers // overlap, manners=manners
            )
            for seed in range(seeds)
        ]
        kinds: tuple[Method, ...] = ("one_coin_em", "majority")
        scores = [f"{np.mean([accuracy(world, ours(world, kind)) for world in worlds]):.3f}" for kind in kinds]
        left = [f"{np.mean([_share_open(world, kind) for world in worlds]):.3f}" for kind in kinds]
        rows.append([str(labelers), str(overlap), str(tasks), "3" if bad else "none", *scores, *left])
    return rows


def _share_open(world: SimulatedCampaign, method: Method) -> float:
    states = [pair.state for each in consensus_of(world.judgments, Reading(consensus=method)) for pair in each.pairs]
    return states.count("open") / len(states)


def redundancy(seeds: int) -> list[list[str]]:
    """Rows of labels per task: accuracy of the majority on the pairs it decides, measured and foretold."""
    strict = np.mean([agreement(campaign(seed, manners=()).judgments).strict.value for seed in range(seeds)])
    rows = []
    for num in (1, 3, 5, 7):
        worlds = [campaign(seed, manners=(), overlap=num) for seed in range(seeds)]
        measured = np.mean([_decided_accuracy(world) for world in worlds])
        rows.append([str(num), f"{measured:.3f}", f"{consensus_accuracy(float(strict), num):.3f}"])
    return rows


def _decided_accuracy(world: SimulatedCampaign) -> float:
    sums: Signs = {}
    for vote in all_votes(world.judgments):
        sums[vote[1:4]] = sums.get(vote[1:4], 0) + vote.outcome
    return float(np.mean([total * _true_sign(world, pair) > 0 for pair, total in sums.items() if total]))


def _true_sign(world: SimulatedCampaign, pair: tuple[str, int, int]) -> float:
    qualities = world.quality[int(pair[0])]
    return float(np.sign(qualities[pair[1]] - qualities[pair[2]]))


def _several(manner: str, num: int) -> tuple[tuple[str, str], ...]:
    return tuple((f"l{i:02d}", manner) for i in range(num))


def main() -> None:
    """Runs what is asked for, prints tables, writes JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=("methods", "naming", "groups", "redundancy", "few"))
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--out", type=Path, default=HERE / "results" / "consensus.json")
    args = parser.parse_args()
    parts: dict[str, tuple[Sequence[str], Callable[[int], list[list[str]]]]] = {
        "methods": (("method", "3 of 12 bad", "all attentive"), _method_rows),
        "naming": (("tasks each", "K", "gold", "exactly named", "at the bottom"), naming),
        "groups": (("labelers", "group shown", "exactly right"), groups),
        "redundancy": (("labels per task", "measured", "foretold"), redundancy),
        "few": (
            ("labelers", "labels per task", "tasks each", "bad", "reliability", "one vote", "open", "open by one vote"),
            few,
        ),
    }
    results = {}
    for name, (head, rows_of) in parts.items():
        if args.only in (None, name):
            results[name] = rows_of(args.seeds)
            print(f"{name}, {args.seeds} seeds\n{table(head, results[name])}\n")
    write_json(args.out, results)


def _method_rows(seeds: int) -> list[list[str]]:
    bad, clean = methods(seeds), methods(seeds, ())
    return [[name, f"{np.mean(bad[name]):.3f}", f"{np.mean(clean[name]):.3f}"] for name in METHODS]


if __name__ == "__main__":
    main()
