"""Small real models and stand-in rooms for tests of the loops: everything can be listed, everything is quick."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow.parquet as pq
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from preflab.models.precision import weights_dtype
from preflab.models.trunk import Role, Trunk
from preflab.policy.ppo import PpoRun
from preflab.records import Prompt
from preflab.sampling.engine import TransformersEngine
from preflab.settings.learning import LoraSettings
from preflab.settings.ppo import PpoSettings
from preflab.settings.recipe import PackingName
from preflab.training.batches import TokenSequence
from preflab.training.protocols import Scores, ScoringItem

PROMPT = (3,)
"""The one prompt: a token of its own, since a causal model cannot tell a token from its repetition."""


def tiny_llama(vocab_size: int = 4, *, hidden_size: int = 32, num_layers: int = 1, seed: int = 0) -> LlamaForCausalLM:
    """A random Llama small enough for exact enumeration."""
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=vocab_size,
        hidden_size=hidden_size,
        intermediate_size=2 * hidden_size,
        num_hidden_layers=num_layers,
        num_attention_heads=2,
        num_key_value_heads=2,
        max_position_embeddings=64,
        tie_word_embeddings=False,
        bos_token_id=0,
        eos_token_id=None,
        pad_token_id=0,
        attn_implementation="eager",
    )
    return LlamaForCausalLM(config).to(torch.float32)


def tiny_trunk(
    roles: tuple[Role, ...] = ("policy", "reference", "value"),
    *,
    lora: LoraSettings | None = None,
    vocab_size: int = 4,
    seed: int = 0,
    sharpen: float = 8.0,
    precision: str = "float32",
    model: Any = None,
    tokenizer: Any = None,
    packing: PackingName = "off",
) -> Trunk:
    """A trunk on a tiny model whose distribution is clearly not uniform; None: a Llama."""
    model = tiny_llama(vocab_size, seed=seed) if model is None else model
    with torch.no_grad():
        model.get_output_embeddings().weight.mul_(sharpen)
    model.to(weights_dtype(precision, learns=lora is None))
    tokenizer = tokenizer or SimpleNamespace(pad_token_id=0)
    return Trunk(model, tokenizer, lora=lora, roles=roles, seed=seed, compute=precision, packing=packing)


def all_sequences(vocab_size: int = 4, num_tokens: int = 2) -> list[TokenSequence]:
    """Every completion of a length, after the one prompt."""
    return [TokenSequence(PROMPT, ids) for ids in itertools.product(range(vocab_size), repeat=num_tokens)]


def sequence_logps(trunk: Trunk, role: Role, sequences: Sequence[TokenSequence]) -> torch.Tensor:
    """(B,) log-probability of each completion."""
    with torch.no_grad():
        logps = trunk(trunk.collate(sequences), (role,))[role].logps
    assert logps is not None
    return logps.sum(1)


class FunctionScorer:
    """A `Scorer` from a function of the completion's tokens."""

    def __init__(self, reward: Callable[[tuple[int, ...]], float]) -> None:
        self.reward = reward

    def score(self, items: Sequence[ScoringItem]) -> Scores:
        """Rewards (B,), one term called `known`."""
        total = torch.tensor([self.reward(item.completion_ids) for item in items])
        return Scores(total, {"known": total})


def letters(ids: Sequence[int], prompt: Prompt | None = None) -> str:
    """Token ids as letters: 0 → a."""
    return "".join(chr(ord("a") + i) for i in ids)


def files_of(folder: Path) -> dict[str, bytes]:
    """Name → content of the files in a folder, of which there is at least one."""
    files = {path.name: path.read_bytes() for path in sorted(folder.iterdir())}
    assert files, f"{folder} is empty"
    return files


def kept_rollouts(folder: Path) -> list[dict[str, Any]]:
    """The rollouts that a run in a folder kept."""
    return pq.read_table(folder / "rollouts").to_pylist()


def the_prompt() -> list[tuple[Prompt, tuple[int, ...]]]:
    """The one prompt of these worlds."""
    return [(Prompt.make(text="a"), PROMPT)]


def tiny_ppo(folder: Path, trunk: Trunk, reward: Callable[[tuple[int, ...]], float], **changes: object) -> PpoRun:
    """A PPO run on the one prompt with small defaults; `changes` are settings of PPO."""
    values: dict[str, object] = {
        "num_steps": 2,
        "num_completions_per_step": 16,
        "num_epochs": 2,
        "num_minibatches": 2,
        "decoding": {"max_new_tokens": 3},
        "optimiser": {"learning_rate": 1e-2, "schedule": "constant"},
        "run": {"save_every": 1},
        "lora": None if trunk.lora is None else trunk.lora.model_dump(),
    }
    settings = PpoSettings(model="tiny", prompts="one", rewards=[{"function": "known:reward"}], **{**values, **changes})
    engine = TransformersEngine(
        trunk.language_model("policy"),
        pad_id=0,
        stop_token_ids=(),
        tokenizer=trunk.tokenizer,
        role=functools.partial(trunk.role, "policy"),
        keep_states=True,
    )
    return PpoRun(trunk, settings, the_prompt(), engine, FunctionScorer(reward), letters, folder, seed=0)
