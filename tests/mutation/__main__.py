"""`make mutants`: changes the source in many small ways, one at a time, and counts what the tests notice.

Exit status 1 when more than the allowed share survives.
"""

from __future__ import annotations

import argparse
import gc
import importlib
import os
import random
import signal
import sys
import time
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from mutation.processes import Ended, Job, run_jobs
from mutation.pytest_runs import try_change
from mutation.sources import Change, changes, known_changes, readers
from mutation.watching import importers_of, tests_of, watched_tests

ALLOWED_SHARE = 0.03
"""Of the changes made, how many may survive."""
HEAVY = {
    "pytest": ("hypothesis", "anyio", "_pytest.pytester", "xml.dom.minidom"),
    "torch": ("torch", "torch._dynamo", "torch.fx.experimental.symbolic_shapes", "sympy"),
    "numpy": ("numpy",),
    "scipy": ("scipy.stats", "scipy.optimize"),
    "pydantic": ("pydantic",),
    "transformers": (
        "transformers.models.auto.modeling_auto", "transformers.models.llama.modeling_llama",
        "transformers.models.gpt2.modeling_gpt2",
    ),
    "peft": ("peft",),
    "accelerate": ("accelerate",),
}  # fmt: skip
"""Imported once, before processes are forked, where the source or pytest needs the package; preflab never is."""
ENVIRONMENT = {
    "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false", "HF_HUB_OFFLINE": "1",
    "HF_DATASETS_OFFLINE": "1", "CUDA_VISIBLE_DEVICES": "",
}  # fmt: skip
STOPPED = "stopped: out of time, or the process died"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit status."""
    options = _parser().parse_args(arguments)
    root = options.root.resolve()
    os.environ.update(ENVIRONMENT)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(STOPPED))  # so that processes and folders are cleared away
    started = time.monotonic()
    num = sys.maxsize if options.all else options.num
    chosen, num_known = sample(root, num, options.seed, options.only)
    if not chosen and num > 0:
        raise SystemExit(
            f"no file in which changes are made has {options.only!r} in its path, such as feedback/kappa.py"
        )
    preload(root)
    tests, importers, reading = watched_tests(root, options.jobs, say=_say), importers_of(root), readers(root)
    survivors: list[Change] = []
    done = 0
    tried = [tests_of(change, tests, importers, reading) for change in chosen]
    names = [[test.name for test in of_change] for of_change in tried]
    seconds = [sum(test.seconds for test in of_change) for of_change in tried]

    def finished(place: int, ended: Ended) -> None:
        nonlocal done
        done += 1
        if ended.raised:
            raise SystemExit(f"the tool failed on {chosen[place]}:\n{ended.output}")
        noticed_by = STOPPED if ended.result is None else ended.result
        if not noticed_by:
            survivors.append(chosen[place])
        _say(f"{done}/{len(chosen)} {chosen[place]}: {noticed_by or 'SURVIVED'}")

    jobs = [
        Job(
            lambda folder, i=i: try_change(root, chosen[i], names[i], folder) if names[i] else "",
            int(options.seconds + 4 * seconds[i]),
        )
        for i in range(len(chosen))
    ]
    run_jobs(jobs, options.jobs, finished)
    _say(f"took {time.monotonic() - started:.0f} s")
    print(summary(chosen, survivors, num_known))
    return int(len(survivors) > ALLOWED_SHARE * len(chosen))


def sample(root: Path, num: int, seed: int, only: str) -> tuple[list[Change], int]:
    """`num` changes, and how many were drawn with them that are known to change no number.

    A line of the source is drawn and one of its changes, so that a line with many arguments does not outweigh others;
    no line is drawn again before every line was.
    """
    known, generator = known_changes(root), random.Random(seed)
    lines: dict[tuple[str, int], list[Change]] = defaultdict(list)
    for change in changes(root, only):
        lines[change.file, change.line].append(change)
    waiting = list(lines.values())
    generator.shuffle(waiting)
    for line in waiting:
        generator.shuffle(line)
    chosen: list[Change] = []
    num_known = 0
    while waiting and len(chosen) < num:
        for line in waiting:
            change = line.pop()
            num_known += change.name in known
            chosen += [change] if change.name not in known else []
            if len(chosen) == num:
                break
        waiting = [line for line in waiting if line]
    return chosen, num_known


def preload(root: Path) -> None:
    """Import what the source files and the tests use and what takes seconds to import."""
    text = "".join(path.read_text(encoding="utf-8") for path in (root / "src" / "preflab").rglob("*.py"))
    for package, modules in HEAVY.items():
        if package == "pytest" or f"import {package}" in text or f"from {package}" in text:
            for name in modules:
                importlib.import_module(name)
    gc.freeze()  # no collection writes to, and so copies, what the processes share


def summary(chosen: Sequence[Change], survivors: Sequence[Change], num_known: int) -> str:
    """What the command prints at its end."""
    share = len(survivors) / max(1, len(chosen))
    lines = [
        f"{len(chosen)} changes made, {len(chosen) - len(survivors)} noticed, {len(survivors)} survived "
        f"({100 * share:.1f} %, allowed {100 * ALLOWED_SHARE:.0f} %); "
        f"{num_known} more were drawn that are known to change no number"
    ]
    return "\n".join(lines + [f"survived: src/preflab/{change}" for change in sorted(survivors, key=str)])


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="make mutants", description="Count the deliberate changes that tests notice.")
    parser.add_argument("--num", type=int, default=150, help="how many changes (default 150)")
    parser.add_argument("--all", action="store_true", help="every change instead, best with --only")
    parser.add_argument("--seed", type=int, default=0, help="which changes (default 0)")
    parser.add_argument(
        "--only", default="", help="changes of files whose path holds this text, e.g. feedback/kappa.py"
    )
    parser.add_argument(
        "--seconds", type=int, default=60, help="processor seconds of a change, beside four times those of its tests"
    )
    parser.add_argument("--jobs", type=int, default=2, help="processes side by side (default 2)")
    parser.add_argument("--root", type=Path, default=Path(__file__).resolve().parents[2], help="another checkout")
    return parser


if __name__ == "__main__":
    sys.exit(main())
