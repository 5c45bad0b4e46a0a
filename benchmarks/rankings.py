"""Reward models on people's rankings: all pairs beside whole orders, with and without the length term.

    python benchmarks/rankings.py oasst                    five folds of conversations, four ways of learning
    python benchmarks/rankings.py hh --repeats 3           helpful-base learned, harmless-base tested
    python benchmarks/rankings.py oasst --only plackett_luce --folds 0 1
    python benchmarks/rankings.py oasst --frozen --repeats 10        a head on the encoder's own states: cheap
    python benchmarks/rankings.py oasst --table            what has been run, without running anything

Every run is one JSON file below --out; a finished one is not run again. Needs ../shared and the sentence encoder of
`pip install preflab[examples]`. One thread; time is that of the process's CPU.
"""

from __future__ import annotations

import argparse
import os
import random
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ |= {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent / "src")]

import numpy as np  # noqa: E402
import torch  # noqa: E402
from frozen import ENCODER, TOKENS_PER_BATCH, FrozenTrunk, encoder_trunk, numbered, states  # noqa: E402
from running import table, write_json  # noqa: E402
from scipy.stats import kendalltau  # noqa: E402

from preflab.files import read_json  # noqa: E402
from preflab.models.loading import load_tokenizer  # noqa: E402
from preflab.models.packages import resolve_package  # noqa: E402
from preflab.models.trunk import Trunk  # noqa: E402
from preflab.rewards.rankings import Encoder, Ranking, make_rankings  # noqa: E402
from preflab.rewards.report import wins  # noqa: E402
from preflab.rewards.train import score_rankings, train_reward_model  # noqa: E402
from preflab.seeds import derive_seed  # noqa: E402
from preflab.settings.learning import RewardSettings  # noqa: E402
from preflab.statistics.interval import Interval, sentence  # noqa: E402
from preflab.statistics.means import mean_interval  # noqa: E402
from preflab.store.formats import read_file  # noqa: E402
from preflab.training.processes import make_accelerator  # noqa: E402
from preflab.training.row_order import permutation, split, steps_per_epoch  # noqa: E402

SHARED = Path(os.environ.get("PREFLAB_SHARED") or HERE.parents[1] / "shared") / "data"
MakeTrunk = Callable[[int], Any]
"""Seed → a fresh trunk."""
Row = dict[str, Any]
"""One test ranking: `part`, `cluster`, `scores`, `lengths`, `ranks`, `pairs` (chosen, rejected)."""


@dataclass(frozen=True)
class Data:
    """Rankings, and the conversation each belongs to: what is split and resampled."""

    rankings: list[Ranking]
    clusters: list[str]


def read(path: Path, format: str, max_tokens: int) -> Data:
    """The rankings of a file; rankings whose conversations begin alike are one cluster."""
    found = read_file(path, format, skip_bad=True)
    prompts = {prompt.id: prompt for prompt in found.prompts}
    encoder = Encoder(load_tokenizer(resolve_package(ENCODER), writes=False), False, max_tokens)
    completions = {completion.id: completion for completion in found.completions}
    rankings = make_rankings(found.preferences, prompts, completions, encoder)
    begins = [prompts[r.prompt_id].messages for r in rankings]
    return Data(rankings, [m[0].content if m else r.prompt_id for m, r in zip(begins, rankings, strict=True)])


def freeze(kept: Path, *datas: Data) -> tuple[list[Data], MakeTrunk]:
    """The data with rows of a table of the encoder's states in the place of their tokens, and heads on that table."""
    rankings, sequences = numbered([ranking for data in datas for ranking in data.rankings])
    found, left = states(sequences, kept), iter(rankings)
    return [Data([next(left) for _ in d.rankings], d.clusters) for d in datas], lambda seed: FrozenTrunk(found)


