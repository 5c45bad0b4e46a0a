"""The tables of a game's page, by hand: Nim with two matches; who takes the last one loses."""

from __future__ import annotations

import base64
from dataclasses import replace
from pathlib import Path

import pytest

from preflab.errors import PreflabError
from preflab.explain import game_tables as tables_of_games
from preflab.explain.game_tables import distinct_probs, game_tables, player_tables, short
from preflab.explain.packed_numbers import pack_numbers
from preflab.games.game import Game, load_game
from preflab.games.learners import learn_by_network, learn_by_table, learn_exactly, snapshots
from preflab.games.listed_game import ListedGame
from preflab.games.network import NetworkPlayer, network_of
from preflab.games.q_learning import QSettings

EXAMPLE = Path(__file__).parents[2] / "examples" / "my_first_game.py"


@pytest.fixture
def nim() -> Game:
    """Two matches, player 0 begins: take one and the other must take the last one; take both and lose."""
    return replace(load_game(str(EXAMPLE)), name="nim", start=lambda seed: (2, 0))


def test_tables_by_hand(nim: Game) -> None:
    states, tables = game_tables(nim)
    assert states == [(2, 0), (1, 1), (0, 1), (0, 0)]
    assert tables == {
        "game": "nim",
        "numPlayers": 2,
        "moves": ["1", "2", "3"],
        "starts": [0],
        "turn": [0, 1, 1, 0],
        "legal": [[0, 1], [0], [], []],
        "after": [1, 2, 3],
        "result": [None, None, -1, 1],
        "texts": ["||  player 0 to move", "|  player 1 to move", "  player 1 to move", "  player 0 to move"],
        "boards": None,
        "cellOfMove": None,
    }


def test_exact_answer_by_hand(nim: Game) -> None:
    """Taking one wins (1), taking both loses (−1); who has one match left has lost (−1)."""
    states, _ = game_tables(nim)
    assert player_tables(nim, states, "exact", learn_exactly(nim, 1.0)) == {
        "kind": "exact",
        "name": "exact answer",
        "snapshots": [
            {"games": 0, "first": 0, "second": 0, "probs": [1, 0, 1], "values": [1, -1, -1], "position": [1, -1, 0, 0]}
        ],
    }


def test_q_learning_starts_from_nothing_and_is_seen_at_equal_distances(nim: Game) -> None:
    """All values 0: both moves tie, the worse one loses 1 − (−1) = 2 as first player; the second has no choice."""
    states, _ = game_tables(nim)
    played: list[int] = []
    learning = learn_by_table(nim, QSettings(num_games=40, alpha=0.5))
    rows = player_tables(nim, states, "q", learning, played.append, num_snapshots=4)["snapshots"]
    assert rows[0] == {
        "games": 0, "first": 2, "second": 0, "probs": [0.5, 0.5, 1], "values": [0, 0, 0], "position": [0, 0, 0, 0],
    }  # fmt: skip
    assert [row["games"] for row in rows] == [0, 10, 20, 30, 40]
    assert played == [0, 10, 10, 10, 10]
    assert rows[-1]["values"] == pytest.approx([1, -1, -1], abs=0.02)
    assert (rows[-1]["first"], rows[-1]["probs"]) == (0, [1, 0, 1])


def test_snapshots_of_few_games_are_one_each(nim: Game) -> None:
    assert [done for done, _ in snapshots(learn_by_table(nim, QSettings(num_games=3)))] == [0, 1, 2, 3]


@pytest.mark.parametrize("by_ppo", [True, False])
def test_network_is_seen_while_it_learns(nim: Game, by_ppo: bool) -> None:
    """Before it learns every move is equally likely and every position worth 0; moves that end the game are known."""
    states, _ = game_tables(nim)
    learning = learn_by_network(nim, by_ppo=by_ppo, num_games=1024, discount=1.0, seed=0, starts=states[:1])
    rows = player_tables(nim, states, "ppo", learning, num_snapshots=2)["snapshots"]
    assert [row["games"] for row in rows] == [0, 512, 1024]
    assert rows[0]["probs"] == [0.5, 0.5, 1]
    assert rows[0]["values"] == ([0, -1, -1] if by_ppo else None)
    assert rows[0]["position"] == ([0, 0, 0, 0] if by_ppo else None)
    assert rows[-1]["probs"][0] > 0.5


