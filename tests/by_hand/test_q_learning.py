"""Tabular Q-learning and best responses on games small enough for paper."""

from __future__ import annotations

import types

import pytest

from preflab.games.exact_values import ExactValues
from preflab.games.exploitability import best_response_value, likeliest_moves, worst_case_value
from preflab.games.game import Game, Move, State, game_of
from preflab.games.q_learning import QSettings, QTable, learn_by_q


def tree(ends: dict[str, float], players: str) -> Game:
    """A game of two moves, l and r, each: a state is the moves so far, `players` says whose turn each move is."""
    module = types.ModuleType("tree")
    vars(module).update(
        MOVES=("l", "r"),
        NUM_PLAYERS=2,
        start=lambda seed: "",
        legal_moves=lambda state: [] if state in ends else ["l", "r"],
        play=lambda state, move: state + move,
        result=ends.get,
        show=str,
        player=lambda state: int(players[len(state)]) if len(state) < len(players) else 0,
    )
    return game_of(module, "tree")


DUEL = tree({"ll": 1.0, "lr": -1.0, "rl": 0.5, "rr": 0.0}, "01")
"""Player 0, then player 1: left offers 1 or −1, right 0.5 or 0."""
TWICE = tree({"ll": 1.0, "lr": -1.0, "rl": 0.5, "rr": 0.0}, "00")
"""The same, but player 0 moves twice."""


def test_minimax_of_the_duel() -> None:
    """After l the opponent takes lr (−1), after r it takes rr (0): right is best, worth 0."""
    perfect = ExactValues(DUEL)
    assert perfect.move_values("") == {"l": -1.0, "r": 0.0}
    assert perfect.move_values("l") == {"l": -1.0, "r": 1.0}, "from the view of player 1"
    assert perfect.best_moves("") == {"r"}


def test_value_of_moving_twice() -> None:
    perfect = ExactValues(TWICE, discount=0.5)
    assert perfect.move_values("") == {"l": 0.5, "r": 0.25}


def test_q_update_against_an_opponent() -> None:
    """α = ½, γ = ½. lr ends: Q("l", r) = ½ · 1 = 0.5 for player 1. Then the target of l is −½ · 0.5 = −0.25."""
    table = QTable(DUEL)
    table.learn("l", "r", DUEL.result_of(1, "lr"), 0.5)
    assert table.move_values("l") == {"l": 0.0, "r": 0.5}
    from preflab.games.q_learning import _target

    target = _target(DUEL, table, "", "l", 0.5)
    assert target == -0.25
    table.learn("", "l", target, 0.5)
    assert table.move_values("") == {"l": -0.125, "r": 0.0}


def test_q_update_when_the_same_player_moves_again() -> None:
    from preflab.games.q_learning import _target

    table = QTable(TWICE)
    table.learn("l", "l", 1.0, 1.0)
    assert _target(TWICE, table, "", "l", 0.5) == 0.5


def test_learning_reaches_the_exact_values() -> None:
    *_, table = learn_by_q(DUEL, QSettings(num_games=200, alpha=1.0, epsilon=0.5))
    assert {state: table.move_values(state) for state in ("", "l", "r")} == {
        "": {"l": -1.0, "r": 0.0},
        "l": {"l": -1.0, "r": 1.0},
        "r": {"l": -0.5, "r": 0.0},
    }


def test_same_seed_learns_the_same_table() -> None:
    tables = [list(learn_by_q(DUEL, QSettings(num_games=20, seed=3)))[-1].values for _ in range(2)]
    assert tables[0] == tables[1]


def mixed(state: State) -> dict[Move, float]:
    return {"l": 0.25, "r": 0.75}


def test_best_response_to_a_mixed_player() -> None:
    """As player 0: ¼ · (−1) + ¾ · 0 = −0.25. As player 1 it gives 0 after l: ¼ · −1 + ¾ · 1 = 0.5 for it, after r:
    ¼ · −0.5 + ¾ · 0 = −0.125; the opponent chooses r, so it gets −0.125."""
    assert best_response_value(DUEL, mixed, 0) == -0.25
    assert best_response_value(DUEL, mixed, 1) == -0.125


def test_worst_case_breaks_ties_to_the_players_disadvantage() -> None:
    assert worst_case_value(DUEL, lambda state: {"l": 0.5, "r": 0.5}, 0) == -1.0
    assert worst_case_value(DUEL, mixed, 0) == 0.0, "r is likelier, and the reply to it is rr"
    assert likeliest_moves(lambda state: {"l": 0.5, "r": 0.5}, "") == ["l", "r"]
    assert worst_case_value(DUEL, mixed, 1) == pytest.approx(0.0), "its likeliest r gives 1 after l, 0 after r"
