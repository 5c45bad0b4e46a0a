"""What is tried on a tiny model of an architecture: decoding and training against the plain forward, roles, exports."""

from __future__ import annotations

from collections.abc import Sequence as Rows
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from architecture_table import NAMED
from architectures import NUM_TOKENS, build
from preflab.models.adapters import adapter_parameters
from preflab.models.language_model import open_language_model, open_reader
from preflab.models.loading import load_causal_lm
from preflab.models.tiny import build_tokenizer
from preflab.models.trunk import Role, Trunk
from preflab.models.weights_id import base_hash
from preflab.rewards.rankings import Encoder
from preflab.rewards.score import load_reward_model, save_reward_model
from preflab.sampling.engine import TransformersEngine
from preflab.settings.learning import LoraSettings
from preflab.settings.sampling import DecodingSettings
from preflab.training.batches import TokenBatch, TokenSequence
from preflab.training.joined_rows import join_rows
from preflab.training.protocols import SampleRequest
from trunk_roles import learning_roles

LORA = LoraSettings(rank=2, alpha=4.0)
PROMPTS = ((7, 8, 9, 10, 11), (12, 13), (14, 15, 16), tuple(range(20, 45)))
"""Prompts of mixed lengths; the last one crosses windows of 12 tokens and, with its completion, 32 positions."""
NUM_NEW = 12
AGREE = 1e-5
"""Nats by which sampler and trainer may deviate from the plain forward in float32."""
ROUNDS = {"gemma4, shared keys": 3e-5}
"""Where rounding is magnified beyond it, as float64 shows: attention scores that are not scaled down."""


def tiers(quick: Rows[str], names: Rows[str]) -> list[Any]:
    """Parameters of a test: a few names in every run, `NAMED` among the slow tests, the others among `every`."""
    slow = [pytest.param(name, marks=pytest.mark.slow) for name in names if name in NAMED and name not in quick]
    rest = [pytest.param(name, marks=pytest.mark.every) for name in names if name not in (*NAMED, *quick)]
    return [*quick, *slow, *rest]


def save(name: str, folder: Path) -> Path:
    """The model of an architecture with a word-level tokenizer, as transformers saves them."""
    model = build(name)
    tokenizer = build_tokenizer([" ".join(f"word{i}" for i in range(NUM_TOKENS - 4))], context=128)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def load_trunk(folder: Path, roles: tuple[Role, ...], *, lora: LoraSettings | None = LORA, **other: Any) -> Trunk:
    """A trunk on a saved model, its adapters and heads moved off their starts."""
    opened = open_language_model(folder, dtype="float32")
    trunk = Trunk(opened.model, opened.tokenizer, lora=lora, roles=roles, zero_value=False, **other)
    move(trunk)
    return trunk


def load_reward_trunk(folder: Path, *, causal: bool, lora: LoraSettings | None = LORA) -> Trunk:
    """The same with the reward role alone, on a decoder or an encoder; the head has a bias, a gain and an offset."""
    opened, pooling = open_reader(folder, dtype="float32", causal=causal), "last" if causal else "mean"
    trunk = Trunk(opened.model, opened.tokenizer, lora=lora, roles=("reward",), pooling=pooling)
    move(trunk)
    with torch.no_grad():
        trunk.head("reward").linear.bias.fill_(0.7)
        trunk.head("reward").gain.fill_(2.5)
        trunk.head("reward").offset.fill_(-1.25)
    return trunk


@torch.no_grad()
def move(trunk: Trunk, spread: float = 0.05) -> None:
    """As if trained: B of every adapter is no longer 0."""
    random = torch.Generator().manual_seed(1)
    if trunk.lora is None:
        return
    for role in learning_roles(trunk):
        for name, parameter in adapter_parameters(trunk.model, role).items():
            if ".lora_B." in name:
                parameter.copy_(spread * torch.randn(parameter.shape, generator=random))


SEQUENCES = [TokenSequence((5, 6, 7), (8, 9, 10, 11)), TokenSequence((12,), (13, 14))]


def batch() -> TokenBatch:
    """Rows of 7 and 3 tokens, right-padded, as decoders read them."""
    return join_rows(SEQUENCES, 0)


@dataclass(frozen=True)
class Agreement:
    """Largest deviation from the plain forward of one row at a time, nats."""

    sampler: float
    trainer: float
    path: str
    """How the engine decodes."""


