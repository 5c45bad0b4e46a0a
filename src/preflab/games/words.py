"""A game in words: the turns of a conversation that tell a game, and the move that a turn means.

    user       first                the policy moves first; with a random start also the position: start (2,0,12)
    assistant  4                    the policy's move
    user       >0                   the other player's move
    assistant  8

Every move is one word. The same word with a mark in front is the other player's move, so a reader knows who made a move
without counting turns. A game for one player has the word `then` between two moves.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from preflab.errors import PreflabError
from preflab.games.game import Game, Move, State
from preflab.messages import Message

OTHER = ">"
"""In front of the other player's moves."""
SIDES = ("first", "second")
ALONE, THEN = "start", "then"
NUM_SEEDS = 256
"""Seeds that are tried to find the starts of a game."""


@dataclass(frozen=True)
class GameWords:
    """The words of a game."""

    game: Game

    @cached_property
    def of_move(self) -> Mapping[Move, str]:
        """Move → its word.

        Raises:
            PreflabError: two moves have the same word, or a move has a word that means something else.
        """
        words = {move: _word(move) for move in self.game.moves}
        reserved = {*SIDES, ALONE, THEN, ""}
        taken = [word for word in words.values() if word in reserved or word.startswith((OTHER, "<"))]
        if taken or len(set(words.values())) < len(words):
            raise PreflabError(
                f"{self.game.name}: the moves' words are {', '.join(words.values())}",
                f"a different word for each move, none of {', '.join(sorted(reserved - {''}))}, none beginning with"
                f" {OTHER} or <",
                "give the moves other names",
            )
        return words

    @cached_property
    def of_start(self) -> Mapping[State, str]:
        """Start → its word, in the order of the seeds; {} if there is one start only."""
        starts = dict.fromkeys(self.game.start(seed) for seed in range(NUM_SEEDS))
        return {state: _word(state) for state in starts} if len(starts) > 1 else {}

    @cached_property
    def vocabulary(self) -> tuple[str, ...]:
        """All words, each once: the moves, the other player's moves, the words of the opening."""
        moves = tuple(self.of_move.values())
        if self.game.num_players == 1:
            return (*moves, ALONE, THEN, *self.of_start.values())
        return (*moves, *(OTHER + word for word in moves), *SIDES, THEN, *self.of_start.values())

    def opening(self, side: int, start: State) -> str:
        """The policy's first turn to read: its side, and the start where a game has several."""
        side_word = ALONE if self.game.num_players == 1 else SIDES[side]
        return " ".join([side_word, *([self.of_start[start]] if self.of_start else [])])

    def read(self, text: str) -> Move | None:
        """The move that a turn of the policy means; None if it means none."""
        return self._moves.get(text.strip())

    @cached_property
    def _moves(self) -> dict[str, Move]:
        return {word: move for move, word in self.of_move.items()}

    def conversation(self, side: int, start: State, moves: Sequence[Move]) -> list[Message]:
        """The turns of a game so far: the policy's moves are the assistant's, those of the other player the user's.

        The last turn is the user's if the policy is to move, and may be the assistant's if the game is over.
        """
        state, heard = start, [self.opening(side, start)]
        turns: list[Message] = []
        for move in moves:
            if self.game.player(state) == side:
                turns += [Message("user", " ".join(heard or [THEN])), Message("assistant", self.of_move[move])]
                heard = []
            else:
                heard.append(OTHER + self.of_move[move])
            state = self.game.play(state, move)
        if heard or not self.game.is_over(state):
            turns.append(Message("user", " ".join(heard or [THEN])))
        return turns


def _word(value: object) -> str:
    """A value as one word: what `str` writes, without white space."""
    return "".join(str(value).split())
