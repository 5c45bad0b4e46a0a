"""`game language`: a language model learns a game, with moves as tokens and a game as a conversation."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from preflab.cli.speaking import JsonOption, Speaker, shown_path, speaking
from preflab.cli.unread_options import refuse_unread
from preflab.errors import PreflabError

if TYPE_CHECKING:
    from preflab.games.by_language import Measured


class Loop(StrEnum):
    """The loops of language models that learn games."""

    ppo = "ppo"
    grpo = "grpo"


def language(
    context: typer.Context,
    game: Annotated[str, typer.Argument(help="A Python file, a module, tic_tac_toe, cliff or stunts.", metavar="GAME")],
    by: Annotated[Loop, typer.Option("--by", help="The loop that trains the model.")] = Loop.ppo,
    opponent: Annotated[
        str,
        typer.Option(
            "--opponent",
            help="random, minimax (perfect), mixture:0.3 (minimax, with this share of random moves), or "
            "module:function. A game of one player has none.",
        ),
    ] = "mixture:0.3",
    num_steps: Annotated[
        int | None, typer.Option("--steps", help="Steps of 512 games.", min=1, show_default="ppo 150, grpo 160")
    ] = None,
    target: Annotated[
        float,
        typer.Option(
            "--target",
            help="Stop once its moves keep the value of this share of positions and none is illegal; 2: never.",
            min=0,
        ),
    ] = 0.97,
    seed: Annotated[int, typer.Option("--seed", help="Seed of the weights, the games and the moves.")] = 0,
    out: Annotated[
        Path | None, typer.Option("--out", help="The folder of the run.", show_default="GAME-LOOP-SEED")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Train a tiny language model to play, and measure its likeliest moves exactly.

    It learns to speak from random legal games, then to play by the loop that trains language models, against the
    opponent. Every measure is against all replies of the other player. An interrupted run goes on.
    """
    from preflab.games.by_language import LanguageSettings, make_base, train_player
    from preflab.games.check import require_contract
    from preflab.games.opponents import known_game, opponent_named
    from preflab.games.own_play import require_small_results

    if target > 1 and target != 2:
        raise PreflabError(
            f"--target {target:g}", "a share from 0 to 1, or 2 to take all steps", "write for example 0.97"
        )
    with speaking(as_json) as speaker:
        loaded = known_game(game)
        require_contract(loaded)
        require_small_results(loaded)
        if loaded.num_players == 1:
            refuse_unread(context, ("opponent",), f"{loaded.name}, a game of one player")
        opponent_named(opponent, game)  # refused before anything is trained
        folder = out or Path(f"{loaded.name}-{by.value}-{seed}")
        keep_to_one_run(folder, {"game": loaded.name, "seed": seed, f"opponent of {by.value}": opponent})
        base = folder / "base"
        settings = LanguageSettings(
            by="ppo" if by is Loop.ppo else "grpo",
            opponent=opponent,
            num_steps=num_steps or (150 if by is Loop.ppo else 160),
            target=target,
            seed=seed,
        )
        against = f"against {opponent}" if loaded.num_players == 2 else "without an opponent"
        speaker.say(f"{by.value} {against}; its likeliest moves against every reply:")
        speaker.say("  games  positions  keep their value  illegal  exploitability by side (0: cannot be beaten)")
        model = base / "model" if (base / "model").exists() else make_base(game, settings, base)
        rows = []

        def show(measured: Measured) -> None:
            rows.append(measured.row)
            _say(speaker, measured)

        trained = train_player(game, model, settings, folder / by.value, show)
        speaker.content |= {"rows": rows}
        speaker.last(trained, f"preflab check {shown_path(trained)}")


def keep_to_one_run(folder: Path, facts: dict[str, Any]) -> None:
    """Note what a run learns in its `run.json`. The loops share game, seed and base model; each has its opponent.

    Raises:
        PreflabError: the folder holds another run, whose models would be taken for those of this one.
    """
    from preflab.files import read_json, write_json

    path = folder / "run.json"
    before: dict[str, Any] = read_json(path) if path.exists() else {}
    for name, value in facts.items():
        if before.get(name, value) != value:
            raise PreflabError(
                f"{folder}: a run whose {name} is {before[name]}",
                f"a new folder, or a run whose {name} is {value}, to go on with",
                "choose another folder with --out",
            )
    write_json(path, before | facts)


def _say(speaker: Speaker, measured: Measured) -> None:
    play = measured.own_play
    worth = "  ".join(f"{one:.2f}" for one in play.exploitability)
    speaker.say(
        f"{measured.num_games:7,}  {play.num_positions:9,}  {play.kept_positions:16.1%}  {play.num_illegal:7,}  {worth}"
    )