@torch.no_grad()
def measure_agreement(trunk: Trunk) -> Agreement:
    """Log-probabilities of what the policy wrote: the sampler's and the trainer's against the plain forward's."""
    trunk.row_lengths.fix(max(map(len, PROMPTS)) + NUM_NEW)
    policy = trunk.language_model("policy")
    engine = TransformersEngine(
        policy, pad_id=trunk.pad_id, stop_token_ids=(), tokenizer=trunk.tokenizer, role=lambda: trunk.role("policy")
    )
    requests = [SampleRequest(prompt, seed) for seed, prompt in enumerate(PROMPTS)]
    written = engine.sample(requests, DecodingSettings(max_new_tokens=NUM_NEW))
    rows = [TokenSequence(prompt, one.token_ids) for prompt, one in zip(PROMPTS, written, strict=True)]
    trained = trunk(trunk.collate(rows), ("policy",))["policy"].logps
    plain = [plain_logps(trunk, row) for row in rows]
    return Agreement(
        max(largest(torch.tensor(one.logps) - logps) for one, logps in zip(written, plain, strict=True)),
        max(largest(row[: len(logps)] - logps) for row, logps in zip(trained, plain, strict=True)),
        engine.decode_path,
    )


def plain_logps(trunk: Trunk, row: TokenSequence) -> Tensor:
    """(T,) of one row, from the model's own logits: no padding, no mask, no cache."""
    model, written = trunk.language_model("policy"), torch.tensor(row.completion_ids)
    with trunk.role("policy"):
        if is_encoder_decoder(model):
            settings = model.generation_config
            start = [settings.decoder_start_token_id, settings.forced_bos_token_id]
            before = [token for token in start if token is not None]
            decoder_ids = torch.tensor([(*before, *row.completion_ids[:-1])])
            read = {"input_ids": torch.tensor([row.prompt_ids]), "decoder_input_ids": decoder_ids}
            if model.config.model_type in ("m2m_100", "nllb-moe"):  # given ids, they skip the padding tokens written
                del read["decoder_input_ids"]
                read["decoder_inputs_embeds"] = model.model.decoder.embed_tokens(decoder_ids)
        else:
            read = {"input_ids": torch.tensor([row.prompt_ids + row.completion_ids[:-1]])}
        logits = model(**read, use_cache=False).logits[0, -len(written) :]
    return logits[:, :NUM_TOKENS].log_softmax(-1).gather(-1, written[:, None])[:, 0]


def is_encoder_decoder(model: Any) -> bool:
    """Whether a model reads prompts apart from what it writes."""
    return bool(model.config.is_encoder_decoder)


def largest(tensor: Tensor) -> float:
    """max |x|."""
    return tensor.detach().abs().max().item()


def logits(trunk: Trunk, role: Role, ids: Tensor) -> Tensor:
    """Of a role's language model, without gradient."""
    with torch.no_grad(), trunk.role(role):
        return own_logits(trunk.language_model(role), ids)


def own_logits(model: Any, ids: Tensor) -> Tensor:
    """A model's own logits of rows; both parts of an encoder–decoder get the same ones."""
    given = {"decoder_input_ids": ids} if is_encoder_decoder(model) else {}
    return model(input_ids=ids, use_cache=False, **given).logits.float()


def losses_of_training(trunk: Trunk, num_steps: int = 2) -> list[float]:
    """Mean loss on one batch of demonstrations before each of some steps of AdamW, and after the last."""
    rows = trunk.collate(SEQUENCES)
    optimiser = torch.optim.AdamW([p for _, p in trunk.parameters_of("policy")], lr=3e-3)
    losses = []
    for step in range(num_steps + 1):
        loss = -trunk(rows, ("policy",))["policy"].logps.sum() / rows.completion_mask.sum()
        losses.append(loss.item())
        if step < num_steps:
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
    return losses


def roles_loss(trunk: Trunk, roles: Rows[Role]) -> Tensor:
    """A loss in which every role counts: policy, value and reward."""
    said = trunk(trunk.collate(SEQUENCES), tuple(roles))
    parts = {"policy": lambda o: o.logps.sum(), "value": lambda o: o.values.square().sum()}
    return sum(parts.get(role, lambda o: o.rewards.square().sum())(said[role]) for role in roles)


def gradients(trunk: Trunk, loss: Tensor, role: str) -> dict[str, Tensor | None]:
    """Of a role's weights by name."""
    named = trunk.parameters_of(role)
    found = torch.autograd.grad(loss, [p for _, p in named], allow_unused=True, retain_graph=True)
    return {name: gradient for (name, _), gradient in zip(named, found, strict=True)}


@torch.no_grad()
def difference_when_loaded(trunk: Trunk, base: Path, folder: Path) -> float:
    """Largest difference of a reward after the reward model of a trunk is saved and loaded again."""
    encoder = Encoder(trunk.tokenizer, True, 100, apart=trunk.family.reads_prompts_apart)
    weights = base_hash(base, load_causal_lm(base, dtype="float32"))
    save_reward_model(trunk, folder, base=str(base), weights_hash=weights, encoder=encoder)
    loaded, _ = load_reward_model(folder)
    expected, found = (each(each.collate(SEQUENCES), ("reward",))["reward"].rewards for each in (trunk, loaded))
    return largest(found - expected)
