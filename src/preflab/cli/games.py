"""`game`: check a game of your own, and let a tabular player learn it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from preflab.cli.speaking import JsonOption, Speaker, speaking
from preflab.errors import PreflabError
from preflab.words import count

if TYPE_CHECKING:
    from preflab.games.game import Game
    from preflab.games.q_learning import QTable

GameArgument = Annotated[str, typer.Argument(help="A Python file, a module, or tic_tac_toe or cliff.", metavar="GAME")]


def add_to(app: typer.Typer) -> None:
    """Register the commands of this file."""
    group = typer.Typer(help="Games: check one of your own, learn to play it.", no_args_is_help=True)
    group.command("check", help=check.__doc__)(check)
    group.command("learn", help=learn.__doc__)(learn)
    app.add_typer(group, name="game")


def check(
    game: GameArgument,
    num_games: Annotated[int, typer.Option("--games", help="Random games to play.", min=1)] = 200,
    seed: Annotated[int, typer.Option("--seed", help="Seed of the random moves.")] = 0,
    as_json: JsonOption = False,
) -> None:
    """Play random games and name each rule of the contract that the game violates. Exit code 1 if there is one."""
    from preflab.games.check import check_game
    from preflab.games.game import load_game

    with speaking(as_json) as speaker:
        loaded = load_game(game)
        violations = check_game(loaded, num_games=num_games, seed=seed)
        for violation in violations:
            speaker.say(f"{violation.found}\n  expected: {violation.expected}\n  do: {violation.do}")
        if not violations:
            speaker.say(f"{loaded.name}: keeps the contract in {count(num_games, 'random game')}")
            speaker.say(loaded.show(loaded.start(seed)))
            speaker.say(f"next: preflab game learn {game}")
        speaker.content |= {"violations": [vars(one) for one in violations]}
    if violations:
        raise typer.Exit(1)


def learn(
    game: GameArgument,
    num_games: Annotated[int, typer.Option("--games", help="Games that the player plays.", min=1)] = 10_000,
    alpha: Annotated[float, typer.Option("--alpha", help="Step size, above 0 and at most 1.")] = 0.5,
    epsilon: Annotated[float, typer.Option("--epsilon", help="Probability of a random move.", min=0, max=1)] = 0.3,
    discount: Annotated[
        float | None,
        typer.Option("--discount", help="Discount per move.", show_default="0.95 for one player, 1 for two"),
    ] = None,
    seed: Annotated[int, typer.Option("--seed", help="Seed of the exploration.")] = 0,
    as_json: JsonOption = False,
) -> None:
    """Tabular Q-learning, measured against the exact answer: exploitability for two players, value for one."""
    from preflab.games.game import load_game
    from preflab.games.q_learning import QSettings, learn_by_q
    from preflab.progress import progress

    if not 0 < alpha <= 1:
        raise PreflabError(f"--alpha {alpha}", "a step size above 0 and at most 1", "choose one, such as 0.5")
    with speaking(as_json) as speaker:
        loaded = load_game(game)
        gamma = (1.0 if loaded.num_players == 2 else 0.95) if discount is None else discount
        settings = QSettings(num_games, alpha, epsilon, gamma, seed=seed)
        every, rows = max(1, num_games // 10), []
        with progress("q-learning", num_games) as bar:
            for number, table in enumerate(learn_by_q(loaded, settings), 1):
                bar.advance(1)
                if number % every == 0 or number == num_games:
                    rows.append({"games": number, **_measured(loaded, table, gamma)})
        _print_rows(speaker, loaded, rows)


def _measured(game: Game, table: QTable, discount: float) -> dict[str, float]:
    """What the greedy player is worth: exploitability on both sides, or its value from the start and the best one."""
    from preflab.games.exact_values import ExactValues
    from preflab.games.exploitability import best_response_value, exploitability

    if game.num_players == 2:
        worth = exploitability(game, table.policy, likeliest=True)
        return {"first": worth.first, "second": worth.second}
    return {
        "result": best_response_value(game, table.policy, 0),
        "best": ExactValues(game, discount=1.0).value(game.start(0)),
    }


def _print_rows(speaker: Speaker, game: Game, rows: list[dict[str, float]]) -> None:
    if game.num_players == 2:
        speaker.say("  games  exploitability as first, as second player (0: no opponent can beat its likeliest moves)")
        lines = [f"{row['games']:7,}  {row['first']:.2f}  {row['second']:.2f}" for row in rows]
    else:
        speaker.say("  games  mean result of its best moves, best possible result (from the start of seed 0)")
        lines = [f"{row['games']:7,}  {row['result']:.2f}  {row['best']:.2f}" for row in rows]
    for line in lines:
        speaker.say(line)
    speaker.content |= {"rows": rows}
