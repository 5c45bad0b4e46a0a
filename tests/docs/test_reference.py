"""The reference pages are what the code says, and the pages written by hand name only what there is."""

from __future__ import annotations

import re
from pathlib import Path
from types import ModuleType

import pytest
from typer.main import get_command

from docs_scripts import docs_script


@pytest.fixture(scope="module")
def generator(repository: Path) -> ModuleType:
    """docs/generate.py as a module."""
    return docs_script(repository, "generate")


def test_reference_pages_are_current(generator: ModuleType) -> None:
    assert not generator.stale(), "run `make docs` and commit docs/reference"


def test_every_page_is_in_the_index(repository: Path) -> None:
    index = (repository / "docs" / "index.md").read_text(encoding="utf-8")
    pages = [page.relative_to(repository / "docs").as_posix() for page in (repository / "docs").rglob("*.md")]
    missing = [page for page in pages if page != "index.md" and f"({page})" not in index]
    assert not missing, f"docs/index.md does not lead to {missing}"


def test_make_targets_named_in_the_documentation_exist(repository: Path) -> None:
    makefile = (repository / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))
    pages = [*repository.glob("*.md"), *(repository / "docs").rglob("*.md"), *(repository / "benchmarks").glob("*.md")]
    named = {
        (page.name, target)
        for page in pages
        for target in re.findall(r"(?:`|^)make ([a-z-]+)", page.read_text(encoding="utf-8"), re.MULTILINE)
    }
    assert named
    assert not [f"{page}: make {target}" for page, target in sorted(named) if target not in targets]


def commands_in(text: str) -> list[str]:
    """What follows `preflab` in inline code and at the start of lines of fenced blocks."""
    prose, fenced = text.split("```")[::2], text.split("```")[1::2]
    inline = [found for part in prose for found in re.findall(r"`preflab ([^`]+)`", part)]
    lines = [line for block in fenced for line in re.findall(r"(?m)^(?:\$ )?(?:\S*/)?preflab (.+)$", block)]
    return [words.partition(" #")[0].strip() for words in [*inline, *lines]]


def test_commands_and_options_named_in_the_documentation_exist(repository: Path) -> None:
    from preflab.cli import app

    pages = [*repository.glob("*.md"), *(repository / "docs").rglob("*.md")]
    wrong, root = [], get_command(app)
    for page in pages:
        for line in commands_in(page.read_text(encoding="utf-8")):
            command, words = root, line.split()
            while command and words and getattr(command, "commands", None) and not words[0].startswith("-"):
                command = command.commands.get(words.pop(0))
            known = {name for parameter in getattr(command, "params", ()) for name in parameter.opts}
            unknown = {word for word in words if word.startswith("-")} - known - {"--debug", "--help"}
            if command is None or unknown:
                wrong.append(f"{page.name}: preflab {line}")
    assert not wrong, f"there is no such command or option: {wrong}"


def test_formats_named_in_the_how_to_exist(repository: Path) -> None:
    from preflab.store.formats import FORMATS

    page = (repository / "docs" / "how-to" / "import-export.md").read_text(encoding="utf-8")
    rows = [line.split(" | ") for line in page.splitlines() if line.startswith("| ") and line.count(" | ") == 2]
    named = {name for row in rows[1:] for name in re.findall(r"`([^`]+)`", row[1])}
    assert named
    assert not named - FORMATS.keys()
