"""A seventh way of judging is three new files and nothing else: a small diff, applied to a copy, labels end to end."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from source_tree import PACKAGE

pytestmark = [pytest.mark.slow, pytest.mark.browser]

TESTS = Path(__file__).parents[1]
DIFF = TESTS / "data" / "seventh_way.diff"
FILES = {
    "src/preflab/ways/worst.py",
    "src/preflab/web/templates/label/ways/worst.html.j2",
    "src/preflab/web/static/way-worst.js",
}


def test_the_diff_adds_three_files_and_changes_none() -> None:
    lines = DIFF.read_text(encoding="utf-8").splitlines()
    assert {line.removeprefix("+++ b/") for line in lines if line.startswith("+++ ")} == FILES
    assert [line for line in lines if line.startswith("--- ")] == ["--- /dev/null"] * 3
    assert not [line for line in lines if line.startswith("-") and not line.startswith("--- ")]
    assert len([line for line in lines if line.startswith("+") and not line.startswith("+++ ")]) < 160


@pytest.fixture(scope="module")
def walked(tmp_path_factory: pytest.TempPathFactory, chromium: str) -> dict[str, Any]:
    """What came of the walk through a copy of the package with the diff."""
    if shutil.which("git") is None:
        pytest.skip("git, which applies the diff, is not installed")
    pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    copy, folder = tmp_path_factory.mktemp("copy"), tmp_path_factory.mktemp("walk")
    shutil.copytree(PACKAGE, copy / "src" / "preflab", ignore=shutil.ignore_patterns("__pycache__"))
    subprocess.run(["git", "apply", str(DIFF)], cwd=copy, check=True)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(copy / "src"), str(TESTS)])}
    done = subprocess.run(
        [sys.executable, str(TESTS / "seventh_way_walk.py"), str(folder), chromium],
        cwd=folder, capture_output=True, text=True, env=environment, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    assert Path(found["package"]).is_relative_to(copy)
    return found


def test_a_campaign_of_it_has_its_question_and_instructions(walked: dict[str, Any]) -> None:
    assert walked["question"] == "Which completion is the worst?"
    assert walked["instructions"].startswith("You see a prompt and several completions. Name the worst one. ")
    assert "- If none is worse than the others, say so.\n" in walked["instructions"]


def test_its_page_asks_for_it(walked: dict[str, Any]) -> None:
    page = walked["page"]
    assert re.search(r'<script type="module" src="/static/\w+/way-worst\.js"></script>', page)
    assert "Name a single one. F is for nonsense" in page
    assert [letter for letter in "ABC" if f'aria-label="{letter} is worst"' in page] == ["A", "B", "C"]
    assert page.count('name="failed_') == 3
    assert page.count("<legend>The worst</legend>") == 1


def test_answers_come_through_the_api_and_wrong_ones_do_not(walked: dict[str, Any]) -> None:
    status, body = walked["refused"]
    assert (status, body["error"]["found"]) == (422, "worst: 3")
    assert body["error"]["expected"] == "a whole number from 0 to 2"
    assert walked["receipts"] == [[201, 201], [201, 201]]
    assert walked["stored"] == [{"way": "worst", "worst": 2}] * 4
    assert '{\\"best\\": 1}, {\\"worst\\": 1}, {\\"scores\\"' in walked["described"]


def test_its_votes_are_one_fewer_than_completions(walked: dict[str, Any]) -> None:
    for task in walked["consensus"]:
        assert [pair[:2] for pair in task["pairs"]] == [[0, 2], [1, 2]]
        assert sum(pair[2] for pair in task["pairs"]) == pytest.approx(1)
        assert task["ranks"][2] > max(task["ranks"][:2])
    # Four pairs, each judged alike by both: pairs have an alpha; nothing is ranked, scored or called good.
    assert set(walked["coefficients"]) == {"fail_alpha", "pair_alpha", "pair_fleiss"}


def test_simulated_labelers_answer_it(walked: dict[str, Any]) -> None:
    assert walked["simulated"] == [
        {"way": "worst", "worst": 2},
        {"way": "worst", "worst": None},
        {"way": "worst", "worst": 1, "failed": [False, False, True]},
    ]


def test_it_is_exported_and_imported(walked: dict[str, Any]) -> None:
    assert walked["rows"] == [4, 4, 4]
    assert walked["imported"] == walked["stored"]
    assert walked["campaigns"] == ["worst"]
    assert walked["rankings"] == [[1, 1, 2]] * 4


def test_its_script_works_in_a_browser(walked: dict[str, Any]) -> None:
    seen = walked["browser"]
    assert seen["so_far"] == f"{seen['letter']} is worst"
    assert seen["stored"] == {"way": "worst", "worst": 2}
    assert seen["wrong"] == []
