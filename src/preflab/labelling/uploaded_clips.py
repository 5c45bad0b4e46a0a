"""Checks the clips of an uploaded file of playouts: each fits its moves, and clips of one prompt agree."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from preflab.clips import COLUMN, Frame, clip_in
from preflab.records import Prompt
from preflab.store.formats.asked import Words
from preflab.store.formats.json_rows import BadRow


class SeenClips:
    """The pictures seen so far. After equal moves from one prompt a game shows equal pictures."""

    def __init__(self) -> None:
        self._frames: dict[tuple[str, tuple[str, ...]], Frame] = {}
        """(prompt id, moves so far) → the picture."""

    def check(self, prompt: Prompt, contents: Sequence[Words], columns: Mapping[str, Any]) -> None:
        """Check the clip of a row with one completion.

        Raises:
            BadRow: several completions in a row, turns, a clip that does not fit the moves, or one that contradicts an
                earlier clip of the prompt.
        """
        if len(contents) != 1 or contents[0].turns:
            raise BadRow(
                "several completions, or turns, in a row of playouts", f"`prompt`, `completion` and `{COLUMN}` in each row"
            )
        clip = clip_in(columns.get(COLUMN), contents[0].text)
        for number, frame in enumerate(clip.frames):
            known = self._frames.setdefault((prompt.id, clip.moves[:number]), frame)
            if known != frame:
                raise BadRow(
                    f"frame {number} differs from that of an earlier clip of this prompt after the same moves",
                    "clips of one game, each with its own moves",
                )
