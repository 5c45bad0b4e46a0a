"""Trunks, engines and batches of the GPU jobs and of the tests in tests/gpu, on models of `gpu_models`.

Options that a version of preflab may lack (an engine over fixed buffers, packed passes) are found by the arguments that
its classes take, so that the same jobs run before and after it has them.
"""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import torch
from gpu_models import SHAPES, make_model, token_rows

from preflab.models.precision import weights_dtype
from preflab.models.trunk import Role, Trunk
from preflab.records import Prompt
from preflab.sampling.engine import TransformersEngine
from preflab.settings.learning import LoraSettings
from preflab.settings.sampling import DecodingSettings
from preflab.training.batches import TokenSequence
from preflab.training.protocols import SampleRequest

ANY_TOKEN = SimpleNamespace(pad_token_id=0)
"""A tokenizer that lists no ids: every row of the head is a token, as it is for the peers."""


def takes(function: Any, name: str) -> bool:
    """Whether a function has an argument of this name."""
    return name in inspect.signature(function).parameters


def engine_options() -> dict[str, dict[str, Any]]:
    """Name → arguments of the engine. "plain": one launch per operation; "captured": each step is one graph."""
    if not takes(TransformersEngine.__init__, "capture"):
        return {"plain": {}}
    return {"plain": {"capture": "off"}, "captured": {"capture": "on"}}


def default_engine() -> str:
    """The engine that jobs use if none is named: the fastest that this version has."""
    return list(engine_options())[-1]


def make_trunk(
    name: str,
    device: str,
    roles: tuple[Role, ...],
    *,
    precision: str = "float32",
    lora: LoraSettings | None = None,
    packing: str = "off",
    model: Any = None,
) -> Trunk:
    """A trunk on a random model, its weights in the type that a stage of this precision would give them."""
    if model is None:
        model = make_model(name, weights_dtype(precision, learns=lora is None), device)
    options = {"packing": packing} if takes(Trunk.__init__, "packing") else {}
    return Trunk(model, ANY_TOKEN, lora=lora, roles=roles, compute=precision, **options).to(device)


def sharpened(model: Any) -> Any:
    """The same model with weights large enough that every token depends on those before it, and on its position.

    With transformers' initial weights attention hardly changes the distribution of a narrow model, so that an error in
    it would hardly show. Matrices get a standard deviation of 1/√inputs, the head one that spreads logits by 1.5.
    """
    torch.manual_seed(0)
    head = model.get_output_embeddings().weight
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 2:
                spread = 1.5 if parameter is head else 1.0
                parameter.normal_(std=spread * parameter.shape[1] ** -0.5)
    return model


def can_pack() -> bool:
    """Whether this version packs learning passes."""
    return takes(Trunk.__init__, "packing")


def move_adapters(trunk: Trunk, role: str = "policy", seed: int = 1) -> None:
    """Give a role's adapters weights that change its distribution; untrained ones change nothing."""
    torch.manual_seed(seed)
    with torch.no_grad():
        for name, parameter in trunk.parameters_of(role):
            if ".lora_B." in name:
                parameter.normal_(std=0.02)


def make_engine(trunk: Trunk, engine: str, *, keep_states: bool = False) -> TransformersEngine:
    """An engine that samples from the trunk's policy; no token ends a completion."""
    if engine not in engine_options():
        sys.exit(f"error: there is no engine {engine!r} here\n       choose one of: {', '.join(engine_options())}")
    return TransformersEngine(
        trunk.language_model("policy"),
        pad_id=0,
        stop_token_ids=(),
        role=functools.partial(trunk.role, "policy"),
        keep_states=keep_states,
        **engine_options()[engine],
    )


def requests(num_prompts: int, per_prompt: int, prompt_tokens: int, *, uneven: bool = False) -> list[SampleRequest]:
    """`per_prompt` requests for each prompt; `uneven`: each prompt is one token shorter than the one before."""
    prompts = token_rows(num_prompts, prompt_tokens)
    cut = [prompt[: max(1, prompt_tokens - place)] if uneven else prompt for place, prompt in enumerate(prompts)]
    return [SampleRequest(ids, seed=1000 * place + k) for place, ids in enumerate(cut) for k in range(per_prompt)]


def decoding(new: int, rows: int) -> DecodingSettings:
    """The full distribution, `new` tokens, at most `rows` rows at once."""
    return DecodingSettings(max_new_tokens=new, max_batch_rows=rows)


def sequences(num_prompts: int, per_prompt: int, prompt_tokens: int, new: int) -> list[TokenSequence]:
    """Completions of unequal lengths, up to `new` tokens, of prompts of unequal lengths."""
    prompts = token_rows(num_prompts, prompt_tokens)
    written = token_rows(num_prompts * per_prompt, new, first=5000)
    return [
        TokenSequence(prompts[row // per_prompt][: prompt_tokens - row // per_prompt % 3], ids[: new - row % 4])
        for row, ids in enumerate(written)
    ]


def prompts_of(num: int, num_tokens: int) -> list[tuple[Prompt, tuple[int, ...]]]:
    """Prompts with their tokens, as the loops take them."""
    return [(Prompt.make(text=f"prompt {n}"), ids) for n, ids in enumerate(token_rows(num, num_tokens))]


def decode(ids: Sequence[int], prompt: Prompt | None = None) -> str:
    """Numbers for words: the words of random weights say nothing."""
    return " ".join(map(str, ids))


def vocabulary_of(name: str) -> int:
    """Rows of the head of a model."""
    return SHAPES[name].vocabulary