def run_once(
    make: MakeTrunk, train: Sequence[Ranking], tests: Mapping[str, Data], settings: RewardSettings, seed: int
) -> Row:
    """Train a fresh model, score the test rankings; CPU seconds of the whole."""
    began = time.process_time()
    trunk = make(seed)
    with tempfile.TemporaryDirectory() as place:
        metrics = train_reward_model(
            trunk,
            train,
            settings,
            num_steps=settings.num_epochs * steps_per_epoch(len(train), settings.num_rankings_per_step),
            folder=Path(place),
            seed=seed,
            accelerator=make_accelerator(cpu=True),
        )
    rows = [row for part, data in tests.items() for row in scored(trunk, part, data)]
    nuisance = {name: value for name, value in metrics[-1].items() if name.startswith("nuisance/")}
    return {
        "rows": rows,
        "nuisance": nuisance,
        "num_train": len(train),
        "num_pairs": sum(len(ranking.decided) for ranking in train),
        "num_steps": len(metrics),
        "train_accuracy": float(np.mean([row["accuracy/train"] for row in metrics[-10:]])),
        "cpu_s": time.process_time() - began,
    }


def scored(trunk: Trunk, part: str, data: Data) -> Iterator[Row]:
    """The test rankings with their raw scores."""
    found = score_rankings(trunk, data.rankings, TOKENS_PER_BATCH)
    for ranking, cluster, scores in zip(data.rankings, data.clusters, found, strict=True):
        yield {
            "part": part,
            "cluster": cluster,
            "scores": scores.tolist(),
            "lengths": ranking.lengths,
            "ranks": ranking.ranks,
            "pairs": ranking.decided,
        }


def folds(clusters: Sequence[str], num: int, seed: int) -> list[set[str]]:
    """The clusters in parts of nearly equal size, in an order that the seed decides."""
    names = sorted(set(clusters))
    return [{names[i] for i in part} for part in split(permutation(len(names), seed), num)]


def chosen(data: Data, keep: Callable[[str], bool]) -> Data:
    """The rankings whose cluster is kept."""
    kept = [(r, c) for r, c in zip(data.rankings, data.clusters, strict=True) if keep(c)]
    return Data([r for r, _ in kept], [c for _, c in kept])


# What is run


WAYS: dict[str, dict[str, Any]] = {
    "bradley_terry": {"likelihood": "bradley_terry"},
    "plackett_luce": {"likelihood": "plackett_luce"},
    "bradley_terry+length": {"likelihood": "bradley_terry", "length_control": True},
    "plackett_luce+length": {"likelihood": "plackett_luce", "length_control": True},
    "bradley_terry+length, fast": {
        "likelihood": "bradley_terry",
        "length_control": True,
        "nuisance_learning_rate": 0.2,
    },
}
"""Name → what differs from the settings of the experiment."""


def settings_of(way: str, **common: Any) -> RewardSettings:
    """The settings of one way of learning; the rest is that of the two recipes."""
    optimiser = {"learning_rate": 1e-3, "warmup_share": 0.1, "tokens_per_micro_batch": TOKENS_PER_BATCH}
    fixed = {"model": ENCODER, "preferences": "file", "lora": {"rank": 16}, "run": {"save_every": 10**6}}
    return RewardSettings(**{"optimiser": optimiser, **fixed, **common, **WAYS[way]})


FROZEN = {"optimiser": {"learning_rate": 2e-3, "warmup_share": 0.1, "tokens_per_micro_batch": 10**6}, "num_epochs": 8}
"""What differs for a head alone."""


OASST_WAYS = ("bradley_terry", "plackett_luce", "bradley_terry+length", "plackett_luce+length")
HH_WAYS = ("bradley_terry", "bradley_terry+length", "bradley_terry+length, fast")
NUM_FOLDS = 5


def oasst(ways: Sequence[str], args: argparse.Namespace) -> None:
    """Every ranking is tested once per repeat, by a model that saw nothing of its conversation."""
    data = read(SHARED / "oasst" / "en_100_tree.jsonl", "oasst", max_tokens=96)
    make: MakeTrunk = encoder_trunk
    if args.frozen:
        [data], make = freeze(args.out / "states.pt", data)
    for repeat in range(args.repeats):
        parts = folds(data.clusters, NUM_FOLDS, derive_seed("folds", repeat))
        for number in args.folds:
            test = chosen(data, parts[number].__contains__)
            train = chosen(data, lambda cluster, apart=parts[number]: cluster not in apart)  # type: ignore[misc]
            for way in ways:
                settings = settings_of(way, **{"num_epochs": 2, "num_rankings_per_step": 8, **args.common})
                file = args.out / way / f"{repeat}-{number}.json"
                run(file, make, train.rankings, {"held out": test}, settings, derive_seed("model", repeat, number))


