"""Finds a model's kind, family and auto class from its configuration, and refuses models that cannot generate text."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from preflab.errors import PreflabError
from preflab.models.encoder_decoders import EncoderDecoder
from preflab.models.families import WRITERS, Decoder, Encoder, Family, Kind

OPENERS = tuple(opener for family in WRITERS.values() for opener in family.openers)
"""Classes that open language models, in order of preference."""

REFUSED: dict[Kind, tuple[str, str]] = {
    "encoder": ("an encoder, in which each token attends to later tokens", "use an encoder as a reward model only"),
    "other": ("not a language model that transformers knows", "choose another model"),
}
UNSUPPORTED = {
    "encoder-decoder": "its two parts are models of their own, and its decoder holds the head",
    "fsmt": "its decoder attends to later tokens if the encoder's states are given",
    "prophetnet": "its logits change with the number of tokens in a row",
    "seamless_m4t": "its positions skip padding tokens, which a policy may write",
    "seamless_m4t_v2": "its positions skip padding tokens, which a policy may write",
}
"""Types of encoder–decoders that transformers opens for text and preflab refuses, with the reason (transformers 5)."""
DEQUANTISED = ("mxfp4",)
"""Methods of quantised checkpoints whose weights transformers turns into bfloat16 while it loads them."""
OWN_CLASSIFIERS = ("PooledClassifier", "PairClassifier")
SCORES = "scores completions and cannot generate text"
EXPECTED = "a language model that generates from left to right, such as Llama, Qwen, GPT-2, Mamba, T5 or BART"


def kind_of(config: Any) -> Kind:
    """The kind of model that a configuration of transformers describes.

    An architecture that can be an encoder (BERT, RoBERTa, …) counts as a decoder only if `is_decoder` or `causal` is
    set.
    """
    from transformers import MODEL_FOR_MASKED_LM_MAPPING

    if _is_encoder_decoder(config):
        return "encoder–decoder" if opener_of(config) else "other"
    can_be_encoder = type(config) in MODEL_FOR_MASKED_LM_MAPPING
    if can_be_encoder and not (getattr(config, "is_decoder", False) or getattr(config, "causal", False)):
        return "encoder"
    return "decoder" if opener_of(config) else "encoder" if can_be_encoder else "other"


def family_of(model: Any) -> Family:
    """The family of an open model. Without a language-model head, only encoder–decoders do not count as encoders."""
    if model.get_output_embeddings() is None:
        apart = kind_of(model.config) == "encoder–decoder" and getattr(model, "decoder", None) is not None
        return EncoderDecoder(model) if apart else Encoder(model)
    return WRITERS.get(kind_of(model.config), Decoder)(model)


def reads_prompts_apart(config: Any) -> bool:
    """Whether models with this configuration read a prompt apart from its completion, as encoder–decoders do."""
    kind = kind_of(config)
    return kind in WRITERS and WRITERS[kind].reads_prompts_apart


def read_same_rows(model: Any, other: Any) -> bool:
    """Whether two models, with one tokenizer, can score the same rows: one family, whose decoders start alike."""
    return rows_read(model) == rows_read(other)


def rows_read(model: Any) -> tuple[str, tuple[int, ...]]:
    """The facts that decide which rows a model reads: the name of its family and its decoder's start tokens."""
    family = family_of(model)
    return family.name, tuple(getattr(family, "start", ()))


def check_same_family(model: Any, reference: Any) -> None:
    """Refuse a reference that reads its batches in another layout than the model, or whose decoder starts otherwise.

    Raises:
        PreflabError: the two models belong to different families, or their decoders start with different tokens.
    """
    own, other = family_of(model), family_of(reference)
    if own.name != other.name:
        raise PreflabError(
            f"a reference of the family {other.name} for a model of the family {own.name}",
            "a reference of the model's own family",
            "choose another reference, or leave it out",
        )
    starts = [getattr(family, "start", ()) for family in (own, other)]
    if starts[0] != starts[1]:
        raise PreflabError(
            f"a reference whose decoder starts with the tokens {list(starts[1])}, for a model that starts with "
            f"{list(starts[0])}",
            "the same start tokens and target language, because both read the same rows",
            "choose another reference, or correct decoder_start_token_id and forced_bos_token_id in its "
            "generation_config.json",
        )


