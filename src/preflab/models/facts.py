"""Facts of a model that preflab needs before it encodes or samples: special tokens, context length, id of weights."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from preflab.errors import PreflabError
from preflab.models.vocabulary import Vocabulary
from preflab.training.token_limits import NO_LIMIT, TokenLimits


@dataclass(frozen=True)
class ModelFacts:
    """Special tokens and context length of a model, and the special tokens that its tokenizer adds to text."""

    bos_id: int | None
    eos_id: int | None
    pad_id: int | None
    stop_token_ids: tuple[int, ...]
    """Tokens that end a completion: eos_token_id of generation_config (else of the configuration) and the tokenizer's
    end token."""
    context_length: int | None
    """Most tokens of prompt and completion together; None: no limit in the configuration."""
    limits: TokenLimits
    """The same for prompt and completion apart, which encoder–decoders limit."""
    reads_prompts_apart: bool
    """It is an encoder–decoder: the encoder reads the prompt, the decoder writes the completion."""
    vocabulary_size: int
    """Rows of the embedding, which may have more rows than the tokenizer has ids."""
    num_token_ids: int
    """Largest id that the tokenizer can give, plus 1."""
    adds_bos: bool
    """The tokenizer puts BOS before plain text."""
    adds_end: bool
    """The tokenizer puts a special token after plain text; preflab removes it from prompts that are to be continued."""
    doubles_bos: bool
    """The tokenizer adds a second BOS to text that starts with one, such as a chat template's; preflab removes it."""
    has_chat_template: bool

    @property
    def pad_is_eos(self) -> bool:
        """Whether padding uses an end token. If so, ends must be found by mask, never by id, as preflab does."""
        return self.pad_id is not None and self.pad_id in (self.eos_id, *self.stop_token_ids)


def model_facts(model: Any, tokenizer: Any) -> ModelFacts:
    """Collect the facts of a loaded model and its tokenizer."""
    config = model.config.get_text_config()
    plain, full = (list(tokenizer("a", add_special_tokens=special)["input_ids"]) for special in (False, True))
    bos = tokenizer.bos_token_id
    return ModelFacts(
        bos_id=bos,
        eos_id=tokenizer.eos_token_id,
        pad_id=tokenizer.pad_token_id,
        stop_token_ids=stop_token_ids(model, tokenizer),
        context_length=context_length(model.config),
        limits=token_limits(model.config),
        reads_prompts_apart=bool(getattr(model.config, "is_encoder_decoder", False)),
        vocabulary_size=config.vocab_size,
        num_token_ids=vocabulary.num_ids if (vocabulary := Vocabulary.of(tokenizer)) else len(tokenizer),
        adds_bos=bos is not None and full[:1] == [bos],
        adds_end=full[-len(plain) :] != plain,
        doubles_bos=bos is not None and list(tokenizer(tokenizer.bos_token + "a")["input_ids"])[:2] == [bos, bos],
        has_chat_template=getattr(tokenizer, "chat_template", None) is not None,
    )


def context_length(config: Any) -> int | None:
    """Most tokens of prompt and completion together; None: the configuration has no limit.

    This is `max_position_embeddings`, times `factor` under dynamic NTK scaling, which extends the context beyond it.
    """
    text = config.get_text_config()
    positions = getattr(text, "max_position_embeddings", None)
    parameters = getattr(text, "rope_parameters", None) or {}
    if positions and parameters.get("rope_type") == "dynamic":
        return int(positions * max(1.0, parameters.get("factor") or 1.0))
    return positions


def token_limits(config: Any) -> TokenLimits:
    """The most tokens that a model takes.

    A decoder's context holds prompt and completion. Of an encoder–decoder, encoder and decoder have a limit each:
    `max_position_embeddings` (BART, T5Gemma), a setting for each (LED), or `n_positions`, the length that T5's encoder
    was trained with.
    """
    if not getattr(config, "is_encoder_decoder", False):
        return TokenLimits(both=context_length(config) or NO_LIMIT)
    parts = [config.get_text_config(encoder=True), config.get_text_config(decoder=True)]
    own = [f"max_{part}_position_embeddings" for part in ("encoder", "decoder")]
    encoder, decoder = (
        getattr(config, name, None) or getattr(part, "max_position_embeddings", None)
        for name, part in zip(own, parts, strict=True)
    )
    trained = getattr(config, "n_positions", None)
    # The decoder reads a start token, and often a forced one, before the completion.
    return TokenLimits(prompt=encoder or trained or NO_LIMIT, completion=decoder - 2 if decoder else NO_LIMIT)


def stop_token_ids(model: Any, tokenizer: Any) -> tuple[int, ...]:
    """Tokens that end a completion, sorted.

    These are eos_token_id of generation_config, else of the configuration, and the tokenizer's end token.
    """
    generation = getattr(getattr(model, "generation_config", None), "eos_token_id", None)
    ids = generation if generation is not None else getattr(model.config.get_text_config(), "eos_token_id", None)
    ids = [] if ids is None else [ids] if isinstance(ids, int) else list(ids)
    return tuple(sorted({*ids, *([] if tokenizer.eos_token_id is None else [tokenizer.eos_token_id])}))


def weights_hash(source: Path | str | torch.nn.Module | Mapping[str, Tensor]) -> str:
    """The id of a model's weights: `model-` and 24 hex digits.

    A folder and the model loaded from it have the same id; how the folder is sharded does not matter. The id is the
    SHA-256 of each tensor's name, type, shape and bytes, sorted by name. Of tied tensors only the first is included.

    Raises:
        PreflabError: a folder without weights, or with a corrupted file.
    """
    if isinstance(source, Path | str):
        tensors = _tensors_of_folder(Path(source))
    else:
        tensors = _untied(source.state_dict() if isinstance(source, torch.nn.Module) else source)
    digest = hashlib.sha256()
    for line in sorted(f"{name} {t.dtype} {list(t.shape)} {_bytes_hash(t)}" for name, t in tensors):
        digest.update(line.encode())
    return f"model-{digest.hexdigest()[:24]}"


def _bytes_hash(tensor: Tensor) -> str:
    data = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
    return hashlib.sha256(data.numpy().data).hexdigest()


def _untied(state: Mapping[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
    seen: set[tuple[int, torch.Size]] = set()
    for name, tensor in state.items():
        key = (tensor.data_ptr(), tensor.shape)
        if tensor.numel() and key in seen:
            continue
        seen.add(key)
        yield name, tensor


def _tensors_of_folder(folder: Path) -> Iterator[tuple[str, Tensor]]:
    from safetensors import SafetensorError, safe_open

    files = sorted(folder.glob("*.safetensors"))
    if not files:
        raise PreflabError(f"{folder}: no *.safetensors file", "a model folder with weights", "choose another folder")
    for file in files:
        try:
            with safe_open(file, framework="pt") as opened:
                for name in opened.keys():  # noqa: SIM118 (not a dictionary)
                    yield name, opened.get_tensor(name)
        except SafetensorError as error:
            raise PreflabError(
                f"{file}: corrupted ({error})", "a complete safetensors file", "copy or download it again"
            ) from error
