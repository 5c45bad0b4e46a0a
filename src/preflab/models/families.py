"""Model families: how each kind of model reads prompts and completions. Code outside `preflab.models` need not know it.

Loops, rewards and stages pass `TokenSequence`s and get numbers per completion token. A family defines the layout of a
batch (`collate`), the arguments of the forward pass (`inputs`), and how states and logits are computed. A new family
is a class and a row of `WRITERS`; CONTRIBUTING.md shows an example. H hidden, V vocabulary, N completion tokens, L
states of a row.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Literal, Protocol

import torch
from torch import Tensor

from preflab.models.encoder_decoders import EncoderDecoder
from preflab.models.known_positions import one_sequence_per_row
from preflab.models.text_model import decoder_of
from preflab.training.batches import TokenBatch, TokenSequence
from preflab.training.joined_rows import JoinedRows, join_rows

Kind = Literal["decoder", "encoder", "encoder–decoder", "other"]


class Family(Protocol):
    """Defines how the models of one family read prompts and write completions."""

    name: str
    """The family's name in messages."""
    reads_prompts_apart: bool
    """Whether a prompt is complete before the completion begins: the encoder reads it, with an end token if the
    tokenizer adds one, and the completion's text starts anew."""
    openers: ClassVar[tuple[str, ...]]
    """Auto classes of transformers that open the family's language models, in order of preference; empty if the family
    does not generate text."""

    def __init__(self, model: Any) -> None: ...

    def collate(self, sequences: Sequence[TokenSequence], pad_id: int) -> TokenBatch:
        """A batch of the sequences in the layout that `inputs` takes.

        Raises:
            PreflabError: the family cannot read one of the sequences.
        """

    def inputs(self, batch: TokenBatch, dtype: torch.dtype) -> dict[str, Any]:
        """Arguments of the forward pass, which computes in `dtype`."""

    def states(self, model: Any, inputs: dict[str, Any]) -> Tensor:
        """(rows, L, H) last hidden states of a model, which may have a language-model head."""

    def logits(self, model: Any, inputs: dict[str, Any]) -> Tensor:
        """(rows, L, V) logits of the model's own forward pass."""

    def read_by_head(self, model: Any, states: Tensor) -> Tensor:
        """(…, H) what the language-model head is applied to, from last hidden states."""

    def without_head(self, model: Any) -> Any:
        """The part of a model that computes its hidden states."""


class Decoder:
    """Reads prompt and completion in one row, in which each token attends to earlier tokens only."""

    name = "decoder"
    reads_prompts_apart = False
    openers: ClassVar[tuple[str, ...]] = (
        "AutoModelForCausalLM",
        "AutoModelForImageTextToText",
        "AutoModelForMultimodalLM",
    )
    """The last two classes hold a text model beside a vision or audio tower. The whole model is opened, so that a saved
    model opens with the same class again."""

    def __init__(self, model: Any) -> None:
        pass

    def collate(self, sequences: Sequence[TokenSequence], pad_id: int) -> TokenBatch:
        """See `training.joined_rows`."""
        return join_rows(sequences, pad_id)

    def inputs(self, batch: TokenBatch, dtype: torch.dtype) -> dict[str, Any]:
        """The tokens; for rows with several completions also positions and mask."""
        return batch.model_inputs(dtype)

    def states(self, model: Any, inputs: dict[str, Any]) -> Tensor:
        """(rows, L, H) last hidden states of the text model."""
        with one_sequence_per_row(inputs):
            return self.without_head(model)(**inputs, use_cache=False).last_hidden_state

    def logits(self, model: Any, inputs: dict[str, Any]) -> Tensor:
        """(rows, L, V) logits of the model, with the scaling or soft cap that its configuration sets."""
        with one_sequence_per_row(inputs):
            return model(**inputs, use_cache=False).logits

    def read_by_head(self, model: Any, states: Tensor) -> Tensor:
        """The states themselves; models that scale them are found by `models.logit_path`."""
        return states

    def without_head(self, model: Any) -> Any:
        """The text model."""
        return decoder_of(model) if model.get_output_embeddings() is not None else model


class Encoder:
    """Reads prompt and completion in one row, in which every token attends to all others; padding is masked.

    An encoder serves as a reward model only; it does not generate text.
    """

    name = "encoder"
    reads_prompts_apart = False
    openers: ClassVar[tuple[str, ...]] = ()

    def __init__(self, model: Any) -> None:
        pass

    def collate(self, sequences: Sequence[TokenSequence], pad_id: int) -> JoinedRows:
        """See `training.joined_rows`."""
        return join_rows(sequences, pad_id)

    def inputs(self, batch: TokenBatch, dtype: torch.dtype) -> dict[str, Any]:
        """The tokens, and the mask of real tokens; an unpadded row has none."""
        return {"attention_mask": batch.state_mask.long(), **batch.model_inputs(dtype)}

    def states(self, model: Any, inputs: dict[str, Any]) -> Tensor:
        """(rows, L, H) last hidden states of the encoder."""
        return model(**inputs).last_hidden_state

    def logits(self, model: Any, inputs: dict[str, Any]) -> Tensor:
        """Raises TypeError, because an encoder has no language-model head."""
        raise TypeError("an encoder has no language-model head")

    def read_by_head(self, model: Any, states: Tensor) -> Tensor:
        """The states themselves."""
        return states

    def without_head(self, model: Any) -> Any:
        """The model itself, which has no head."""
        return model


WRITERS: dict[Kind, type[Family]] = {"decoder": Decoder, "encoder–decoder": EncoderDecoder}
"""Kind of model → its family, for the kinds that generate text. Other kinds are refused where a policy is needed."""


def token_states(family: Family, model: Any, sequences: Sequence[TokenSequence], pad_id: int = 0) -> Tensor:
    """(N, H) what the head reads to predict each completion token."""
    batch = family.collate(sequences, pad_id).to(model.device)
    return family.read_by_head(model, at_tokens(family.states(model, family.inputs(batch, model.dtype)), batch))


def token_logits(family: Family, model: Any, sequences: Sequence[TokenSequence], pad_id: int = 0) -> Tensor:
    """(N, V) logits of the model's own forward pass, from which each completion token is drawn."""
    batch = family.collate(sequences, pad_id).to(model.device)
    return at_tokens(family.logits(model, family.inputs(batch, model.dtype)), batch)


def at_tokens(states: Tensor, batch: TokenBatch) -> Tensor:
    """(N, …) the entries of states or logits (rows, L, …) from which the policy's completion tokens are predicted."""
    return states[batch.token_rows, batch.of_tokens(batch.state_index)]
