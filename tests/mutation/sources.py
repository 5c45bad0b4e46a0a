"""Which source files are changed, every change by name, and the changes known to change no number."""

from __future__ import annotations

import ast
from dataclasses import dataclass
from pathlib import Path

import yaml

from mutation.operators import places

SUBJECTS = (
    "maths/*.py", "models/chunk.py", "models/chunked.py", "policy/*.py", "rewards/*.py", "sampling/draw.py",
    "training/*.py", "feedback/*.py", "evaluation/*.py",
)  # fmt: skip
"""What is changed, below `src/preflab`: where numbers are computed."""
KNOWN = "tests/mutation/known.yaml"


@dataclass(frozen=True)
class Change:
    """One deliberate change of one source file."""

    file: str
    """Below `src/preflab`."""
    index: int
    """Its number among the changes of the file."""
    operator: str
    function: str
    line: int
    before: str
    after: str

    @property
    def name(self) -> str:
        """What it is called in the list of known changes: stays as it is when lines move."""
        where = f"{self.file}, {self.function}" if self.function else self.file
        return f"{where}: {self.before} → {self.after}"

    def __str__(self) -> str:
        return f"{self.file}:{self.line} {self.function}: {self.before} → {self.after} ({self.operator})"


def source_files(root: Path) -> list[str]:
    """The files that are changed, below `src/preflab`."""
    package = root / "src" / "preflab"
    files = {file for pattern in SUBJECTS for file in package.glob(pattern) if file.name != "__init__.py"}
    return sorted(file.relative_to(package).as_posix() for file in files)


def source_text(root: Path, file: str) -> str:
    """The text of a source file."""
    return (root / "src" / "preflab" / file).read_text(encoding="utf-8")


def changes(root: Path, only: str = "") -> list[Change]:
    """Every change that can be made, of files whose path holds `only`."""
    return [
        Change(file, i, place.operator, place.function.rstrip("."), place.line, place.before, place.after)
        for file in source_files(root)
        if only in file
        for i, place in enumerate(places(ast.parse(source_text(root, file))))
    ]


def known_changes(root: Path) -> dict[str, str]:
    """Name of a change that changes no number on any valid input → why."""
    path = root / KNOWN
    if not path.is_file():
        return {}
    entries = yaml.safe_load(path.read_text(encoding="utf-8")) or []
    return {entry["change"]: entry["reason"] for entry in entries}
