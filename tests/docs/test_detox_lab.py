"""The page about the summarisation lab and its notebook: the same cells, and they run."""

from __future__ import annotations

import ast
import json
from pathlib import Path
from typing import Any

import pytest

from docs_scripts import docs_script


@pytest.fixture(scope="module")
def page(repository: Path) -> str:
    return (repository / "docs" / "learn" / "detox-lab.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def notebook(repository: Path) -> dict[str, Any]:
    """The notebook's content."""
    text = (repository / "docs" / "learn" / "detox-lab.ipynb").read_text(encoding="utf-8")
    content: dict[str, Any] = json.loads(text)
    return content


def code_cells(notebook: dict[str, Any]) -> list[str]:
    return ["".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "code"]


def test_notebook_has_the_cells_of_the_page_in_order(page: str, notebook: dict[str, Any]) -> None:
    lines, cell, blocks = page.splitlines(), None, []
    for line in lines:  # read anew, without the function that writes the notebook
        if line == "```python":
            cell = []
        elif line == "```" and cell is not None:
            blocks.append("\n".join(cell))
            cell = None
        elif cell is not None:
            cell.append(line)
    assert len(blocks) > 5
    assert code_cells(notebook) == blocks
    words = "\n".join("".join(each["source"]) for each in notebook["cells"] if each["cell_type"] == "markdown")
    assert all(line in words for line in lines if line.startswith(("#", "|")))


def test_notebook_is_valid_and_holds_no_outputs(notebook: dict[str, Any]) -> None:
    assert (notebook["nbformat"], notebook["nbformat_minor"]) == (4, 5)
    ids = [cell["id"] for cell in notebook["cells"]]
    assert len(set(ids)) == len(ids)
    for cell in notebook["cells"]:
        assert cell.keys() >= {"cell_type", "id", "metadata", "source"}
        assert (cell.get("outputs"), cell.get("execution_count")) in ([[], None], (None, None), ([], None))
    for code in code_cells(notebook):
        ast.parse(code)


def test_page_with_adjacent_blocks_gives_no_empty_cells(repository: Path) -> None:
    script = docs_script(repository, "notebook")
    assert script.cells_of("# A\n\n```python\na = 1\n```\n\n```python\nb = 2\n```\n\n```\nshell\n```\n") == [
        ("markdown", "# A"),
        ("code", "a = 1"),
        ("code", "b = 2"),
        ("markdown", "```\nshell\n```"),
    ]


@pytest.mark.slow
def test_cells_of_the_notebook_run(
    repository: Path,
    tmp_path: Path,
    notebook: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(repository)
    names: dict[str, Any] = {}
    for number, code in enumerate(code_cells(notebook)):
        small = code.replace("SCALE = 1.0", "SCALE = 0.02").replace('Path("detox-lab")', f"Path({str(tmp_path)!r})")
        exec(compile(small, f"cell {number}", "exec"), names)
    assert (tmp_path / "report.html").is_file()
    assert {model["name"] for model in names["found"]["models"]} == {"base", "ppo", "human"}
    assert len(names["calls"]) == 8
    printed = capsys.readouterr().out
    assert "human − base, probability/toxicity:" in printed
    assert str(tmp_path / "report.html") in printed
