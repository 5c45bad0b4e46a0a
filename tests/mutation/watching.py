"""Which test runs which function: every quick test of the subjects is run once, unchanged, and watched.

This is the baseline too: it says whether all of them pass, and how much processor time each takes.
"""

from __future__ import annotations

import ast
import hashlib
import json
import math
import sys
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from mutation.processes import Ended, Job, run_jobs
from mutation.pytest_runs import run_pytest
from mutation.sources import Change, source_files
from source_tree import imports

FILES = (
    "by_hand/test_*.py", "enumerated/test_*.py", "invariants/test_*.py", "docs/test_*_page*.py",
    "flow/*/test_*_loop.py",
    "flow/*/test_held_out.py", "flow/*/test_reward_training.py", "flow/*/test_reward_details.py",
    "flow/*/test_reward_ensemble.py", "flow/*/test_reward_sources.py", "flow/*/test_feedback_groups.py",
    "flow/*/test_consensus_simulated.py", "flow/*/test_precision_alarms.py", "flow/*/test_*_resume.py",
    "flow/*/test_turn_weights.py", "flow/*/test_separate_texts.py", "flow/*/test_encoder_decoder_files.py",
    "flow/*/test_classifier_stage.py",
)  # fmt: skip
"""Tests of numbers, below `tests/`; of whole commands and stages only those that are quick for what they run."""
LEFT_OUT = "test_mutation"
"""Test files whose name begins so are those of this tool."""
STORED = "build/mutants/tests.json"
MOST_SECONDS_OF_A_FILE = 60
"""Processor time after which no further test of a file is watched."""
MOST_SECONDS_OF_A_TEST = 20.0
BUDGET = 40.0
"""Processor seconds of tests that a change is run against at most."""
OVERHEAD = 0.2
"""Seconds reckoned for each test beside its own, for collecting it."""


@dataclass(frozen=True)
class WatchedTest:
    """One test: what it costs and what it runs."""

    name: str
    seconds: float
    functions: frozenset[str]
    """`maths/kl.py::AdaptiveKLController.update`, of the files that are changed."""


class Watcher:
    """A plugin for pytest: the functions that each test runs, its seconds, and which tests failed.

    What runs in a fixture of a module or a session counts for every test of the file.
    """

    def __init__(self, root: Path) -> None:
        package = root / "src" / "preflab"
        self.files = {str(package / file): file for file in source_files(root)}
        self.shared: set[str] = set()
        self.current = self.shared
        self.tests: dict[str, set[str]] = {}
        self.seconds: dict[str, float] = {}
        self.failed: list[str] = []

    def watch(self, frame: FrameType, event: str, argument: Any) -> None:
        """Note a call; lines are not watched, which keeps tests nearly as fast as they are."""
        file = self.files.get(frame.f_code.co_filename)
        if file is not None:
            self.current.add(f"{file}::{frame.f_code.co_qualname}")

    def pytest_collection_finish(self) -> None:
        sys.settrace(self.watch)  # only now: imports would take several times as long

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        self.current = self.tests.setdefault(item.nodeid, set())
        started = time.process_time()
        result = yield
        self.seconds[item.nodeid] = time.process_time() - started
        self.current = self.shared
        if time.process_time() > MOST_SECONDS_OF_A_FILE:
            item.session.shouldstop = f"{MOST_SECONDS_OF_A_FILE} seconds are enough"
        return result

    @pytest.hookimpl(wrapper=True)
    def pytest_fixture_setup(self, fixturedef: Any) -> Iterator[None]:
        before = self.current
        self.current = before if fixturedef.scope == "function" else self.shared
        result = yield
        self.current = before
        return result

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            self.failed.append(report.nodeid)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed:
            self.failed.append(report.nodeid)


def watch_file(root: Path, file: str, folder: Path) -> dict[str, Any]:
    """Run one test file watched: {"failed", "tests": name → {"seconds", "functions"}}."""
    watcher = Watcher(root)
    run_pytest(root, [file], folder, watcher)
    sys.settrace(None)
    tests = {
        name: {"seconds": round(watcher.seconds[name], 3), "functions": sorted(functions | watcher.shared)}
        for name, functions in watcher.tests.items()
    }
    return {"failed": watcher.failed, "tests": tests}


def test_files(root: Path) -> list[str]:
    """The test files that import a file of the subjects, themselves or through a module of `tests/`."""
    subjects = {"preflab." + file.removesuffix(".py").replace("/", ".") for file in source_files(root)}
    helpers = {file.stem: _imported(file) for file in (root / "tests").glob("*.py")}
    helpers |= {file.stem: _imported(file) for file in (root / "tests" / "enumerated").glob("*.py")}
    chosen = []
    for pattern in FILES:
        for file in sorted((root / "tests").glob(pattern)):
            if not file.name.startswith(LEFT_OUT) and _reaches(_imported(file), subjects, helpers):
                chosen.append(file.relative_to(root).as_posix())
    return chosen


