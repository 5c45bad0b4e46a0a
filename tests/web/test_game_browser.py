"""A game in a real browser: a whole game by keyboard, what players think, their learning, hostile texts."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from preflab.cli import run_command
from preflab.explain import game_page as game_page_module
from preflab.explain.game_page import game_page
from preflab.explain.game_tables import NAMES, game_tables, player_tables
from preflab.games.exact_values import ExactValues
from preflab.games.game import Game, load_game
from preflab.games.learners import Learning, Thoughts, learn_by_network, learn_by_table, learn_exactly
from preflab.games.q_learning import QSettings
from preflab.games.tic_tac_toe import Board
from web.test_hostile_browser import ATTACKS

pytestmark = pytest.mark.browser

EXAMPLE = Path(__file__).parents[2] / "examples" / "my_first_game.py"
MARKS = {"": 0, "X": 1, "O": 2}

OpenGame = Callable[..., Any]
"""Opens a page in Chromium; the page's `wrong` lists what must not happen."""


def page_of(game: Game, *learnings: tuple[str, Learning], num_snapshots: int = 4) -> str:
    """The page of a game with players."""
    states, tables = game_tables(game)
    players = [player_tables(game, states, *one, num_snapshots=num_snapshots) for one in learnings]
    return game_page({**tables, "players": players})


@pytest.fixture(scope="module")
def tic_tac_toe() -> str:
    """Tic-tac-toe against the exact answer, and against Q-learning after 0, 100, … 400 games."""
    game = load_game("tic_tac_toe")
    table = learn_by_table(game, QSettings(num_games=400))
    return page_of(game, ("exact", learn_exactly(game, 1.0)), ("q", table))


@pytest.fixture(scope="module")
def nim() -> str:
    """Nim, which has no cells, against the exact answer."""
    game = load_game(str(EXAMPLE))
    return page_of(game, ("exact", learn_exactly(game, 1.0)))


@pytest.fixture
def open_game(browser: Any, tmp_path: Path) -> Iterator[OpenGame]:
    contexts = []

    def opened(html: str, *, width: int = 1280, **looks: Any) -> Any:
        file = tmp_path / "game.html"
        file.write_text(html, encoding="utf-8")
        context = browser.new_context(viewport={"width": width, "height": 900}, **looks)
        context.set_default_timeout(10_000)
        contexts.append(context)
        page = context.new_page()
        page.wrong = []
        page.on("request", lambda asked: page.wrong.append(asked.url) if asked.url != file.as_uri() else None)
        page.on("console", lambda said: page.wrong.append(said.text))
        page.on("pageerror", lambda error: page.wrong.append(str(error)))
        page.on("dialog", lambda dialog: (page.wrong.append(dialog.message), dialog.dismiss()))
        page.goto(file.as_uri())
        return page

    yield opened
    for context in contexts:
        assert not [wrong for page in context.pages for wrong in page.wrong]
        context.close()


def said(page: Any) -> str:
    """What the live region says."""
    return str(page.locator("#said").inner_text())


def board_of(page: Any) -> Board:
    """The marks on the page as a state of the game."""
    names = page.locator(".cell").evaluate_all("all => all.map(one => one.querySelector('.mark')?.textContent ?? '')")
    return tuple(MARKS[name] for name in names)


