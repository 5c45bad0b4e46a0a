"""All positions that a game can reach, their order from the ends backwards, and how many games there are."""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping, Sequence
from typing import Any

from preflab.errors import PreflabError
from preflab.games.game import Game, Move, State

MOST_POSITIONS = 1_000_000
"""More than this are not listed: the exact answers need every position in memory."""


def reachable_positions(game: Game, starts: Sequence[State] = (), *, most: int = MOST_POSITIONS) -> list[State]:
    """Every position that can be reached, each once; a position comes after one that leads to it.

    Args:
        game: the game.
        starts: the first positions; empty: that of seed 0.
        most: limit of the list.

    Raises:
        PreflabError: there are more than `most` positions.
    """
    seen: dict[State, None] = dict.fromkeys(starts or [game.start(0)])
    waiting = list(seen)
    while waiting:
        state = waiting.pop()
        for move in game.legal_moves(state):
            after = game.play(state, move)
            if after not in seen:
                seen[after] = None
                waiting.append(after)
        if len(seen) > most:
            raise PreflabError(
                f"{game.name}: more than {most:,} positions",
                "a game that can be listed: exact values need every position",
                "make the board smaller, or count fewer things in the state",
            )
    return list(seen)


def from_the_ends(game: Game, start: State, known: Container[State] = ()) -> Iterator[State]:
    """The positions that can be reached from `start`, each once and after all positions that follow it.

    Positions in `known`, and what only they lead to, are left out; the caller may fill it meanwhile.

    Raises:
        PreflabError: a line of play returns to a position, so its value is not the value of what follows.
    """
    waiting, done, on_this_line = [start], set[State](), set[State]()
    while waiting:  # not recursive: a long game would exceed Python's depth
        state = waiting[-1]
        if state in done or state in known:
            waiting.pop()
        elif state in on_this_line:
            waiting.pop()
            on_this_line.remove(state)
            done.add(state)
            yield state
        else:
            on_this_line.add(state)
            for move in game.legal_moves(state):
                after = game.play(state, move)
                if after in on_this_line:
                    raise PreflabError(
                        f"{game.name}: move {move!r} leads back to a position: {game.show(after)}",
                        "a game in which no position comes twice",
                        "count the moves in the state, and end the game at a limit",
                    )
                waiting.append(after)


def count_games(game: Game, start: State | None = None) -> dict[float, int]:
    """Result for player 0 → number of different games that end with it, from one first position."""
    counts: dict[State, dict[float, int]] = {}
    first = game.start(0) if start is None else start
    for state in from_the_ends(game, first):
        end = game.result(state)
        total: dict[float, int] = {} if end is None else {end: 1}
        for move in game.legal_moves(state):
            for value, num in counts[game.play(state, move)].items():
                total[value] = total.get(value, 0) + num
        counts[state] = total
    return counts[first]


def canonical(game: Game, state: State) -> tuple[State, Mapping[Move, Move]]:
    """The representative of all positions equivalent to `state`, and where each move goes; itself without symmetries.

    The representative is the smallest of the equivalent positions, so states of a game with symmetries must be ordered.
    """
    if game.symmetries is None:
        return state, {move: move for move in game.moves}
    twins: Sequence[tuple[Any, Mapping[Move, Move]]] = game.symmetries(state)
    return min(twins, key=lambda twin: twin[0])
