"""Sizes of a model for the memory arithmetic, read from its configuration and its layers without weights."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, cast

from preflab.errors import PreflabError

STACKED = 3
"""Number of dimensions of a weight that holds all experts of a layer."""
QUERY_NORMS = ("q_norm", "query_norm", "q_layernorm")
"""Names of norms of the queries; keys then have one too."""
RECURRENT = ("linear", "mamba", "recurrent", "conv")
"""Words in the kinds of layers that keep states instead of keys and values."""
COMPOSED = ("NewGELUActivation",)
"""Classes of activations that are made of several operations."""


@dataclass(frozen=True)
class ModelSizes:
    """The sizes of a model in the memory arithmetic."""

    num_parameters: int
    """P; tied weights count once."""
    num_head_parameters: int
    """Parameters of the language-model head, H · V; 0 without a head."""
    linear_width: int
    """Σ (inputs + outputs) over the linear layers of the text model without the head, each expert counted; adapters of
    rank r have r times as many weights."""
    num_layers: int
    """L; of an encoder–decoder, the layers of both parts."""
    hidden_size: int
    """H."""
    intermediate_size: int
    """I, width of the feed-forward layers; with experts the total width that one token uses."""
    state_width: int
    """K, width of keys and values of one token in one layer."""
    vocabulary: int
    """V."""
    tied: bool = True
    """Whether the head is the embedding."""
    query_width: int = 0
    """Q, width of the queries of one token in one layer; 0 means H."""
    cross_attention: bool = False
    """Whether half of the layers also attend to an encoder's states."""
    num_linear_parameters: int = 0
    """W, weights of the text model's plain linear layers without the head, which `lora.base: nf4` stores in 4 bits."""
    num_decoder_layers: int = 0
    """Layers of an encoder–decoder's decoder; 0: all layers belong to one part."""
    num_experts_per_token: int = 0
    """k, experts that one token uses; 0: the model has none."""
    num_expert_parameters: int = 0
    """X, weights of experts that are stacked in one weight per layer."""
    normed_states: bool = False
    """True if queries and keys pass through norms of their own."""
    composed_activation: bool = False
    """True if the feed-forward activation is made of several operations (`gelu_new`), each of which keeps a tensor."""
    not_counted: tuple[str, ...] = ()
    """Parts of this model's memory that the arithmetic leaves out, in words."""

    @property
    def num_cached_layers(self) -> int:
        """Layers that keep keys and values while decoding."""
        return self.num_decoder_layers or self.num_layers

    @classmethod
    def of(cls, model: Any) -> Self:
        """The sizes of a model, which may be on torch's meta device."""
        text, head = model.config.get_text_config(), model.get_output_embeddings()
        embedding = model.get_input_embeddings()
        apart = bool(getattr(model.config, "is_encoder_decoder", False))
        return cls(
            num_parameters=sum(parameter.numel() for parameter in model.parameters()),
            num_head_parameters=head.weight.numel() if head is not None else 0,
            linear_width=linear_width(model, head),
            num_layers=_decoder_layers(model.config) + (_encoder_layers(model.config) if apart else 0),
            hidden_size=text.hidden_size,
            intermediate_size=feed_forward_width(text),
            state_width=state_width(text),
            vocabulary=text.vocab_size,
            tied=head is None or embedding is None or head.weight is embedding.weight,
            query_width=query_width(text),
            cross_attention=apart,
            num_linear_parameters=num_linear_parameters(model, head),
            num_decoder_layers=_decoder_layers(model.config) if apart else 0,
            num_experts_per_token=largest(text, "num_experts_per_tok"),
            num_expert_parameters=num_expert_parameters(model),
            normed_states=any(name.rpartition(".")[2] in QUERY_NORMS for name, _ in model.named_modules()),
            composed_activation=any(type(module).__name__ in COMPOSED for module in model.modules()),
            not_counted=tuple(not_counted(model)),
        )

    @classmethod
    def read(cls, ref: Path | str) -> Self:
        """The sizes of a model in a folder, in an installed package or on the Hub; no weights are loaded.

        Raises:
            PreflabError: there is no configuration, or transformers cannot build a model from it.
        """
        from preflab.models.families import WRITERS
        from preflab.models.kinds import check_reads, kind_of, names_language_model
        from preflab.models.loading import read_config
        from preflab.models.packages import resolve_package

        place = resolve_package(str(ref))
        config = read_config(place)
        check_reads(place, config)
        causal = kind_of(config) in WRITERS and names_language_model(config)
        return cls.of(skeleton(config, str(ref), causal=causal))


def skeleton(config: Any, ref: str, *, causal: bool) -> Any:
    """The model of a configuration on torch's meta device, without weights.

    Raises:
        PreflabError: transformers cannot build a model from the configuration.
    """
    import torch
    import transformers

    from preflab.models.kinds import opener_of

    opener = str(opener_of(config)) if causal else "AutoModel"
    try:
        with torch.device("meta"):
            return getattr(transformers, opener).from_config(config)
    except (ValueError, KeyError, AttributeError) as error:
        raise PreflabError(
            f"{ref}: transformers cannot build a model of type {config.model_type} ({str(error).splitlines()[0]})",
            "a decoder such as Llama, Qwen or GPT-2, or an encoder such as BERT",
            "choose another model",
        ) from error


