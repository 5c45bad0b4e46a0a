"""A language model as a player of a game's page: what it answers, by the moves so far instead of by position."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from preflab.errors import PreflabError
from preflab.explain.game_tables import short
from preflab.games.answers import Answer, ReadingPlayer, walk_answers
from preflab.games.game import Game, Move, State
from preflab.games.own_play import measure_own_play

DIGITS = 5
"""Decimals of a probability on the page."""
MOST_HISTORIES = 20_000
"""More would make the page slow to open: a model of tic-tac-toe has about 1,200."""


def language_tables(game: Game, starts: Sequence[State], player: ReadingPlayer, name: str) -> dict[str, Any]:
    """A player with one snapshot, the model as it is; `answers` holds what it answers.

    Args:
        game: the game.
        starts: the first positions of the page.
        player: the model.
        name: its name on the page.

    Raises:
        PreflabError: it can get into more than `MOST_HISTORIES` histories.
    """
    columns = {move: column for column, move in enumerate(game.moves)}
    answers: dict[str, Any] = {}
    for number, start in enumerate(starts):
        for answer in walk_answers(game, player, start):
            answers[history_key(number, columns, answer)] = answer_table(answer)
            if len(answers) > MOST_HISTORIES:
                raise PreflabError(
                    f"{game.name}: {name} can get into more than {MOST_HISTORIES:,} histories",
                    "a game whose answers a page can hold",
                    "make the board smaller, or play against a player that reads positions: --by q",
                )
    play = measure_own_play(game, player.answers)
    worth = {
        "exploitability": [short(one) for one in play.exploitability],
        "histories": play.num_histories,
        "illegal": play.num_illegal,
    }
    snapshot = {"games": None, "probs": None, "values": None, "position": None, **worth, "answers": answers}
    return {"kind": "language", "name": name, "snapshots": [snapshot]}


def history_key(start: int, columns: Mapping[Move, int], answer: Answer) -> str:
    """The number of the start and the columns of the moves so far, such as `0:4,0,8`."""
    return f"{start}:{','.join(str(columns[move]) for move in answer.history)}"


def answer_table(answer: Answer) -> dict[str, Any]:
    """One answer for the page.

    Returns:
        `probs`, of the legal moves in their order; `other`, the rest: words that are no legal move; `best`, the number
        of the likeliest move among the legal ones, or None with the model's `turn` if it is not legal.
    """
    probs = [round(prob, DIGITS) for prob in answer.probs.values()]
    other = round(max(0.0, 1 - sum(answer.probs.values())), DIGITS)
    if answer.move is None:
        return {"probs": probs, "other": other, "best": None, "turn": answer.turn}
    return {"probs": probs, "other": other, "best": list(answer.probs).index(answer.move)}
