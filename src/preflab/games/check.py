"""Tests whether a game keeps its contract by playing random games; each violation has its own sentence."""

from __future__ import annotations

import copy
import math
import numbers
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from preflab.clips import LONGEST_CELL, LOOKS
from preflab.errors import PreflabError, cut
from preflab.games.game import Game, Move, State

MOST_MOVES = 10_000
"""A game that goes on longer is reported as one that may not end."""


@dataclass(frozen=True)
class Violation:
    """One broken rule of the contract: what was found, what was expected, what to do."""

    found: str
    expected: str
    do: str


def require_contract(game: Game, *, num_games: int = 20) -> None:
    """Play a few random games before a game is used.

    Raises:
        PreflabError: the game violates its contract.
    """
    for violation in check_game(game, num_games=num_games):
        raise PreflabError(violation.found, violation.expected, violation.do)


class _Broken(Exception):
    """Ends the game that violates the contract."""

    def __init__(self, found: str, expected: str, do: str) -> None:
        super().__init__(found)
        self.violation = Violation(found, expected, do)


def check_game(game: Game, *, num_games: int = 200, seed: int = 0) -> list[Violation]:
    """Play random games and return the violations found, at most one of each kind; [] if the contract holds.

    Args:
        game: the game.
        num_games: number of random games.
        seed: seed of the moves; game number n starts from `start(n)`.
    """
    rng = random.Random(f"check {seed}")
    violations: dict[str, Violation] = {}
    for number in range(num_games):
        try:
            for state in _checked_states(game, number, rng):
                _check_position(game, state)
        except _Broken as broken:
            violations.setdefault(broken.violation.expected, broken.violation)
    return list(violations.values())


def _checked_states(game: Game, number: int, rng: random.Random) -> Iterator[State]:
    """The states of one random game; raises `_Broken` where a start or a move violates the contract."""
    state = _call(game.start, "start", number)
    if _call(game.start, "start", number) != state:
        raise _Broken(
            f"start({number}) gave two different positions:\n{_shown(state)}",
            "equal seeds give equal positions",
            "draw from random.Random(seed), not from the module random",
        )
    seen: set[State] = set()
    for _ in range(MOST_MOVES):
        yield state
        if _call(game.result, "result", state) is not None:
            return
        if state in seen:
            raise _Broken(
                f"the game from start({number}) came twice to\n{_shown(state)}",
                "every game ends: no position comes twice",
                "count the moves in the state and end the game at a limit",
            )
        seen.add(state)
        state = _after(game, state, rng.choice(list(game.legal_moves(state))))
    raise _Broken(
        f"the game from start({number}) went on for {MOST_MOVES:,} moves",
        "every game ends",
        "count the moves in the state and end the game at a limit",
    )


def _after(game: Game, state: State, move: Move) -> State:
    """The position after a move; it must not change the position it came from, and must be the same every time."""
    before = copy.deepcopy(state)
    after = _call(game.play, "play", state, move)
    if state != before:
        raise _Broken(
            f"play changed the position that it was given:\n{_shown(before)}\nmove {move!r}",
            "play returns a new position and leaves the old one as it was",
            "build a new tuple instead of assigning into the old state",
        )
    if _call(game.play, "play", state, move) != after:
        raise _Broken(
            f"play gave two different positions for the same move {move!r} in\n{_shown(state)}",
            "play depends on the position and the move alone",
            "draw what is random in start(seed) and store it in the state",
        )
    return after


def _check_position(game: Game, state: State) -> None:
    """Raise `_Broken` for the first rule that a single position violates."""
    for check in (
        _check_hashable,
        _check_result,
        _check_moves,
        _check_player,
        _check_text,
        _check_cells,
        _check_frame,
        _check_features,
        _check_symmetries,
    ):
        check(game, state)


def _check_hashable(game: Game, state: State) -> None:
    try:
        hash(state)
    except TypeError:
        raise _Broken(
            f"a state of type {type(state).__name__} cannot be hashed: {_shown(state)}",
            "states are tuples, strings or numbers, since tables of values are looked up by them",
            "turn lists into tuples, and sets or dicts into sorted tuples",
        ) from None


def _check_result(game: Game, state: State) -> None:
    value, moves = _call(game.result, "result", state), list(_call(game.legal_moves, "legal_moves", state))
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if value is not None and not (is_number and math.isfinite(value)):
        raise _Broken(
            f"result returned {value!r} for\n{_shown(state)}",
            "result returns a finite number at the end, None before it",
            "return 1.0, 0.0 or −1.0, from the view of player 0",
        )
    if value is None and not moves:
        raise _Broken(
            f"no legal move, but the game is not over:\n{_shown(state)}",
            "a position without legal moves has a result",
            "let result return a number there, or let legal_moves allow a move",
        )
    if value is not None and moves:
        raise _Broken(
            f"result is {value!r}, but legal_moves still offers {moves[:4]}:\n{_shown(state)}",
            "a game that is over has no legal moves",
            "return an empty list from legal_moves when result is not None",
        )


