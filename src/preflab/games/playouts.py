"""Playouts: whole games as texts, one word per move, and as clips that the labelling app shows.

prompt       start (2,0,20) right              the opening: the start (`words.py`) and the moves made so far
completion   right right right right down      the playout: how it goes on, to the end
clip         the picture before the first of these moves and after each of them (`preflab.clips`)
"""

from __future__ import annotations

import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from preflab.clips import COLUMN, clip_in
from preflab.errors import PreflabError, cut
from preflab.files import check_regular
from preflab.games.exploitability import Policy
from preflab.games.game import Game, State, playable_moves
from preflab.games.words import GameWords

Row = dict[str, Any]


@dataclass(frozen=True)
class Replayed:
    """A playout on the board."""

    states: tuple[State, ...]
    """The position after the opening, and after each move."""
    wrong: str
    """The first word that could not be played; "" if there is none."""

    @property
    def num_played(self) -> int:
        """Moves that were played."""
        return len(self.states) - 1


@lru_cache(maxsize=8)
def words_of(game: Game) -> GameWords:
    """The words of a game, made once, since finding its starts takes a while."""
    return GameWords(game)


def random_policy(game: Game) -> Policy:
    """The player that chooses evenly among its legal moves."""

    def policy(state: State) -> dict[Any, float]:
        moves = playable_moves(game, state)
        return dict.fromkeys(moves, 1 / len(moves))

    return policy


def explore(game: Game, policy: Policy, epsilon: float) -> Policy:
    """The player that follows `policy` with probability 1 − `epsilon` and else plays any legal move."""
    evenly = random_policy(game)

    def explored(state: State) -> dict[Any, float]:
        probs = policy(state)
        return {move: (1 - epsilon) * probs.get(move, 0.0) + epsilon * even for move, even in evenly(state).items()}

    return explored


def openings(game: Game, most_plies: int) -> list[str]:
    """Every prompt of a game: each start, and each way of playing up to `most_plies` moves after which it goes on."""
    words = words_of(game)
    starts = words.of_start or {game.start(0): ""}
    level = [(state, words.opening(0, state)) for state in starts]
    prompts = [prompt for _, prompt in level]
    for _ in range(most_plies):
        after = [
            (game.play(state, move), f"{prompt} {words.of_move[move]}")
            for state, prompt in level
            for move in playable_moves(game, state)
        ]
        level = [(state, prompt) for state, prompt in after if not game.is_over(state)]
        prompts += [prompt for _, prompt in level]
    return prompts


def position_after(game: Game, prompt: str) -> State:
    """The position to which an opening leads.

    Raises:
        PreflabError: the text is no opening of the game.
    """
    words = words_of(game)
    for state in words.of_start or {game.start(0): ""}:
        opening = words.opening(0, state).split()
        if prompt.split()[: len(opening)] == opening:
            replayed = _play_words(game, state, prompt.split()[len(opening) :])
            if not replayed.wrong:
                return replayed.states[-1]
    raise PreflabError(
        f"the prompt {cut(prompt, 60)!r}",
        f"an opening of {game.name}, such as {words.opening(0, game.start(0))!r}, or with moves after it",
        "name the game whose playouts these are",
    )


def play_out(game: Game, policy: Policy, prompt: str, rng: random.Random) -> str:
    """The words of the moves from an opening to the end; the policy moves for every player."""
    words, state, played = words_of(game).of_move, position_after(game, prompt), []
    while not game.is_over(state):
        probs = policy(state)
        move = rng.choices(list(probs), list(probs.values()))[0]
        played.append(words[move])
        state = game.play(state, move)
    return " ".join(played)


def replay(game: Game, prompt: str, completion: str) -> Replayed:
    """Play the words of a completion up to the first one that is no legal move."""
    return _play_words(game, position_after(game, prompt), completion.split())


def _play_words(game: Game, state: State, played: Sequence[str]) -> Replayed:
    words, states = words_of(game), [state]
    for word in played:
        move = words.read(word)
        if move is None or game.is_over(states[-1]) or move not in game.legal_moves(states[-1]):
            return Replayed(tuple(states), word)
        states.append(game.play(states[-1], move))
    return Replayed(tuple(states), "")


def clip_of(game: Game, prompt: str, completion: str) -> Row:
    """The clip of a playout, as the column `clip` holds it.

    Raises:
        PreflabError: the prompt is no opening of the game, or its pictures are too large for a clip.
    """
    replayed = replay(game, prompt, completion)
    frames = _padded([_picture(game, state) for state in replayed.states])
    return clip_in({"frames": frames, "looks": dict(game.looks), "end": _end(game, replayed)}, completion).parts


def playout_rows(game: Game, players: Mapping[str, Policy], prompts: Sequence[str], num: int, seed: int) -> list[Row]:
    """Rows of a campaign's file: `num` playouts of each prompt, by the players in turn, with their clips.

    Args:
        game: the game.
        players: name → policy; the name becomes the column `model`, which labelers do not see.
        prompts: openings.
        num: playouts per prompt.
        seed: seed of the moves.
    """
    rng, names = random.Random(f"playouts {seed}"), list(players)
    rows: list[Row] = []
    for prompt in prompts:
        for _ in range(num):
            name = names[len(rows) % len(names)]
            played = play_out(game, players[name], prompt, rng)
            clip = clip_of(game, prompt, played)
            rows.append({"prompt": prompt, "completion": played, "model": name, COLUMN: clip})
    return rows


def with_clips(game: Game, file: Path) -> list[Row]:
    """The rows of a JSONL file of playouts (`prompt`, `completion`), each with its clip.

    Raises:
        PreflabError: the file has no rows, or one that is no playout of the game; the line is named.
    """
    rows: list[Row] = []
    for number, line in enumerate(_lines(file), start=1):
        try:
            row = json.loads(line)
            rows.append({**row, COLUMN: clip_of(game, row["prompt"], row["completion"])})
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise PreflabError(
                f"{file}, line {number}: {cut(line, 60)}",
                "an object with the texts `prompt` and `completion`",
                "correct it",
            ) from error
        except PreflabError as error:
            raise PreflabError(f"{file}, line {number}: {error.found}", error.expected, error.do) from error
    if not rows:
        raise PreflabError(f"{file}: no rows", "playouts, one a line", "name the file that holds them")
    return rows


def _lines(file: Path) -> list[str]:
    check_regular(file)
    try:
        return [line for line in file.read_text(encoding="utf-8").split("\n") if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise PreflabError(f"{file}: {reason}", "a JSONL file in UTF-8", "correct the path") from error


def _picture(game: Game, state: State) -> list[list[str]]:
    if game.frame is not None or game.cells is not None:
        picture = game.frame or game.cells
        assert picture is not None
        return [list(row) for row in picture(state)]
    return [list(line) for line in game.show(state).split("\n")]


def _padded(frames: list[list[list[str]]]) -> list[list[list[str]]]:
    """Frames of one size: shorter rows and frames end in empty cells."""
    height, width = max(map(len, frames)), max(len(row) for frame in frames for row in frame)
    return [[[*row, *[""] * (width - len(row))] for row in [*frame, *[[]] * (height - len(frame))]] for frame in frames]


def _end(game: Game, replayed: Replayed) -> str:
    last = replayed.states[-1]
    if replayed.wrong:
        why = "the game was over" if game.is_over(last) else "it is not a legal move there"
        return f"Word {replayed.num_played + 1}, {replayed.wrong[:40]}, was not played: {why}."
    value = game.result(last)
    return "The game is not over." if value is None else f"The game ended with result {value:g}."
