"""The one way in to a language model: whoever samples, learns, scores or judges opens it here and asks the record.

    opened = open_language_model(folder, dtype="float32")
    opened.renderer().prompt_ids(prompt)         conversations as its chat template writes them
    opened.trunk(("policy", "reference"))        the four things a loop asks of a model

Another family of models is another way of opening, not an edit in stages, commands or judges; a test holds them to it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from preflab.models.facts import ModelFacts, context_length, model_facts
from preflab.models.loading import load_causal_lm, load_encoder, load_tokenizer
from preflab.models.packages import resolve_package
from preflab.models.trunk import Pooling, Role, Trunk
from preflab.models.weights_id import base_hash
from preflab.settings.learning import LoraSettings

if TYPE_CHECKING:
    from preflab.conversations.renderer import Renderer

NO_LIMIT = 2**31
"""More tokens than any row has."""


@dataclass(frozen=True)
class LanguageModel:
    """A model that is open, its tokenizer, and what follows from both."""

    place: Path | str
    """The folder or Hub id; of `package:NAME` the folder inside the package."""
    model: Any
    tokenizer: Any
    dtype: str | torch.dtype
    """The type that its weights were asked for in."""

    @cached_property
    def facts(self) -> ModelFacts:
        """Special tokens, context and habits."""
        return model_facts(self.model, self.tokenizer)

    @property
    def context_length(self) -> int | None:
        """Most tokens of prompt and completion together; None: no limit in the configuration."""
        return context_length(self.model.config)

    def most_tokens(self, wanted: int | None = None) -> int:
        """The most tokens of a row: the smaller of `wanted` and the context, `NO_LIMIT` where there is neither."""
        return min((limit for limit in (wanted, self.context_length) if limit is not None), default=NO_LIMIT)

    def renderer(self, stops: Sequence[int] = ()) -> Renderer:
        """Prompts and completions as token ids and back; `stops`, where there are any, end completions instead."""
        from preflab.conversations.renderer import Renderer

        return Renderer.of(self.model, self.tokenizer, stops)

    def base_hash(self) -> str:
        """The id of its weights, by which adapters name their base; to be asked before a trunk adds adapters."""
        return base_hash(self.place, self.model)

    def another(self, ref: Path | str) -> LanguageModel:
        """The model at `ref` beside this one, in the same type and with this one's tokenizer: its reference.

        Raises:
            PreflabError: as `open_language_model`.
        """
        place = resolve_package(ref)
        return LanguageModel(place, load_causal_lm(place, dtype=self.dtype), self.tokenizer, self.dtype)

    def trunk(
        self,
        roles: tuple[Role, ...],
        *,
        lora: LoraSettings | None = None,
        reference: LanguageModel | None = None,
        seed: int = 0,
        pooling: Pooling = "last",
        compute: str | None = None,
    ) -> Trunk:
        """The model in several roles, see `models.trunk.Trunk`; `reference` None: the reference is the model itself."""
        other = None if reference is None else reference.model
        return Trunk(
            self.model, self.tokenizer, lora=lora, roles=roles, seed=seed, pooling=pooling, reference=other,
            compute=compute,
        )  # fmt: skip


def open_language_model(
    ref: Path | str, *, dtype: str | torch.dtype, device: torch.device | None = None
) -> LanguageModel:
    """A model that writes: tokenizer first, since it is read quickly and is what most often lacks something.

    Args:
        ref: a folder, a Hub id, or `package:NAME` for a model inside an installed package.
        dtype: of the weights.
        device: where the weights go; None: they stay on the CPU.

    Raises:
        PreflabError: nothing there, no tokenizer or one without an end token, no or corrupted weights, or a model that
            does not write from left to right.
    """
    place = resolve_package(ref)
    tokenizer = load_tokenizer(place)
    model = load_causal_lm(place, dtype=dtype)
    return LanguageModel(place, model if device is None else model.to(device), tokenizer, dtype)


def open_reader(ref: Path | str, *, dtype: str | torch.dtype, causal: bool, writes: bool = False) -> LanguageModel:
    """A model that a reward grows on: a language model where `causal`, else an encoder.

    Args:
        ref: as of `open_language_model`.
        dtype: of the weights.
        causal: whether it has a language-model head.
        writes: whether its tokenizer needs an end token.

    Raises:
        PreflabError: as `open_language_model`; of an encoder, weights that do not fill it.
    """
    place = resolve_package(ref)
    tokenizer = load_tokenizer(place, writes=writes)
    load = load_causal_lm if causal else load_encoder
    return LanguageModel(place, load(place, dtype=dtype), tokenizer, dtype)
