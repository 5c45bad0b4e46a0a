"""Which prompts are kept for testing: by their places on a line from 0 to 1, written down here."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from preflab.errors import PreflabError
from preflab.records import Prompt
from preflab.training import held_out
from preflab.training.held_out import held_out_prompts, parted, refuse_all_held_out


def prompts(*places: str) -> list[Prompt]:
    """A prompt for each place, which is its text."""
    return [Prompt.make(text=place) for place in places]


@pytest.mark.parametrize(
    ("share", "num"),
    [(0.0, 0), (0.01, 1), (0.125, 1), (0.26, 2), (0.5, 2), (0.51, 3), (0.75, 3), (0.99, 3)],
)
def test_prompts_below_the_share_are_held_out(share: float, num: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Places 1/8, 1/4, 1/2 and 3/4: at least one is held out, and one is not; a place at the share is not below it."""
    monkeypatch.setattr(held_out, "_place", lambda prompt: float(prompt.text))
    rows = prompts("0.5", "0.125", "0.75", "0.25")
    in_order = [row.id for row in prompts("0.125", "0.25", "0.5", "0.75")]
    assert held_out_prompts([*rows, *rows], share) == set(in_order[:num])


def test_prompts_of_one_place_stay_together_and_one_place_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(held_out, "_place", lambda prompt: float(prompt.text[:3]))
    rows = prompts("0.1 a", "0.1 b", "0.2")
    assert held_out_prompts(rows, 0.15) == {rows[0].id, rows[1].id}
    assert held_out_prompts(rows[1:], 0.15) == {rows[1].id}
    with pytest.raises(PreflabError, match="2 prompts with the same text") as refused:
        held_out_prompts(rows[:2], 0.15)
    assert "write the differing columns" in refused.value.do
    with pytest.raises(PreflabError, match=r"preferences about 1 prompt\n") as refused:
        held_out_prompts(rows[:1], 0.15)
    assert "write the differing columns" not in refused.value.do
    assert held_out_prompts(rows[:1], 0) == set()


def test_places_of_texts_spread_from_0_to_1() -> None:
    places = [held_out._place(Prompt.make(text=f"question {number}")) for number in range(400)]
    assert min(places) >= 0
    assert max(places) < 1
    assert sum(places) / 400 == pytest.approx(0.5, abs=0.05)
    assert sum(place < 0.25 for place in places) / 400 == pytest.approx(0.25, abs=0.06)


def test_rows_are_parted_by_their_prompts() -> None:
    rows = [SimpleNamespace(prompt_id=name) for name in "abca"]
    assert parted(rows, {"a"}) == ([rows[1], rows[2]], [rows[0], rows[3]])


@pytest.mark.parametrize(("num_train", "num_held_out", "refused"), [(0, 3, True), (1, 3, False), (0, 0, False)])
def test_data_of_held_out_prompts_alone_are_refused(num_train: int, num_held_out: int, refused: bool) -> None:
    if refused:
        with pytest.raises(PreflabError, match="judged: all 3 groups to learn from"):
            refuse_all_held_out(num_train, num_held_out, "judged", "groups")
    else:
        refuse_all_held_out(num_train, num_held_out, "judged", "groups")