def opener_of(config: Any) -> str | None:
    """The name of the auto class that opens a configuration's language model; None if no class does.

    A class that opens one of the configuration's `architectures` comes first, then the order of `OPENERS` decides. The
    decoders of BART and its relatives open on their own, too, so encoder–decoders are opened by their family's classes.
    """
    openers = EncoderDecoder.openers if _is_encoder_decoder(config) else OPENERS
    fitting = [opener for opener in openers if _class_names(opener, config)]
    named = set(config.architectures or ())
    return next((opener for opener in fitting if named & _class_names(opener, config)), next(iter(fitting), None))


def names_language_model(config: Any) -> bool:
    """Whether `architectures` of a configuration says that the weights have a language-model head; True if empty."""
    named = set(config.architectures or ())
    return not named or any(named & _class_names(opener, config) for opener in OPENERS)


def classifies(config: Any) -> bool:
    """Whether a configuration's weights are those of a sequence classifier, such as an exported reward model."""
    names = config.architectures or ()
    return any(name.endswith("SequenceClassification") or name in OWN_CLASSIFIERS for name in names)


def check_no_reward_model(ref: Path | str) -> None:
    """Refuse the folder of a reward model where a language model is needed.

    The check looks for `reward_model.json`, because the folder of an adapter has no configuration.

    Raises:
        PreflabError: the folder of a reward model.
    """
    if (Path(ref) / "reward_model.json").is_file():
        raise PreflabError(
            f"{ref}: a reward model, which {SCORES}",
            EXPECTED,
            f"score completions with `preflab score FILE --by {ref}`, or name a language model",
        )


def check_writes(ref: Path | str, config: Any) -> None:
    """Refuse models that cannot generate text.

    Raises:
        PreflabError: an encoder, a sequence classifier, no language model at all, or what `check_reads` refuses.
    """
    kind = kind_of(config)
    check_reads(ref, config)
    if kind in WRITERS and classifies(config):
        raise PreflabError(
            f"{ref}: {config.architectures[0]} {SCORES}",
            EXPECTED,
            f"score completions with `preflab score FILE --by {ref} --class CLASS`, or name a language model",
        )
    if kind not in WRITERS:
        what, do = REFUSED[kind]
        raise PreflabError(f"{ref}: {config.model_type} is {what}", EXPECTED, do)


def check_reads(ref: Path | str, config: Any) -> None:
    """Refuse models that cannot carry a reward head: some encoder–decoders, and quantised weights.

    Raises:
        PreflabError: an encoder–decoder that reads or writes other things than text, one of `UNSUPPORTED`, or a
            checkpoint whose weights are quantised.
    """
    _check_not_quantised(ref, config)
    if not _is_encoder_decoder(config):
        return
    why = UNSUPPORTED.get(config.model_type)
    if why is None and kind_of(config) not in WRITERS:
        why = "transformers does not open it as a text model"
    if why is not None:
        raise PreflabError(
            f"{ref}: {config.model_type} is an encoder–decoder that preflab does not support ({why})",
            "a decoder, an encoder, or an encoder–decoder of text such as T5 or BART",
            "choose another model",
        )


def _check_not_quantised(ref: Path | str, config: Any) -> None:
    """Refuse a quantised checkpoint: adapters could not be merged into it, and it has no id of plain weights."""
    quantised = getattr(config, "quantization_config", None)
    if quantised is None:
        return
    method = quantised.get("quant_method") if isinstance(quantised, dict) else getattr(quantised, "quant_method", "")
    method = str(getattr(method, "value", method))
    if method not in DEQUANTISED:
        raise PreflabError(
            f"{ref}: its weights are quantised ({method})",
            "weights in float32, bfloat16 or float16",
            "name the model that it was made from; with adapters, `lora: {base: nf4}` stores that in 4 bits",
        )


def _is_encoder_decoder(config: Any) -> bool:
    parts = (config, getattr(config, "text_config", None))
    return any(getattr(part, "is_encoder_decoder", False) for part in parts)


def _class_names(opener: str, config: Any) -> set[str]:
    """Names of the classes that an auto class may open for a configuration."""
    import transformers

    auto = getattr(transformers, opener, None)  # the last of OPENERS exists since transformers 5.1
    classes = auto._model_mapping.get(type(config), ()) if auto else ()
    return {each.__name__ for each in (classes if isinstance(classes, tuple | list) else (classes,))}