def hh(ways: Sequence[str], args: argparse.Namespace) -> None:
    """Pairs of helpful-base are learned; others of it, and pairs of harmless-base, are tested."""
    helpful = read(SHARED / "hh-rlhf" / "helpful-base.jsonl", "hh-rlhf", max_tokens=96)
    harmless = read(SHARED / "hh-rlhf" / "harmless-base.jsonl", "hh-rlhf", max_tokens=96)
    make: MakeTrunk = encoder_trunk
    if args.frozen:
        [helpful, harmless], make = freeze(args.out / "states.pt", helpful, harmless)
    for repeat in range(args.repeats):
        names, others = drawn(helpful, "helpful", repeat), drawn(harmless, "harmless", repeat)
        learned, apart, other = (
            set(part) for part in (names[: args.num], names[args.num :][: args.num_test], others[: args.num_test])
        )
        train = chosen(helpful, learned.__contains__)
        tests = {"helpful": chosen(helpful, apart.__contains__), "harmless": chosen(harmless, other.__contains__)}
        for way in ways:
            settings = settings_of(way, **{"num_epochs": 1, "num_rankings_per_step": 16, **args.common})
            file = args.out / way / f"{repeat}.json"
            run(file, make, train.rankings, tests, settings, derive_seed("model", repeat))


def drawn(data: Data, name: str, repeat: int) -> list[str]:
    """The clusters of the data in an order that the repeat decides."""
    names = sorted(set(data.clusters))
    random.Random(derive_seed(name, repeat)).shuffle(names)
    return names


def run(
    file: Path,
    make: MakeTrunk,
    train: Sequence[Ranking],
    tests: Mapping[str, Data],
    settings: RewardSettings,
    seed: int,
) -> None:
    """One run, unless it is there."""
    if not file.exists():
        outcome = run_once(make, train, tests, settings, seed)
        file.parent.mkdir(parents=True, exist_ok=True)
        write_json(file, outcome)
        print(f"{file}: {outcome['cpu_s']:.0f} s, {outcome['nuisance']}", flush=True)


# What came out


@dataclass(frozen=True)
class Measured:
    """Figures per pair and per ranking of all runs of one way, averaged over repeats; keys keep ways aligned."""

    right: dict[tuple[Any, ...], float]
    longer: dict[tuple[Any, ...], float]
    log_loss: dict[tuple[Any, ...], float]
    tau: dict[tuple[Any, ...], float]
    tau_longer: dict[tuple[Any, ...], float]


