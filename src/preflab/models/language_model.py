"""Opens language models. All code that samples, trains, scores or judges opens its model here.

    opened = open_language_model(folder, dtype="float32")
    opened.renderer().prompt_ids(prompt)         token ids of a conversation in the model's chat template
    opened.trunk(("policy", "reference"))        the model in its roles, for a training loop

Because of this single entry point, a new family of models needs no change in stages, commands or judges. A test checks
that they use it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from preflab.errors import PreflabError
from preflab.models.decoder_start import force_first_tokens
from preflab.models.facts import ModelFacts, context_length, model_facts, token_limits
from preflab.models.kinds import family_of, reads_prompts_apart
from preflab.models.loading import TOKENIZERS, load_causal_lm, load_encoder, load_tokenizer
from preflab.models.packages import resolve_package
from preflab.models.trunk import Pooling, Role, Trunk
from preflab.models.weights_id import base_hash
from preflab.settings.learning import LoraSettings
from preflab.settings.recipe import PackingName
from preflab.training.token_limits import TokenLimits
from preflab.words import count

if TYPE_CHECKING:
    from preflab.conversations.renderer import Renderer


@dataclass(frozen=True)
class LanguageModel:
    """An open model with its tokenizer, and facts derived from both."""

    place: Path | str
    """The folder or Hub id; for `package:NAME` the folder inside the package."""
    model: Any
    tokenizer: Any
    dtype: str | torch.dtype
    """The requested type of the weights."""

    @cached_property
    def facts(self) -> ModelFacts:
        """Special tokens, context length and other facts of the model and its tokenizer."""
        return model_facts(self.model, self.tokenizer)

    @property
    def context_length(self) -> int | None:
        """Most tokens of prompt and completion together; None: no limit in the configuration."""
        return context_length(self.model.config)

    @property
    def reads_prompts_apart(self) -> bool:
        """Whether it is an encoder–decoder, whose encoder reads the prompt and whose decoder writes the completion."""
        return reads_prompts_apart(self.model.config)

    def limits(self, wanted: int | None = None) -> TokenLimits:
        """The most tokens of a row: the model's limits, and `wanted` tokens of prompt and completion together."""
        return token_limits(self.model.config).at_most(wanted)

    def renderer(self, stops: Sequence[int] = ()) -> Renderer:
        """A renderer of conversations as token ids. Tokens in `stops`, if any, replace the model's stop tokens."""
        from preflab.conversations.renderer import Renderer

        return Renderer.of(self.model, self.tokenizer, stops)

    def base_hash(self) -> str:
        """The id of the weights, by which adapters refer to their base. Call it before a trunk adds adapters."""
        return base_hash(self.place, self.model)

    def another(self, ref: Path | str) -> LanguageModel:
        """Open the model at `ref`, for use as a reference, in the same type and with this model's tokenizer.

        Raises:
            PreflabError: as `open_language_model`, or its tokenizer has another vocabulary.
        """
        place = resolve_package(ref)
        self._check_vocabulary(place)
        model = load_causal_lm(place, dtype=self.dtype)
        _fit_decoder_start(model, self.tokenizer)
        return LanguageModel(place, model, self.tokenizer, self.dtype)

    def _check_vocabulary(self, place: Path | str) -> None:
        """Refuse a model whose own tokenizer has other tokens: this model's ids would mean other words to it."""
        if Path(place).is_dir() and not any((Path(place) / name).is_file() for name in TOKENIZERS):
            return
        ours, theirs = self.tokenizer.get_vocab(), load_tokenizer(place, writes=False).get_vocab()
        if ours != theirs:
            differing = len(ours.items() ^ theirs.items())
            raise PreflabError(
                f"{place}: a reference with another vocabulary ({count(differing, 'entry', 'entries')} of both differ)",
                "a reference with the tokenizer of the policy",
                "choose another reference, or leave it out",
            )

    def trunk(
        self,
        roles: tuple[Role, ...],
        *,
        lora: LoraSettings | None = None,
        reference: LanguageModel | None = None,
        seed: int = 0,
        pooling: Pooling = "last",
        compute: str | None = None,
        packing: PackingName = "off",
    ) -> Trunk:
        """The model in several roles, see `models.trunk.Trunk`. Without `reference` the model is its own reference."""
        other = None if reference is None else reference.model
        return Trunk(
            self.model, self.tokenizer, lora=lora, roles=roles, seed=seed, pooling=pooling, reference=other,
            compute=compute, packing=packing,
        )  # fmt: skip


def open_language_model(
    ref: Path | str, *, dtype: str | torch.dtype, device: torch.device | None = None
) -> LanguageModel:
    """Open a model that generates text.

    The tokenizer is loaded first, because it loads quickly and is the most frequent cause of an error.

    Args:
        ref: a folder, a Hub id, or `package:NAME` for a model inside an installed package.
        dtype: type of the weights.
        device: where the weights go; None: they stay on the CPU.

    Raises:
        PreflabError: no model at `ref`, no tokenizer, a tokenizer without an end token, missing or corrupted weights,
            or a model that does not write from left to right.
    """
    place = resolve_package(ref)
    tokenizer = load_tokenizer(place)
    model = load_causal_lm(place, dtype=dtype)
    _fit_decoder_start(model, tokenizer)
    return LanguageModel(place, model if device is None else model.to(device), tokenizer, dtype)


def open_reader(ref: Path | str, *, dtype: str | torch.dtype, causal: bool, writes: bool = False) -> LanguageModel:
    """Open the base of a reward model: a language model if `causal`, else an encoder.

    Args:
        ref: as for `open_language_model`.
        dtype: type of the weights.
        causal: whether the model has a language-model head.
        writes: whether the tokenizer needs an end token.

    Raises:
        PreflabError: as `open_language_model`; for an encoder also missing weights.
    """
    place = resolve_package(ref)
    tokenizer = load_tokenizer(place, writes=writes)
    model = (load_causal_lm if causal else load_encoder)(place, dtype=dtype)
    _fit_decoder_start(model, tokenizer)
    return LanguageModel(place, model, tokenizer, dtype)


def _fit_decoder_start(model: Any, tokenizer: Any) -> None:
    """Make the decoder of an encoder–decoder start as its tokenizer's texts do; see `models.decoder_start`."""
    if family_of(model).reads_prompts_apart:
        force_first_tokens(model, tokenizer)
