"""import, export, score and chat: files in, files out, and a word with a model."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest

from preflab.cli import run_command
from preflab.cli.records import EXPORTS, IMPORTS
from preflab.models.tiny import build_tokenizer
from tiny_models import tiny_model

Captured = pytest.CaptureFixture[str]
PAIRS = '{"prompt": "Where?", "chosen": "Here.", "rejected": "No."}\n'


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty current folder with a file of pairs and one of completions."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pairs.jsonl").write_text(PAIRS, encoding="utf-8")
    rows = [{"prompt": "a", "completion": "one", "topic": "x"}, {"prompt": "b", "completion": "three"}]
    (tmp_path / "completions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    (tmp_path / "lengths.py").write_text(
        "def letters(prompt, completion):\n    return float(len(completion))\n", encoding="utf-8"
    )
    return tmp_path


def refusal(capsys: Captured, *words: str) -> list[str]:
    """The three lines of a command that ends with 2."""
    capsys.readouterr()
    try:
        code = run_command(words)
    except SystemExit as leaving:
        code = int(leaving.code or 0)
    out, err = capsys.readouterr()
    assert (code, out) == (2, "")
    return err.splitlines()


def test_pairs_go_in_and_come_out(here: Path, capsys: Captured) -> None:
    assert run_command(["import", "pairs.jsonl"]) == 0
    assert "  preferences  1 new\n" in capsys.readouterr().out
    assert run_command(["import", "pairs.jsonl", "--json"]) == 0
    content = json.loads(capsys.readouterr().out)
    assert (content["new"], content["known"]["preference"]) == ({}, 1)
    assert run_command(["export", "preferences", "out.jsonl", "--strict"]) == 0
    assert capsys.readouterr().out.splitlines()[-1].startswith("result: out.jsonl; next: ")
    assert json.loads((here / "out.jsonl").read_text(encoding="utf-8")) == json.loads(PAIRS)


def test_an_import_says_what_became_of_the_columns(here: Path, capsys: Captured) -> None:
    rows = [{"question": "Where?", "chosen": "Here.", "rejected": "No.", "id": 1, "system": None}] * 2
    (here / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    assert run_command(["import", "pairs.jsonl"]) == 0
    out = capsys.readouterr().out
    assert "2 rows of pairs.jsonl, read as trl-explicit (guessed from the first 2)\n" in out
    assert "  columns used: chosen, question (as prompt), rejected\n" in out
    assert "  kept with the records: id\n" in out
    assert "  empty: system\n" in out
    assert "  1 row equal to an earlier one: line 2 (as line 1)\n" in out
    assert run_command(["import", "pairs.jsonl", "--json"]) == 0
    content = json.loads(capsys.readouterr().out)
    assert content["columns"] == {
        "used": {"chosen": "chosen", "question": "prompt", "rejected": "rejected"},
        "kept": ["id"],
        "left_out": [],
        "empty": ["system"],
    }
    assert (content["repeats"], content["notes"]) == ({"2": 1}, [])


def test_a_split_is_picked_by_name(here: Path, capsys: Captured) -> None:
    for name, text in (("train", "a"), ("test", "b")):
        (here / "set" / "data").mkdir(parents=True, exist_ok=True)
        (here / "set" / "data" / f"{name}-00000.jsonl").write_text(json.dumps({"prompt": text}) + "\n")
    found, _, do = refusal(capsys, "import", "set")
    assert (found, do.strip()) == ("error: set: several splits (train, test)", "name it: --split train")
    assert run_command(["import", "set", "--split", "test"]) == 0
    assert "  the split test: data/test-00000.jsonl\n" in capsys.readouterr().out


def test_score_keeps_a_reward_that_is_there(here: Path, capsys: Captured) -> None:
    rows = [{"prompt": "Hi", "completion": "Hello", "reward": 3}, {"prompt": "Hi", "completion": "Ho"}]
    (here / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    assert run_command(["score", "a.jsonl", "--by", "lengths:letters", "--output", "b.jsonl"]) == 0
    assert "the former column `reward` is now called `reward_before`" in capsys.readouterr().out
    assert run_command(["score", "b.jsonl", "--by", "lengths:letters", "--output", "c.jsonl"]) == 0
    first, second = (json.loads(line) for line in (here / "c.jsonl").read_text(encoding="utf-8").splitlines())
    assert (first["reward"], first["reward_before"], first["reward_before2"]) == (5.0, 3, 5.0)
    assert (second["reward"], second["reward_before2"]) == (2.0, 2.0)
    assert "reward_before" not in second


def test_score_reads_conversations(here: Path, capsys: Captured) -> None:
    hi, hello = {"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}
    rows = [
        {"prompt": "Hi", "completion": "Hello"},
        {"prompt": [hi], "completion": "Hello"},
        {"prompt": [hi], "completion": [hello], "topic": "x"},
        {"prompt": "Hi", "completion": [hello]},
        {"messages": [hi, hello]},
    ]
    (here / "talks.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    assert run_command(["score", "talks.jsonl", "--by", "lengths:letters", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["num"] == 5
    scored = [json.loads(line) for line in (here / "talks.scored.jsonl").read_text(encoding="utf-8").splitlines()]
    assert scored == [{**row, "reward": 5.0} for row in rows]
    (here / "talks.jsonl").write_text(json.dumps({"prompt": [hi], "completion": [hi]}) + "\n", encoding="utf-8")
    found, _, _ = refusal(capsys, "score", "talks.jsonl", "--by", "lengths:letters")
    assert "talks.jsonl, line 1: the first of 0 turns in 'completion' is not the assistant's" in found


def test_a_bad_line_stops_an_import_and_nothing_is_loaded(here: Path, capsys: Captured) -> None:
    (here / "pairs.jsonl").write_text(PAIRS + "{bad\n", encoding="utf-8")
    found, expected, do = refusal(capsys, "import", "pairs.jsonl")
    assert found.startswith("error: pairs.jsonl, line 2: not JSON")
    assert expected.strip() == "one JSON object per line"
    assert "nothing was loaded" in do
    assert not list(here.glob("*.db")), "not even an empty workspace"
    assert run_command(["import", "pairs.jsonl", "--skip-bad"]) == 0
    assert "1 row left out:\n  line 2: not JSON" in capsys.readouterr().out


def test_a_file_of_bad_rows_alone_is_refused_with_skip_bad_too(here: Path, capsys: Captured) -> None:
    row = {"prompt": "a", "chosen": "b", "rejected": "b"}
    (here / "pairs.jsonl").write_text(json.dumps(row) + "\n{bad\n", encoding="utf-8")
    found, expected, _ = refusal(capsys, "import", "pairs.jsonl", "--skip-bad")
    assert found.startswith("error: pairs.jsonl: none of the 2 rows can be used; line 1: chosen and rejected are equal")
    assert expected.strip() == "at least one good row"
    assert not list(here.glob("*.db"))


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (["import", "none.jsonl"], "none.jsonl: there is no such file"),
        (["import", "pairs.jsonl", "--format", "trl"], "'trl': there is no such format"),
        (["import", "pairs.jsonl", "--column", "chosen"], "--column chosen"),
        (["export", "judgments", "out.jsonl"], ""),
        (["score", "none.jsonl", "--by", "lengths:letters"], "none.jsonl: there is no such file"),
        (["score", "completions.jsonl", "--by", "lengths:words"], "module lengths has no function 'words'"),
        (["score", "pairs.jsonl", "--by", "lengths:letters"], "line 1: two completions, chosen and rejected"),
        (["score", "completions.jsonl", "--by", "./none"], "none"),
        (["chat", "./none", "--prompt", "Hi"], "none"),
    ],
)
def test_bad_input(capsys: Captured, words: list[str], found: str) -> None:
    assert found in refusal(capsys, *words)[0]


def test_score_adds_the_reward_to_every_row(here: Path, capsys: Captured) -> None:
    assert run_command(["score", "completions.jsonl", "--by", "lengths:letters", "--json"]) == 0
    content = json.loads(capsys.readouterr().out)
    assert (content["num"], content["mean"], content["standard_deviation"]) == (2, 4.0, 1.0)  # 3 and 5 letters
    rows = [json.loads(line) for line in (here / "completions.scored.jsonl").read_text(encoding="utf-8").splitlines()]
    assert rows[0] == {"prompt": "a", "completion": "one", "topic": "x", "reward": 3.0}
    assert rows[1]["reward"] == 5.0


def test_score_names_its_flags_and_no_key_of_a_recipe(here: Path, stories_model: Path, capsys: Captured) -> None:
    for by in ("nope", "owner/nope", str(stories_model)):
        lines = refusal(capsys, "score", "completions.jsonl", "--by", by)
        assert lines[0] == f"error: --by {by}: not a reward model; a classifier needs --class"
        assert lines[2] == "       add --class, or name another model"
        assert "class_label" not in "".join(lines)


def test_the_help_names_every_format() -> None:
    from preflab.store.exports import EXPORTS as WRITTEN
    from preflab.store.formats import FORMATS

    assert not [name for name in FORMATS if name not in IMPORTS]
    said = " ".join(f"{usual} {about}" for usual, about in EXPORTS.values())
    assert not [name for name in WRITTEN if name not in said]


def test_chat_answers_as_long_as_the_context_has_room(tmp_path: Path, capsys: Captured) -> None:
    tokenizer = build_tokenizer([" ".join(f"word{i}" for i in range(93))], context=16)
    tokenizer.save_pretrained(tmp_path / "model")
    tiny_model("gpt2", n_positions=16).save_pretrained(tmp_path / "model")
    ask = ["chat", str(tmp_path / "model"), "--prompt"]
    assert run_command([*ask, "word1 word2 word3"]) == 0  # of 128 tokens there is room for 12
    capsys.readouterr()
    with pytest.raises(SystemExit):
        run_command([*ask, " ".join(["word1"] * 16)])
    assert "the conversation has 17 tokens; the model takes 16 tokens" in capsys.readouterr().err


def test_chat_answers_and_equal_seeds_give_equal_answers(
    stories_model: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask = ["chat", str(stories_model), "--prompt", "Once upon a time", "--max-new-tokens", "8", "--json"]
    answers = []
    for seed in ("1", "1", "2"):
        assert run_command([*ask, "--seed", seed]) == 0
        answers.append(json.loads(capsys.readouterr().out)["turns"][0]["completion"])
    assert answers[0] == answers[1] != answers[2]
    monkeypatch.setattr("sys.stdin", io.StringIO("Once\nThere was\n\nnot read\n"))
    assert run_command(["chat", str(stories_model), "--max-new-tokens", "4"]) == 0
    assert len(capsys.readouterr().out.splitlines()) >= 2


def test_a_model_is_exported_and_opens(stories_model: Path, here: Path, capsys: Captured) -> None:
    assert run_command(["export", "model", str(stories_model), "mine", "--json"]) == 0
    content = json.loads(capsys.readouterr().out)
    assert (content["opener"], content["difference"]) == ("AutoModelForCausalLM", None)
    assert (here / "mine" / "config.json").read_bytes() == (stories_model / "config.json").read_bytes()
    assert "mine is not empty" in refusal(capsys, "export", "model", str(stories_model), "mine")[0]
    assert "no model in it" in refusal(capsys, "export", "model", ".", "other")[0]


def test_a_name_that_is_no_stage_is_told_which_there_are(here: Path, capsys: Captured) -> None:
    assert refusal(capsys, "export", "model", "pp", "other") == [
        "error: pp: there is no such folder, and no recipe.yaml with a stage of this name",
        "       a finished stage, or a model's folder",
        "       name another model, or the recipe with --recipe",
    ]
    stages = "{a: {kind: sft}, ppo: {kind: ppo}, rm: {kind: reward}, said: {kind: sample}}"
    (here / "recipe.yaml").write_text(f"recipe: 1\nstages: {stages}\n", encoding="utf-8")
    expected = "       a stage that makes a model (a, ppo, rm), or a model's folder"
    assert refusal(capsys, "export", "model", "pp", "other") == [
        "error: pp: neither a stage of recipe.yaml nor a folder", expected, "       correct the name; near it: ppo"
    ]  # fmt: skip
    assert refusal(capsys, "export", "model", "owner/name", "other") == [
        "error: owner/name: neither a stage of recipe.yaml nor a folder", expected, "       correct the name"
    ]  # fmt: skip
    assert refusal(capsys, "chat", "pppo")[2] == "       correct the name; near it: ppo"


@pytest.mark.slow
def test_check_says_what_holds_and_by_how_much(stories_model: Path, capsys: Captured) -> None:
    assert run_command(["check", str(stories_model), "--json"]) == 0
    content = json.loads(capsys.readouterr().out)
    assert content["holds"] is True
    assert {"first KL is 0", "padding side"} <= {row["name"] for row in content["checks"]}


def test_check_ends_with_1_when_something_does_not_hold(capsys: Captured, monkeypatch: pytest.MonkeyPatch) -> None:
    from preflab.models import check

    rows = [
        check.CheckRow("first KL is 0", False, "0.3 nats", "1e-06", "switch dropout off"),
        check.CheckRow("padding side", True, "0.0", "1e-04"),
    ]
    monkeypatch.setattr(check, "check_model", lambda *given, **named: rows)
    assert run_command(["check", "mine"]) == 1
    assert capsys.readouterr().out.splitlines()[1:] == [
        "first KL is 0  WRONG  0.3 nats  1e-06",
        "    switch dropout off",
        "padding side   holds  0.0       1e-04",
        "result: mine; next: correct first KL is 0 before training",
    ]
