"""One step of each loop on tiny random models, counted by `smoke_counter`.

No token ends a completion, so every completion has all its tokens and each count follows from the batch alone.
"""

from __future__ import annotations

import functools
import inspect
import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import torch
from smoke_counter import Counting, Counts

from preflab.models.encoder_decoders import EncoderDecoder
from preflab.models.families import Decoder
from preflab.models.trunk import Role, Trunk
from preflab.policy import dpo, grpo, ppo, sft
from preflab.policy.dpo_groups import Group
from preflab.policy.dpo_groups import LabelledPair as GroupPair
from preflab.policy.dpo_logps import ReferenceCache
from preflab.records import Prompt
from preflab.rewards import train
from preflab.rewards.rankings import LabelledPair, Ranking
from preflab.rewards.score import reward_scores
from preflab.sampling.engine import TransformersEngine
from preflab.settings.dpo import DpoSettings
from preflab.settings.grpo import GrpoSettings
from preflab.settings.learning import LoraSettings, OptimiserSettings, RewardSettings, RunSettings, SftSettings
from preflab.settings.ppo import PpoSettings
from preflab.settings.sampling import DecodingSettings
from preflab.training.batches import TokenSequence
from preflab.training.processes import make_accelerator
from preflab.training.protocols import SampleRequest, Scores, ScoringItem

VOCABULARY = 32
LORA = LoraSettings(rank=2, alpha=4.0)
ON_DECODER = LoraSettings(rank=2, alpha=4.0, where="decoder")


@dataclass(frozen=True)
class Batch:
    """The sizes that every expected number is computed from."""

    prompts: tuple[int, ...] = (5, 3)
    """Tokens of each distinct prompt."""
    per_prompt: int = 4
    """Completions sampled per prompt."""
    new: int = 6
    """Tokens of each sampled completion."""
    demonstrations: tuple[tuple[int, int], ...] = ((5, 4), (3, 2), (4, 6), (2, 3))
    """(prompt, completion) tokens of each row of SFT."""
    pairs: tuple[tuple[int, int, int], ...] = ((5, 6, 4), (3, 2, 5))
    """(prompt, first completion, second completion) tokens of each pair of reward model and DPO."""
    tokens_per_micro_batch: int = 4096


BATCH = Batch()


def tokens(num: int, first: int) -> tuple[int, ...]:
    """`num` token ids that differ for different `first`."""
    return tuple(3 + (first + i) % (VOCABULARY - 3) for i in range(num))


def decoder() -> Any:
    """A random Llama of two layers."""
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    ids = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": None}
    return LlamaForCausalLM(LlamaConfig(vocab_size=VOCABULARY, max_position_embeddings=64, **sizes, **ids))


def encoder_decoder() -> Any:
    """A random T5 of two layers on each side."""
    from transformers import T5Config, T5ForConditionalGeneration

    torch.manual_seed(0)
    sizes = {"d_model": 32, "d_kv": 8, "d_ff": 48, "num_layers": 2, "num_heads": 4}
    ids = {"pad_token_id": 0, "eos_token_id": 1, "decoder_start_token_id": 0}
    return T5ForConditionalGeneration(T5Config(vocab_size=VOCABULARY, **sizes, **ids))


def make_trunk(model: Any, roles: tuple[Role, ...], lora: LoraSettings | None) -> Trunk:
    """The trunk of a world; its tokenizer has a padding token and nothing else."""
    return Trunk(model, SimpleNamespace(pad_token_id=0), lora=lora, roles=roles)


HAS_FIXED_BUFFERS = "capture" in inspect.signature(TransformersEngine.__init__).parameters
"""Whether this version's engine can decode over fixed buffers, as a GPU's graphs need it."""


def make_engine(trunk: Trunk, *, fixed_buffers: bool = False) -> TransformersEngine:
    """Samples from the policy. Its pass through the model is chosen now, so that the choice is not counted."""
    how: dict[str, Any] = {"capture": "on"} if fixed_buffers else {}
    engine = TransformersEngine(
        trunk.language_model("policy"),
        pad_id=0,
        stop_token_ids=(),
        role=functools.partial(trunk.role, "policy"),
        keep_states=True,
        **how,
    )
    assert engine.decode_path
    return engine


HOST = "host"
"""The phase of what is computed before a batch is copied to the device: a GPU is not waited for there."""