def press_cell(page: Any, cell: int) -> None:
    """Walk from the focused cell to another by the arrow keys, and play it."""
    at = int(page.evaluate("document.activeElement.dataset.cell"))
    for key, steps in (("Down", cell // 3 - at // 3), ("Right", cell % 3 - at % 3)):
        opposite = {"Down": "Up", "Right": "Left"}[key]
        for _ in range(abs(steps)):
            page.keyboard.press(f"Arrow{key if steps > 0 else opposite}")
    page.keyboard.press("Enter")


def play_by_keyboard(page: Any, choose: Callable[[Board], int]) -> str:
    """Play until the end; returns what the live region says then."""
    page.locator(".cell[tabindex='0']").focus()
    while "The game is over" not in said(page):
        press_cell(page, choose(board_of(page)))
    return said(page)


@pytest.mark.parametrize("side", ["0", "1"])
def test_perfect_play_against_the_exact_answer_is_a_draw(open_game: OpenGame, tic_tac_toe: str, side: str) -> None:
    exact = ExactValues(load_game("tic_tac_toe"))
    page = open_game(tic_tac_toe)
    page.locator("#side").select_option(side)
    assert said(page).startswith(f"New game. You play {('first', 'second')[int(side)]}.")
    end = play_by_keyboard(page, lambda board: max(exact.best_moves(board)))
    assert end.endswith("The game is over. A draw.")
    assert page.locator("#log li").count() == 9
    assert page.locator("#said").get_attribute("role") == "status"


def test_exact_answer_never_loses_to_careless_play(open_game: OpenGame, tic_tac_toe: str) -> None:
    page = open_game(tic_tac_toe)
    for side in "01":
        page.locator("#side").select_option(side)
        for choose in (lambda board: board.index(0), lambda board: 8 - board[::-1].index(0)):
            page.locator("#new").click()
            end = play_by_keyboard(page, choose)
            assert end.endswith(("It wins.", "A draw."))


def test_thoughts_are_the_exact_values_of_moves(open_game: OpenGame, tic_tac_toe: str) -> None:
    exact = ExactValues(load_game("tic_tac_toe"))
    page = open_game(tic_tac_toe)
    for cell in (0, None, None):  # a corner, then what follows from the first free cells
        board = board_of(page)
        page.locator(f"[data-cell='{board.index(0) if cell is None else cell}']").click()
        board = board_of(page)
        if "over" in said(page):
            break
        values, best = exact.move_values(board), exact.best_moves(board)
        shown = {int(one.get_attribute("data-cell")): one for one in page.locator(".cell[data-move]").all()}
        assert set(shown) == set(values)
        for place, one in shown.items():
            value = {1: "+1", 0: "0", -1: "−1"}[int(values[place])]
            probability = f"{round(100 / len(best)) if place in best else 0}\u00a0%"
            star = "★ " if place in best else ""
            assert one.locator(".thought").all_inner_texts() == [value, f"{star}{probability}"]
            name = one.get_attribute("aria-label")
            assert name.endswith(f"value {value}, probability {probability}" + (", its best" if star else ""))
        assert page.locator("#thought p").inner_text().startswith("Value of the position: ")
        assert page.locator("#thought tbody tr").count() == len(values)


def test_learning_is_replayed_step_by_step(open_game: OpenGame, tic_tac_toe: str) -> None:
    """Before the first game all values are 0 and each of 9 moves has 11 %: the worst tie loses 1 as either player."""
    page = open_game(tic_tac_toe)
    assert page.locator("#learning").is_disabled()
    assert page.locator("#learning-said").inner_text() == "computed, not learned"
    page.locator("#player").select_option(label="Q-learning")
    assert page.locator("#learning-said").inner_text() == "after 400 games"
    page.locator("#learning").focus()
    page.keyboard.press("ArrowLeft")
    assert page.locator("#learning-said").inner_text() == "after 300 games"
    page.keyboard.press("Home")
    assert page.locator("#learning").get_attribute("aria-valuetext") == "after 0 games"
    assert page.locator("#worth").inner_text().startswith("Exploitability of its likeliest moves: 1 as first player, 1")
    nothing = page.locator(".cell").first.locator(".thought").all_inner_texts()
    assert nothing == ["0", "★ 11\u00a0%"]
    page.clock.install()
    page.locator("#replay").click()
    for games in ("0", "100", "200"):
        assert page.locator("#learning-said").inner_text() == f"after {games} games"
        page.clock.run_for(1000)
    page.get_by_role("button", name="Stop").click()
    page.clock.run_for(5000)
    assert page.locator("#learning-said").inner_text() == "after 300 games"
    page.locator("#replay").click()
    page.clock.run_for(9000)
    assert page.locator("#learning-said").inner_text() == "after 400 games"
    assert page.locator("#replay").inner_text() == "Replay its learning"
    page.locator("#help summary").first.click()
    games = page.locator("#numbers tbody td:first-child").all_inner_texts()
    assert games == ["0", "100", "200", "300", "400"]


def test_script_reads_what_python_wrote(browser: Any) -> None:
    """Every position at every moment of four players: the same best moves, numbers to half a step of 16 bits."""
    game = load_game("tic_tac_toe")
    states, tables = game_tables(game)
    network = {"num_games": 1024, "discount": 1.0, "seed": 0, "starts": states[:1]}
    learnings = {
        "exact": learn_exactly(game, 0.9),
        "q": learn_by_table(game, QSettings(num_games=300)),
        "ppo": learn_by_network(game, by_ppo=True, **network),
        "grpo": learn_by_network(game, by_ppo=False, **network),
    }
    players = [player_tables(game, states, *one, num_snapshots=1) for one in learnings.items()]
    data = re.search(r'id="data">(.*?)</script>', game_page({**tables, "players": players}), re.DOTALL)
    assert data is not None
    page = browser.new_page()
    page.set_content(f'<script type="application/json" id="data">{data[1]}</script>')
    script = (Path(game_page_module.__file__).parent / "static" / "game-data.js").read_text(encoding="utf-8")
    everything = (
        "data.players.map((each) => each.snapshots.map((one) => data.legal.map((_, at) => thoughtsOf(one, at))))"
    )
    read = json.loads(page.evaluate(f"() => {{ {script}\n return JSON.stringify({everything}); }}"))
    page.close()
    for player, moments in zip(players, read, strict=True):
        for row, positions in zip(player["snapshots"], moments, strict=True):
            moves = [each for thoughts in positions for each in thoughts["moves"]]
            worth = {"probs": [each["prob"] for each in moves], "values": [each["value"] for each in moves]}
            worth["position"] = [thoughts["value"] for thoughts in positions]
            for name, numbers in worth.items():
                if row[name] is None:
                    assert set(numbers) == {None}
                else:
                    assert np.abs(np.array(numbers) - np.array(row[name])).max() <= 1 / 65_534 + 1e-12
            probs = iter(row["probs"])
            for thoughts in positions:
                here = [next(probs) for _ in thoughts["moves"]]
                assert [each["best"] for each in thoughts["moves"]] == [prob == max(here) for prob in here]


def test_values_below_one_another_have_equally_many_decimals(open_game: OpenGame) -> None:
    """The largest is 1: a hundredth of it is shown, and whole numbers without decimals."""
    game = load_game(str(EXAMPLE))
    worth = {1: -0.3, 2: 0.0877, 3: -0.0049}
    known = Thoughts(
        lambda state: dict.fromkeys(game.legal_moves(state), 1 / len(game.legal_moves(state))),
        lambda state: worth if state == (12, 0) else dict.fromkeys(game.legal_moves(state), 1.0),
        lambda state: 0.996,
    )
    page = open_game(page_of(game, ("q", Learning(0, lambda: known, iter(())))))
    shown = page.locator(".moves .thought").all_inner_texts()
    assert [page.locator("#thought tbody td:nth-child(2)").nth(row).inner_text() for row in range(3)] == [
        "+0.09", "0", "−0.30",
    ]  # fmt: skip
    assert set(shown) >= {"+0.09", "0", "−0.30"}
    assert page.locator("#thought p").inner_text() == "Value of the position: +1 for you, whose turn it is."


def test_values_of_q_learning_change_with_its_games(open_game: OpenGame) -> None:
    """Two matches, α = 1: taking one wins and taking both loses, once each was played with its consequence."""
    game = replace(load_game(str(EXAMPLE)), start=lambda seed: (2, 0))
    page = open_game(page_of(game, ("q", learn_by_table(game, QSettings(num_games=40, alpha=1.0)))))

    def rows() -> list[str]:
        return [" ".join(row.split()) for row in page.locator("#thought tbody tr").all_inner_texts()]

    assert rows() == ["1 +1 100 % ★ best", "2 −1 0 %"]
    page.locator("#learning").press("Home")
    assert rows() == ["1 0 50 % ★ best", "2 0 50 % ★ best"]
    page.locator("#learning").press("End")
    assert rows() == ["1 +1 100 % ★ best", "2 −1 0 %"]


def test_moves_are_taken_back_and_left_to_the_player(open_game: OpenGame, tic_tac_toe: str) -> None:
    page = open_game(tic_tac_toe)
    assert page.locator("#back").is_disabled()
    page.locator("[data-cell='0']").click()
    assert sum(mark > 0 for mark in board_of(page)) == 2
    page.locator("[data-cell='0']").click(force=True)  # not disabled for a screen reader, so that it can be read
    assert said(page).startswith("No move there: row 1, column 1: X")
    page.locator("#back").click()
    assert said(page) == "Took back 2 moves. Your turn."
    assert board_of(page) == (0,) * 9
    for _ in range(5):
        page.locator("#let").click()
    assert said(page).endswith("The game is over. A draw.")
    assert said(page).startswith("It played for you: row")
    assert page.locator("#let").is_disabled()
    assert page.evaluate("document.activeElement.id") == "new"


def test_thoughts_are_hidden_when_not_wanted(open_game: OpenGame, tic_tac_toe: str) -> None:
    page = open_game(tic_tac_toe)
    page.locator("#shows").uncheck()
    assert page.locator(".thought, .best, #thought table").count() == 0
    assert page.locator(".cell").first.get_attribute("aria-label") == "row 1, column 1: empty"


def test_it_draws_by_probability_or_plays_its_likeliest(open_game: OpenGame) -> None:
    """Three in four for 1, one in four for 2. The likeliest is always 1; each quarter of [0, 1) is drawn in turn."""
    game = replace(load_game(str(EXAMPLE)), start=lambda seed: (2, 0))
    mixed = Thoughts(lambda state: {1: 0.75, 2: 0.25} if state[0] == 2 else {1: 1.0})
    page = open_game(page_of(game, ("grpo", Learning(0, lambda: mixed, iter(())))))
    assert page.locator("#thought p").inner_text() == "This player has probabilities, but no values."
    page.evaluate("let at = 0; Math.random = () => (at++ % 4 + 0.5) / 4")

    def first_moves() -> list[str]:
        moves = []
        for _ in range(8):
            page.locator("#new").click()
            page.locator("#let").click()
            moves.append(page.locator("#log li").first.inner_text()[-1])
        return moves

    assert set(first_moves()) == {"1"}
    page.locator("#draws").check()
    assert set(first_moves()) == {"1", "2"}


def test_a_list_of_moves_is_played_by_keyboard(open_game: OpenGame, nim: str) -> None:
    """12 matches: 3 leaves 9 = 2 · 4 + 1, which loses for whose turn it is. Each reply restores 4 · k + 1."""
    page = open_game(nim)
    assert page.locator(".shown-text").inner_text() == "||||||||||||  player 0 to move"
    page.locator(".moves button").nth(2).focus()
    page.keyboard.press("Enter")
    while "over" not in said(page):
        left = page.locator(".shown-text").inner_text().count("|")
        page.locator(f"[data-move='{(left - 1) % 4 - 1}']").focus()
        page.keyboard.press("Enter")
    assert said(page).endswith("The game is over. You win.")
    assert page.evaluate("document.activeElement.id") == "new"


def test_one_player_walks_along_the_cliff(open_game: OpenGame) -> None:
    game = load_game("cliff")
    page = open_game(page_of(game, ("exact", learn_exactly(game, 0.95))))
    assert page.locator("#side").is_hidden()
    first = page.locator(".shown-text").inner_text()
    page.locator("#new").click()
    assert page.locator(".shown-text").inner_text() != first  # the other cell S
    while "over" not in said(page):
        page.locator("#let").click()
    assert said(page).endswith("The game is over. Result +1.")


@pytest.mark.parametrize("width", [1280, 390])
def test_nothing_that_a_game_shows_runs(open_game: OpenGame, width: int) -> None:
    texts = [attack[:3_000] for attack in ATTACKS]
    game = load_game(str(EXAMPLE))
    hostile = replace(
        game,
        name=ATTACKS[0],
        show=lambda state: texts[state[0] % len(texts)] + texts[-1 - state[0]],
        cells=None if width == 390 else lambda state: [texts[:4]],
    )
    page = open_game(page_of(hostile, ("exact", learn_exactly(hostile, 1.0))), width=width)
    while "over" not in said(page):
        page.locator("#let").click()
    page.evaluate("document.querySelectorAll('details').forEach(one => one.open = true)")
    page.wait_for_timeout(200)
    assert not page.evaluate("window.hacked")
    assert page.title().startswith("Play <script>")
    assert page.locator("main script, main img, main iframe, main svg, main style, main base").count() == 0
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_board_is_touched_on_a_phone(open_game: OpenGame, tic_tac_toe: str) -> None:
    page = open_game(tic_tac_toe, width=390, has_touch=True, is_mobile=True, color_scheme="dark")
    page.locator("[data-cell='4']").tap()
    assert board_of(page)[4] == 1
    sizes = page.locator("button:not([hidden])").evaluate_all(
        "all => all.map(one => one.getBoundingClientRect().height)"
    )
    assert min(sizes) >= 44
    assert page.evaluate("document.documentElement.scrollWidth") <= 390


def test_command_writes_a_small_page(tmp_path: Path) -> None:
    page = tmp_path / "play.html"
    few = ["--games", "50", "--by", "exact", "--by", "q"]
    assert run_command(["game", "play", "tic_tac_toe", "--out", str(page), *few]) == 0
    assert page.stat().st_size < 2_500_000
    nim_page = tmp_path / "nim.html"
    assert run_command(["game", "play", str(EXAMPLE), "--by", "ppo", "--games", "512", "--out", str(nim_page)]) == 0
    assert '"name":"PPO"' in nim_page.read_text(encoding="utf-8")


@pytest.mark.slow
def test_a_page_of_four_players_that_replay_their_learning_is_small(open_game: OpenGame, tmp_path: Path) -> None:
    """Its size does not depend on what they learn: eleven moments of each, but one of the exact answer."""
    file = tmp_path / "four.html"
    players = [part for name in NAMES for part in ("--by", name)]
    assert run_command(["game", "play", "tic_tac_toe", "--games", "5120", "--out", str(file), *players]) == 0
    assert file.stat().st_size < 5_000_000
    page = open_game(file.read_text(encoding="utf-8"))
    for name in ("Q-learning", "PPO", "GRPO"):
        page.locator("#player").select_option(label=name)
        assert page.locator("#learning").get_attribute("max") == "10"
        assert page.locator("#learning-said").inner_text() == "after 5,120 games"
        page.locator("#learning").press("Home")
        assert page.locator(".cell").first.locator(".thought").last.inner_text() == "★ 11\u00a0%"
        page.locator("#learning").press("ArrowRight")
        assert page.locator("#learning-said").inner_text() == "after 512 games"