def measured(rows: Sequence[Row]) -> Measured:
    """Rows of one part; the key of a pair begins with its cluster."""
    found: dict[str, dict[tuple[Any, ...], list[float]]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        name = (row["cluster"], *row["lengths"], *(str(rank) for rank in row["ranks"]))
        for a, b in row["pairs"]:
            margin = row["scores"][a] - row["scores"][b]
            found["right"][(*name, a, b)].append(float(wins(np.array(margin))))
            found["longer"][(*name, a, b)].append(float(wins(np.array(row["lengths"][a] - row["lengths"][b]))))
            found["log_loss"][(*name, a, b)].append(float(np.logaddexp(0.0, -margin)))
        found["tau"][name].append(tau(row["ranks"], row["scores"]))
        found["tau_longer"][name].append(tau(row["ranks"], row["lengths"]))
    return Measured(**{what: {k: float(np.mean(v)) for k, v in each.items()} for what, each in found.items()})


def tau(ranks: Sequence[int], values: Sequence[float]) -> float:
    """Kendall's tau-b between an order and what should agree with it; 0 where the values order nothing."""
    found = float(kendalltau([-rank for rank in ranks], values).statistic)
    return 0.0 if np.isnan(found) else found


def interval(values: Mapping[tuple[Any, ...], float]) -> Interval:
    """The mean, clusters resampled."""
    return mean_interval(list(values.values()), [key[0] for key in values])


def minus(first: Mapping[Any, float], second: Mapping[Any, float]) -> dict[Any, float]:
    """The paired difference, key by key."""
    return {key: first[key] - second[key] for key in first if key in second}


def shown(found: Interval) -> str:
    """`0.62 (0.57 to 0.66)`."""
    return f"{found.value:.3f} ({found.low:.3f} to {found.high:.3f})"


def report(folder: Path, ways: Sequence[str]) -> None:
    """Tables per part, and in words how each way differs from the first."""
    runs = {way: [read_json(file) for file in sorted((folder / way).glob("*.json"))] for way in ways}
    runs = {way: found for way, found in runs.items() if found}
    for part in dict.fromkeys(row["part"] for found in runs.values() for run in found for row in run["rows"]):
        by_way = {
            way: measured([row for run in found for row in run["rows"] if row["part"] == part])
            for way, found in runs.items()
        }
        print(f"\n{folder.name}, {part}: {len(next(iter(by_way.values())).right)} pairs")
        print(table(HEAD, [figures(way, by_way[way]) for way in by_way] + [longer_row(next(iter(by_way.values())))]))
        base = by_way[next(iter(by_way))]
        for way, found in list(by_way.items())[1:]:
            for what in ("right", "tau", "log_loss"):
                difference = interval(minus(getattr(found, what), getattr(base, what)))
                print(sentence(difference, f"{way} − {next(iter(by_way))}, {what}", "{:.3f}".format))
    for way, found in runs.items():
        slopes = [f"{value:+.2f}" for run in found for value in run["nuisance"].values()]
        seconds = np.mean([run["cpu_s"] for run in found])
        fit = np.mean([run.get("train_accuracy", np.nan) for run in found])
        print(f"{way}: {len(found)} runs of {seconds:.1f} CPU s, accuracy of the last steps {fit:.2f}", end="; ")
        print(f"slopes {' '.join(slopes) or '-'}")


HEAD = ("way", "accuracy", "where the chosen is longer", "where it is shorter", "− longer wins", "log loss", "tau")


def figures(way: str, found: Measured) -> list[str]:
    """One way's row."""
    longer = {key: value for key, value in found.right.items() if found.longer[key] == 1}
    shorter = {key: value for key, value in found.right.items() if found.longer[key] == 0}
    beyond = interval(minus(found.right, found.longer))
    parts = [interval(each) for each in (found.right, longer, shorter)]
    loss = interval(found.log_loss)
    return [way, *map(shown, parts), shown(beyond), shown(loss), shown(interval(found.tau))]


def longer_row(found: Measured) -> list[str]:
    """What counting characters scores."""
    return ["the longer wins", shown(interval(found.longer)), "1", "0", "", "", shown(interval(found.tau_longer))]


def main() -> None:
    """Runs what is missing, prints tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("oasst", "hh"))
    parser.add_argument("--only", nargs="+", choices=tuple(WAYS))
    parser.add_argument("--folds", type=int, nargs="+", default=list(range(NUM_FOLDS)))
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--frozen", action="store_true", help="learn a head alone, on the encoder's states")
    parser.add_argument("--num", type=int, default=800, help="prompts of helpful-base to learn")
    parser.add_argument("--num-test", type=int, default=300, help="prompts to test on, of each of the two")
    parser.add_argument("--out", type=Path, default=HERE / "results" / "rankings")
    parser.add_argument("--table", action="store_true", help="only show what has been run")
    args = parser.parse_args()
    torch.set_num_threads(1)
    args.common = FROZEN if args.frozen else {}
    args.out = args.out / (f"{args.what}-frozen" if args.frozen else args.what)
    make, ways = (oasst, OASST_WAYS) if args.what == "oasst" else (hh, HH_WAYS)
    if not args.table:
        make(args.only or ways, args)
    report(args.out, args.only or ways)


if __name__ == "__main__":
    main()
