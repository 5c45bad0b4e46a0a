"""The replay as one HTML file: trend, step, rollout, token."""

from __future__ import annotations

from typing import Any

from preflab.explain.inline import inline_page, joined_script

SCRIPTS = (
    "replay-data.js", "replay-words.js", "replay-turns.js", "replay-credit.js", "replay-quantities.js",
    "replay-state.js", "replay-colour.js", "replay-chart.js", "replay-trend.js", "replay-steps.js", "replay-tokens.js",
    "replay-selected.js", "replay-rollout.js", "replay-alarms.js", "replay-address.js", "replay-main.js",
)  # fmt: skip
"""The files of the script, in the order in which they are joined."""


def replay_page(data: dict[str, Any]) -> str:
    """The page that shows what `replay_data` read; it opens by double click and loads nothing."""
    title = "Replay of " + " and ".join(run["name"] for run in data["runs"])
    return inline_page("replay.html.j2", title=title, data=data, script=joined_script(SCRIPTS), styles=("replay.css",))
