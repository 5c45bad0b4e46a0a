"""Clips of a game that fits on paper, and what is wrong with clips that do not fit their moves."""

from __future__ import annotations

from typing import Any

import pytest

from preflab.clips import clip_in
from preflab.errors import PreflabError
from preflab.games.game import load_game
from preflab.games.playouts import clip_of, openings, position_after

LINE = '''
"""Three cells in a row: walk from the left one to the right one in at most three steps."""
MOVES = ("left", "right")
LOOKS = {"@": "player", ".": "floor"}
def start(seed): return (0, 3)
def legal_moves(state): return [] if result(state) is not None else [m for m in MOVES if 0 <= play(state, m)[0] <= 2]
def play(state, move): return (state[0] + (1 if move == "right" else -1), state[1] - 1)
def result(state): return 1.0 if state[0] == 2 else 0.0 if state[1] == 0 else None
def show(state): return "".join("@" if place == state[0] else "." for place in range(3))
'''
FIRST, SECOND, THIRD = [["@", ".", "."]], [[".", "@", "."]], [[".", ".", "@"]]


@pytest.fixture
def line(tmp_path: Any) -> Any:
    """The game of three cells."""
    file = tmp_path / "line.py"
    file.write_text(LINE, encoding="utf-8")
    return load_game(str(file))


@pytest.mark.parametrize(
    ("completion", "frames", "end"),
    [
        ("right right", [FIRST, SECOND, THIRD], "The game ended with result 1."),
        ("right left right", [FIRST, SECOND, FIRST, SECOND], "The game ended with result 0."),
        ("right", [FIRST, SECOND], "The game is not over."),
        ("right jump right", [FIRST, SECOND], "Word 2, jump, was not played: it is not a legal move there."),
        ("left right", [FIRST], "Word 1, left, was not played: it is not a legal move there."),
        ("right right left", [FIRST, SECOND, THIRD], "Word 3, left, was not played: the game was over."),
    ],
)
def test_frames_and_end(line: Any, completion: str, frames: list[Any], end: str) -> None:
    clip = clip_of(line, "start", completion)
    assert clip == {"frames": frames, "looks": {"@": "player", ".": "floor"}, "end": end}


def test_clip_begins_after_the_opening(line: Any) -> None:
    assert clip_of(line, "start right", "right")["frames"] == [SECOND, THIRD]


def test_openings_of_the_line(line: Any) -> None:
    # After one step the player is in the middle; after two left again, or right, where the game is over.
    assert openings(line, 2) == ["start", "start right", "start right left"]
    assert position_after(line, "start right left") == (0, 1)


@pytest.mark.parametrize("prompt", ["", "begin", "start up", "start right right right"])
def test_text_that_is_no_opening_is_refused(line: Any, prompt: str) -> None:
    with pytest.raises(PreflabError, match="an opening of line, such as 'start'"):
        clip_of(line, prompt, "right")


def test_openings_of_stunts() -> None:
    # Two starts. Up, right and down go on from the upper S; up alone from the lower one, since right falls.
    stunts = load_game("stunts")
    assert len(openings(stunts, 0)) == 2
    assert len(openings(stunts, 1)) == 2 + 3 + 1


@pytest.mark.parametrize(
    ("clip", "text", "found"),
    [
        (None, "right", "no clip"),
        ("frames", "right", "a clip that is 'frames'"),
        ({"frames": [FIRST, SECOND], "sound": ""}, "right", "a clip with sound"),
        ({"frames": []}, "right", "a clip without frames"),
        ({"frames": [FIRST, SECOND, THIRD]}, "right", "a clip of 3 frames for 1 move"),
        ({"frames": [FIRST]}, "right", "a clip of 1 frame for 1 move"),
        ({"frames": [FIRST, [["@", "."]]]}, "right", "frame 1 has another size than frame 0"),
        ({"frames": [FIRST, [["@", "."], ["."]]]}, "right", "frame 1 is"),
        ({"frames": [FIRST, [["@", ".", 3]]]}, "right", "frame 1 has the cell 3"),
        ({"frames": [FIRST, [["@", ".", "wide"]]]}, "right", "frame 1 has the cell 'wide'"),
        ({"frames": [FIRST, [["@", ".", "\u202e"]]]}, "right", "frame 1 has the cell '\\u202e'"),
        ({"frames": [FIRST, SECOND], "looks": {"@": "hero"}}, "right", "looks are {'@': 'hero'}"),
        ({"frames": [FIRST, SECOND], "end": 1}, "right", "a clip whose end is 1"),
        ({"frames": [FIRST, SECOND], "end": "a\nb"}, "right", "a clip whose end is"),
        ({"frames": [FIRST, SECOND]}, "ri\u200bght", "the move 'ri\\u200bght'"),
    ],
)
def test_wrong_clips_say_what_is_wrong(clip: Any, text: str, found: str) -> None:
    with pytest.raises(PreflabError) as caught:
        clip_in(clip, text)
    assert caught.value.found.startswith(found)


def test_fewer_frames_need_a_reason() -> None:
    clip = clip_in({"frames": [FIRST], "end": "It fell."}, "right right")
    assert clip.moves == ()
    assert clip.parts == {"frames": [FIRST], "looks": {}, "end": "It fell."}
