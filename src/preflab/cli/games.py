"""`game`: check a game of your own, and let a player learn it."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from preflab.cli.game_language import language
from preflab.cli.speaking import JsonOption, Speaker, shown_path, speaking
from preflab.cli.unread_options import refuse_unread
from preflab.errors import PreflabError
from preflab.words import count

if TYPE_CHECKING:
    from preflab.games.game import Game, State
    from preflab.games.learners import Learning
    from preflab.games.q_learning import QSettings

NUM_GAMES = 245_760
"""Games from which a network learns: 480 steps of 512."""


class Method(StrEnum):
    """Methods by which a player learns."""

    q = "q"
    ppo = "ppo"
    grpo = "grpo"


class Player(StrEnum):
    """A player of the page: one that learns, or the exact answer."""

    exact = "exact"
    q = "q"
    ppo = "ppo"
    grpo = "grpo"


GameArgument = Annotated[
    str, typer.Argument(help="A Python file, a module, tic_tac_toe, cliff, stunts, or gymnasium:ID.", metavar="GAME")
]


def add_to(app: typer.Typer) -> None:
    """Register the commands of this file."""
    group = typer.Typer(help="Games: check one of your own, learn to play it.", no_args_is_help=True)
    group.command("check", help=check.__doc__)(check)
    group.command("learn", help=learn.__doc__)(learn)
    group.command("play", help=play.__doc__)(play)
    group.command("playouts", help=playouts.__doc__)(playouts)
    group.command("language", help=language.__doc__)(language)
    app.add_typer(group, name="game")


def check(
    game: GameArgument,
    num_games: Annotated[int, typer.Option("--games", help="Random games to play.", min=1)] = 200,
    seed: Annotated[int, typer.Option("--seed", help="Seed of the random moves.")] = 0,
    as_json: JsonOption = False,
) -> None:
    """Play random games and name each rule of the contract that the game violates. Exit code 1 if there is one."""
    from preflab.games.check import check_game
    from preflab.games.places import open_game

    with speaking(as_json) as speaker:
        loaded = open_game(game)
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
    context: typer.Context,
    game: GameArgument,
    by: Annotated[
        Method,
        typer.Option(
            "--by",
            help="Q-learning on a table, or a network by PPO or GRPO. A language model: `preflab game language`.",
        ),
    ] = Method.q,
    num_games: Annotated[
        int | None, typer.Option("--games", help="Games to play.", min=1, show_default="10,000; a network 245,760")
    ] = None,
    alpha: Annotated[float, typer.Option("--alpha", help="q: step size, above 0 and at most 1.")] = 0.5,
    epsilon: Annotated[float, typer.Option("--epsilon", help="q: probability of a random move.", min=0, max=1)] = 0.3,
    discount: Annotated[
        float | None,
        typer.Option(
            "--discount",
            help="q and ppo: factor per move for later rewards, above 0 and at most 1.",
            show_default="0.95 for one player, 1 for two",
        ),
    ] = None,
    seed: Annotated[int, typer.Option("--seed", help="Seed of the exploration.")] = 0,
    as_json: JsonOption = False,
) -> None:
    """Learn a game and measure against the exact answer: exploitability for two players, the best result for one.

    With two players the learner plays both sides.
    """
    from preflab.games.check import require_contract
    from preflab.games.learners import measure_player
    from preflab.games.places import open_game
    from preflab.games.q_learning import QSettings
    from preflab.progress import progress

    if not 0 < alpha <= 1:
        raise PreflabError(f"--alpha {alpha}", "a step size above 0 and at most 1", "choose one, such as 0.5")
    if discount is not None and not 0 < discount <= 1:
        raise PreflabError(f"--discount {discount}", "a factor above 0 and at most 1", "choose one, such as 0.95")
    if by is not Method.q:
        unread = ("alpha", "epsilon") if by is Method.ppo else ("alpha", "epsilon", "discount")
        refuse_unread(context, unread, f"--by {by.value}")
    with speaking(as_json) as speaker:
        loaded = open_game(game)
        require_contract(loaded)
        gamma = _default_discount(loaded) if discount is None else discount
        learning = _learning(loaded, by, num_games, QSettings(num_games or 10_000, alpha, epsilon, gamma, seed=seed))
        num = learning.num_games
        every, done, rows = max(1, num // 10), 0, []
        with progress(by.value, num) as bar:
            for played in learning.steps:
                done += played
                bar.advance(played)
                if done // every > (done - played) // every or done >= num:
                    rows.append({"games": done, **measure_player(loaded, learning.think().policy)})
        _print_rows(speaker, loaded, rows)


def play(
    game: GameArgument,
    by: Annotated[
        list[Player] | None,
        typer.Option(
            "--by",
            help="A player to play against, exact being perfect; repeat it for several.",
            show_default="exact and q; with --language none",
        ),
    ] = None,
    language_models: Annotated[
        list[Path] | None,
        typer.Option(
            "--language",
            help="A language model to play against: the folder of a `preflab game language` run, or a model folder; "
            "repeat it for several.",
            metavar="FOLDER",
        ),
    ] = None,
    num_games: Annotated[
        int | None,
        typer.Option(
            "--games",
            help="Games from which each player learns; exact needs none.",
            min=1,
            show_default="10,000; a network 245,760",
        ),
    ] = None,
    seed: Annotated[int, typer.Option("--seed", help="Seed of the exploration.")] = 0,
    out: Annotated[Path | None, typer.Option("--out", help="The file to write.", show_default="play-GAME.html")] = None,
    as_json: JsonOption = False,
) -> None:
    """Write one page on which to play against players, see what they think of every move, and replay their learning.

    The page opens by double click and loads nothing. A network learns for minutes first. A language model is trained
    before, by `preflab game language`.
    """
    from preflab.explain.game_page import game_page
    from preflab.explain.game_tables import game_tables, player_tables
    from preflab.files import write_text
    from preflab.games.check import require_contract
    from preflab.games.learners import learn_exactly
    from preflab.games.places import open_game
    from preflab.games.q_learning import QSettings
    from preflab.progress import progress

    with speaking(as_json) as speaker:
        loaded = open_game(game)
        require_contract(loaded)
        states, tables = game_tables(loaded)
        settings = QSettings(num_games or 10_000, discount=_default_discount(loaded), seed=seed)
        starts = [states[row] for row in tables["starts"]]
        models = _language_players(loaded, starts, language_models or [])  # refused before anything is learned
        players = []
        for player in dict.fromkeys(by or ([] if models else [Player.exact, Player.q])):
            if player is Player.exact:
                learning = learn_exactly(loaded, settings.discount)
            else:
                learning = _learning(loaded, Method(player.value), num_games, settings, starts)
            with progress(player.value, learning.num_games) as bar:
                players.append(player_tables(loaded, states, player.value, learning, bar.advance))
        page = out or Path(f"play-{loaded.name}.html")
        write_text(page, game_page({**tables, "players": [*players, *models]}))
        speaker.last(page, f"open {shown_path(page)} in a browser")


def playouts(
    context: typer.Context,
    game: GameArgument,
    out: Annotated[Path, typer.Option("--out", help="The file to write.")] = Path("playouts.jsonl"),
    num: Annotated[int, typer.Option("--num", help="Playouts per prompt.", min=1, max=20)] = 4,
    num_prompts: Annotated[int, typer.Option("--prompts", help="Prompts: openings of the game.", min=1)] = 20,
    most_plies: Annotated[int, typer.Option("--plies", help="Moves of the longest opening.", min=0, max=12)] = 4,
    epsilon: Annotated[
        float, typer.Option("--epsilon", help="Probability of a random move of the Q-player.", min=0, max=1)
    ] = 0.3,
    num_games: Annotated[int, typer.Option("--games", help="Games from which the Q-player learns.", min=1)] = 5_000,
    add_to: Annotated[
        Path | None,
        typer.Option("--add-to", help="Add clips to the playouts of this file (prompt, completion); play none."),
    ] = None,
    seed: Annotated[int, typer.Option("--seed", help="Seed of the learning, the openings and the moves.")] = 0,
    as_json: JsonOption = False,
) -> None:
    """Write playouts with their clips, for people to judge: by a Q-player that explores and by random moves in turn.

    `preflab campaign create FILE --name NAME --option content=playout` makes a campaign of them.
    """
    import json
    import random

    from preflab.files import write_text
    from preflab.games.check import require_contract
    from preflab.games.places import open_game
    from preflab.games.playouts import explore, openings, playout_rows, random_policy, with_clips
    from preflab.games.q_learning import QSettings, learn_by_q

    if add_to is not None:
        unread = ("num", "num_prompts", "most_plies", "epsilon", "num_games", "seed")
        refuse_unread(context, unread, "--add-to, which plays no games")
    with speaking(as_json) as speaker:
        loaded = open_game(game)
        require_contract(loaded)
        if add_to is not None:
            rows = with_clips(loaded, add_to)
        else:
            *_, table = learn_by_q(loaded, QSettings(num_games, discount=_default_discount(loaded), seed=seed))
            players = {"q": explore(loaded, table.policy, epsilon), "random": random_policy(loaded)}
            prompts = openings(loaded, most_plies)
            random.Random(f"prompts {seed}").shuffle(prompts)
            rows = playout_rows(loaded, players, prompts[:num_prompts], num, seed)
        write_text(out, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
        command = f"preflab campaign create {shown_path(out)} --name {loaded.name} --option content=playout"
        speaker.last(out, command)


def _learning(
    game: Game, by: Method, num_games: int | None, settings: QSettings, starts: Sequence[State] = ()
) -> Learning:
    """The learner of a method; a network takes the discount and the seed from the settings of Q-learning."""
    from preflab.games.learners import learn_by_network, learn_by_table

    if by is Method.q:
        return learn_by_table(game, settings)
    num = num_games or NUM_GAMES
    return learn_by_network(
        game, by_ppo=by is Method.ppo, num_games=num, discount=settings.discount, seed=settings.seed, starts=starts
    )


def _language_players(game: Game, starts: Sequence[State], folders: Sequence[Path]) -> list[dict[str, Any]]:
    """The language models of the page, each named by its folder."""
    if not folders:
        return []
    from preflab.explain.game_answers import language_tables
    from preflab.games.answers import ReadingPlayer, find_model

    opened = {folder: ReadingPlayer(game, find_model(folder)) for folder in folders}
    return [language_tables(game, starts, player, _model_name(folder)) for folder, player in opened.items()]


def _model_name(folder: Path) -> str:
    """The run's folder; of a folder `model` also the two above it, such as `tic_tac_toe-ppo-0/base/model`."""
    parts = folder.resolve().parts
    return f"language model {'/'.join(parts[-3:] if parts[-1] == 'model' else parts[-1:])}"


def _default_discount(game: Game) -> float:
    """1 for two players; below 1 for one, so that the shortest way is the best."""
    return 1.0 if game.num_players == 2 else 0.95


def _print_rows(speaker: Speaker, game: Game, rows: list[dict[str, float]]) -> None:
    two = game.num_players == 2
    against, exact = ("itself", "minimax") if two else (None, "value iteration")
    if two:
        speaker.say("it learns against itself; exploitability is measured against the best reply to it (minimax)")
        speaker.say("  games  exploitability as first, as second player (0: no opponent can beat its likeliest moves)")
        lines = [f"{row['games']:7,}  {row['first']:.2f}  {row['second']:.2f}" for row in rows]
    else:
        speaker.say("one player, no opponent; the best possible result is computed by value iteration")
        speaker.say("  games  result of its likeliest moves, best possible result (from the start of seed 0)")
        lines = [f"{row['games']:7,}  {row['result']:.2f}  {row['best']:.2f}" for row in rows]
    for line in lines:
        speaker.say(line)
    speaker.content |= {"learns_against": against, "exact_by": exact, "rows": rows}
