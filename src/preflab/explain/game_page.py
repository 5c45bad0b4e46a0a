"""A page on which to play a game against players, see what they think, and replay their learning: one HTML file."""

from __future__ import annotations

from typing import Any

from preflab.explain.inline import inline_page, joined_script

SCRIPTS = (
    "replay-words.js", "game-data.js", "game-state.js", "game-words.js", "game-board.js", "game-thoughts.js",
    "game-main.js",
)  # fmt: skip
"""The files of the script, in the order in which they are joined."""


def game_page(data: dict[str, Any]) -> str:
    """The page of `game_tables` with `players`, a list of `player_tables`; it opens by double click, loads nothing."""
    title = f"Play {data['game'].replace('_', ' ')}"
    return inline_page("game.html.j2", title=title, data=data, script=joined_script(SCRIPTS), styles=("game.css",))
