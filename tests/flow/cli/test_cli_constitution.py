"""The commands `constitution …` on a file of rows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from chat_server import Answer, chat_server
from preflab.cli import run_command
from preflab.models.tiny import build_model, build_tokenizer

WORDS = "Below is what a person wrote and an assistant answered . Person : Assistant Critique Revised answer good bad ?"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    tokenizer = build_tokenizer([WORDS], context=512)
    model = build_model(tokenizer, num_layers=1, hidden_size=16, num_heads=2, context=512, seed=0)
    for saved in (model, tokenizer):
        saved.save_pretrained(tmp_path / "model")
    rows = [
        {"prompt": f"good {word} ?", "completion": "bad answer", "completions": ["bad", "a good answer"], "id": n}
        for n, word in enumerate(("person", "assistant"))
    ]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return tmp_path


def rows_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_the_default_is_shown_and_written(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["constitution", "show"]) == 0
    assert "principles:" in capsys.readouterr().out
    assert run_command(["constitution", "show", "--out", "mine.yaml"]) == 0
    assert "constitution: mine.yaml" in capsys.readouterr().out
    with pytest.raises(SystemExit) as left:
        run_command(["constitution", "show", "--out", "mine.yaml"])
    assert left.value.code == 2
    assert "exists already" in capsys.readouterr().err


def test_critique_keeps_the_rows_and_adds_to_them(folder: Path) -> None:
    asked = ["constitution", "critique", "rows.jsonl", "--model", "model", "--max-new-tokens", "5"]
    assert run_command(asked) == 0
    found = rows_of(folder / "rows.critiques.jsonl")
    assert [row["id"] for row in found] == [0, 1]
    assert all(row["principle"] and isinstance(row["critique"], str) for row in found)
    first = (folder / "rows.critiques.jsonl").read_bytes()
    assert run_command(asked) == 0
    assert (folder / "rows.critiques.jsonl").read_bytes() == first


def test_revise_keeps_every_text(folder: Path) -> None:
    asked = ["constitution", "revise", "rows.jsonl", "--model", "model", "--max-new-tokens", "5", "--rounds", "2"]
    assert run_command([*asked, "--out", "out.jsonl"]) == 0
    for row in rows_of(folder / "out.jsonl"):
        assert len(row["steps"]) == 2
        assert row["completion"] == row["steps"][-1]["revision"]
        assert "answer" in row


def test_prefer_asks_a_server_by_principle(folder: Path) -> None:
    def longer(body: dict[str, Any], number: int) -> Answer:
        text = body["messages"][1]["content"]
        return Answer(f"VERDICT: {'A' if text.index('a good answer') < text.index('Answer B') else 'B'}")

    with chat_server(longer) as server:
        asked = ["constitution", "prefer", "rows.jsonl", "--base-url", server.url, "--judge", "m"]
        assert run_command(asked) == 0
    found = rows_of(folder / "rows.preferred.jsonl")
    assert [row["ranks"] for row in found] == [[2, 1], [2, 1]]
    assert all(row["principle"] for row in found)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["prefer", "rows.jsonl"], "no judge, or two judges"),
        (["critique", "rows.jsonl", "--model", "model", "--examples", "9"], "--examples 9"),
        (["critique", "nowhere.jsonl", "--model", "model"], "nowhere.jsonl"),
        (["prefer", "one.jsonl", "--model", "model"], "one.jsonl, line 1: `completions` holds ['x']"),
    ],
)
def test_bad_input(folder: Path, words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "one.jsonl").write_text('{"prompt": "a", "completions": ["x"]}\n')
    with pytest.raises(SystemExit) as left:
        run_command(["constitution", *words])
    assert left.value.code == 2
    assert said in capsys.readouterr().err


def test_prefer_writes_no_empty_file_for_a_judge_that_cannot_be_read(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with chat_server(lambda body, number: Answer("Both are fine.")) as server:
        asked = ["constitution", "prefer", "rows.jsonl", "--base-url", server.url, "--judge", "m"]
        with pytest.raises(SystemExit) as left:
            run_command(asked)
    assert left.value.code == 2
    assert "no verdict could be read from the judge's answers to 2 rows" in capsys.readouterr().err
    assert not (folder / "rows.preferred.jsonl").exists()
