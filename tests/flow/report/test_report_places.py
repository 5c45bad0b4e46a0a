"""Where a report's page lies when several recipes share a folder: none is overwritten by another recipe's."""

from __future__ import annotations

import pytest

from preflab.cli import run_command
from toy_stages import Writer

RECIPE = "stages:\n  first: {kind: grow, num_steps: 1}\n  page: {kind: report, of: [first]}\n"


def test_another_recipe_s_page_is_left_alone(write_recipe: Writer, capsys: pytest.CaptureFixture[str]) -> None:
    first = write_recipe(RECIPE)
    folder = first.parent
    assert run_command(["run"]) == 0
    capsys.readouterr()
    (folder / "other.yaml").write_text("recipe: 1\n" + RECIPE.replace("first", "second"), encoding="utf-8")
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert run_command(["run", "other.yaml"]) == 0
    assert "open report-other.html in a browser" in capsys.readouterr().out
    assert (folder / "report.html").read_text(encoding="utf-8") == page
    assert "second" in (folder / "report-other.html").read_text(encoding="utf-8")
    # Either one again goes where it went before.
    assert run_command(["run", "other.yaml", "--fresh", "page"]) == 0
    assert "report-other.html" in capsys.readouterr().out
    assert run_command(["run", "--fresh", "page"]) == 0
    assert "open report.html in a browser" in capsys.readouterr().out
    assert sorted(path.name for path in folder.glob("report*.html")) == ["report-other.html", "report.html"]


def test_a_changed_recipe_replaces_its_own_page(write_recipe: Writer, capsys: pytest.CaptureFixture[str]) -> None:
    folder = write_recipe(RECIPE).parent
    assert run_command(["run"]) == 0
    assert run_command(["run", "--set", "stages.first.num_steps=2", "--set", "stages.page.title=Again"]) == 0
    assert "open report.html in a browser" in capsys.readouterr().out
    assert [path.name for path in folder.glob("report*.html")] == ["report.html"]
    assert "Again" in (folder / "report.html").read_text(encoding="utf-8")


def test_run_names_the_folder_of_a_trained_model(write_recipe: Writer, capsys: pytest.CaptureFixture[str]) -> None:
    folder = write_recipe(RECIPE).parent
    assert run_command(["run"]) == 0
    assert "export model" not in capsys.readouterr().out
    (stage,) = folder.glob("runs/first-*")
    (stage / "model").mkdir()
    (stage / "model" / "config.json").write_text("{}", encoding="utf-8")
    assert run_command(["run"]) == 0
    *_, where, how, _ = capsys.readouterr().out.splitlines()
    assert where.startswith("model of first: ")
    assert where.endswith(f"runs/{stage.name}/model")
    assert how == "`preflab export model first FOLDER` writes a model with its model card"