def _check_moves(game: Game, state: State) -> None:
    moves = list(game.legal_moves(state))
    unknown = [move for move in moves if move not in game.moves]
    if unknown or len(set(moves)) < len(moves):
        raise _Broken(
            f"legal_moves returned {unknown[0]!r}, which is not in MOVES" if unknown else f"a move twice: {moves}",
            "legal_moves returns moves of MOVES, each once",
            "add the move to MOVES, or correct legal_moves",
        )


def _check_player(game: Game, state: State) -> None:
    turn = _call(game.player, "player", state)
    if turn not in range(game.num_players):
        raise _Broken(
            f"player returned {turn!r} for\n{_shown(state)}",
            f"player returns {'0 or 1' if game.num_players == 2 else '0'}",
            "return the number of the player whose turn it is, or set NUM_PLAYERS = 2",
        )


def _check_text(game: Game, state: State) -> None:
    text = _call(game.show, "show", state)
    if not isinstance(text, str):
        raise _Broken(f"show returned {type(text).__name__}", "show returns text", 'join the rows with "\\n"')


def _check_cells(game: Game, state: State) -> None:
    if game.cells is None:
        return
    rows = [list(row) for row in _call(game.cells, "cells", state)]
    num = sum(len(row) for row in rows)
    is_board = len({len(row) for row in rows}) == 1 and all(isinstance(text, str) for row in rows for text in row)
    if not is_board or any(type(move) is not int or not 0 <= move < num for move in game.legal_moves(state)):
        raise _Broken(
            f"cells returned {cut(repr(rows), 200)} for\n{_shown(state)}",
            "cells returns rows of equal length, of texts, and every legal move is the number of a cell, row by row",
            "correct cells, or remove it: a page then shows what show returns and lists the moves",
        )


def _check_frame(game: Game, state: State) -> None:
    if unknown := [look for look in game.looks.values() if look not in LOOKS]:
        raise _Broken(f"LOOKS has the look {unknown[0]!r}", f"looks are {', '.join(LOOKS)}", "correct LOOKS")
    if game.frame is None:
        return
    rows = [list(row) for row in _call(game.frame, "frame", state)]
    cells = [cell for row in rows for cell in row]
    is_text = bool(cells) and all(isinstance(cell, str) and len(cell) <= LONGEST_CELL for cell in cells)
    if not is_text or len({len(row) for row in rows}) != 1:
        raise _Broken(
            f"frame returned {cut(repr(rows), 200)} for\n{_shown(state)}",
            f"frame returns rows of equal length, of texts of at most {LONGEST_CELL} characters",
            "correct frame, or remove it: a clip then shows what show returns",
        )


def _check_features(game: Game, state: State) -> None:
    if game.features is None:
        return
    read = list(_call(game.features, "features", state))
    num = len(list(_call(game.features, "features", game.start(0))))
    if len(read) != num or not all(isinstance(one, numbers.Real) and math.isfinite(one) for one in read):
        raise _Broken(
            f"features returned {cut(repr(read), 200)} for\n{_shown(state)}",
            f"features returns finite numbers, equally many in every position (here {num}, as in start(0))",
            "correct features, or remove it: a network then reads the entries of the state",
        )


def _check_symmetries(game: Game, state: State) -> None:
    if game.symmetries is None:
        return
    legal = set(game.legal_moves(state))
    for twin, names in _call(game.symmetries, "symmetries", state):
        fits = game.result(twin) == game.result(state) and {names.get(move) for move in legal} == set(
            game.legal_moves(twin)
        )
        if not fits or any(game.play(twin, names[m]) not in _twins(game, game.play(state, m)) for m in legal):
            raise _Broken(
                f"symmetries names a position that is not equivalent:\n{_shown(twin)}\nfor\n{_shown(state)}",
                "equivalent positions have the same result, the same moves by other names, equivalent successors",
                "correct symmetries, or remove it: it only saves positions",
            )


def _twins(game: Game, state: State) -> list[State]:
    assert game.symmetries is not None
    return [twin for twin, _ in game.symmetries(state)]


def _call(function: Callable[..., Any], name: str, *arguments: Any) -> Any:
    try:
        return function(*arguments)
    except Exception as error:
        raise _Broken(
            f"{name}({', '.join(cut(repr(one), 60) for one in arguments)}) raised {type(error).__name__}: {error}",
            f"{name} works in every position that can be reached",
            f"correct {name}",
        ) from error


def _shown(state: State) -> str:
    return cut(repr(state), 200)
