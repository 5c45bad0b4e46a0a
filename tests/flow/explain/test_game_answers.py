"""A language model on a game's page: its tables are the model's own distribution, in every game that can be played."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from game_worlds import make_mute, make_speaker
from preflab.cli import run_command
from preflab.errors import PreflabError
from preflab.explain import game_answers
from preflab.explain.game_answers import language_tables
from preflab.games.answers import ReadingPlayer, find_model
from preflab.games.exact_values import ExactValues
from preflab.games.game import load_game
from preflab.games.language_model import make_game_model
from preflab.games.own_play import measure_own_play, walk_own_play
from preflab.games.words import GameWords
from preflab.models.language_model import open_language_model

LINES = ["012", "345", "678", "036", "147", "258", "048", "246"]
TICTACTOE = load_game("tic_tac_toe")


@pytest.fixture(scope="module")
def speaker(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_speaker(tmp_path_factory.mktemp("speaker") / "base")


@pytest.fixture(scope="module")
def snapshot(speaker: Path) -> dict[str, Any]:
    return snapshot_of(speaker)


def snapshot_of(folder: Path) -> dict[str, Any]:
    tables = language_tables(TICTACTOE, [TICTACTOE.start(0)], ReadingPlayer(TICTACTOE, folder), "a model")
    (only,) = tables["snapshots"]
    return dict(only)


def free_cells(moves: str) -> list[str]:
    """The legal moves after some, by the rules as written here."""
    over = any(set(line) <= set(moves[side::2]) for line in LINES for side in (0, 1))
    return [] if over else [cell for cell in "012345678" if cell not in moves]


def tell(moves: str) -> list[str]:
    """The tokens that tell the player whose turn it is the game so far."""
    side = len(moves) % 2
    told = ["<s>", ("first", "second")[side]]
    for number, move in enumerate(moves):
        told += [move, "</s>"] if number % 2 == side else [f">{move}"]
    return told


def test_tables_are_the_distribution_of_the_model(speaker: Path, snapshot: dict[str, Any]) -> None:
    """One forward pass for each history; the page keeps five decimals."""
    opened = open_language_model(speaker, dtype="float32")
    vocabulary = opened.tokenizer.get_vocab()
    words = {number: word for word, number in vocabulary.items()}
    legal = illegal = 0
    for key, answer in snapshot["answers"].items():
        moves = key.removeprefix("0:").replace(",", "")
        ids = [vocabulary[word] for word in tell(moves)]
        with torch.no_grad():
            probs = opened.model(input_ids=torch.tensor([ids])).logits[0, -1].softmax(-1)
        free = free_cells(moves)
        expected = [float(probs[vocabulary[cell]]) for cell in free]
        assert answer["probs"] == pytest.approx(expected, abs=2e-5)
        assert answer["other"] == pytest.approx(1 - sum(expected), abs=2e-5)
        likeliest = words[int(probs.argmax())]
        if answer["best"] is None:
            illegal += 1
            assert answer["turn"] == "" or (answer["turn"] == likeliest and likeliest not in free)
        else:
            legal += 1
            assert free[answer["best"]] == likeliest
    assert legal > 100
    assert illegal > 10


def reached(answers: dict[str, Any], side: int, moves: str = "") -> Iterator[str]:
    """The histories that a person meets who plays everything against a model on one side."""
    free = free_cells(moves)
    if not free:
        return
    yield f"0:{','.join(moves)}"
    if len(moves) % 2 != side:
        following = free
    else:
        best = answers[f"0:{','.join(moves)}"]["best"]
        following = [] if best is None else [free[best]]
    for move in following:
        yield from reached(answers, side, moves + move)


def test_every_game_against_it_has_its_answers_and_no_other(snapshot: dict[str, Any]) -> None:
    answers = snapshot["answers"]
    assert {key for side in (0, 1) for key in reached(answers, side)} == set(answers)


def test_answers_are_those_of_its_own_play(speaker: Path, snapshot: dict[str, Any]) -> None:
    player = ReadingPlayer(TICTACTOE, speaker).answers
    exact, words, start = ExactValues(TICTACTOE), GameWords(TICTACTOE), TICTACTOE.start(0)
    decisions = [one for side in (0, 1) for one in walk_own_play(TICTACTOE, words, exact, player, side, start)]
    for one in decisions:
        key = "0:" + ",".join(map(str, one.history))
        best = snapshot["answers"][key]["best"]
        assert one.move == (None if best is None else int(free_cells("".join(map(str, one.history)))[best]))
    assert snapshot["histories"] == len(decisions)
    assert snapshot["illegal"] == sum(one.move is None for one in decisions)
    assert snapshot["exploitability"] == list(measure_own_play(TICTACTOE, player).exploitability)


def test_a_model_that_ends_no_turn_is_asked_once_as_either_player(tmp_path: Path) -> None:
    """As first player at once, as second after each of nine moves."""
    answers = snapshot_of(make_mute(tmp_path / "mute"))["answers"]
    assert list(answers) == ["0:", *(f"0:{cell}" for cell in range(9))]
    assert {(one["best"], one["turn"]) for one in answers.values()} == {(None, "")}


def test_likeliest_moves_of_a_game_of_one_are_followed_from_every_start(tmp_path: Path) -> None:
    cliff = load_game("cliff")
    folder = make_game_model(cliff, tmp_path / "cliff", 0)
    starts = list(dict.fromkeys(cliff.start(seed) for seed in range(10)))
    answers = language_tables(cliff, starts, ReadingPlayer(cliff, folder), "a model")["snapshots"][0]["answers"]
    assert [key for key in answers if key.endswith(":")] == [f"{number}:" for number in range(len(starts))]


def test_a_model_is_found_in_its_folder_and_in_its_run(tmp_path: Path) -> None:
    folder = make_mute(tmp_path / "run" / "ppo" / "model")
    assert find_model(folder) == find_model(folder.parent) == find_model(tmp_path / "run") == folder
    shutil.copytree(folder, tmp_path / "run" / "grpo" / "model")
    with pytest.raises(PreflabError, match="two trained models, ppo and grpo") as two:
        find_model(tmp_path / "run")
    assert two.value.do == f"name one of them: --language {folder}"


def test_folders_without_a_model_are_refused(tmp_path: Path) -> None:
    with pytest.raises(PreflabError, match="no such folder") as missing:
        find_model(tmp_path / "none")
    assert missing.value.do == "train one by `preflab game language GAME`, or correct the path"
    base = make_mute(tmp_path / "run" / "base" / "model")
    with pytest.raises(PreflabError, match="no trained model of a game in it") as unfinished:
        find_model(tmp_path / "run")
    assert unfinished.value.do == f"wait until the run has ended, or play against its base model: --language {base}"


def test_a_model_of_another_game_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Cliff has its four moves, `start`, `then` and its starts; of the 21 of tic-tac-toe it has `then`."""
    folder = make_game_model(load_game("cliff"), tmp_path / "cliff", 0)
    with pytest.raises(PreflabError, match="no model of tic_tac_toe: it lacks 20 words, such as '0'") as other:
        ReadingPlayer(TICTACTOE, folder)
    assert other.value.do == "name the folder of a run of this game, or the game of this folder"
    page = tmp_path / "page.html"
    with pytest.raises(SystemExit):
        run_command(["game", "play", "tic_tac_toe", "--language", str(folder), "--out", str(page)])
    assert "a model whose words are those of tic_tac_toe" in capsys.readouterr().err
    assert not page.exists()


def test_a_game_of_too_many_histories_is_refused(speaker: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(game_answers, "MOST_HISTORIES", 50)
    with pytest.raises(PreflabError, match="tic_tac_toe: a model can get into more than 50 histories"):
        snapshot_of(speaker)


def test_a_model_with_weights_that_are_no_numbers_is_refused(tmp_path: Path) -> None:
    folder = make_mute(tmp_path / "mute")
    player = ReadingPlayer(TICTACTOE, folder)
    player.model.lm_head.weight.data.fill_(float("nan"))
    player.answers = lambda conversations: ["0" for _ in conversations]  # type: ignore[assignment]
    with pytest.raises(PreflabError, match="a probability that is no number"):
        language_tables(TICTACTOE, [TICTACTOE.start(0)], player, "a model")