def linear_width(model: Any, head: Any) -> int:
    """Σ (inputs + outputs) over the linear layers of the text model without the head; each expert counts.

    Adapters of rank r have r times as many weights.
    """
    from torch import nn
    from transformers.pytorch_utils import Conv1D

    from preflab.models.linear_layers import bare_modules
    from preflab.models.text_model import text_prefix

    total = 0
    for _, module in bare_modules(model, text_prefix(model)):
        if isinstance(module, nn.Linear | Conv1D):
            total += 0 if module is head else sum(module.weight.shape)
    return total + sum(number * (rows + columns) for number, rows, columns in _stacks(model))


def num_expert_parameters(model: Any) -> int:
    """Weights of experts of which one weight holds all of a layer."""
    return sum(number * rows * columns for number, rows, columns in _stacks(model))


def _stacks(model: Any) -> Iterator[Any]:
    """Shapes (E, out, in) of the weights that hold all experts of a layer."""
    from torch import nn
    from transformers.pytorch_utils import Conv1D

    from preflab.models.linear_layers import bare_modules
    from preflab.models.text_model import text_prefix

    for _, module in bare_modules(model, text_prefix(model)):
        if not isinstance(module, nn.Linear | Conv1D):
            yield from (w.shape for w in module.parameters(recurse=False) if w.dim() == STACKED)


def num_linear_parameters(model: Any, head: Any) -> int:
    """Weights of the text model's layers of torch's class Linear, without the head."""
    from preflab.models.cpu_linear import LINEAR
    from preflab.models.linear_layers import bare_modules
    from preflab.models.text_model import text_prefix

    modules = (module for _, module in bare_modules(model, text_prefix(model)) if module is not head)
    return sum(cast(Any, module).weight.numel() for module in modules if type(module) in LINEAR)


def feed_forward_width(text: Any) -> int:
    """I: the feed-forward units of one token in a layer; the maximum if layers differ."""
    dense = largest(text, "intermediate_size") or largest(text, "d_ff") or 4 * text.hidden_size
    expert = largest(text, "moe_intermediate_size")
    shared = largest(text, "shared_expert_intermediate_size") or largest(text, "n_shared_experts") * expert
    return max(dense, largest(text, "num_experts_per_tok") * expert + shared)


def not_counted(model: Any) -> Iterator[str]:
    """Parts of a model's memory that the arithmetic leaves out, in words."""
    text = model.config.get_text_config()
    if not getattr(model, "_supports_sdpa", True):
        yield "attention scores of all pairs of tokens: the model has no fused attention"
    kinds = {str(kind) for kind in getattr(text, "layer_types", None) or ()}
    if not largest(text, "num_attention_heads") or any(word in kind for kind in kinds for word in RECURRENT):
        yield "states of recurrent layers"
    if getattr(model.config, "is_encoder_decoder", False):
        yield "prompts that completions cannot share in an encoder–decoder; layers of its parts are taken for equal"


def query_width(text: Any) -> int:
    """Width of the queries of one token in one layer; the maximum if layers differ."""
    heads = largest(text, "num_attention_heads") or 1
    return heads * (largest(text, "head_dim") or text.hidden_size // heads)


def state_width(text: Any) -> int:
    """Width of keys and values of one token in one layer; the maximum if layers differ."""
    heads = largest(text, "num_attention_heads") or 1
    width = largest(text, "head_dim") or text.hidden_size // heads
    return 2 * width * (largest(text, "num_key_value_heads") or heads)


def _decoder_layers(config: Any) -> int:
    """Layers of the decoder, or of a model that has one part."""
    own = largest(config, "num_decoder_layers") or largest(config, "decoder_layers")
    return (
        own if getattr(config, "is_encoder_decoder", False) and own else int(config.get_text_config().num_hidden_layers)
    )


def _encoder_layers(config: Any) -> int:
    """Layers of the encoder of an encoder–decoder; as many as the decoder's if the configuration does not say."""
    encoder = config.get_text_config(encoder=True)
    return largest(config, "encoder_layers") or largest(encoder, "num_layers") or largest(encoder, "num_hidden_layers")


def largest(config: Any, name: str) -> int:
    """A size from a configuration, the largest of a list or of differing layers; 0 if the configuration has none."""
    try:
        value = getattr(config, name, None)
    except RuntimeError:  # transformers raises it if layers differ; then each layer has its own value
        value = [getattr(layer, name, None) for layer in config.per_layer_config]
    values = value if isinstance(value, list | tuple) else [value]
    return max((each for each in values if isinstance(each, int) and each > 0), default=0)
