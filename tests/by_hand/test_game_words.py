"""A game in words: who says which move, the words of openings, and moves whose words cannot be told apart."""

from __future__ import annotations

from dataclasses import replace

import pytest

from preflab.errors import PreflabError
from preflab.games.game import load_game
from preflab.games.words import GameWords
from preflab.messages import Message

BOARD = GameWords(load_game("tic_tac_toe"))
CLIFF = GameWords(load_game("cliff"))
EMPTY = (0,) * 9


def said(turns: list[Message]) -> list[tuple[str, str]]:
    return [(turn.role, turn.content) for turn in turns]


def test_conversation_of_the_first_player_begins_with_its_side() -> None:
    assert said(BOARD.conversation(0, EMPTY, [4, 0, 8, 1])) == [
        ("user", "first"), ("assistant", "4"), ("user", ">0"), ("assistant", "8"), ("user", ">1"),
    ]  # fmt: skip


def test_conversation_of_the_second_player_begins_with_the_move_of_the_first() -> None:
    assert said(BOARD.conversation(1, EMPTY, [4, 0, 8])) == [
        ("user", "second >4"), ("assistant", "0"), ("user", ">8"),
    ]  # fmt: skip


def test_conversation_of_a_finished_game_ends_with_the_last_move() -> None:
    """The first player marks 0, 1, 2; the second 3, 4."""
    assert said(BOARD.conversation(0, EMPTY, [0, 3, 1, 4, 2]))[-1] == ("assistant", "2")
    assert said(BOARD.conversation(1, EMPTY, [0, 3, 1, 4, 2]))[-1] == ("user", ">2")


def test_conversation_of_one_player_names_the_start_and_says_then() -> None:
    assert said(CLIFF.conversation(0, (2, 0, 12), ["right"])) == [
        ("user", "start (2,0,12)"), ("assistant", "right"), ("user", "then"),
    ]  # fmt: skip


def test_vocabulary_has_each_word_once() -> None:
    assert BOARD.vocabulary == (*"012345678", *(f">{cell}" for cell in range(9)), "first", "second", "then")
    assert set(CLIFF.vocabulary) == {"up", "right", "down", "left", "start", "then", "(2,0,12)", "(3,0,12)"}


@pytest.mark.parametrize(("text", "move"), [("4", 4), (" 4 ", 4), ("9", None), (">4", None), ("4 5", None), ("", None)])
def test_a_turn_is_one_move_or_none(text: str, move: int | None) -> None:
    assert BOARD.read(text) == move


@pytest.mark.parametrize("moves", [("a", "first"), ("a b", "ab"), ("a", ">a"), ("<s>", "a")])
def test_moves_whose_words_mean_something_else_are_refused(moves: tuple[str, ...]) -> None:
    with pytest.raises(PreflabError, match="moves' words"):
        _ = GameWords(replace(BOARD.game, moves=moves)).of_move
