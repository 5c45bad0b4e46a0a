"""A language model on a game's page in a real browser: whole games, what it thinks, illegal words, no answer."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from game_worlds import make_mute, make_speaker
from preflab.cli import run_command
from preflab.games.game import load_game
from preflab.games.language_model import make_game_model
from web.test_game_browser import EXAMPLE, OpenGame, board_of, open_game, press_cell, said

pytestmark = pytest.mark.browser

__all__ = ["open_game"]
TICTACTOE = load_game("tic_tac_toe")
NO_ANSWER = "This player has no answer here."


@pytest.fixture(scope="module")
def html(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A model that speaks, one that does not, and the exact answer."""
    folder = tmp_path_factory.mktemp("language")
    make_speaker(folder / "base"), make_mute(folder / "mute")
    players = ["--by", "exact", "--language", str(folder / "base" / "model"), "--language", str(folder / "mute")]
    assert run_command(["game", "play", "tic_tac_toe", "--out", str(folder / "play.html"), *players]) == 0
    assert (folder / "play.html").stat().st_size < 5_000_000
    return (folder / "play.html").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def answers(html: str) -> dict[str, Any]:
    data = re.search(r'id="data">(.*?)</script>', html, re.DOTALL)
    assert data is not None
    return dict(json.loads(data[1])["players"][1]["snapshots"][0]["answers"])


def choose(page: Any, ends_with: str, side: str = "0") -> None:
    names = page.locator("#player option").all_inner_texts()
    page.locator("#player").select_option(label=next(name for name in names if name.endswith(ends_with)))
    page.locator("#side").select_option(side)
    page.locator("#new").click()


def key_of(moves: Sequence[int]) -> str:
    return "0:" + ",".join(map(str, moves))


def percent(prob: float) -> str:
    return f"{'<1' if 0 < prob < 0.01 else int(100 * prob + 0.5)}\u00a0%"


def shown_row(page: Any, answer: dict[str, Any], free: list[int]) -> None:
    """The table and the cells show the probabilities of an answer."""
    rows = {row.split("\t")[0]: row.split("\t")[1] for row in page.locator("#thought tbody tr").all_inner_texts()}
    assert len(rows) == len(free) + 1
    for cell, prob in zip(free, answer["probs"], strict=True):
        text = percent(prob)
        assert rows[f"row {cell // 3 + 1}, column {cell % 3 + 1}"] == text
        assert page.locator(f"[data-cell='{cell}'] .thought").inner_text().removeprefix("★ ") == text
    assert "no legal move" in rows


def moves_of(page: Any) -> list[int]:
    """The moves so far, as the page lists them."""
    texts = page.locator("#log li").evaluate_all("all => all.map(one => one.textContent)")
    places = [re.search(r"row (\d), column (\d)", text) for text in texts]
    return [3 * int(place[1]) + int(place[2]) - 4 for place in places if place is not None]


def games_of(answers: dict[str, Any], side: int, moves: tuple[int, ...] = ()) -> Iterator[tuple[tuple[int, ...], bool]]:
    """Every game that a person on this side can play, and whether it ends by an illegal answer."""
    board = tuple(1 + moves.index(cell) % 2 if cell in moves else 0 for cell in range(9))
    if TICTACTOE.is_over(board):
        yield moves, False
        return
    free = free_cells(moves)
    best = answers[key_of(moves)]["best"]
    if len(moves) % 2 != side and best is None:
        yield moves, True
        return
    for move in free if len(moves) % 2 == side else [free[best]]:
        yield from games_of(answers, side, (*moves, move))


def free_cells(moves: Sequence[int]) -> list[int]:
    return [cell for cell in range(9) if cell not in moves]


@pytest.mark.parametrize("side", [0, 1])
@pytest.mark.parametrize("by_illegal", [False, True])
def test_a_whole_game_by_keyboard(
    open_game: OpenGame, html: str, answers: dict[str, Any], side: int, by_illegal: bool
) -> None:
    """The longest game of the tables that ends by the rules, or by an illegal answer; the page replies as they say."""
    game = max((moves for moves, illegal in games_of(answers, side) if illegal == by_illegal), key=len)
    page = open_game(html)
    choose(page, "base/model", str(side))
    page.locator(".cell[tabindex='0']").focus()
    for number in range(side, len(game), 2):
        assert moves_of(page) == list(game[:number])
        assert "The game is over" not in said(page)
        shown_row(page, answers[key_of(game[:number])], free_cells(game[:number]))
        press_cell(page, game[number])
    assert moves_of(page) == list(game)
    log = page.locator("#log li").evaluate_all("all => all.map(one => one.textContent)")
    for number in range(1 - side, len(game), 2):
        answer = answers[key_of(game[:number])]
        assert log[number].endswith(f", probability {percent(answer['probs'][answer['best']])}")
    assert "The game is over" in said(page)
    if by_illegal:
        assert said(page).endswith("which is no legal move. The game is over. You win.")
        shown_row(page, answers[key_of(game)], free_cells(game))
    assert ("no legal move" in said(page)) == by_illegal
    assert page.locator("#let").is_disabled()


