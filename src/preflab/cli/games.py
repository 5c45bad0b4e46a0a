"""`game`: check a game of your own, and let a player learn it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from enum import StrEnum
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from preflab.cli.speaking import JsonOption, Speaker, speaking
from preflab.errors import PreflabError
from preflab.words import count

if TYPE_CHECKING:
    from preflab.games.exploitability import Policy
    from preflab.games.game import Game

NUM_GAMES = 245_760
"""Games from which a network learns: 480 steps of 512."""


class Method(StrEnum):
    """How a player learns."""

    q = "q"
    ppo = "ppo"
    grpo = "grpo"


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
    by: Annotated[Method, typer.Option("--by", help="Q-learning on a table, or a network by PPO or GRPO.")] = Method.q,
    num_games: Annotated[
        int | None, typer.Option("--games", help="Games to play.", min=1, show_default="10,000; a network 245,760")
    ] = None,
    alpha: Annotated[float, typer.Option("--alpha", help="q: step size, above 0 and at most 1.")] = 0.5,
    epsilon: Annotated[float, typer.Option("--epsilon", help="q: probability of a random move.", min=0, max=1)] = 0.3,
    discount: Annotated[
        float | None,
        typer.Option("--discount", help="Discount per move.", show_default="0.95 for one player, 1 for two"),
    ] = None,
    seed: Annotated[int, typer.Option("--seed", help="Seed of the exploration.")] = 0,
    as_json: JsonOption = False,
) -> None:
    """Learn a game and measure against the exact answer: exploitability for two players, the best result for one.

    Of two players both are played by the learner itself.
    """
    from preflab.games.game import load_game
    from preflab.games.q_learning import QSettings, learn_by_q
    from preflab.progress import progress

    if not 0 < alpha <= 1:
        raise PreflabError(f"--alpha {alpha}", "a step size above 0 and at most 1", "choose one, such as 0.5")
    with speaking(as_json) as speaker:
        loaded = load_game(game)
        gamma = (1.0 if loaded.num_players == 2 else 0.95) if discount is None else discount
        learned: Iterator[tuple[int, Callable[[], Policy]]]
        if by is Method.q:
            settings = QSettings(num_games or 10_000, alpha, epsilon, gamma, seed=seed)
            learned = ((1, partial(getattr, table, "policy")) for table in learn_by_q(loaded, settings))
            num = settings.num_games
        else:
            num, learned = _network_steps(loaded, by, num_games or NUM_GAMES, gamma, seed)
        every, done, rows = max(1, num // 10), 0, []
        with progress(by.value, num) as bar:
            for played, policy in learned:
                done += played
                bar.advance(played)
                if done // every > (done - played) // every or done >= num:
                    rows.append({"games": done, **_measured(loaded, policy())})
        _print_rows(speaker, loaded, rows)


def _network_steps(
    game: Game, by: Method, num_games: int, discount: float, seed: int
) -> tuple[int, Iterator[tuple[int, Callable[[], Policy]]]]:
    """Number of games, and per step the games it played and a function that returns the player of that moment."""
    from preflab.games.grpo import GameGrpoSettings, train_grpo
    from preflab.games.listed_game import ListedGame
    from preflab.games.network import NetworkPlayer, network_of
    from preflab.games.ppo import GamePpoSettings, train_ppo

    listed = ListedGame.of(game)
    network = network_of(listed, seed=seed)
    per_step = GamePpoSettings.num_games_per_step
    num_steps = -(-num_games // per_step)
    if by is Method.ppo:
        steps = train_ppo(listed, network, GamePpoSettings(num_steps=num_steps, gamma=discount, seed=seed))
    else:
        groups = per_step // GameGrpoSettings.num_games_per_group
        settings = GameGrpoSettings(num_steps=num_steps, num_groups_per_step=groups, seed=seed)
        steps = train_grpo(listed, network, settings)
    return num_steps * per_step, ((per_step, lambda: NetworkPlayer(listed, network).policy) for _ in steps)


def _measured(game: Game, policy: Policy) -> dict[str, float]:
    """What the player's likeliest moves are worth: exploitability on both sides, or its result and the best one."""
    from preflab.games.exact_values import ExactValues
    from preflab.games.exploitability import exploitability, worst_case_value

    if game.num_players == 2:
        worth = exploitability(game, policy, likeliest=True)
        return {"first": worth.first, "second": worth.second}
    return {
        "result": worst_case_value(game, policy, 0),
        "best": ExactValues(game, discount=1.0).value(game.start(0)),
    }


def _print_rows(speaker: Speaker, game: Game, rows: list[dict[str, float]]) -> None:
    if game.num_players == 2:
        speaker.say("  games  exploitability as first, as second player (0: no opponent can beat its likeliest moves)")
        lines = [f"{row['games']:7,}  {row['first']:.2f}  {row['second']:.2f}" for row in rows]
    else:
        speaker.say("  games  result of its likeliest moves, best possible result (from the start of seed 0)")
        lines = [f"{row['games']:7,}  {row['result']:.2f}  {row['best']:.2f}" for row in rows]
    for line in lines:
        speaker.say(line)
    speaker.content |= {"rows": rows}
