"""A language model learns a game: random legal games by SFT, then PPO or GRPO against an opponent.

1 base      policy/sft.py on random legal games: it speaks legal moves, evenly
2 policy    policy/ppo.py or policy/grpo.py with the environment of games.dialogue, unchanged
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
from preflab.games.dialogue import GameEnvironment, game_prompts
from preflab.games.language_model import GameModelSize, build_game_model
from preflab.games.language_player import LanguagePlayer
from preflab.games.opponents import MIXTURE, known_game
from preflab.games.own_play import OwnPlay, measure_own_play
from preflab.games.random_games import as_sequence, random_conversations
from preflab.models.language_model import open_language_model
from preflab.models.trunk import Role, Trunk
from preflab.policy.grpo import train_grpo
from preflab.policy.on_policy_run import OnPolicyRun, RunResult
from preflab.policy.ppo import train_ppo
from preflab.policy.sft import train_sft
from preflab.rewards.combine import NoReward
from preflab.sampling.engines import EngineSource, make_engine
from preflab.settings.grpo import GrpoSettings
from preflab.settings.learning import SftSettings
from preflab.settings.ppo import PpoSettings
from preflab.training.processes import make_accelerator

CURVE = "curve.jsonl"
TOKENS_PER_TURN = 3
"""A move, the end of the turn, and the reply."""
ENVIRONMENT = "preflab.games.dialogue:GameEnvironment"

SFT: dict[str, Any] = {
    "model": "random weights",
    "data": "random games",
    "num_sequences_per_step": 128,
    "optimiser": {"learning_rate": 3e-3, "schedule": "cosine", "warmup_share": 0.05, "tokens_per_micro_batch": 16384},
    "run": {"save_every": 100},
}
LOOP: dict[str, Any] = {
    "model": "base",
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
    "optimiser": {"learning_rate": 5e-4, "tokens_per_micro_batch": 16384},
}


@dataclass(frozen=True)
class Loop:
    """A loop of `policy/`, and its settings for games."""

    train: Callable[[Any], RunResult]
    settings: type[PpoSettings] | type[GrpoSettings]
    values: Mapping[str, Any]
    roles: tuple[Role, ...]


LOOPS = {
    "ppo": Loop(train_ppo, PpoSettings, PPO, ("policy", "reference", "value")),
    "grpo": Loop(train_grpo, GrpoSettings, GRPO, ("policy", "reference")),
}


@dataclass(frozen=True)
class LanguageSettings:
    """The settings with which a language model learns a game."""

    by: Literal["ppo", "grpo"] = "ppo"
    opponent: str = f"mixture:{MIXTURE}"
    """Its name, see `games.opponents`."""
    most_plies: int = 6
    """A game starts after 0 to this many random moves."""
    num_random_games: int = 16_384
    num_sft_steps: int = 200
    num_steps: int = 150
    measure_every: int = 10
    """Steps between two exact measures."""
    target: float | None = 0.97
    """Stop once this share of the positions of its own play keeps the minimax value and no move is illegal; None: take
    all steps."""
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
    """Whom the policy learned against; "none" in a game of one player. The measure is against every reply."""
    own_play: OwnPlay

    @property
    def criterion(self) -> float:
        """The held-out criterion of the loop: the share of kept positions, 0 while any move is illegal."""
        return 0.0 if self.own_play.num_illegal else self.own_play.kept_positions

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
    loop = LOOPS[settings.by]
    trunk = open_language_model(base, dtype="float32").trunk(loop.roles, seed=settings.seed)
    run = _run_of(place, trunk, settings, folder)
    player = LanguagePlayer(run.sampler, trunk.tokenizer)

    def measure(num_updates: int) -> tuple[float, None]:
        num_steps = num_updates // (run.settings.num_epochs * run.settings.num_minibatches)
        num_games = num_steps * run.settings.num_completions_per_step
        opponent = settings.opponent if known_game(place).num_players == 2 else "none"
        measured = Measured(num_steps, num_games, opponent, measure_own_play(known_game(place), player))
        _add_to_curve(folder / CURVE, measured)
        if on_measure is not None:
            on_measure(measured)
        return measured.criterion, None

    run.held_out = measure
    if not (folder / "checkpoint").exists():
        measure(0)
    result = loop.train(run)
    if result.num_steps % settings.measure_every:
        measure(run.num_updates)
    _save(trunk, folder / "model")
    return folder / "model"


def _run_of(place: str, trunk: Trunk, settings: LanguageSettings, folder: Path) -> OnPolicyRun[Any]:
    """The inputs of a loop, as a stage of a recipe would make them."""
    loop, context = LOOPS[settings.by], settings.size.context
    environment = {"source": ENVIRONMENT, "max_turns": context // TOKENS_PER_TURN}
    stop = {"criterion": "preflab.games.own_play:measure_own_play", "every": settings.measure_every}
    further = {"environment": environment, "stop": {**stop, "threshold": settings.target}}
    values = loop.settings.model_validate(
        {**loop.values, "num_steps": settings.num_steps, **further, **settings.changes}
    )
    renderer = Renderer.of(trunk.language_model("policy"), trunk.tokenizer)
    engine = make_engine(EngineSource.of_trunk(trunk, renderer.stop_token_ids))
    source = EnvironmentSource(ENVIRONMENT, GameEnvironment)
    prompts = game_prompts(place, settings.opponent, plies=range(settings.most_plies + 1))
    return OnPolicyRun(
        trunk=trunk,
        settings=values,
        prompts=[(prompt, ()) for prompt in prompts],
        sampler=engine,
        scorer=NoReward(),
        decode=renderer.decode,
        folder=folder,
        seed=settings.seed,
        name=settings.by,
        episodes=EnvironmentEpisodes(source, renderer, engine, values.decoding, context // TOKENS_PER_TURN, context),
    )


def _add_to_curve(path: Path, measured: Measured) -> None:
    """Write a point of the curve after those of fewer steps; later ones are of a run that was interrupted."""
    rows = [row for row in read_jsonl(path) if row["num_steps"] < measured.num_steps]
    write_text(path, "".join(json.dumps(row) + "\n" for row in [*rows, measured.row]))


def _save(trunk: Trunk, folder: Path) -> None:
    with new_folder(folder) as beside:
        trunk.language_model("policy").save_pretrained(beside)
        trunk.tokenizer.save_pretrained(beside)
