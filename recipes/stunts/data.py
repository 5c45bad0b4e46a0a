"""Writes what `flashy.yaml` needs: a tiny language model of the grid game, playouts to learn, prompts.

    python recipes/stunts/data.py [FOLDER] [--seed 0] [--scale 1.0]

model/           random weights; its words are the moves of `stunts`
playouts.jsonl   `prompt`, `completion`: playouts by a random player and by a Q-player that explores
prompts.jsonl    `prompt`: every opening of up to five moves, in random order
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
from collections.abc import Sequence
from pathlib import Path

from preflab.files import write_text
from preflab.games.flashy import GAME
from preflab.games.language_model import GameModelSize, make_game_model
from preflab.games.playouts import Row, explore, openings, play_out, random_policy
from preflab.games.q_learning import QSettings, learn_by_q

HERE = Path(__file__).parent
NUM_PLAYOUTS, NUM_Q_GAMES, MOST_PLIES = 4_000, 5_000, 5
SIZE = GameModelSize(num_layers=2, hidden_size=64, num_heads=4, context=32)


def shuffled_openings(seed: int) -> list[str]:
    """The prompts, in an order that the seed decides."""
    prompts = openings(GAME, MOST_PLIES)
    random.Random(f"stunts prompts {seed}").shuffle(prompts)
    return prompts


def made_playouts(seed: int, num: int) -> list[Row]:
    """Playouts of the prompts in turn: every fourth by a random player, the others by a Q-player that explores."""
    *_, table = learn_by_q(GAME, QSettings(num_games=NUM_Q_GAMES, discount=0.95, seed=seed))
    players = [random_policy(GAME), *(explore(GAME, table.policy, epsilon) for epsilon in (0.1, 0.2, 0.3))]
    rng, prompts = random.Random(f"stunts {seed}"), shuffled_openings(seed)
    rows = []
    for number in range(num):
        prompt = rng.choice(prompts)
        rows.append({"prompt": prompt, "completion": play_out(GAME, players[number % len(players)], prompt, rng)})
    return rows


def main(folder: Path, seed: int, scale: float) -> None:
    """Write the model and the two files."""
    shutil.rmtree(folder / "model", ignore_errors=True)
    make_game_model(GAME, folder / "model", seed, SIZE)
    prompts = [{"prompt": prompt} for prompt in shuffled_openings(seed)]
    playouts = made_playouts(seed, max(20, round(scale * NUM_PLAYOUTS)))
    for name, rows in (("playouts", playouts), ("prompts", prompts)):
        _write(folder / f"{name}.jsonl", rows)


def _write(file: Path, rows: Sequence[Row]) -> None:
    write_text(file, "".join(json.dumps(row) + "\n" for row in rows))
    print(f"{len(rows):>6} rows in {file}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Writes the model, the playouts and the prompts of flashy.yaml.")
    parser.add_argument("folder", type=Path, nargs="?", default=HERE)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--scale", type=float, default=1.0, help="factor of the number of playouts")
    chosen = parser.parse_args()
    main(chosen.folder, chosen.seed, chosen.scale)
