"""Exact answers of the games that come with preflab: counts of positions, values, and unbeatable players."""

from __future__ import annotations

import dataclasses
import time
import types

import pytest

import stones_game
from preflab.errors import PreflabError
from preflab.games.check import check_game
from preflab.games.exact_values import ExactValues
from preflab.games.exploitability import Exploitability, exploitability, worst_case_value
from preflab.games.game import Game, Move, State, game_of, load_game
from preflab.games.positions import canonical, count_games, reachable_positions
from preflab.games.q_learning import QSettings, QTable, learn_by_q

UNBEATABLE = Exploitability(0.0, 0.0)


@pytest.fixture(scope="module")
def board() -> Game:
    return load_game("tic_tac_toe")


def last(game: Game, settings: QSettings) -> QTable:
    """The table after all games."""
    *_, table = learn_by_q(game, settings)
    return table


def test_positions_of_tic_tac_toe(board: Game) -> None:
    positions = reachable_positions(board)
    decisions = [state for state in positions if not board.is_over(state)]
    assert len(positions) == 5_478
    assert len({canonical(board, state)[0] for state in positions}) == 765
    assert len(decisions) == 4_520
    assert sum(len(board.legal_moves(state)) for state in decisions) == 16_167


def test_final_positions_up_to_symmetry(board: Game) -> None:
    ends: dict[float | None, set[State]] = {}
    for state in reachable_positions(board):
        if board.is_over(state):
            ends.setdefault(board.result(state), set()).add(canonical(board, state)[0])
    assert {result: len(states) for result, states in ends.items()} == {1.0: 91, -1.0: 44, 0.0: 3}


def test_number_of_games(board: Game) -> None:
    assert count_games(board) == {1.0: 131_184, -1.0: 77_904, 0.0: 46_080}


def test_perfect_play_is_a_draw_and_unbeatable(board: Game) -> None:
    perfect = ExactValues(board)
    assert perfect.value(board.start(0)) == 0.0
    assert perfect.best_moves(board.start(0)) == set(range(9)), "any first move holds the draw"
    assert perfect.best_moves((1, 0, 0, 0, 0, 0, 0, 0, 0)) == {4}, "against a corner only the centre does"
    assert exploitability(board, perfect.policy) == UNBEATABLE
    assert exploitability(board, perfect.policy, likeliest=True) == UNBEATABLE


def test_exploitability_where_player_1_begins() -> None:
    """Four stones: who begins wins by taking one. So player 0 is worth −1, and player 1 is worth 1."""
    game = dataclasses.replace(game_of(stones_game, "stones"), start=lambda seed: (4, 1))
    assert exploitability(game, ExactValues(game).policy, likeliest=True) == UNBEATABLE
    # as player 1 it takes two, and player 0 takes the last two: 1 − (−1); as player 0 it could only lose
    greedy = {(4, 1): "two", (4, 0): "two", (3, 0): "two", (2, 0): "two", (2, 1): "two", (1, 0): "one", (1, 1): "one"}
    assert exploitability(game, lambda state: {greedy[state]: 1.0}) == Exploitability(0.0, 2.0)


def test_a_random_player_is_exploited(board: Game) -> None:
    """The best reply to random moves gets 0.9948 as first and 0.9249 as second player (exact fractions)."""

    def at_random(state: State) -> dict[Move, float]:
        legal = board.legal_moves(state)
        return dict.fromkeys(legal, 1 / len(legal))

    against = exploitability(board, at_random)
    assert against.second == pytest.approx(191 / 192)  # the reply moves first
    assert against.first == pytest.approx(0.924867724867725)
    assert exploitability(board, at_random, likeliest=True) == Exploitability(1.0, 1.0)


def counter(length: int, back: int | None = None) -> Game:
    """One player counts up to `length`; at `back` one may also return to 0."""
    module = types.ModuleType("counter")
    vars(module).update(
        MOVES=("on", "back"),
        start=lambda seed: 0,
        legal_moves=lambda n: [] if n == length else ["on", "back"] if n == back else ["on"],
        play=lambda n, move: n + 1 if move == "on" else 0,
        result=lambda n: 1.0 if n == length else None,
        show=str,
    )
    return game_of(module, "counter")


def test_long_games_have_exact_answers() -> None:
    game = counter(5_000)
    assert ExactValues(game).value(0) == 1.0
    assert worst_case_value(game, lambda state: {"on": 1.0}, 0) == 1.0
    assert count_games(game) == {1.0: 1}


def test_a_position_that_comes_twice_is_refused() -> None:
    game = counter(6, back=3)
    for ask in (
        lambda: ExactValues(game).value(0),
        lambda: worst_case_value(game, lambda state: {"on": 1.0}, 0),
        lambda: count_games(game),
    ):
        with pytest.raises(PreflabError, match="move 'back' leads back to a position: 0"):
            ask()
    violations = check_game(game, num_games=20)
    assert [one.expected for one in violations] == ["every game ends: no position comes twice"]


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_q_learning_becomes_unbeatable(board: Game, seed: int) -> None:
    began = time.process_time()
    table = last(board, QSettings(num_games=10_000, seed=seed))
    assert time.process_time() - began < 60, "seconds of one core"
    assert exploitability(board, table.policy, likeliest=True) == UNBEATABLE
    assert len(table.values) <= 627, "decision positions up to symmetry"


def test_same_seed_plays_the_same_games(board: Game) -> None:
    first, again = (last(board, QSettings(num_games=200, seed=3)).values for _ in range(2))
    assert first == again
    assert first != last(board, QSettings(num_games=200, seed=4)).values


def test_few_games_are_not_enough(board: Game) -> None:
    assert exploitability(board, last(board, QSettings(num_games=500)).policy, likeliest=True) != UNBEATABLE


def test_the_cliffs_best_way_leads_along_the_cliff() -> None:
    """Seven moves from the corner: up, five to the right, down; the last one earns 1, so Q* = 0.9^6."""
    cliff = load_game("cliff")
    perfect = ExactValues(cliff, discount=0.9)
    state, way = (3, 0, 12), []
    while not cliff.is_over(state):
        (move,) = perfect.best_moves(state)
        way.append(move)
        state = cliff.play(state, move)
    assert way == ["up", *["right"] * 5, "down"]
    assert perfect.value((3, 0, 12)) == pytest.approx(0.9**6)
    assert perfect.move_values((2, 1, 10))["down"] == -1.0, "the cliff"
    assert perfect.value((2, 0, 5)) == 0.0, "six moves away with five steps left"


def test_q_learning_finds_the_exact_values_of_the_cliff() -> None:
    cliff = load_game("cliff")
    table = last(cliff, QSettings(num_games=5_000, alpha=1.0, epsilon=0.3, discount=0.9))
    perfect = ExactValues(cliff, discount=0.9)
    for state in (cliff.start(seed) for seed in range(8)):
        assert max(table.move_values(state).values()) == pytest.approx(perfect.value(state))
