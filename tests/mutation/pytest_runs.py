"""pytest inside a process of the tool, and the changed module in the place of the real one."""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import importlib.util
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

import pytest

from mutation.operators import changed_tree
from mutation.sources import Change, source_text

FAULTS = {3: "pytest failed inside", 4: "pytest was called wrongly", 5: "no test was collected"}
"""pytest's exit statuses that say nothing of a change."""


class ChangedModule(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Imports one module from a changed tree; no file is written, bytecode included."""

    def __init__(self, module: str, path: Path, code: CodeType) -> None:
        self.module, self.path, self.code = module, path, code

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> importlib.machinery.ModuleSpec | None:
        if name != self.module:
            return None
        return importlib.util.spec_from_file_location(name, self.path, loader=self)

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType | None:
        return None

    def exec_module(self, module: ModuleType) -> None:
        exec(self.code, module.__dict__)


class FirstFailure:
    """A plugin for pytest: the first test, or file, that failed."""

    def __init__(self) -> None:
        self.name = ""

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed and not self.name:
            self.name = report.nodeid

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed and not self.name:
            self.name = report.nodeid


def run_pytest(root: Path, names: Sequence[str], folder: Path, plugin: object) -> int:
    """Run tests in this process, which must be one of its own; returns pytest's exit status.

    Everything that the tests write goes to `folder`: temporary files, and the examples that hypothesis remembers.
    """
    os.chdir(root)
    os.environ["HYPOTHESIS_STORAGE_DIRECTORY"] = str(folder / "hypothesis")
    options = ["-x", "-q", "--no-header", "--tb=line", "-p", "no:cacheprovider", "-p", "no:xdist"]
    options += ["-W", "ignore:Module already imported:pytest.PytestAssertRewriteWarning"]
    options += [f"--rootdir={root}", f"--basetemp={folder / 'pytest'}"]
    return int(pytest.main([*options, *names], plugins=[plugin]))


def try_change(root: Path, change: Change, names: Sequence[str], folder: Path) -> str:
    """Run tests against a change: the name of what noticed it, empty where all of them passed."""
    path = root / "src" / "preflab" / change.file
    code = compile(changed_tree(source_text(root, change.file), change.index), str(path), "exec")
    module = "preflab." + change.file.removesuffix(".py").replace("/", ".")
    sys.meta_path.insert(0, ChangedModule(module, path, code))
    first = FirstFailure()
    status = run_pytest(root, names, folder, first)
    if status in FAULTS and not first.name:
        raise RuntimeError(FAULTS[status])
    return first.name or ("" if status == 0 else f"pytest ended with status {status}")
