"""The contract of a game: a broken game is told which rule it violates, in its own sentence."""

from __future__ import annotations

from pathlib import Path

import pytest

from preflab.cli import run_command
from preflab.errors import PreflabError
from preflab.games.check import check_game
from preflab.games.game import load_game

EXAMPLE = Path(__file__).parents[3] / "examples" / "my_first_game.py"

BROKEN = {
    "stuck": ("if move <= state[0]]", "if move < state[0]]", "a position without legal moves has a result"),
    "moves after the end": (
        "return [move for move in MOVES if move <= state[0]]",
        "return [1]",
        "a game that is over has no legal moves",
    ),
    "seed not honoured": (
        "return (MATCHES, 0)",
        "import random; return (random.randrange(10**9), 0)",
        "equal seeds give equal positions",
    ),
    "unknown move": ("MOVES = (1, 2, 3)", "MOVES = (1, 2, 3)\nTAKES = (1, 4)", "legal_moves returns moves of MOVES"),
    "no end": ("return (state[0] - move, 1 - state[1])", "return (state[0], 1 - state[1])", "every game ends"),
    "random move": (
        "return (state[0] - move, 1 - state[1])",
        "import random; return (state[0] - move, random.randrange(2))",
        "play depends on the position and the move alone",
    ),
    "result of a win": ("return 1.0 if state[1] == 0 else -1.0", "return True", "result returns a finite number"),
    "whose turn": ("return state[1]", "return 1 + state[1]", "player returns 0 or 1"),
    "show": ('return "|" * state[0] + f"  player {state[1]} to move"', "return state[0]", "show returns text"),
    "cells": (
        "def show(state):",
        'def cells(state):\n    return [["a", "b"], ["c"]]\n\n\ndef show(state):',
        "cells returns rows of equal length",
    ),
    "moves that are no cells": (
        "def show(state):",
        'def cells(state):\n    return [["a", "b", "c"]]\n\n\ndef show(state):',
        "cells returns rows of equal length",
    ),
    "frame": (
        "def show(state):",
        'def frame(state):\n    return [["a", "b"], ["c"]]\n\n\ndef show(state):',
        "frame returns rows of equal length",
    ),
    "features of two lengths": (
        "def show(state):",
        "def features(state):\n    return [1.0] * state[0]\n\n\ndef show(state):",
        "features returns finite numbers, equally many",
    ),
    "features that are no numbers": (
        "def show(state):",
        "def features(state):\n    return [str(state[0])]\n\n\ndef show(state):",
        "features returns finite numbers, equally many",
    ),
    "looks": ("MOVES = (1, 2, 3)", 'MOVES = (1, 2, 3)\nLOOKS = {"|": "match"}', "looks are player, goal"),
    "raises": ("return state[1]\n", "return state[2]\n", "player works in every position"),
}


def written(folder: Path, old: str, new: str) -> str:
    """The example with one passage changed; its path."""
    text = EXAMPLE.read_text(encoding="utf-8")
    assert old in text
    text = text.replace(old, new)
    if "TAKES" in new:
        text = text.replace("for move in MOVES", "for move in TAKES")
    path = folder / "broken.py"
    path.write_text(text, encoding="utf-8")
    return str(path)


@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_game_gets_its_own_sentence(tmp_path: Path, kind: str) -> None:
    old, new, sentence = BROKEN[kind]
    violations = check_game(load_game(written(tmp_path, old, new)), num_games=20)
    assert any(one.expected.startswith(sentence) for one in violations), violations
    assert all(one.do for one in violations)


def test_a_state_that_is_changed_in_place(tmp_path: Path) -> None:
    """A list as the state: it cannot be looked up, and `play` writes into it."""
    path = tmp_path / "mutable.py"
    path.write_text(
        "MOVES = (1,)\n"
        "class Pile(list):\n"
        "    def __hash__(self): return 0\n"
        "def start(seed): return Pile([3])\n"
        "def legal_moves(state): return [1] if state[0] else []\n"
        "def play(state, move):\n    state[0] -= 1\n    return state\n"
        "def result(state): return None if state[0] else 1.0\n"
        "def show(state): return str(state)\n",
        encoding="utf-8",
    )
    (violation,) = check_game(load_game(str(path)), num_games=1)
    assert violation.expected == "play returns a new position and leaves the old one as it was"


def test_a_state_that_cannot_be_hashed(tmp_path: Path) -> None:
    path = written(tmp_path, "return (MATCHES, 0)", "return [MATCHES, 0]")
    (violation,) = check_game(load_game(path), num_games=3)
    assert "list cannot be hashed" in violation.found


@pytest.mark.parametrize("name", ["tic_tac_toe", "cliff", str(EXAMPLE)])
def test_games_that_keep_the_contract(name: str) -> None:
    assert check_game(load_game(name), num_games=50) == []


def test_wrong_symmetries_are_found(tmp_path: Path) -> None:
    text = EXAMPLE.read_text(encoding="utf-8") + (
        "\n\ndef symmetries(state):\n    return [(state, {1: 2, 2: 1, 3: 3})]\n"
    )
    path = tmp_path / "turned.py"
    path.write_text(text, encoding="utf-8")
    (violation,) = check_game(load_game(str(path)), num_games=5)
    assert violation.found.startswith("symmetries names a position that is not equivalent")


