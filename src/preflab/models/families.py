"""Families of models that write, and encoders: what only the model room knows of how prompt and completion are read.

Loops, rewards and stages hand over `TokenSequence`s and get numbers per completion token. A family says how a batch is
laid out (`collate`), what the model is called with (`inputs`) and where its states and logits come from. A new family
is a class and a row of `WRITERS`; CONTRIBUTING.md adds one. H hidden, V vocabulary, N completion tokens, L states of a
row.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Literal, Protocol

import torch
from torch import Tensor

from preflab.models.text_model import decoder_of
from preflab.training.batches import TokenBatch, TokenSequence
from preflab.training.joined_rows import JoinedRows, join_rows

Kind = Literal["decoder", "encoder", "encoder–decoder", "other"]


class Family(Protocol):
    """How the models of one family read prompts and write completions."""

    openers: ClassVar[tuple[str, ...]]
    """Auto classes of transformers that open them to write, in order of preference; none: they do not write."""

    def __init__(self, config: Any) -> None: ...

    def collate(self, sequences: Sequence[TokenSequence], pad_id: int) -> TokenBatch:
        """The batch in the layout that `inputs` takes.

        Raises:
            PreflabError: a sequence that the family cannot read.
        """

    def inputs(self, batch: TokenBatch, dtype: torch.dtype) -> dict[str, Any]:
        """Arguments of the forward pass, each with the batch's rows first; `dtype` is the type that it computes in."""

    def states(self, model: Any, inputs: dict[str, Any]) -> Tensor:
        """(rows, L, H) last hidden states of a model with its head or without."""

    def logits(self, model: Any, inputs: dict[str, Any]) -> Tensor:
        """(rows, L, V) logits of the model itself."""

    def without_head(self, model: Any) -> Any:
        """The part of a model that `states` needs."""


class Decoder:
    """Prompt and completion in one row, each token seeing those before it."""

    openers: ClassVar[tuple[str, ...]] = (
        "AutoModelForCausalLM",
        "AutoModelForImageTextToText",
        "AutoModelForMultimodalLM",
    )
    """The later ones hold a text model beside a vision or audio tower; the whole model is opened, so that what is saved
    opens again as what it was."""

    def __init__(self, config: Any) -> None:
        pass

    def collate(self, sequences: Sequence[TokenSequence], pad_id: int) -> TokenBatch:
        """See `training.joined_rows`."""
        return join_rows(sequences, pad_id)

    def inputs(self, batch: TokenBatch, dtype: torch.dtype) -> dict[str, Any]:
        """The tokens, and for rows of several completions their positions and mask."""
        return batch.model_inputs(dtype)

    def states(self, model: Any, inputs: dict[str, Any]) -> Tensor:
        """Those of its text model."""
        return self.without_head(model)(**inputs, use_cache=False).last_hidden_state

    def logits(self, model: Any, inputs: dict[str, Any]) -> Tensor:
        """Its own, scaled or capped as its configuration says."""
        return model(**inputs, use_cache=False).logits

    def without_head(self, model: Any) -> Any:
        """Its text model."""
        return decoder_of(model) if model.get_output_embeddings() is not None else model


class Encoder:
    """Prompt and completion in one row whose tokens all see one another; padding is masked. It judges, never writes."""

    openers: ClassVar[tuple[str, ...]] = ()

    def __init__(self, config: Any) -> None:
        pass

    def collate(self, sequences: Sequence[TokenSequence], pad_id: int) -> JoinedRows:
        """See `training.joined_rows`."""
        return join_rows(sequences, pad_id)

    def inputs(self, batch: TokenBatch, dtype: torch.dtype) -> dict[str, Any]:
        """The tokens, and which of them are real."""
        return {**batch.model_inputs(dtype), "attention_mask": batch.state_mask.long()}

    def states(self, model: Any, inputs: dict[str, Any]) -> Tensor:
        """Its own."""
        return model(**inputs).last_hidden_state

    def logits(self, model: Any, inputs: dict[str, Any]) -> Tensor:
        """There are none: it has no head."""
        raise TypeError("an encoder has no language-model head")

    def without_head(self, model: Any) -> Any:
        """All of it."""
        return model


WRITERS: dict[Kind, type[Family]] = {"decoder": Decoder}
"""Kind of model → its family; models of other kinds are refused where something is to write."""


def token_states(family: Family, model: Any, sequences: Sequence[TokenSequence], pad_id: int = 0) -> Tensor:
    """(N, H) last hidden states from which each completion token is predicted."""
    batch = family.collate(sequences, pad_id).to(model.device)
    return at_tokens(family.states(model, family.inputs(batch, model.dtype)), batch)


def token_logits(family: Family, model: Any, sequences: Sequence[TokenSequence], pad_id: int = 0) -> Tensor:
    """(N, V) the model's own logits from which each completion token is drawn."""
    batch = family.collate(sequences, pad_id).to(model.device)
    return at_tokens(family.logits(model, family.inputs(batch, model.dtype)), batch)


def at_tokens(states: Tensor, batch: TokenBatch) -> Tensor:
    """(N, …) of (rows, L, …): those from which the completion tokens that the policy wrote are predicted."""
    return states[batch.token_rows, batch.state_index[batch.completion_mask]]
