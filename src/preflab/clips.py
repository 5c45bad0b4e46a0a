"""Clips: what a page shows of a game that was played, a picture before the first move and one after every move.

    {"frames": [[["@", "."], [".", "G"]], …], "looks": {"@": "player"}, "end": "The game ended with result 1."}

A frame is rows of cells, a cell is a short text. Frames are made where the game is at hand (`games.playouts`), so a
page that shows them needs no game. The words of the completion are the moves: `frames` has one more, or fewer if a
word could not be played; then `end` says which.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from preflab.errors import PreflabError, cut
from preflab.words import count

COLUMN = "clip"
"""Column of a completion that holds its clip."""
LOOKS = ("player", "goal", "danger", "prize", "wall", "floor")
"""The looks that a cell can have; a cell without one of them is drawn as its text."""
MOST_FRAMES = 501
MOST_SIDE = 30
"""Most rows, and most cells of a row."""
LONGEST_CELL = 3
LONGEST_END = 200

Frame = tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Clip:
    """A checked clip."""

    frames: tuple[Frame, ...]
    moves: tuple[str, ...]
    """The words that were played; one fewer than frames."""
    looks: Mapping[str, str]
    end: str

    @property
    def parts(self) -> dict[str, Any]:
        """The clip as JSON."""
        return {
            "frames": [[list(row) for row in frame] for frame in self.frames],
            "looks": {**self.looks},
            "end": self.end,
        }


def clip_in(value: Any, text: str) -> Clip:
    """The clip that a column holds, checked against the words of its completion.

    Raises:
        PreflabError: no clip, frames of several sizes, more frames than moves allow, fewer without a reason, or a text
            with signs that cannot be seen.
    """
    if not isinstance(value, Mapping):
        raise _wrong("no clip" if value is None else f"a clip that is {cut(repr(value), 40)}", "an object with frames")
    unknown = set(value) - {"frames", "looks", "end"}
    if unknown:
        raise _wrong(f"a clip with {', '.join(sorted(map(str, unknown)))}", "frames, looks and end alone")
    frames = _frames(value.get("frames"))
    words, num_played = text.split(), len(frames) - 1
    end = value.get("end", "")
    if not isinstance(end, str) or len(end) > LONGEST_END or not end.isprintable():
        raise _wrong(f"a clip whose end is {cut(repr(end), 40)}", f"a line of at most {LONGEST_END} characters")
    if hidden := next((word for word in words if not word.isprintable()), None):
        raise _wrong(f"the move {cut(ascii(hidden), 40)}", "moves in signs that can be seen")
    if num_played > len(words) or (num_played < len(words) and not end):
        raise _wrong(
            f"a clip of {count(len(frames), 'frame')} for {count(len(words), 'move')}",
            f"{len(words) + 1} frames, or fewer and an `end` that says why",
        )
    return Clip(frames, tuple(words[:num_played]), _looks(value.get("looks", {})), end)


def _frames(value: Any) -> tuple[Frame, ...]:
    if not isinstance(value, list) or not 1 <= len(value) <= MOST_FRAMES:
        raise _wrong(
            "a clip without frames" if not value else "too many frames", f"1 to {MOST_FRAMES} frames in a list"
        )
    frames = tuple(_frame(number, frame) for number, frame in enumerate(value))
    for number, frame in enumerate(frames):
        if (len(frame), len(frame[0])) != (len(frames[0]), len(frames[0][0])):
            raise _wrong(f"frame {number} has another size than frame 0", "frames of one size")
    return frames


def _frame(number: int, value: Any) -> Frame:
    rows = [row if isinstance(row, list) else [] for row in value] if isinstance(value, list) else []
    widths = {len(row) for row in rows}
    if not rows or len(widths) != 1 or not 1 <= max(widths) <= MOST_SIDE or len(rows) > MOST_SIDE:
        raise _wrong(
            f"frame {number} is {cut(repr(value), 60)}", f"1 to {MOST_SIDE} rows, each a list of 1 to {MOST_SIDE} cells"
        )
    for cell in (cell for row in rows for cell in row):
        if not isinstance(cell, str) or len(cell) > LONGEST_CELL or not cell.isprintable():
            raise _wrong(
                f"frame {number} has the cell {cut(ascii(cell), 40)}", f"texts of at most {LONGEST_CELL} characters"
            )
    return tuple(tuple(row) for row in rows)


def _looks(value: Any) -> Mapping[str, str]:
    if not isinstance(value, Mapping) or not all(look in LOOKS for look in value.values()):
        raise _wrong(f"looks are {cut(repr(value), 60)}", f"text of a cell → one of {', '.join(LOOKS)}")
    return dict(value)


def _wrong(found: str, expected: str) -> PreflabError:
    return PreflabError(found, expected, "make clips with `preflab game playouts`, or correct them")
