"""Starting is quick: nothing heavy is imported before it is needed.

Processor time of a fresh process is measured, the best of several, because the clock on the wall also counts what
else the machine is doing. The guard that does not depend on a machine at all is the list of modules loaded.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys

from source_tree import PACKAGE, modules, room

HEAVY = (
    "torch",
    "transformers",
    "peft",
    "accelerate",
    "sqlalchemy",
    "alembic",
    "datasets",
    "pandas",
    "scipy",
)
REPEATS = 5


def run(code: str) -> str:
    """What a fresh interpreter prints for this code."""
    environment = os.environ | {"PYTHONPATH": str(PACKAGE.parent), "COLUMNS": "100"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def loaded(code: str) -> set[str]:
    """The heavy packages loaded after running this code."""
    return set(run(f"import sys\n{code}\nprint(*(name for name in {HEAVY!r} if name in sys.modules))").split())


def processor_seconds(code: str) -> float:
    """The least user + system time of several fresh interpreters running this code, their own start included."""

    def once() -> float:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        run(code)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    return min(once() for _ in range(REPEATS))


HELP = """
import contextlib, io
with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(SystemExit):
    sys.argv = ["preflab", "--help"]
    from preflab.cli import main
    main()
"""


def test_importing_preflab_costs_nothing() -> None:
    assert not loaded("import preflab")
    assert processor_seconds("import preflab") - processor_seconds("pass") < 0.1


def test_help_is_quick() -> None:
    assert not loaded(HELP)
    assert processor_seconds("import sys" + HELP) < 0.6, "0.35 on an idle machine, half as much again on a busy one"


LIGHT = ("records", "errors", "files", "seeds", "settings", "recipe", "progress", "cli")


def loaded_by_rooms(rooms: tuple[str, ...]) -> dict[str, list[str]]:
    """Module → the heavy packages that its import adds, for the modules of some rooms, in one fresh interpreter.

    A package counts for the first module that loads it.
    """
    names = sorted(module for module in modules() if room(module) in rooms)
    assert len(names) >= len(rooms)
    code = f"""
import importlib, json, sys
heavy, found = set({HEAVY!r}), {{}}
for name in {names!r}:
    before = heavy & set(sys.modules)
    importlib.import_module(name)
    found[name] = sorted((heavy & set(sys.modules)) - before)
print(json.dumps(found))
"""
    added: dict[str, list[str]] = json.loads(run(code))
    assert list(added) == names
    return {name: packages for name, packages in added.items() if packages}


def test_light_modules_load_nothing_heavy() -> None:
    assert loaded_by_rooms(LIGHT) == {}


def test_feedback_needs_neither_torch_nor_a_database() -> None:
    added = loaded_by_rooms(("feedback",))
    needless = {"torch", "transformers", "sqlalchemy"}
    assert {name: packages for name, packages in added.items() if needless & set(packages)} == {}
