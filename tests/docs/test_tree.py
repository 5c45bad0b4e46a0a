"""The tree in the README: a phrase for every folder and top-level file, none missing, none stale."""

from __future__ import annotations

import ast
import re
from pathlib import Path

LINE = re.compile(r"^(?P<indent> *)(?P<name>[\w./]+)(?: {2,}(?P<phrase>\S.*))?$")


def tree_block(readme: str) -> list[str]:
    """The lines of the first fenced block after the heading of the tree."""
    _, _, after = readme.partition("## The tree\n")
    assert after, "README.md has no heading '## The tree'"
    return after.split("```")[1].splitlines()[1:]


def listed(lines: list[str]) -> dict[str, str]:
    """Path below src/preflab → its phrase, for a tree indented by two spaces per level."""
    phrases: dict[str, str] = {}
    folders: list[str] = []
    for line in lines:
        match = LINE.match(line)
        assert match, f"README.md, the tree: cannot read {line!r}"
        depth = len(match["indent"]) // 2
        well_indented = len(match["indent"]) % 2 == 0 and depth <= len(folders)
        assert well_indented, f"README.md, the tree: odd indent at {line!r}"
        folders = folders[:depth]
        path = "".join([*folders, match["name"]])
        assert path not in phrases, f"README.md, the tree: {path} twice"
        phrases[path] = (match["phrase"] or "").strip()
        if match["name"].endswith("/"):
            folders.append(match["name"])
    return phrases


def rooms_and_leaves(package: Path) -> set[str]:
    """Every folder with modules, and the modules at the top; a folder of migrations counts as one thing."""
    found = {file.name for file in package.glob("*.py") if file.name != "__init__.py"}
    for file in package.rglob("*.py"):
        folders = list(file.relative_to(package).parts[:-1])
        if "migrations" in folders:
            folders = folders[: folders.index("migrations") + 1]
        found |= {"/".join(folders[:depth]) + "/" for depth in range(1, len(folders) + 1)}
    return found


def test_every_room_has_a_phrase_and_every_phrase_a_room(repository: Path) -> None:
    phrases = listed(tree_block((repository / "README.md").read_text(encoding="utf-8")))
    in_readme = {path.removeprefix("src/preflab/") for path in phrases} - {""}
    real = rooms_and_leaves(repository / "src" / "preflab")
    assert not (missing := sorted(real - in_readme)), f"README.md, the tree: say what these are: {missing}"
    assert not (stale := sorted(in_readme - real)), f"README.md, the tree: these are not there: {stale}"


def test_every_module_begins_with_a_sentence_of_its_own(repository: Path) -> None:
    package = repository / "src" / "preflab"
    files = [file for file in package.rglob("*.py") if "migrations" not in file.parts]
    sentences = {file: (ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or "").strip() for file in files}
    silent = sorted(str(file.relative_to(package)) for file, text in sentences.items() if len(text) < 8)
    assert not silent, f"say in a docstring what these are for: {silent}"


def test_each_phrase_says_something_of_its_own(repository: Path) -> None:
    phrases = listed(tree_block((repository / "README.md").read_text(encoding="utf-8")))
    short = sorted(path for path, phrase in phrases.items() if len(phrase) < 8)
    assert not short, f"README.md, the tree: a phrase is missing or says nothing at {short}"
    assert len(set(phrases.values())) == len(phrases), "README.md, the tree: two entries have the same phrase"


def test_links_in_the_documentation_lead_somewhere(repository: Path) -> None:
    folders = ("docs", "recipes", "benchmarks")
    pages = [*repository.glob("*.md"), *(page for name in folders for page in (repository / name).rglob("*.md"))]
    broken = []
    for page in pages:
        for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
            if not re.match(r"[a-z]+:|#", target) and not (page.parent / target.partition("#")[0]).exists():
                broken.append(f"{page.relative_to(repository)}: {target}")
    assert not broken, f"links that lead nowhere: {broken}"
