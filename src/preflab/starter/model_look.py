"""Inspect a model for a first recipe without loading its weights: sizes, context, chat template, stop tokens."""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from preflab.conversations.renderer import Renderer
from preflab.errors import PreflabError
from preflab.memory.model_sizes import ModelSizes, largest, skeleton
from preflab.models.families import WRITERS
from preflab.models.hub_ids import is_fetched
from preflab.models.kinds import check_reads, kind_of, names_language_model
from preflab.models.loading import HUB_ID, load_tokenizer, looks_local, no_folder, read_config
from preflab.models.packages import resolve_package

HALF = {"BF16": "bfloat16", "F16": "float16", "F32": "float32"}
"""Type name of safetensors → of torch."""
HEADER_BYTES = 100 * 2**20
"""Largest allowed header of a safetensors file, bytes."""


@dataclass(frozen=True)
class ModelLook:
    """A model, described from its files."""

    ref: str
    """The name given by the user."""
    architecture: str
    causal: bool
    """Whether it generates text; encoders, and weights without a language-model head, can only score."""
    sizes: ModelSizes
    """Its sizes in the memory arithmetic."""
    dtype: str
    """Type of the weights in their file."""
    context: int | None
    """Most tokens of prompt and completion together; None if the configuration has no limit."""
    has_template: bool
    stops: tuple[str, ...]
    """Tokens that end a completion."""
    renderer: Renderer

    @property
    def said(self) -> str:
        """The model in one line."""
        size = round_number(self.sizes.num_parameters)
        context = f"context {self.context:,} tokens" if self.context else "no context limit"
        kind = "" if self.causal else ", which can only score"
        return f"{self.ref}: {self.architecture}{kind}, {size} parameters in {self.dtype}, {context}"


def round_number(num: int) -> str:
    """A large number in words: `260 thousand`, `1.1 million`, `7.2 billion`."""
    for size, name in ((10**9, "billion"), (10**6, "million"), (10**3, "thousand")):
        if num >= size:
            return f"{num / size:.1f}".removesuffix(".0") + f" {name}"
    return str(num)


def look_at_model(ref: str) -> ModelLook:
    """Read the configuration, the tokenizer and the headers of the weights.

    Args:
        ref: a folder, `package:NAME`, or an id on the Hub if the network is allowed.

    Raises:
        PreflabError: there is no such model, it has to be fetched first, or preflab cannot use this kind of model.
    """
    place = resolve_package(ref)
    _refuse_unfetched(place)
    config = read_config(place)
    check_reads(ref, config)
    tokenizer = load_tokenizer(place, writes=False)
    causal = kind_of(config) in WRITERS and names_language_model(config)
    sizes = ModelSizes.of(skeleton(config, ref, causal=causal))
    text = config.get_text_config()
    renderer = Renderer.of(_WithGeneration(config, _generation(place)), tokenizer)
    template = getattr(tokenizer, "chat_template", None) is not None
    stops = (renderer.stop_token_ids if template else renderer.configured) if causal else ()
    return ModelLook(
        ref=ref,
        architecture=str(config.model_type),
        causal=causal,
        sizes=sizes,
        dtype=_dtype_of(place, config),
        context=largest(text, "max_position_embeddings") or None,
        has_template=template,
        stops=tuple(tokenizer.convert_ids_to_tokens(list(stops))),
        renderer=renderer,
    )


class _WithGeneration:
    """A stand-in for a loaded model with the two configurations that the renderer reads."""

    def __init__(self, config: Any, generation_config: Any) -> None:
        self.config, self.generation_config = config, generation_config


def _refuse_unfetched(place: Path | str) -> None:
    """Refuse a Hub id that is not in the cache while HF_HUB_OFFLINE is set."""
    from huggingface_hub import constants

    if Path(place).exists() or not constants.HF_HUB_OFFLINE or not HUB_ID.fullmatch(str(place)):
        return
    if is_fetched(str(place)):
        return
    if looks_local(place):
        raise no_folder(place)
    raise PreflabError(
        f"{place}: no such folder, and HF_HUB_OFFLINE is set",
        "a model's folder, or a Hub id that was downloaded before",
        f"run `hf download {place}` where there is a network, or unset HF_HUB_OFFLINE",
    )


def _generation(place: Path | str) -> Any:
    """The generation config of a model; None if it has none."""
    from transformers import GenerationConfig

    try:
        return GenerationConfig.from_pretrained(str(place))
    except OSError:
        return None


def _dtype_of(place: Path | str, config: Any) -> str:
    """The type of most weights in the files, else the type in the configuration."""
    files = sorted(Path(place).glob("*.safetensors")) if Path(place).is_dir() else []
    counted: dict[str, int] = {}
    for file in files:
        for name, entry in _header(file).items():
            if name != "__metadata__":
                size = entry["data_offsets"][1] - entry["data_offsets"][0]
                counted[entry["dtype"]] = counted.get(entry["dtype"], 0) + size
    if counted:
        most = max(counted, key=counted.__getitem__)
        return HALF.get(most, most)
    return str(getattr(config, "dtype", None) or "float32").removeprefix("torch.")


def _header(file: Path) -> dict[str, Any]:
    """The header of a safetensors file, which describes its tensors.

    Raises:
        PreflabError: it is not a complete safetensors file.
    """
    wrong = PreflabError(f"{file}: not a complete safetensors file", "the model's weights", "copy or download it again")
    with file.open("rb") as opened:
        start = opened.read(8)
        size = struct.unpack("<Q", start)[0] if len(start) == 8 else 0
        if not 0 < size < HEADER_BYTES:
            raise wrong
        try:
            header: dict[str, Any] = json.loads(opened.read(size))
        except ValueError as error:
            raise wrong from error
    return header
