"""How long `next_turn` and `submit` take: with many tasks waiting, and with many labelers at once; without HTTP.

    python benchmarks/assignment.py                                    100,000 tasks, 40 labelers, SQLite
    python benchmarks/assignment.py --url postgresql://user@host/name  the same on an empty PostgreSQL database

Every submission is on the disk when its call returns. Labelers think for `--think` seconds on average, as people do.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent / "tests"), str(HERE.parent / "src")]

from running import table, write_json  # noqa: E402

from labelling_world import make_campaign, put_labelers, send  # noqa: E402
from preflab.labelling.assignment import next_turn  # noqa: E402
from preflab.store.workspace import Workspace  # noqa: E402

Result = TypeVar("Result")
Times = dict[str, list[float]]


def timed(times: list[float], act: Callable[[], Result]) -> Result:
    """What the act gives; its time, in milliseconds, is added to the list."""
    start = time.perf_counter()
    result = act()
    times.append(1000 * (time.perf_counter() - start))
    return result


def one_after_another(ws: Workspace, campaign_id: str, labeler_ids: list[str], num_each: int) -> Times:
    """Each labeler judges so many tasks; the later ones meet tasks begun by the earlier ones, and their own."""
    times: Times = {"next task": [], "submit": []}
    for labeler_id in [*labeler_ids, labeler_ids[0]]:
        for _ in range(num_each):
            turn = timed(times["next task"], lambda who=labeler_id: next_turn(ws, campaign_id, who))  # type: ignore[misc]
            timed(times["submit"], lambda shown=turn: send(ws, shown))  # type: ignore[misc]
    return times


def all_at_once(ws: Workspace, campaign_id: str, labeler_ids: list[str], seconds: float, think: float) -> Times:
    """All labelers for so many seconds, in threads, each thinking between task and submission."""
    times: Times = {"next task": [], "submit": []}
    end = time.monotonic() + seconds

    def label(labeler_id: str) -> None:
        drawn = random.Random(labeler_id)
        time.sleep(drawn.uniform(0, think))
        while time.monotonic() < end:
            turn = timed(times["next task"], lambda: next_turn(ws, campaign_id, labeler_id))
            time.sleep(drawn.expovariate(1 / think))
            timed(times["submit"], lambda shown=turn: send(ws, shown))  # type: ignore[misc]

    with ThreadPoolExecutor(len(labeler_ids)) as pool:
        list(pool.map(label, labeler_ids))
    return times


def rows_of(case: str, times: Times) -> list[list[str]]:
    """Median, 95th percentile and maximum of each act."""
    return [[case, act, str(len(taken)), *quantiles(taken)] for act, taken in times.items()]


def quantiles(taken: list[float]) -> list[str]:
    """In milliseconds, one decimal."""
    return [f"{value:.1f}" for value in np.quantile(taken, [0.5, 0.95, 1.0])]


def main() -> None:
    """Measure, print a table, keep the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", type=int, default=100_000)
    parser.add_argument("--labelers", type=int, default=40)
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--think", type=float, default=2, help="seconds between a task and its submission, on average")
    parser.add_argument("--url", help="an empty PostgreSQL database instead of SQLite")
    asked = parser.parse_args()
    rows: list[list[str]] = []
    figures: dict[str, Any] = vars(asked) | {"url": bool(asked.url)}
    with tempfile.TemporaryDirectory() as folder, Workspace.open(folder, create=True, url=asked.url) as ws:
        campaign = make_campaign(ws, asked.tasks, 2)
        labeler_ids = put_labelers(ws, asked.labelers)
        cases = {
            "one after another": lambda: one_after_another(ws, campaign.id, labeler_ids[:4], 250),
            f"{asked.labelers} at once": lambda: all_at_once(ws, campaign.id, labeler_ids, asked.seconds, asked.think),
        }
        for case, measure in cases.items():
            times = measure()
            rows += rows_of(case, times)
            figures[case] = {act: quantiles(taken) for act, taken in times.items()}
    print(table(["case", "act", "number", "median ms", "p95 ms", "max ms"], rows))
    write_json(HERE / "results" / "assignment.json", figures)


if __name__ == "__main__":
    main()
