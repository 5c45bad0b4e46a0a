"""The answers of a language model in every game that a person can play against it, by the moves so far.

The model reads the order of the moves, not the board, so its answers belong to histories, not to positions. A person
who plays one side against its likeliest moves can reach the histories of its own play (`games.own_play`) and, one move
later, those in which it is the person's turn. There the model is asked as if it played for the person.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from preflab.errors import PreflabError
from preflab.games.game import Game, Move, State, playable_moves
from preflab.games.language_player import LanguagePlayer, conversation_ids
from preflab.games.own_play import History
from preflab.games.words import GameWords
from preflab.messages import Message
from preflab.models.language_model import open_language_model
from preflab.words import count

LOOPS = ("ppo", "grpo")
"""Folders in a run of `preflab game language` that hold a trained model."""
MOST_ROWS = 512
"""Conversations of one forward pass."""


@dataclass(frozen=True)
class Answer:
    """The model's answer after a history, as the player whose turn it is."""

    history: History
    state: State
    turn: str
    """Its likeliest turn, as `LanguagePlayer` returns it."""
    move: Move | None
    """The move that the turn means; None if it is not legal."""
    probs: Mapping[Move, float]
    """Probability of the word of each legal move, as the first word of the turn."""


class ReadingPlayer:
    """A model with its likeliest turns and the probabilities of its first words."""

    def __init__(self, game: Game, folder: Path) -> None:
        """Open the model of a folder.

        Raises:
            PreflabError: the model cannot be opened, or its words are not those of the game.
        """
        opened = open_language_model(folder, dtype="float32")
        self.words = GameWords(game)
        _check_words(folder, game, self.words, opened.tokenizer)
        trunk = opened.trunk(("policy",))
        self.tokenizer, self.model = opened.tokenizer, trunk.language_model("policy")
        self.answers = LanguagePlayer.of_trunk(trunk)

    @torch.no_grad()
    def first_words(self, conversations: Sequence[Sequence[Message]]) -> Iterator[dict[Move, float]]:
        """The probability of each move's word as the next word of each conversation."""
        columns = self.tokenizer.convert_tokens_to_ids(list(self.words.of_move.values()))
        for first in range(0, len(conversations), MOST_ROWS):
            ids = [list(conversation_ids(self.tokenizer, turns)) for turns in conversations[first : first + MOST_ROWS]]
            longest = max(map(len, ids))
            padded = torch.tensor([row + [self.tokenizer.pad_token_id] * (longest - len(row)) for row in ids])
            mask = torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in ids])
            logits = self.model(input_ids=padded, attention_mask=mask).logits
            last = logits[torch.arange(len(ids)), torch.tensor([len(row) - 1 for row in ids])]
            for row in last.double().softmax(-1)[:, columns].tolist():
                yield dict(zip(self.words.of_move, row, strict=True))


def find_model(folder: Path) -> Path:
    """The model folder in a folder: itself, its `model`, or that of the loop in a run of `preflab game language`.

    Raises:
        PreflabError: there is none, or the run holds a model of each loop.
    """
    models = [one for one in (folder, folder / "model") if (one / "config.json").is_file()][:1]
    models = models or [one for loop in LOOPS if ((one := folder / loop / "model") / "config.json").is_file()]
    if len(models) == 1:
        return models[0]
    if models:
        raise PreflabError(
            f"{folder}: two trained models, {' and '.join(LOOPS)}",
            "one model",
            f"name one of them: --language {models[0]}",
        )
    base = folder / "base" / "model"
    raise PreflabError(
        f"{folder}: {'no trained model of a game in it' if folder.is_dir() else 'no such folder'}",
        "the folder of a finished `preflab game language`, or a model folder in it",
        f"wait until the run has ended, or play against its base model: --language {base}"
        if base.is_dir()
        else "train one by `preflab game language GAME`, or correct the path",
    )


def walk_answers(game: Game, player: ReadingPlayer, start: State) -> Iterator[Answer]:
    """The model's answers in all games of one start that a person on either side can play, shorter histories first.

    The model plays its likeliest legal moves and the person everything. A game of one player has no such person; its
    histories are those of the likeliest moves.
    """
    level: dict[History, tuple[State, set[int]]] = {(): (start, set(range(game.num_players)))}
    while level := {history: one for history, one in level.items() if not game.is_over(one[0])}:
        told = [player.words.conversation(game.player(state), start, history) for history, (state, _) in level.items()]
        following: dict[History, tuple[State, set[int]]] = {}
        asked = zip(level.items(), player.answers(told), player.first_words(told), strict=True)
        for (history, (state, sides)), turn, words in asked:
            moves = playable_moves(game, state)
            named = player.words.read(turn)
            move = named if named in moves else None
            yield Answer(history, state, turn, move, _legal_probs(words, moves))
            for side in sides:  # of the model
                for each in moves if game.player(state) != side else [one for one in moves if one == move]:
                    longer = (*history, each)
                    following.setdefault(longer, (game.play(state, each), set()))[1].add(side)
        level = following


def _legal_probs(words: Mapping[Move, float], moves: Sequence[Move]) -> dict[Move, float]:
    probs = {move: words[move] for move in moves}
    if not all(map(math.isfinite, probs.values())):
        raise PreflabError(
            "the model gives a move a probability that is no number",
            "a model of finite weights",
            "train it anew; its run diverged or its file is damaged",
        )
    return probs


def _check_words(folder: Path, game: Game, words: GameWords, tokenizer: Any) -> None:
    """Refuse a model that was not made for this game: it would read other words."""
    known, expected = set(tokenizer.get_vocab()) - set(tokenizer.all_special_tokens), set(words.vocabulary)
    if known != expected:
        odd = sorted(expected - known) or sorted(known - expected)
        which = "it lacks" if expected - known else "it also has"
        raise PreflabError(
            f"{folder}: no model of {game.name}: {which} {count(len(odd), 'word')}, such as {odd[0]!r}",
            f"a model whose words are those of {game.name}, as `preflab game language` makes it",
            "name the folder of a run of this game, or the game of this folder",
        )
