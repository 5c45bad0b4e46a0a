"""A page on which to play a game against players, see what they think, and replay their learning: one HTML file."""

from __future__ import annotations

from typing import Any

from preflab.explain.inline import inline_page, joined_script
from preflab.explain.packed_numbers import pack_numbers

SCRIPTS = (
    "replay-words.js", "game-data.js", "game-state.js", "game-answers.js", "game-words.js", "game-board.js",
    "game-thoughts.js", "game-main.js",
)  # fmt: skip
"""The files of the script, in the order in which they are joined."""


PACKED = ("probs", "values", "position")
"""The lists of a snapshot that are long."""


def game_page(data: dict[str, Any]) -> str:
    """The page of `game_tables` with `players`, a list of `player_tables` and `language_tables`; it loads nothing."""
    title = f"Play {data['game'].replace('_', ' ')}"
    packed = data | {"players": [_packed(player) for player in data["players"]]}
    return inline_page("game.html.j2", title=title, data=packed, script=joined_script(SCRIPTS), styles=("game.css",))


def _packed(player: dict[str, Any]) -> dict[str, Any]:
    def smaller(row: dict[str, Any]) -> dict[str, Any]:
        return row | {name: None if row[name] is None else pack_numbers(row[name]) for name in PACKED}

    return player | {"snapshots": [smaller(row) for row in player["snapshots"]]}