def test_a_first_game_is_short() -> None:
    assert len(EXAMPLE.read_text(encoding="utf-8").splitlines()) < 60


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (("def show", "def display"), "no function `show`"),
        (("def player", "def turn"), "no function `player`"),
        (("MOVES = (1, 2, 3)", "MOVES = (1, 1)"), "MOVES is (1, 1)"),
        (("NUM_PLAYERS = 2", "NUM_PLAYERS = 3"), "NUM_PLAYERS is 3"),
        (("def start(seed):", "def start(seed:"), ": SyntaxError"),
    ],
)
def test_a_file_that_is_no_game(tmp_path: Path, change: tuple[str, str], found: str) -> None:
    with pytest.raises(PreflabError) as error:
        load_game(written(tmp_path, *change))
    assert found in error.value.found


def test_a_missing_game_names_what_is_near() -> None:
    with pytest.raises(PreflabError) as error:
        load_game("tic_tac_to")
    assert error.value.do == "near it: tic_tac_toe"
    with pytest.raises(PreflabError) as error:
        load_game("nowhere.py")
    assert "no such file" in error.value.found


@pytest.mark.parametrize(
    ("place", "found", "do"),
    [
        ("Tic-Tac-Toe", "Tic-Tac-Toe: no game of this name", "near it: tic_tac_toe"),
        ("tic_tac_toe.py", "tic_tac_toe.py: no such file", "write tic_tac_toe, without .py"),
        ("./games/", "./games/: no such file", "correct the path"),
        ("../nim", "../nim: no such file", "correct the path"),
        ("notes.md", "notes.md: not a Python file", "correct the path"),
        ("gym:Walk-v0", "gym:Walk-v0: no game of this name", "a Python file that sets GAME"),
    ],
)
def test_a_place_that_is_no_game_is_explained(
    place: str, found: str, do: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "notes.md").write_text("notes", encoding="utf-8")
    with pytest.raises(PreflabError) as error:
        load_game(place)
    assert error.value.found == found
    assert do in error.value.do


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["learn", "cliff", "--discount", "2"], "--discount 2.0"),
        (["learn", "cliff", "--discount", "0"], "--discount 0.0"),
        (["learn", "cliff", "--by", "ppo", "--alpha", "0.1"], "--alpha beside --by ppo\n"),
        (["learn", "cliff", "--by", "grpo", "--discount", "0.9"], "--discount beside --by grpo\n"),
        (["language", "cliff", "--opponent", "random"], "--opponent beside cliff, a game of one player\n"),
        (["playouts", "cliff", "--add-to", "mine.jsonl", "--plies", "2"], "--plies beside --add-to"),
        (["learn", "cliff", "--games", "many"], "Invalid value for '--games': not a whole number"),
        (["learn", "cliff", "--epsilon", "2"], "Invalid value for '--epsilon': it should be less than or equal to 1"),
        (["learn", "cliff", "--by", "language"], "Invalid value for '--by': 'language' is not one of 'q'"),
        (["language", "cliff", "--target", "97"], "--target 97\n"),
        (["language", "cliff", "--steps", "0"], "Invalid value for '--steps': it should be greater than or equal to 1"),
    ],
)
def test_option_out_of_range_is_named_in_plain_words(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    try:
        code = run_command(["game", *words])
    except SystemExit as leaving:
        code = int(leaving.code or 0)
    err = capsys.readouterr().err
    assert code == 2
    assert err.startswith(f"error: {said}")
    assert len(err.splitlines()) <= 3


def test_page_of_a_broken_game_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        run_command(["game", "play", written(tmp_path, *BROKEN["unknown move"][:2])])
    assert BROKEN["unknown move"][2] in capsys.readouterr().err


def test_commands(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["game", "check", str(EXAMPLE)]) == 0
    assert "my_first_game: keeps the contract in 200 random games" in capsys.readouterr().out
    assert run_command(["game", "check", written(tmp_path, "return state[1]", "return 1 + state[1]")]) == 1
    assert "player returns 0 or 1" in capsys.readouterr().out
    assert run_command(["game", "learn", str(EXAMPLE), "--games", "2000"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("it learns against itself; exploitability is measured against the best reply")
    assert lines[-1] == "  2,000  0.00  0.00"
    assert run_command(["game", "learn", "cliff", "--games", "1000"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].endswith("the best possible result is computed by value iteration")
    assert lines[-1] == "  1,000  1.00  1.00"
    for by in ("ppo", "grpo"):
        assert run_command(["game", "learn", str(EXAMPLE), "--by", by, "--games", "20480"]) == 0
        assert capsys.readouterr().out.splitlines()[-1] == " 20,480  0.00  0.00"
    for kind in ("no end", "raises"):
        with pytest.raises(SystemExit, match="2"):
            run_command(["game", "learn", written(tmp_path, *BROKEN[kind][:2])])
        assert BROKEN[kind][2] in capsys.readouterr().err
    with pytest.raises(SystemExit, match="2"):
        run_command(["game", "learn", "cliff", "--alpha", "0"])
    assert "--alpha 0.0" in capsys.readouterr().err