def test_a_model_that_ends_no_turn_loses_and_the_page_says_why(open_game: OpenGame, html: str) -> None:
    page = open_game(html)
    choose(page, "mute", "1")
    lost = "It answers no single word with an end, which is no legal move. The game is over. You win."
    assert said(page).endswith(lost)
    page.locator("[data-cell='0']").click(force=True)
    assert said(page) == lost
    assert board_of(page) == (0,) * 9
    assert page.locator("#let").is_disabled()
    assert page.locator("#thought tbody tr").last.inner_text().startswith("no legal move")
    page.locator("#side").select_option("0")
    page.locator("[data-cell='4']").click()
    assert said(page) == f"You played row 2, column 2. {lost}"
    page.locator("#back").click()
    assert said(page) == "Took back 1 move. Your turn."
    choose(page, "exact answer", "1")
    assert sum(mark > 0 for mark in board_of(page)) == 1


def test_it_has_no_answer_in_a_game_that_another_player_began(
    open_game: OpenGame, html: str, answers: dict[str, Any]
) -> None:
    """The exact answer plays until the moves are no history of the model; back with it, the game goes on."""
    page = open_game(html)
    choose(page, "exact answer")
    page.evaluate("Math.random = () => 0.999")
    for _ in range(3):
        if key_of(moves_of(page)) in answers:
            page.locator("#let").click()
    assert key_of(moves_of(page)) not in answers
    names = page.locator("#player option").all_inner_texts()
    page.locator("#player").select_option(label=names[1])
    assert page.locator("#thought").inner_text().startswith(NO_ANSWER)
    assert page.locator(".thought, .best").count() == 0
    assert page.locator("#let").is_disabled()
    page.locator(".cell[data-move]").first.click()
    assert NO_ANSWER in said(page)
    page.locator("#player").select_option(label=names[0])
    assert said(page).startswith(("It played", "The game is over"))


def test_a_list_of_moves_is_closed_when_it_has_lost(open_game: OpenGame, tmp_path: Path) -> None:
    """Nim against random weights: the person is second, and the model's first turn is no move."""
    folder = make_game_model(load_game(str(EXAMPLE)), tmp_path / "nim", 0)
    file = tmp_path / "play.html"
    assert run_command(["game", "play", str(EXAMPLE), "--language", str(folder), "--out", str(file)]) == 0
    page = open_game(file.read_text(encoding="utf-8"))
    assert page.locator(".moves button").count() == 3
    assert page.locator(".moves button[aria-disabled]").count() == 0
    page.locator("#side").select_option("1")
    assert said(page).endswith("The game is over. You win.")
    assert page.locator(".moves button[aria-disabled='true']").count() == 3


def test_one_player_who_leaves_its_way_gets_no_answer(open_game: OpenGame, tmp_path: Path) -> None:
    folder = make_game_model(load_game("cliff"), tmp_path / "cliff", 0)
    file = tmp_path / "play.html"
    assert run_command(["game", "play", "cliff", "--language", str(folder), "--out", str(file)]) == 0
    page = open_game(file.read_text(encoding="utf-8"))
    assert page.locator("#worth").inner_text().startswith("Best possible result less that of its likeliest moves: ")
    page.locator(".moves button:not(.best)").first.click()
    assert said(page).endswith("Your move.")
    assert page.locator("#thought").inner_text().startswith(NO_ANSWER)
    assert page.locator(".moves button").count() > 0


def test_it_cannot_draw_and_says_that_its_learning_is_not_there(open_game: OpenGame, html: str) -> None:
    page = open_game(html, width=390)
    choose(page, "base/model")
    assert page.locator("#draws").is_disabled()
    assert page.locator("#learning").is_disabled()
    assert page.locator("#replay").is_hidden()
    assert page.locator("#learning-said").inner_text() == "the model in its folder"
    assert "This page holds the model as it is in its folder, not its learning." in page.locator("#worth").inner_text()
    page.locator("#help summary").first.click()
    assert page.locator("#numbers table").count() == 0
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    page.locator("#player").select_option(label="exact answer")
    assert page.locator("#draws").is_enabled()
