"""A language model learns a game: random legal games by SFT, then PPO or GRPO against an opponent.

1 base      policy/sft.py on random legal games: it speaks legal moves, evenly
2 policy    policy/ppo.py or policy/grpo.py with the environment of games.environment, unchanged
3 measure   the exact measure of games.own_play, as the held-out criterion of the loop
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from preflab.conversations.renderer import Renderer
from preflab.environments.episodes import EnvironmentEpisodes
from preflab.environments.loading import EnvironmentSource
from preflab.files import new_folder, read_jsonl, write_text
from preflab.games.environment import GameEnvironment, game_prompts
from preflab.games.language_model import GameModelSize, build_game_model
from preflab.games.language_player import LanguagePlayer
from preflab.games.opponents import MIXTURE, known_game
from preflab.games.own_play import OwnPlay, measure_own_play
from preflab.games.random_games import as_sequence, random_conversations
from preflab.models.language_model import open_language_model
from preflab.models.trunk import Trunk
from preflab.policy.grpo import GrpoRun, train_grpo
from preflab.policy.ppo import PpoRun, train_ppo
from preflab.policy.sft import train_sft
from preflab.rewards.combine import NoReward
from preflab.sampling.engines import EngineSource, make_engine
from preflab.settings.grpo import GrpoSettings
from preflab.settings.learning import SftSettings
from preflab.settings.ppo import PpoSettings
from preflab.training.processes import make_accelerator

CURVE = "curve.jsonl"
ENVIRONMENT = "preflab.games.environment:GameEnvironment"

SFT: dict[str, Any] = {
    "model": "random weights",
    "data": "random games",
    "num_sequences_per_step": 128,
    "optimiser": {"learning_rate": 3e-3, "schedule": "cosine", "warmup_share": 0.05, "tokens_per_micro_batch": 16384},
    "run": {"save_every": 100},
}
LOOP: dict[str, Any] = {
    "model": "base",
    "environment": ENVIRONMENT,
    "prompts": "sides and plies",
    "held_out_prompts": "own play",
    "lora": None,
    "decoding": {"max_new_tokens": 2, "max_batch_rows": 1024},
    "num_minibatches": 4,
    "num_kept_rollouts": 4,
    "run": {"save_every": 20},
}
PPO: dict[str, Any] = {
    **LOOP,
    "num_completions_per_step": 512,
    "num_epochs": 3,
    "kl_coef": 0.02,
    "value_coef": 0.5,
    "value_clip": None,
    "optimiser": {"learning_rate": 1e-3, "tokens_per_micro_batch": 16384},
}
GRPO: dict[str, Any] = {
    **LOOP,
    "num_prompts_per_step": 32,
    "num_completions_per_prompt": 16,
    "num_epochs": 2,
    "kl_coef": 0.02,
    "optimiser": {"learning_rate": 1e-3, "tokens_per_micro_batch": 16384},
}


@dataclass(frozen=True)
class LanguageSettings:
    """How a language model learns a game."""

    by: Literal["ppo", "grpo"] = "ppo"
    opponent: str = f"mixture:{MIXTURE}"
    """Its name, see `games.opponents`."""
    most_plies: int = 6
    """A game starts after 0 to this many random moves."""
    num_random_games: int = 16_384
    num_sft_steps: int = 200
    num_steps: int = 200
    measure_every: int = 10
    """Steps between two exact measures."""
    target: float | None = 0.995
    """Stop once this share of the positions of its own play keeps the minimax value; None: take all steps."""
    size: GameModelSize = field(default_factory=GameModelSize)
    changes: Mapping[str, Any] = field(default_factory=dict)
    """Settings of `ppo` or `grpo` that differ from those of this file."""
    seed: int = 0


@dataclass(frozen=True)
class Measured:
    """One point of the curve; a line of `curve.jsonl`."""

    num_steps: int
    num_games: int
    opponent: str
    """Whom the policy learned against. The measure is against every reply."""
    own_play: OwnPlay

    @property
    def row(self) -> dict[str, Any]:
        """The point as one flat row of JSON values."""
        values = {**vars(self), **vars(self.own_play)}
        return {name: value for name, value in values.items() if name != "own_play"}


def make_base(place: str, settings: LanguageSettings, folder: Path) -> Path:
    """Train the base model on random legal games; returns its model folder, `folder/model`."""
    game = known_game(place)
    model, tokenizer = build_game_model(game, settings.seed, settings.size)
    trunk = Trunk(model, tokenizer, lora=None, roles=("policy",), seed=settings.seed)
    games = random_conversations(game, settings.num_random_games, settings.seed)
    train_sft(
        trunk,
        [as_sequence(tokenizer, turns) for turns in games],
        SftSettings.model_validate(SFT),
        num_steps=settings.num_sft_steps,
        folder=folder,
        seed=settings.seed,
        accelerator=make_accelerator(),
        name="base",
    )
    _save(trunk, folder / "model")
    return folder / "model"


def train_player(
    place: str,
    base: Path,
    settings: LanguageSettings,
    folder: Path,
    on_measure: Callable[[Measured], None] | None = None,
) -> Path:
    """Train a policy from a base model by PPO or GRPO; returns its model folder, `folder/model`.

    Args:
        place: the game, as for `preflab game`.
        base: the model folder of `make_base`.
        settings: the settings.
        folder: the run's folder, with the files of the stages `ppo` and `grpo`, and `curve.jsonl`. A run that was
            interrupted goes on from its checkpoint.
        on_measure: called with every exact measure, the first before the first step.
    """
    game, changes = known_game(place), dict(settings.changes)
    stop = {"criterion": "preflab.games.own_play:measure_own_play", "every": settings.measure_every}
    changes |= {"num_steps": settings.num_steps, "stop": {**stop, "threshold": settings.target}}
    roles: Any = ("policy", "reference", "value") if settings.by == "ppo" else ("policy", "reference")
    trunk = open_language_model(base, dtype="float32").trunk(roles, seed=settings.seed)
    values = {**(PPO if settings.by == "ppo" else GRPO), **changes}
    loop: Any = (PpoSettings if settings.by == "ppo" else GrpoSettings).model_validate(values)
    player = LanguagePlayer.of_trunk(trunk)

    def measure(version: int) -> tuple[float, None]:
        num_steps = version // (loop.num_epochs * loop.num_minibatches)
        num_games = num_steps * loop.num_completions_per_step
        measured = Measured(num_steps, num_games, settings.opponent, measure_own_play(game, player))
        _add_to_curve(folder / CURVE, measured)
        if on_measure is not None:
            on_measure(measured)
        return measured.own_play.kept_positions, None

    renderer = Renderer.of(trunk.language_model("policy"), trunk.tokenizer)
    engine = make_engine(EngineSource.of_trunk(trunk, renderer.stop_token_ids))
    source = EnvironmentSource(ENVIRONMENT, GameEnvironment)
    prompts = game_prompts(place, settings.opponent, plies=range(settings.most_plies + 1))
    run = (PpoRun if settings.by == "ppo" else GrpoRun)(
        trunk=trunk,
        settings=loop,
        prompts=[(prompt, ()) for prompt in prompts],
        sampler=engine,
        scorer=NoReward(),
        decode=renderer.decode,
        folder=folder,
        seed=settings.seed,
        name=settings.by,
        episodes=EnvironmentEpisodes(
            source, renderer, engine, loop.decoding, loop.environment.max_turns, settings.size.context
        ),
        held_out=measure,
    )
    if not (folder / "checkpoint").exists():
        measure(0)
    result = (train_ppo if settings.by == "ppo" else train_grpo)(run)
    if result.num_steps % settings.measure_every:
        measure(result.num_steps * loop.num_epochs * loop.num_minibatches)
    _save(trunk, folder / "model")
    return folder / "model"


def _add_to_curve(path: Path, measured: Measured) -> None:
    """Write a point of the curve after those of fewer steps; later ones are of a run that was interrupted."""
    rows = [row for row in read_jsonl(path) if row["num_steps"] < measured.num_steps]
    write_text(path, "".join(json.dumps(row) + "\n" for row in [*rows, measured.row]))


def _save(trunk: Trunk, folder: Path) -> None:
    with new_folder(folder) as beside:
        trunk.language_model("policy").save_pretrained(beside)
        trunk.tokenizer.save_pretrained(beside)
