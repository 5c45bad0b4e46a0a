"""Which source files are changed, every change by name, and the changes known to change no number."""

from __future__ import annotations

import ast
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import yaml

from mutation.operators import places

SUBJECTS = (
    "maths/*.py", "models/chunk.py", "models/chunked.py", "models/encoder_decoders.py", "models/cross_attention.py",
    "models/encoded_prompts.py", "models/decoder_start.py", "models/decoder_tokens.py",
    "models/generation_defaults.py", "models/prompt_sharing.py", "conversations/separate_texts.py", "policy/*.py",
    "rewards/*.py", "sampling/draw.py", "sampling/encoder_decoder_pass.py", "training/*.py", "feedback/*.py",
    "evaluation/*.py", "statistics/*.py",
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
    names: tuple[str, ...] = ()
    """Of a change outside functions: what its statement defines, such as a constant or a class."""

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
    return [change for file in source_files(root) if only in file for change in _changes_of(root, file)]


def _changes_of(root: Path, file: str) -> list[Change]:
    tree = ast.parse(source_text(root, file))
    defined = {line: defined_names(node) for node in tree.body for line in range(node.lineno, node.end_lineno + 1)}
    return [
        Change(
            file, i, place.operator, place.function.rstrip("."), place.line, place.before, place.after,
            defined[place.line] if place.function.endswith(".") or not place.function else (),
        )
        for i, place in enumerate(places(tree))
    ]  # fmt: skip


def defined_names(node: ast.stmt) -> tuple[str, ...]:
    """The names that a statement of a module defines: of constants, functions and classes."""
    if isinstance(node, ast.FunctionDef | ast.ClassDef):
        return (node.name,)
    targets = node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
    return tuple(name.id for target in targets for name in ast.walk(target) if isinstance(name, ast.Name))


def readers(root: Path) -> dict[str, set[str]]:
    """Name → the functions, `maths/kl.py::AdaptiveKLController.update`, and test files that read it.

    A function that reads a constant made of the name counts too.
    """
    reading: dict[str, set[str]] = defaultdict(set)
    through: dict[str, set[str]] = defaultdict(set)
    for file in source_files(root):
        for node in ast.parse(source_text(root, file)).body:
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                _note_readers(node, f"{file}::", reading)
            else:
                for name in _names_in(node):
                    through[name].update(defined_names(node))
    for name, constants in through.items():
        reading[name] = set().union(reading[name], *(reading[constant] for constant in constants))
    for folder in ("by_hand", "enumerated"):
        for path in sorted((root / "tests" / folder).glob("test_*.py")):
            for name in _names_in(ast.parse(path.read_text(encoding="utf-8"))):
                reading[name].add(path.relative_to(root).as_posix())
    return reading


def _note_readers(node: ast.AST, prefix: str, reading: dict[str, set[str]]) -> None:
    if isinstance(node, ast.ClassDef):
        for child in node.body:
            _note_readers(child, f"{prefix}{node.name}.", reading)
    elif isinstance(node, ast.FunctionDef):
        for name in _names_in(node):
            reading[name].add(prefix + node.name)


def _names_in(node: ast.AST) -> set[str]:
    names = {child.id for child in ast.walk(node) if isinstance(child, ast.Name)}
    return names | {child.attr for child in ast.walk(node) if isinstance(child, ast.Attribute)}


def known_changes(root: Path) -> dict[str, str]:
    """Name of a change that changes no number on any valid input → why."""
    path = root / KNOWN
    if not path.is_file():
        return {}
    entries = yaml.safe_load(path.read_text(encoding="utf-8")) or []
    return {entry["change"]: entry["reason"] for entry in entries}
