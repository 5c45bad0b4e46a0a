"""A player's own play in a game of four stones, walked by hand: decisions, kept values, illegal moves, exploitability.

Whoever takes the last stone wins. One, two or four stones are won for the player to move, three are lost.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest

import stones_game
from preflab.errors import PreflabError
from preflab.games.exact_values import ExactValues
from preflab.games.game import Move, State, game_of, load_game
from preflab.games.own_play import OwnPlay, measure_own_play, require_small_results
from preflab.games.words import OTHER, GameWords
from preflab.messages import Message

STONES = game_of(stones_game, "stones")


def always(word: str) -> Callable[[Sequence[Sequence[Message]]], list[str]]:
    return lambda conversations: [word for _ in conversations]


def test_player_that_always_takes_one() -> None:
    """First: at 4 it keeps the win; at 2 (after one, one) it loses it; at 1 (after one, two) it wins.

    Second: at 3 nothing is to be lost; at 2 it loses the win; at 1 (after one, one, one) it wins.
    """
    assert measure_own_play(STONES, always("one")) == OwnPlay(
        num_histories=6,
        kept_histories=4 / 6,
        num_positions=6,
        kept_positions=4 / 6,
        num_illegal=0,
        exploitability=(2.0, 0.0),
    )


def test_player_that_always_takes_two() -> None:
    """First: at 4 it loses the win; at 1 (after two, one) two is illegal. Second: at 3 it keeps, at 2 it wins."""
    assert measure_own_play(STONES, always("two")) == OwnPlay(
        num_histories=4,
        kept_histories=2 / 4,
        num_positions=4,
        kept_positions=2 / 4,
        num_illegal=1,
        exploitability=(2.0, 0.0),
    )


def test_player_that_says_no_move_loses_at_once() -> None:
    """First: one decision. Second: one after each of the two first moves. Second loses with perfect play too."""
    measured = measure_own_play(STONES, always("pass"))
    assert (measured.num_histories, measured.num_illegal, measured.kept_histories) == (3, 3, 0.0)
    assert measured.exploitability == (2.0, 0.0)


def test_perfect_player_of_tic_tac_toe_keeps_every_value() -> None:
    game = load_game("tic_tac_toe")
    exact, words = ExactValues(game), GameWords(game)

    def answers(conversations: Sequence[Sequence[Message]]) -> list[str]:
        return [str(max(exact.best_moves(reached(conversation)))) for conversation in conversations]

    def reached(conversation: Sequence[Message]) -> State:
        state = game.start(0)
        for word in " ".join(turn.content for turn in conversation).split()[1:]:
            move: Move | None = words.read(word.removeprefix(OTHER))
            state = game.play(state, move)
        return state

    measured = measure_own_play(game, answers)
    assert (measured.kept_histories, measured.kept_positions, measured.num_illegal) == (1.0, 1.0, 0)
    assert measured.exploitability == (0.0, 0.0)


def test_cliff_walker_that_falls_from_one_of_two_starts_is_measured_by_the_worse() -> None:
    """From (3, 0) `right` falls into the cliff; from (2, 0) `right` five times is the edge, then there is no way."""
    measured = measure_own_play(load_game("cliff"), always("right"))
    assert measured.exploitability == (2.0,)
    assert measured.num_illegal == 1


@pytest.mark.parametrize("word", ["one", "two"])
def test_histories_are_counted_apart_from_positions(word: str) -> None:
    measured = measure_own_play(STONES, always(word))
    assert measured.num_positions <= measured.num_histories


def test_results_beyond_one_are_refused() -> None:
    require_small_results(STONES)
    with pytest.raises(PreflabError, match="stones: the result 3\n"):
        require_small_results(replace(STONES, result=lambda state: None if state[0] else 3.0))
