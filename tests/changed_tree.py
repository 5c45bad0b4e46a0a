"""Copies of the tree with one of the diffs of CONTRIBUTING.md applied, and programs run in them."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
DIFFS = ROOT / "tests" / "data" / "adding"
"""One file for each section "Adding a …" of CONTRIBUTING.md."""
PARTS = ("src", "tests", "docs", "pyproject.toml", "README.md", "CONTRIBUTING.md")
"""What the tests of a copy read."""


def changed_files(diff: Path) -> list[str]:
    """The files that a diff changes or adds, by their paths in the tree."""
    lines = diff.read_text(encoding="utf-8").splitlines()
    return [line.removeprefix("+++ b/") for line in lines if line.startswith("+++ ")]


def changed_tree(folder: Path, diff: Path) -> Path:
    """A copy of the tree in `folder` with the diff applied and the reference pages written, as by `make docs`."""
    if shutil.which("git") is None:
        pytest.skip("git, which applies the diff, is not installed")
    for part in PARTS:
        if (ROOT / part).is_dir():
            shutil.copytree(ROOT / part, folder / part, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
        else:
            shutil.copy(ROOT / part, folder / part)
    subprocess.run(["git", "apply", str(diff)], cwd=folder, check=True)
    run_python(folder, "docs/generate.py")
    return folder


def run_python(tree: Path, *words: str, where: Path | None = None) -> str:
    """What Python prints, started with these words and the package of the copy; `where` is the folder it runs in."""
    environment = os.environ | {"PYTHONPATH": str(tree / "src")}
    done = subprocess.run(
        [sys.executable, *words], cwd=where or tree, capture_output=True, text=True, env=environment, check=False
    )
    assert done.returncode == 0, f"{' '.join(words)}\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
    return done.stdout


def run_tests(tree: Path, *words: str) -> str:
    """The last line of pytest, run in the copy."""
    return run_python(tree, "-m", "pytest", "-q", "-n", "0", "-p", "no:cacheprovider", *words).splitlines()[-1]
