"""`preflab learn`: the list, a lesson, an answer, and what is stored of them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from preflab.cli import run_command
from preflab.errors import PreflabError
from preflab.lessons.done import Progress, note_done, read_done


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_lesson_is_done_when_it_was_run_and_answered(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["learn"]) == 0
    assert "next: preflab learn 1\n" in capsys.readouterr().out
    assert run_command(["learn", "1", "--predict", "about half"]) == 0
    out = capsys.readouterr().out
    places = [
        out.index(words) for words in ("THE IDEA", "PREDICT", "[cell 1 of", "wins", "YOU PREDICTED\n\nabout half")
    ]
    assert places == sorted(places)
    assert out.index("WHAT YOU SHOULD HAVE SEEN") < out.index("EXERCISE")
    assert 'next: preflab learn 1 --answer "ACTION' in out
    assert "differ from the page" not in out
    assert run_command(["learn", "1", "--answer", "5 1 -1"]) == 1
    assert capsys.readouterr().out.startswith("not yet: ")
    assert read_done(Path("preflab-lessons"))[1] == Progress(run=True, prediction="about half", answered=False)
    assert run_command(["learn", "1", "--answer", "2 1 -1"]) == 0
    assert capsys.readouterr().out.startswith("right: ")
    assert run_command(["learn", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["lessons"][0]["state"] == "done"


def test_right_answer_before_the_run_leads_to_the_run(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["learn", "1", "--answer", "2 1 -1"]) == 0
    out = capsys.readouterr().out
    assert "done once its cells were run too" in out
    assert "next: preflab learn 1\n" in out
    assert not read_done(Path("preflab-lessons"))[1].is_done
    assert run_command(["learn", "1", "--answer", "5 1 -1"]) == 1
    assert "next: preflab learn 1\n" in capsys.readouterr().out


def test_lesson_that_was_run_leads_to_its_answer(capsys: pytest.CaptureFixture[str]) -> None:
    note_done(Path("preflab-lessons"), 1, run=True)
    answering = 'next: preflab learn 1 --answer "ACTION REWARD_OF_X REWARD_OF_O"\n'
    assert run_command(["learn"]) == 0
    assert answering in capsys.readouterr().out
    assert run_command(["learn", "1", "--answer", "5 1 -1"]) == 1
    assert answering in capsys.readouterr().out


def test_json_of_a_lesson_holds_its_numbers(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["learn", "1", "--json"]) == 0
    content = json.loads(capsys.readouterr().out)
    assert content["numbers"]["states"] == 5478  # known number of positions that games of tic-tac-toe reach
    assert content["differing"] == []


def test_prediction_is_asked_for_on_a_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("typer.prompt", lambda *words, **options: " 4,000 ")
    assert run_command(["learn", "1"]) == 0
    assert "YOU PREDICTED\n\n4,000\n" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (["learn", "99"], "no lesson 99"),
        (["learn", "--answer", "1"], "no number of a lesson"),
        (["learn", "1", "--answer", "2 1 -1", "--predict", "half"], "--predict beside --answer"),
        (["learn", "1", "--answer", ""], "the answer is empty"),
        (["learn", "1", "--answer", "2"], "holds one number"),
    ],
)
def test_mistakes_are_three_lines(words: list[str], found: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as leaving:
        run_command(words)
    assert leaving.value.code == 2
    err = capsys.readouterr().err
    assert found in err
    assert len(err.splitlines()) == 3


def test_when_all_is_done_the_questions_are_asked(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from preflab.lessons.page import lessons

    for each in lessons():
        note_done(Path("preflab-lessons"), each.number, run=True, answered=True)
    assert run_command(["learn"]) == 0
    assert "when does the reward come?" in capsys.readouterr().out


def test_damaged_file_of_progress_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "done.json").write_text('{"1": {"runs": 2}}')
    with pytest.raises(PreflabError, match="done.json"):
        read_done(tmp_path)