@contextmanager
def counted(counting: Counting, trunk: Trunk, *patches: tuple[Any, str, str]) -> Any:
    """Count inside the block; `patches` are (object, attribute, phase) of functions that are phases of a step."""
    collating = ((Decoder, "collate", HOST), (EncoderDecoder, "collate", HOST), (dpo, "share_rows", HOST))
    with ExitStack() as stack:
        for owner, name, phase in (*patches, *collating):
            stack.enter_context(patch.object(owner, name, counting.in_phase(phase, getattr(owner, name))))
        yield stack.enter_context(counting.on(list(trunk.models.values())))


def sampling(batch: Batch, model: Callable[[], Any] = decoder, *, fixed_buffers: bool = False) -> Counts:
    """Completions of shared prompts."""
    counting, trunk = Counting(), make_trunk(model(), ("policy",), None)
    engine = make_engine(trunk, fixed_buffers=fixed_buffers)
    requests = [
        SampleRequest(tokens(num, place), seed=place * batch.per_prompt + k)
        for place, num in enumerate(batch.prompts)
        for k in range(batch.per_prompt)
    ]
    with counted(counting, trunk, (engine, "sample", "sampling")):
        engine.sample(requests, _decoding(batch))
    return counting.counts


def sft_step(batch: Batch, lora: LoraSettings | None) -> Counts:
    """One step of supervised fine-tuning on all demonstrations."""
    counting, trunk = Counting(), make_trunk(decoder(), ("policy",), lora)
    rows = [TokenSequence(tokens(p, n), tokens(c, n + 7)) for n, (p, c) in enumerate(batch.demonstrations)]
    settings = SftSettings(
        model="m", data="d", num_sequences_per_step=len(rows), lora=lora, optimiser=_optimiser(batch)
    )
    with tempfile.TemporaryDirectory() as folder, counted(counting, trunk, (sft, "accumulate", "update")):
        sft.train_sft(
            trunk, rows, settings, num_steps=1, folder=Path(folder), seed=0, accelerator=make_accelerator(cpu=True)
        )
    return counting.counts


def reward_step(batch: Batch) -> Counts:
    """One step of a reward model on all pairs, with adapters."""
    counting, trunk = Counting(), make_trunk(decoder(), ("reward",), LORA)
    rankings = [
        Ranking(f"p{n}", sides, (LabelledPair(0, 1, 1.0, 1.0),), (1, 2), (10, 10))
        for n, sides in enumerate(_sides(batch))
    ]
    settings = RewardSettings(
        model="m", preferences="p", num_rankings_per_step=len(rankings), lora=LORA, optimiser=_optimiser(batch)
    )
    with tempfile.TemporaryDirectory() as folder, counted(counting, trunk, (train, "accumulate", "update")):
        train.train_reward_model(
            trunk, rankings, settings, num_steps=1, folder=Path(folder), seed=0, accelerator=make_accelerator(cpu=True)
        )
    return counting.counts


def dpo_step(batch: Batch, lora: LoraSettings | None) -> Counts:
    """One step of DPO on all pairs; the completions of a pair share a row."""
    counting, trunk = Counting(), make_trunk(decoder(), ("policy", "reference"), lora)
    groups = [Group(f"p{n}", sides, (GroupPair(0, 1, 1.0, 1.0),)) for n, sides in enumerate(_sides(batch))]
    settings = DpoSettings(
        model="m", preferences="p", num_groups_per_step=len(groups), lora=lora, optimiser=_optimiser(batch)
    )
    phases = ((dpo, "ask_reference", "reference"), (dpo, "accumulate", "update"))
    with tempfile.TemporaryDirectory() as folder:
        cache = ReferenceCache(Path(folder) / "cache", "weights", "float32")
        run = dpo.DpoRun(
            trunk, settings, groups, [], 1, cache, Path(folder), seed=0, longest_row=64,
            accelerator=make_accelerator(cpu=True),
        )  # fmt: skip
        with counted(counting, trunk, *phases):
            dpo.train_dpo(run)
    return counting.counts


