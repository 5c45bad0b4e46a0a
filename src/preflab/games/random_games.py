"""Random legal games as token sequences: what the base model of a game is trained on, before it learns to play well."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

from preflab.games.game import Game, Move, State, playable_moves
from preflab.games.language_player import conversation_ids
from preflab.games.words import GameWords
from preflab.messages import Message
from preflab.training.batches import TokenSequence


def random_conversations(game: Game, num_games: int, seed: int) -> Iterator[list[Message]]:
    """Whole random games as conversations, in which the policy takes the sides in turn."""
    words = GameWords(game)
    for number in range(num_games):
        start, moves = random_game(game, random.Random(f"random games {seed} {number}"))
        turns = words.conversation(number % game.num_players, start, moves)
        while turns and turns[-1].role == "user":  # what the opponent plays last is answered by no turn
            turns.pop()
        if turns:
            yield turns


def random_game(game: Game, rng: random.Random) -> tuple[State, list[Move]]:
    """A start, and random legal moves to the end of the game."""
    state = start = game.start(rng.getrandbits(32))
    moves: list[Move] = []
    while not game.is_over(state):
        moves.append(rng.choice(playable_moves(game, state)))
        state = game.play(state, moves[-1])
    return start, moves


def as_sequence(tokenizer: Any, turns: list[Message]) -> TokenSequence:
    """A conversation that ends with the assistant's turn, as tokens: all turns of the assistant are learned."""
    opening = conversation_ids(tokenizer, turns[:1])
    ids: list[int] = []
    learned: list[bool] = []
    for turn in turns[1:]:
        added = conversation_ids(tokenizer, [turn])[1:]
        ids += added
        learned += [turn.role == "assistant"] * len(added)
    return TokenSequence(opening, tuple(ids), tuple(learned))