def _imported(file: Path) -> set[str]:
    return set(imports(ast.parse(file.read_text(encoding="utf-8")), file.stem))


def _reaches(names: set[str], subjects: set[str], helpers: dict[str, set[str]]) -> bool:
    """Whether a subject is among the names, or among those of a helper that is."""
    reached, waiting = set(names), list(names)
    while waiting:
        for name in helpers.get(waiting.pop().partition(".")[0], set()) - reached:
            reached.add(name)
            waiting.append(name)
    return any(name == subject or name.startswith(subject + ".") for name in reached for subject in subjects)


def fingerprint(root: Path, file: str) -> str:
    """Of everything that what a test file runs depends on: the package, the modules of `tests/`, the file."""
    digest = hashlib.sha256()
    tests = root / "tests"
    modules = [*tests.glob("*.py"), *(path for path in (tests / "enumerated").glob("*.py") if "test_" not in path.name)]
    for path in [*sorted((root / "src" / "preflab").rglob("*.py")), *sorted(modules), root / file]:
        digest.update(path.read_bytes())
    return digest.hexdigest()


def watched_tests(root: Path, num_processes: int, *, say: Any = print) -> list[WatchedTest]:
    """Every test of the subjects; those that were watched before are read from `build/`.

    Raises:
        SystemExit: a test fails without any change.
    """
    store = root / STORED
    stored = json.loads(store.read_text(encoding="utf-8")) if store.is_file() else {}
    prints = {file: fingerprint(root, file) for file in test_files(root)}
    fresh = {file: stored[file] for file, text in prints.items() if stored.get(file, {}).get("fingerprint") == text}
    missing = [file for file in prints if file not in fresh]
    if missing:
        say(f"watching which functions the tests of {len(missing)} files run")

    def finished(place: int, ended: Ended) -> None:
        file = missing[place]
        if ended.result is None:  # not stored, so that the next run tries it again
            say(f"{file}: left out, a test takes too long or ends the process\n{ended.output}")
            return
        say(f"watched {file}")
        fresh[file] = {"fingerprint": prints[file], **ended.result}
        store.parent.mkdir(parents=True, exist_ok=True)
        store.write_text(json.dumps(fresh), encoding="utf-8")

    jobs = [
        Job(lambda folder, file=file: watch_file(root, file, folder), 4 * MOST_SECONDS_OF_A_FILE) for file in missing
    ]
    run_jobs(jobs, num_processes, finished)
    failed = [name for entry in fresh.values() for name in entry["failed"]]
    if failed:
        store.write_text(json.dumps({f: e for f, e in fresh.items() if not e["failed"]}), encoding="utf-8")
        raise SystemExit("these tests fail without any change:\n" + "\n".join(failed))
    return [
        WatchedTest(name, test["seconds"], frozenset(test["functions"]))
        for entry in fresh.values()
        for name, test in entry["tests"].items()
        if test["seconds"] <= MOST_SECONDS_OF_A_TEST
    ]


def tests_of(
    change: Change, tests: Sequence[WatchedTest], importers: dict[str, set[str]], reading: dict[str, set[str]]
) -> list[WatchedTest]:
    """The tests that run the changed function, the fastest and most special first, up to the budget.

    A change outside functions is run against the tests that read the changed name or run a function that does; where
    there are none, against those that run any function of the file or of a file importing it.
    """
    files = {change.file} | importers.get(change.file, set())
    changed = {f"{change.file}::{change.function}"} if change.function and not change.names else set()
    for name in change.names:
        changed |= {function for function in reading.get(name, set()) if function.partition("::")[0] in files}
    readers = set().union(*(reading.get(name, set()) for name in change.names))
    running = [
        test for test in tests if not changed.isdisjoint(test.functions) or test.name.partition("::")[0] in readers
    ] or [test for test in tests if any(name.partition("::")[0] in files for name in test.functions)]
    chosen, left = [], BUDGET
    for test in sorted(running, key=lambda test: (math.ceil(test.seconds), len(test.functions), test.name)):
        left -= test.seconds + OVERHEAD
        if left < 0 and chosen:
            break
        chosen.append(test)
    return chosen


def importers_of(root: Path) -> dict[str, set[str]]:
    """File → the files among the subjects that import it."""
    files = source_files(root)
    modules = {"preflab." + file.removesuffix(".py").replace("/", "."): file for file in files}
    importing: dict[str, set[str]] = defaultdict(set)
    for file in files:
        for name in _imported(root / "src" / "preflab" / file):
            target = modules.get(name) or modules.get(name.rpartition(".")[0])
            if target:
                importing[target].add(file)
    return importing
