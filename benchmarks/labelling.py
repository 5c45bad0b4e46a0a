"""How long a labeler waits for the next task and for a submission: 40 at once over HTTP, the server its own process.

    python benchmarks/labelling.py                    SQLite and PostgreSQL, 400 and 100,000 tasks waiting
    python benchmarks/labelling.py --only sqlite --tasks 400 --seconds 10
    python benchmarks/labelling.py --against ../before --only sqlite --tasks 400 --rounds 4

Half of the labelers use the JSON API, half the pages' forms; each thinks for `--think` seconds on average between a
task and its submission. Times are those of the client, from the request to the last byte of the answer; the clients
share the two cores with the server. "CPU ms each" is the server's own processor time per request, which a busy machine
changes less than the times. The first five seconds after its start are left out. Every submission is on the disk when
it is answered. PostgreSQL is started for the purpose, with its defaults. Goal: p95 below 100 ms, of the next task
below 50 ms with 100,000 tasks waiting. Linux only.

`--against` takes the folder of another checkout and measures it and this one in turns, each by its own copy of this
file, so that a machine that grows busier is as unkind to both; which goes first changes from round to round. The table
then has the median over the rounds of each, and of the ratios of neighbours.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent / "tests"), str(HERE.parent / "src")]

from running import table, write_json  # noqa: E402

from labelling_load import Crowd, Server  # noqa: E402
from labelling_world import make_campaign  # noqa: E402
from postgres_server import postgres_server, server_folder  # noqa: E402
from preflab.store.workspace import Workspace  # noqa: E402

QUANTILES = {"p50": 0.5, "p95": 0.95, "p99": 0.99, "max": 1.0}
ACTS = ("next task", "submit")
WARM_UP = 5.0
"""Seconds at the beginning whose times are left out: templates and statements are put together for the first."""


def measured(url: str | None, num_tasks: int, asked: argparse.Namespace) -> dict[str, Any]:
    """One case: a new workspace with so many tasks, and the labelers in it for so many seconds."""
    with tempfile.TemporaryDirectory() as folder, Workspace.open(f"{folder}/w", create=True, url=url) as ws:
        expected = asked.seconds * min(asked.labelers / (asked.think or 1e-9), 200)
        overlap = min(max(3, ceil(2 * expected / num_tasks)), asked.labelers)  # so that the work does not run out
        campaign = make_campaign(ws, num_tasks, 3, overlap=overlap)
        with Server(Path(folder) / "w", url) as server:
            crowd = Crowd(ws, server.url, campaign, asked.labelers)
            load, used = os.getloadavg()[0], server.cpu_seconds()
            crowd.work(think=asked.think, seconds=asked.seconds)
            used = server.cpu_seconds() - used
    began = min(each.start for each in crowd.tries)
    answered = [each for each in crowd.tries if each.status in (200, 201) and each.start > began + WARM_UP]
    times = {act: [1000 * (each.end - each.start) for each in answered if each.what == act] for act in ACTS}
    return {
        "statuses": Counter(each.status for each in crowd.tries),
        "requests_per_second": len(crowd.tries) / asked.seconds,
        "load_before": load,
        "server_cpu_ms_per_request": 1000 * used / len(crowd.tries),
        **{act: {"number": len(taken), **quantiles(taken)} for act, taken in times.items()},
    }


def quantiles(taken: list[float]) -> dict[str, float]:
    """In milliseconds."""
    return {name: float(np.quantile(taken, share)) for name, share in QUANTILES.items()}


@contextmanager
def database(kind: str) -> Iterator[str | None]:
    """The URL of a new PostgreSQL database that ends with the block; None for SQLite."""
    if kind == "sqlite":
        yield None
        return
    programs = server_folder()
    if programs is None:
        sys.exit("error: no PostgreSQL server was found: install Debian's package postgresql, or use --only sqlite")
    with postgres_server(programs, durable=True) as url:
        yield url


def rows_of(kind: str, num_tasks: int, found: dict[str, Any]) -> list[list[str]]:
    """The lines of one case."""
    rate, cpu = f"{found['requests_per_second']:.0f}", f"{found['server_cpu_ms_per_request']:.1f}"
    return [
        [
            kind,
            f"{num_tasks:,}",
            act,
            str(found[act]["number"]),
            rate,
            cpu,
            *(f"{found[act][name]:.1f}" for name in QUANTILES),
        ]
        for act in ACTS
    ]


def measured_by(checkout: Path, asked: argparse.Namespace) -> dict[str, Any]:
    """The figures of a checkout's own copy of this file, measured by a process of its own."""
    command = [sys.executable, str(checkout / "benchmarks" / "labelling.py"), "--tasks", *map(str, asked.tasks)]
    command += ["--labelers", str(asked.labelers), "--seconds", str(asked.seconds), "--think", str(asked.think)]
    command += ["--only", asked.only] if asked.only else []
    source = {**os.environ, "PYTHONPATH": str(checkout / "src")}
    subprocess.run(command, check=True, env=source, stdout=subprocess.DEVNULL)
    found: dict[str, Any] = json.loads((checkout / "benchmarks" / "results" / "labelling.json").read_text())
    return {name: case for name, case in found.items() if name != "asked"}


