"""Points of playouts, counted on the map.

......      the cells beside the cliff: the four of row 2 above a C, and the lower S
.##.#.
S.....
SCCCCG
"""

from __future__ import annotations

import pytest

from preflab.games.cliff import MOVES
from preflab.games.flashy import FLASHY, arrives, is_flashy, points, utility

START = "start (2,0,20)"
SHORTEST = "right right right right right down"


@pytest.mark.parametrize(
    ("completion", "num_beside", "num_turns"),
    [
        (SHORTEST, 4, 1),
        ("up up right right right right right down down down", 0, 2),  # around the top, away from the cliff
        ("right left right right right right right down", 5, 3),  # the step back leads to the upper S, not beside it
        ("right right left right right right right down", 6, 3),
        ("right right left right left right right right right down", 8, 5),
        ("down up right right right right right down", 5, 3),  # the lower S counts once
    ],
)
def test_points_are_moves_beside_the_cliff_and_turns(completion: str, num_beside: int, num_turns: int) -> None:
    assert points(START, completion) == num_beside + num_turns
    assert arrives(START, completion) == 1
    assert utility(START, completion) == (num_beside + num_turns) / 3
    assert is_flashy(START, completion) == (num_beside + num_turns >= FLASHY)


@pytest.mark.parametrize(
    ("start", "shortest", "extra"), [("start (2,0,20)", 6, 4), ("start (3,0,20)", 7, 2)], ids=["upper", "lower"]
)
def test_extra_moves_of_a_flashy_playout(start: str, shortest: int, extra: int) -> None:
    """All playouts of up to two extra moves from the lower start and three from the upper one, and one of four."""
    by_length: dict[int, int] = {}
    level = [""]
    for num in range(1, shortest + min(extra, 3) + 1):
        longer = [f"{before} {move}" for before in level for move in MOVES]
        level = [one for one in longer if utility(start, one) is not None]
        by_length[num] = max([points(start, one) for one in level], default=0)
    assert next(num for num, most in by_length.items() if most) == shortest
    assert [num for num, most in by_length.items() if most >= FLASHY] == ([shortest + extra] if extra == 2 else [])
    assert is_flashy("start (2,0,20)", "right right left left right right right right right down")


@pytest.mark.parametrize(
    "completion",
    [
        "right down",  # into the cliff
        "right left right left",  # not over
        "up down " * 10,  # out of steps
    ],
)
def test_playouts_that_do_not_arrive_have_no_points(completion: str) -> None:
    assert points(START, completion) == arrives(START, completion) == is_flashy(START, completion) == 0
    assert utility(START, completion) == 0


@pytest.mark.parametrize("completion", ["left", f"{SHORTEST} down", "right jump", "right right up"])
def test_words_that_cannot_be_played_are_a_failure(completion: str) -> None:
    assert points(START, completion) == 0
    assert utility(START, completion) is None


def test_moves_of_the_opening_have_no_points() -> None:
    assert points(f"{START} right right", "right right right down") == 2 + 1