def ppo_step(batch: Batch, lora: LoraSettings | None) -> Counts:
    """One step of PPO with policy, reference, value and reward: one pass, one minibatch."""
    counting = Counting()
    trunk = make_trunk(decoder(), ("policy", "reference", "value", "reward"), lora)
    trunk.freeze("reward")
    settings = PpoSettings(
        num_completions_per_step=len(batch.prompts) * batch.per_prompt,
        num_completions_per_prompt=batch.per_prompt,
        **_on_policy(batch, lora),
    )
    scorer = RewardRole(trunk)
    with tempfile.TemporaryDirectory() as folder:
        run = ppo.PpoRun(trunk, settings, _prompts(batch), make_engine(trunk), scorer, _decode, Path(folder), seed=0,
                         accelerator=make_accelerator(cpu=True))  # fmt: skip
        phases = ((run.sampler, "sample", "sampling"), (ppo, "score", "scoring"), (ppo, "update", "update"))
        with counted(counting, trunk, (ppo, "collect", "rollouts"), *phases):
            ppo.train_ppo(run)
    return counting.counts


def grpo_step(batch: Batch, lora: LoraSettings | None, model: Callable[[], Any] = decoder) -> Counts:
    """One step of GRPO with a reward that costs nothing: one pass, one minibatch."""
    counting, trunk = Counting(), make_trunk(model(), ("policy", "reference"), lora)
    settings = GrpoSettings(
        num_prompts_per_step=len(batch.prompts),
        num_completions_per_prompt=batch.per_prompt,
        **_on_policy(batch, lora),
    )
    with tempfile.TemporaryDirectory() as folder:
        run = grpo.GrpoRun(trunk, settings, _prompts(batch), make_engine(trunk), FirstToken(), _decode, Path(folder),
                           seed=0, accelerator=make_accelerator(cpu=True))  # fmt: skip
        phases = ((run.sampler, "sample", "sampling"), (grpo, "score", "scoring"), (grpo, "update", "update"))
        with counted(counting, trunk, (grpo, "collect", "rollouts"), *phases):
            grpo.train_grpo(run)
    return counting.counts


class RewardRole:
    """Scores with the trunk's reward role."""

    def __init__(self, trunk: Trunk) -> None:
        self.trunk = trunk

    def score(self, items: Sequence[ScoringItem]) -> Scores:
        """Rewards (B,) of prompt and completion."""
        rows = [TokenSequence(item.prompt_ids, item.completion_ids) for item in items]
        total = reward_scores(self.trunk, rows, 4096)
        return Scores(total, {"reward": total})


class FirstToken:
    """Scores a completion with its first token's id."""

    def score(self, items: Sequence[ScoringItem]) -> Scores:
        """Rewards (B,)."""
        total = torch.tensor([float(item.completion_ids[0]) for item in items])
        return Scores(total, {"first": total})


def _sides(batch: Batch) -> list[tuple[TokenSequence, TokenSequence]]:
    prompts = [tokens(prompt, 5 * n) for n, (prompt, _, _) in enumerate(batch.pairs)]
    return [
        (TokenSequence(prompt, tokens(first, 3 * n + 1)), TokenSequence(prompt, tokens(second, 3 * n + 2)))
        for n, (prompt, (_, first, second)) in enumerate(zip(prompts, batch.pairs, strict=True))
    ]


def _prompts(batch: Batch) -> list[tuple[Prompt, tuple[int, ...]]]:
    return [(Prompt.make(text=f"prompt {n}"), tokens(num, n)) for n, num in enumerate(batch.prompts)]


def _decode(ids: Sequence[int], prompt: Prompt | None = None) -> str:
    return " ".join(map(str, ids))


def _decoding(batch: Batch) -> DecodingSettings:
    return DecodingSettings(max_new_tokens=batch.new)


def _optimiser(batch: Batch) -> OptimiserSettings:
    return OptimiserSettings(tokens_per_micro_batch=batch.tokens_per_micro_batch)


def _on_policy(batch: Batch, lora: LoraSettings | None) -> dict[str, Any]:
    """Settings that PPO and GRPO have in common."""
    return {
        "model": "m",
        "prompts": "p",
        "rewards": ({"model": "r"},),
        "lora": lora,
        "num_steps": 1,
        "num_epochs": 1,
        "num_minibatches": 1,
        "num_kept_rollouts": 0,
        "decoding": _decoding(batch),
        "optimiser": _optimiser(batch),
        "run": RunSettings(save_every=100),
    }