def test_network_looks_one_move_ahead_with_its_value(nim: Game) -> None:
    """V = 1/4 everywhere: one match for the opponent is worth −γ/4 = −1/8 with γ = 1/2, and the ends their results."""
    listed = ListedGame.of(nim)
    network = network_of(listed)
    network.value.bias.data.fill_(0.25)
    player = NetworkPlayer(listed, network)
    assert player.value((2, 0)) == 0.25
    assert player.move_values((2, 0), discount=0.5) == {1: -0.125, 2: -1.0}


def test_less_likely_moves_stay_less_likely_when_rounded() -> None:
    """Steps of 1/32,767: the less likely of two close ones is two steps below; ties stay ties."""
    step = 1 / 32_767
    close = distinct_probs({"a": 0.500004, "b": 0.499996}, ["b", "a"])
    assert close == pytest.approx([0.500004 - 2 * step, 0.500004])
    assert distinct_probs({"a": 1 / 3, "b": 1 / 3, "c": 1 / 3}, ["c", "b", "a"]) == [1 / 3] * 3
    assert distinct_probs({"a": 0.99999, "b": 0.00001}, ["a", "b"]) == [0.99999, 0.00001]


def test_packed_numbers_by_hand() -> None:
    """The largest is 2: 2 → 32,767 = 0x7fff, −1 → −16,383.5, to even −16,384 = 0xc000, 0 → 0; low bytes first."""
    assert pack_numbers([2.0, -1.0, 0.0]) == {
        "most": 2.0, "int16": base64.b64encode(bytes([0xFF, 0x7F, 0x00, 0xC0, 0x00, 0x00])).decode(),
    }  # fmt: skip
    assert pack_numbers([0.0]) == {"most": 1.0, "int16": "AAA="}
    assert pack_numbers([]) == {"most": 1.0, "int16": ""}


def test_numbers_are_short() -> None:
    assert [repr(short(value)) for value in (1.0, -0.0, 0.12345, -2 / 3, 1234.5)] == [
        "1", "0", "0.123", "-0.667", "1230",
    ]  # fmt: skip


def test_board_and_several_first_positions() -> None:
    board = game_tables(load_game("tic_tac_toe"))[1]
    assert len(board["legal"]) == 5478
    assert board["boards"][0] == [["", "", ""]] * 3
    assert board["cellOfMove"] == list(range(9))
    assert len(game_tables(load_game("cliff"))[1]["starts"]) == 2


def test_a_game_too_large_for_a_page_is_refused_with_what_to_do(nim: Game, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables_of_games, "MOST_POSITIONS", 4)
    game_tables(nim)
    monkeypatch.setattr(tables_of_games, "MOST_POSITIONS", 3)
    with pytest.raises(PreflabError, match="nim: more than 3 positions") as raised:
        game_tables(nim)
    assert "preflab game learn" in str(raised.value)


def test_a_game_that_violates_the_contract_is_refused(nim: Game) -> None:
    with pytest.raises(PreflabError, match="show returns text"):
        game_tables(replace(nim, show=lambda state: 3))


def test_a_move_that_is_no_cell_is_refused_even_if_random_games_miss_it(
    nim: Game, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Moves 1 and 2 need cells 0 to 2."""
    monkeypatch.setattr(tables_of_games, "require_contract", lambda game: None)
    board = game_tables(replace(nim, cells=lambda state: [["", "a", "b"]]))[1]
    assert board["boards"] == [[["", "a", "b"]]] * 4
    with pytest.raises(PreflabError, match="legal move 2 is no cell"):
        game_tables(replace(nim, cells=lambda state: [["", "a"]]))
    with pytest.raises(PreflabError, match="boards of two sizes"):
        game_tables(replace(nim, cells=lambda state: [["", "a", "b"][: 1 + state[0]] + ["c", "d"]]))
