"""A world in which the policy speaks in turns: a random Llama that reads bytes, and environments that answer it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from chat_templates import BY_NAME, byte_tokenizer, configured_ids
from preflab.conversations.renderer import Renderer
from preflab.environments.episodes import EnvironmentEpisodes
from preflab.environments.loading import EnvironmentSource
from preflab.environments.protocol import Reply
from preflab.models.trunk import Role, Trunk
from preflab.policy.grpo import GrpoRun
from preflab.policy.ppo import PpoRun
from preflab.records import Prompt
from preflab.rewards.combine import NoReward
from preflab.settings.grpo import GrpoSettings
from preflab.settings.learning import LoraSettings
from preflab.settings.ppo import PpoSettings
from preflab.settings.sampling import DecodingSettings
from tiny_groups import tiny_engine

HERE = Path(__file__)
DECODING = DecodingSettings(max_new_tokens=4)
MAX_TOKENS = 160


class Echo:
    """Three turns: it answers with the number of the turn, and rewards each turn with that number."""

    def reset(self, prompt: Prompt, seed: int) -> str:
        self.turn, self.seed = 0, seed
        return f"Say {seed % 10}"

    def step(self, completion: str) -> Reply:
        self.turn += 1
        return Reply(f"No {self.turn}", reward=float(self.turn), end=self.turn == 3, columns={"long": len(completion)})

    @staticmethod
    def prompts() -> list[str]:
        return ["one", "two"]


class Endless(Echo):
    """It never ends an episode."""

    def step(self, completion: str) -> Reply:
        return Reply("more", reward=1.0)


def talking_renderer() -> Renderer:
    """Bytes with the template of ChatML."""
    family = BY_NAME["chatml"]
    tokenizer = byte_tokenizer(family)
    return Renderer(tokenizer, configured_ids(family, tokenizer))


def talking_model(seed: int = 0) -> LlamaForCausalLM:
    """A random Llama for these bytes."""
    torch.manual_seed(seed)
    size = len(talking_renderer().tokenizer)
    config = LlamaConfig(
        vocab_size=size, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=2, max_position_embeddings=256, initializer_range=0.3, bos_token_id=0, eos_token_id=1,
        pad_token_id=0,
    )  # fmt: skip
    return LlamaForCausalLM(config).to(torch.float32)


def talking_trunk(roles: tuple[Role, ...] = ("policy", "reference"), *, lora: LoraSettings | None = None) -> Trunk:
    """A trunk on that model."""
    return Trunk(talking_model(), talking_renderer().tokenizer, lora=lora, roles=roles, seed=0)


def talking_episodes(
    trunk: Trunk, environment: Any = Echo, *, max_turns: int = 4, timeout_s: float | None = None, **decoding: Any
) -> EnvironmentEpisodes:
    """Episodes of the trunk's policy with an environment."""
    source = EnvironmentSource(f"talking_world:{environment.__name__}", environment, timeout_s)
    engine = tiny_engine(trunk)
    engine.stop_token_ids = talking_renderer().stop_token_ids
    chosen = DECODING.model_copy(update=decoding)
    return EnvironmentEpisodes(source, talking_renderer(), engine, chosen, max_turns, MAX_TOKENS)


VALUES: dict[str, Any] = {
    "model": "tiny",
    "environment": "talking_world:Echo",
    "num_steps": 2,
    "decoding": {"max_new_tokens": 4},
    "optimiser": {"learning_rate": 1e-2, "schedule": "constant"},
    "run": {"save_every": 1},
    "num_kept_rollouts": 8,
}


def talking_ppo(folder: Path, trunk: Trunk, environment: Any = Echo, **changes: Any) -> PpoRun:
    """A PPO run with an environment; `changes` are its settings."""
    small = {"num_completions_per_step": 8, "num_epochs": 2, "num_minibatches": 2}
    lora = None if trunk.lora is None else trunk.lora.model_dump()
    settings = PpoSettings.model_validate({**VALUES, **small, "lora": lora, **changes})
    return PpoRun(trunk, settings, **_common(folder, trunk, environment, settings))


def talking_grpo(folder: Path, trunk: Trunk, environment: Any = Echo, **changes: Any) -> GrpoRun:
    """A GRPO run with an environment; `changes` are its settings."""
    small = {"num_prompts_per_step": 4, "num_completions_per_prompt": 2}
    lora = None if trunk.lora is None else trunk.lora.model_dump()
    settings = GrpoSettings.model_validate({**VALUES, **small, "lora": lora, **changes})
    return GrpoRun(trunk, settings, **_common(folder, trunk, environment, settings))


def _common(folder: Path, trunk: Trunk, environment: Any, settings: Any) -> dict[str, Any]:
    episodes = talking_episodes(trunk, environment, max_turns=settings.environment.max_turns)
    return {
        "prompts": [(Prompt.make(text=text), ()) for text in ("one", "two", "three")],
        "sampler": episodes.sampler,
        "scorer": NoReward(),
        "decode": episodes.renderer.decode,
        "folder": folder,
        "seed": 0,
        "episodes": episodes,
    }