def in_turns(asked: argparse.Namespace) -> dict[str, list[dict[str, Any]]]:
    """`before` and `after` → the figures of each round."""
    checkouts = {"before": asked.against.resolve(), "after": HERE.parent}
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in checkouts}
    for number in range(asked.rounds):
        for name in sorted(checkouts, reverse=number % 2 == 0):
            found[name].append(measured_by(checkouts[name], asked))
            print(f"round {number + 1} of {asked.rounds}: {name}", file=sys.stderr, flush=True)
    return found


def compared(found: dict[str, list[dict[str, Any]]]) -> list[list[str]]:
    """One line per case, act and quantile: the medians, and the median ratio of after to before."""
    rows = []
    for case in found["before"][0]:
        for act in ACTS:
            for quantile in ("p50", "p95"):
                before, after = ([each[case][act][quantile] for each in found[name]] for name in ("before", "after"))
                ratios = [a / b for a, b in zip(after, before, strict=True)]
                middle = [f"{np.median(each):.1f}" for each in (before, after)]
                rows.append([case, act, quantile, *middle, f"{np.median(ratios):.2f}", f"{max(ratios):.2f}"])
    return rows


def main() -> None:
    """Measure, print a table, keep the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=["sqlite", "postgresql"])
    parser.add_argument("--tasks", type=int, nargs="+", default=[400, 100_000])
    parser.add_argument("--labelers", type=int, default=40)
    parser.add_argument("--seconds", type=float, default=30)
    parser.add_argument("--think", type=float, default=2.0, help="seconds on average; 0: as fast as they can")
    parser.add_argument("--against", type=Path, metavar="FOLDER", help="another checkout, measured in turns with this")
    parser.add_argument("--rounds", type=int, default=4, help="with --against: how often each is measured")
    asked = parser.parse_args()
    if asked.against is not None:
        turns = in_turns(asked)
        head = ["case", "act", "quantile", "before ms", "after ms", "ratio", "largest ratio"]
        print(table(head, compared(turns)))
        write_json(HERE / "results" / "labelling-in-turns.json", {"against": str(asked.against), **turns})
        return
    rows: list[list[str]] = []
    figures: dict[str, Any] = {"asked": vars(asked)}
    for kind in [asked.only] if asked.only else ["sqlite", "postgresql"]:
        for num_tasks in asked.tasks:
            with database(kind) as url:
                found = measured(url, num_tasks, asked)
            rows += rows_of(kind, num_tasks, found)
            figures[f"{kind}, {num_tasks} tasks"] = found
            print(f"{kind}, {num_tasks:,} tasks: {dict(found['statuses'])}", file=sys.stderr, flush=True)
    head = ["database", "tasks", "act", "number", "requests/s", "CPU ms each", *(f"{name} ms" for name in QUANTILES)]
    print(table(head, rows))
    write_json(HERE / "results" / "labelling.json", figures)


if __name__ == "__main__":
    main()
