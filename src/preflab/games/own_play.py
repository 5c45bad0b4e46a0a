"""The exact measure of a player that reads the history of a game: its likeliest moves in every game it can get into.

A language model reads the moves, not the board, so two orders of the same moves are two inputs. Its own play is the
tree of games in which it plays its likeliest move and the opponent plays everything:

    decisions     the nodes where it is to move: a history, and the position to which it leads
    kept          its move is legal and keeps the minimax value of the position
    illegal       it names no move, or one that may not be played; the game is then lost

The tree is walked level by level, so that the player answers many histories at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from preflab.errors import PreflabError
from preflab.games.exact_values import ExactValues
from preflab.games.exploitability import worst_case_value
from preflab.games.game import Game, Move, State, playable_moves
from preflab.games.positions import reachable_positions
from preflab.games.words import GameWords
from preflab.messages import Message

LOSS = -1.0
"""Result of an illegal move."""
History = tuple[Move, ...]
Answers = Callable[[Sequence[Sequence[Message]]], Sequence[str]]
"""Conversations → the turn that the player writes in each, its likeliest one."""


@dataclass(frozen=True)
class Decision:
    """One node of a player's own play where it is to move."""

    side: int
    start: State
    history: History
    state: State
    turn: str
    """The player's words."""
    move: Move | None
    """The move that it means; None if it is illegal."""
    keeps: bool
    """True if the move keeps the minimax value."""


@dataclass(frozen=True)
class OwnPlay:
    """The measure of a player's own play, over all starts of a game and both sides."""

    num_histories: int
    """Decisions by history."""
    kept_histories: float
    """Share of them that keep the minimax value."""
    num_positions: int
    """Decisions by side and position; several histories may lead to one."""
    kept_positions: float
    """Share of the positions whose value is kept in every history that leads there."""
    num_illegal: int
    """Histories that are answered by an illegal move."""
    exploitability: tuple[float, ...]
    """For each side: minimax value of the game less the player's worst result; 0: it cannot be beaten. The largest of
    all starts."""


def require_small_results(game: Game) -> None:
    """Refuse a game in which a legal move may cost more than an illegal one.

    Raises:
        PreflabError: a result is below −1 or above 1, or the game has too many positions to be listed.
    """
    for state in reachable_positions(game, list(GameWords(game).of_start)):
        value = game.result(state)
        if value is not None and abs(value) > -LOSS:
            raise PreflabError(
                f"{game.name}: the result {value:g}",
                "results from −1 to 1, because an illegal move counts as a loss of 1",
                "divide the results by the largest",
            )


def measure_own_play(game: Game, answers: Answers) -> OwnPlay:
    """Measure the likeliest moves of a player in all games that it can get into.

    Args:
        game: a game whose positions can be listed.
        answers: the player.
    """
    exact, words = ExactValues(game), GameWords(game)
    decisions: list[Decision] = []
    lost = []
    for side in range(game.num_players):
        worst = 0.0
        for start in words.of_start or [game.start(0)]:
            tree = list(walk_own_play(game, words, exact, answers, side, start))
            sign = 1 if game.player(start) == side else -1
            worst = max(worst, sign * exact.value(start) - worst_result(game, tree, side, start))
            decisions += tree
        lost.append(worst)
    return _measure(decisions, lost)


def walk_own_play(
    game: Game, words: GameWords, exact: ExactValues, answers: Answers, side: int, start: State
) -> Iterator[Decision]:
    """The decisions of a player on one side from one start, shorter histories first."""
    level = list(_until_turn_of(game, side, (), start))
    while level:
        turns = answers([words.conversation(side, start, history) for history, _ in level])
        following: list[tuple[History, State]] = []
        for (history, state), turn in zip(level, turns, strict=True):
            move = words.read(turn)
            if move not in game.legal_moves(state):
                yield Decision(side, start, history, state, turn, None, keeps=False)
                continue
            yield Decision(side, start, history, state, turn, move, keeps=move in exact.best_moves(state))
            following += _until_turn_of(game, side, (*history, move), game.play(state, move))
        level = following


def worst_result(game: Game, decisions: Sequence[Decision], side: int, start: State) -> float:
    """The player's result against the best reply to its own play, by `exploitability.worst_case_value`.

    The states of the game that is searched are histories; where the player is to move, only its move is legal.
    """
    chosen: dict[State, Move | None] = {one.history: one.move for one in decisions}
    states: dict[State, State] = {(): start}

    def after(history: Any, move: Move) -> State:
        longer = (*history, move)
        states[longer] = game.play(states[history], move)
        return longer

    def result(history: State) -> float | None:
        if chosen.get(history, 0) is None:
            return LOSS if side == 0 else -LOSS
        return game.result(states[history])

    def legal_moves(history: State) -> list[Move]:
        if result(history) is not None:
            return []
        return [chosen[history]] if history in chosen else playable_moves(game, states[history])

    told = replace(
        game,
        play=after,
        result=result,
        legal_moves=legal_moves,
        player=lambda history: game.player(states[history]),
        show=lambda history: game.show(states[history]),
        symmetries=None,
        features=None,
        cells=None,
    )
    return worst_case_value(told, lambda history: {chosen[history]: 1.0}, side, start=())


def _until_turn_of(game: Game, side: int, history: History, state: State) -> Iterator[tuple[History, State]]:
    """The histories that the other player makes of this one, up to the player's next turn; none after the end."""
    if game.is_over(state):
        return
    if game.player(state) == side:
        yield history, state
        return
    for move in playable_moves(game, state):
        yield from _until_turn_of(game, side, (*history, move), game.play(state, move))


def _measure(decisions: Sequence[Decision], lost: Sequence[float]) -> OwnPlay:
    by_position: dict[tuple[int, State], bool] = {}
    for one in decisions:
        by_position[one.side, one.state] = by_position.get((one.side, one.state), True) and one.keeps
    return OwnPlay(
        num_histories=len(decisions),
        kept_histories=sum(one.keeps for one in decisions) / len(decisions),
        num_positions=len(by_position),
        kept_positions=sum(by_position.values()) / len(by_position),
        num_illegal=sum(one.move is None for one in decisions),
        exploitability=tuple(lost),
    )
