"""Loads models and tokenizers from a folder or the Hub, with an explicit dtype, no remote code and helpful errors."""

from __future__ import annotations

import json
import logging
import pickle
import re
from collections.abc import Iterator
from contextlib import contextmanager
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import torch
from huggingface_hub.constants import HF_HUB_OFFLINE
from transformers.utils import logging as transformers_logging

from preflab.errors import PreflabError
from preflab.files import read_json
from preflab.models.causality import why_not_causal
from preflab.models.generation_defaults import strip_generation_defaults
from preflab.models.hub_ids import is_fetched, no_retry_lines, why_unreachable
from preflab.models.kinds import EXPECTED, check_no_reward_model, check_writes, opener_of
from preflab.models.packages import resolve_package
from preflab.words import count

logger = logging.getLogger(__name__)

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
MOST_LAYERS = 1000
"""Number of layers up to which a configuration is accepted even if the weights hold fewer tensors."""
WEIGHTS = ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin", "pytorch_model.bin.index.json")
TOKENIZERS = ("tokenizer.json", "tokenizer_config.json", "tokenizer.model", "spiece.model", "vocab.json", "vocab.txt")
HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[\w.-]+)?")


def load_tokenizer(ref: Path | str, *, writes: bool = True) -> Any:
    """Load a model's tokenizer. It always has a padding token, and an end token if `writes`.

    If the padding token is missing, a padding token of the vocabulary is used, else the unknown token, else the end
    token; the choice is logged. Any of them is correct, because preflab always finds ends by mask.

    Args:
        ref: a folder, a Hub id, or `package:NAME` for a model inside an installed package.
        writes: whether completions will be sampled or trained on, so that an end token is needed.

    Raises:
        PreflabError: no model at `ref`, no tokenizer, no end token, or the tokenizer of a model that cannot generate
            text.
    """
    from transformers import AutoTokenizer

    ref = resolve_package(ref)
    if writes:
        check_no_reward_model(ref)
    check_tokenizer(ref)
    if writes and (Path(ref) / "config.json").is_file():
        check_writes(ref, read_config(ref))  # first, so that an unsuitable model gives no error about its tokenizer
    with readable_errors(ref, "a model's folder with its tokenizer, or a Hub id"):
        tokenizer = AutoTokenizer.from_pretrained(str(ref), trust_remote_code=False)
    for name in ("is_local", "local_files_only"):  # options of this call, which would be saved with the tokenizer
        tokenizer.init_kwargs.pop(name, None)
    if tokenizer.eos_token_id is None and writes:
        _take_end_token_of_model(tokenizer, ref)
    if tokenizer.pad_token_id is None:
        _choose_pad_token(tokenizer, ref)
    return tokenizer


def load_causal_lm(ref: Path | str, *, dtype: str | torch.dtype) -> Any:
    """Load a language model with its head, in eval mode, without the generation defaults that change what is drawn.

    Raises:
        PreflabError: no model at `ref`, missing or corrupted weights, an encoder or a reward model, or logits that
            depend on later tokens or need more input than text.
    """
    import transformers

    ref = resolve_package(ref)
    check_no_reward_model(ref)
    config = read_config(ref)
    check_writes(ref, config)
    model = _load(getattr(transformers, str(opener_of(config))), ref, dtype, "a language model")
    if reason := why_not_causal(model):
        raise PreflabError(f"{ref}: {config.model_type}: {reason}", EXPECTED, "choose another model")
    strip_generation_defaults(model)
    return model


def read_config(ref: Path | str) -> Any:
    """Load the configuration of a model, without running code that ships with it.

    Raises:
        PreflabError: no model at `ref`, a broken configuration, or one that transformers does not know.
    """
    from transformers import AutoConfig

    ref = resolve_package(ref)
    check_there(ref, "config.json")
    with readable_errors(ref, "a model"), quiet_loading():
        return AutoConfig.from_pretrained(str(ref), trust_remote_code=False)


def load_encoder(ref: Path | str, *, dtype: str | torch.dtype) -> Any:
    """Load a model without a head, such as BERT or MiniLM, in eval mode.

    Raises:
        PreflabError: no model at `ref`, or missing or corrupted weights. A missing pooler is no error, because preflab
            does its own pooling.
    """
    from transformers import AutoModel

    return _load(AutoModel, ref, dtype, "an encoder", may_lack="pooler.")


def load_classifier(ref: Path | str, *, dtype: str | torch.dtype) -> Any:
    """Load a sequence classifier with its trained head, in eval mode.

    Raises:
        PreflabError: no model at `ref`, or missing or corrupted weights; a head without saved weights would be random.
    """
    from transformers import AutoModelForSequenceClassification

    return _load(AutoModelForSequenceClassification, ref, dtype, "a sequence classifier")


def torch_dtype(name: str | torch.dtype) -> torch.dtype:
    """The torch type of the name `float32`, `bfloat16` or `float16`.

    Raises:
        PreflabError: the name is none of these.
    """
    if isinstance(name, torch.dtype):
        return name
    if name not in DTYPES:
        raise PreflabError(f"unknown precision: {name}", "one of " + ", ".join(DTYPES), "use one of them")
    return DTYPES[name]


def best_device() -> torch.device:
    """The machine's accelerator (CUDA or MPS) if it has one, else the CPU."""
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def check_there(ref: Path | str, *needed: str) -> None:
    """Check that `ref` is a folder with at least one of the needed files, or a Hub id.

    Raises:
        PreflabError: it is neither, or the Hub cannot be reached for an id that is not in the cache.
    """
    folder = Path(ref)
    if folder.is_dir():
        if not any((folder / name).is_file() for name in needed):
            raise PreflabError(f"{folder}: {needed[0]} is missing", "a model folder" + _hint(folder), "check the path")
        return
    if folder.is_file():
        raise PreflabError(f"{folder}: this is a file", "a model folder", "name the folder that contains config.json")
    if not HUB_ID.fullmatch(str(ref)):
        raise no_folder(ref)
    if not HF_HUB_OFFLINE:
        _check_hub(str(ref))


def check_tokenizer(ref: Path | str) -> None:
    """Check that `ref` is a model's folder with its tokenizer, or a Hub id.

    Raises:
        PreflabError: no such folder, no model in it, or a model that was saved without its tokenizer.
    """
    folder = Path(ref)
    without = folder.is_dir() and not any((folder / name).is_file() for name in TOKENIZERS)
    if without and (folder / "config.json").is_file():
        raise PreflabError(
            f"{folder}: a model without a tokenizer",
            f"a model folder with its tokenizer ({TOKENIZERS[0]}, …)",
            f"save the tokenizer there: tokenizer.save_pretrained({str(folder)!r})",
        )
    check_there(ref, *(("config.json",) if without else TOKENIZERS))


def _check_hub(ref: str) -> None:
    """Check that a Hub id is in the local cache, or that the Hub can be reached.

    A name without "/" that resembles a folder here is taken for a mistyped folder.

    Raises:
        PreflabError: a mistyped folder, or the Hub does not answer one quick request.
    """
    if is_fetched(ref):
        return
    if "/" not in ref and _near_folders(Path(ref)):
        error = no_folder(ref)
        raise PreflabError(error.found, error.expected, f"{error.do}; for a model of the Hub, write owner/{ref}")
    with no_retry_lines():
        why = why_unreachable(ref)
    if why:
        raise no_folder(ref, why) if looks_local(ref) else _not_given(ref, why, "a model")


def _not_given(ref: Path | str, hub_says: str, what: str) -> PreflabError:
    return PreflabError(
        f"{ref}: there is no such folder, and the Hub did not provide it ({hub_says})",
        what,
        "name a folder, or download the model with a network connection (HF_HUB_OFFLINE unset)",
    )


def no_folder(ref: Path | str, hub_says: str = "") -> PreflabError:
    """The error for a folder that does not exist. It lists folders with similar names, and the Hub's answer if any."""
    near = _near_folders(Path(ref))
    do = "check the path" + (f"; near it: {', '.join(near)}" if near else "")
    problem = f"{ref}: there is no such folder" + (f", and the Hub did not provide it ({hub_says})" if hub_says else "")
    return PreflabError(problem, "a model folder or a Hub id", do)


def looks_local(ref: Path | str) -> bool:
    """Whether a name that is no folder probably means one.

    It does if it is no Hub id, if its parent folder exists, or if its name resembles that of an existing folder.
    """
    parent = Path(ref).parent
    within = parent != Path() and parent.is_dir()
    return within or not HUB_ID.fullmatch(str(ref)) or bool(_near_folders(Path(ref)))


def _near_folders(path: Path) -> list[str]:
    """Existing folders whose names resemble the first part of a path that does not exist."""
    missing = next((part for part in (*reversed(path.parents), path) if not part.is_dir()), path)
    try:
        names = [each.name for each in missing.parent.iterdir() if each.is_dir()]
    except OSError:  # the parent is a file, or may not be read
        return []
    return [str(missing.with_name(name)) for name in get_close_matches(missing.name, names, n=3)]


def _load(kind: Any, ref: Path | str, dtype: str | torch.dtype, what: str, *, may_lack: str = "") -> Any:
    ref = resolve_package(ref)
    check_there(ref, "config.json")
    if Path(ref).is_dir():
        _check_weights(Path(ref))
    with readable_errors(ref, what), quiet_loading():
        model, report = kind.from_pretrained(
            str(ref), dtype=torch_dtype(dtype), trust_remote_code=False, output_loading_info=True
        )
    missing = sorted(name for name in report["missing_keys"] if not (may_lack and name.startswith(may_lack)))
    if missing:
        raise PreflabError(
            f"{ref}: {count(len(missing), 'weight is', 'weights are')} missing (first: {missing[0]})",
            f"{what} with all its weights; missing ones would be random",
            "name a model folder that contains these weights",
        )
    return model.eval()


def _check_weights(folder: Path) -> None:
    """Check that a folder holds weights with all their shards, and that no safetensors file is truncated."""
    from safetensors import SafetensorError, safe_open

    files = [name for name in WEIGHTS if (folder / name).is_file()]
    if not files:
        raise PreflabError(
            f"{folder}: config.json is there, but no weights",
            "model.safetensors, or its shards with their index" + _hint(folder),
            "copy the weights into the folder",
        )
    num_tensors = 0
    for name in _shards(folder, files[0]):
        if not (folder / name).is_file():
            raise PreflabError(f"{folder}: the shard {name} is missing", "all shards of the index", "copy it there")
        if name.endswith(".safetensors"):
            try:
                num_tensors += len(safe_open(folder / name, framework="pt").keys())
            except SafetensorError as error:
                raise PreflabError(
                    f"{folder / name}: corrupted ({error})", "a complete safetensors file", "copy or download it again"
                ) from error
    _check_layers(folder, num_tensors)


def _check_layers(folder: Path, num_tensors: int) -> None:
    """Refuse a configuration with far more layers than the weights can fill: building a million layers takes hours.

    Up to `MOST_LAYERS` are accepted, since a model whose layers share weights may have more layers than tensors.
    """
    config = read_json(folder / "config.json")
    parts = [config, *(part for part in config.values() if isinstance(part, dict))] if isinstance(config, dict) else []
    counts = [part.get(key) for part in parts for key in ("num_hidden_layers", "n_layer", "num_layers", "n_layers")]
    most = max((num for num in counts if isinstance(num, int)), default=0)
    if num_tensors and most > max(num_tensors, MOST_LAYERS):
        raise PreflabError(
            f"{folder}: config.json says {most:,} layers, but the weights have only {num_tensors:,} tensors",
            "a configuration that belongs to the weights",
            "copy or download config.json and the weights again",
        )


def _shards(folder: Path, name: str) -> list[str]:
    """Names of the files with the weights: the file itself, or if it is an index, its shards in the same folder."""
    if not name.endswith(".index.json"):
        return [name]
    index = read_json(folder / name)
    places = index.get("weight_map") if isinstance(index, dict) else None
    if not isinstance(places, dict) or not all(isinstance(shard, str) for shard in places.values()):
        raise PreflabError(f"{folder / name}: no weight_map", "the shard of each tensor", "copy or download it again")
    shards = sorted(set(places.values()))
    for shard in shards:
        if Path(shard).name != shard:
            raise PreflabError(
                f"{folder / name}: the shard {shard!r} is outside the folder",
                "names of files in the model's folder",
                "do not use this model, or copy its shards into the folder and correct their paths in the index",
            )
    return shards


def _hint(folder: Path) -> str:
    if (folder / "adapter_config.json").is_file():
        return "; this folder contains an adapter, which `preflab export` merges into a model"
    return ""


@contextmanager
def readable_errors(ref: Path | str, what: str) -> Iterator[None]:
    """Turn errors of transformers while loading into a PreflabError that says what to do."""
    try:
        with no_retry_lines():
            yield
    except pickle.UnpicklingError as error:
        raise PreflabError(
            f"{ref}: its weights are a pickle file with more than tensors, which could run code on this machine",
            "weights in model.safetensors, or a pickle file with tensors only",
            "use a version of the model with safetensors; load this one elsewhere only if you trust its source",
        ) from error
    except (OSError, ValueError, RuntimeError, ImportError, KeyError, json.JSONDecodeError) as error:
        first_line = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        if "trust_remote_code" in str(error):
            raise PreflabError(
                f"{ref}: it needs code that ships with the model, which preflab does not run",
                "an architecture that is part of transformers",
                "choose a model whose architecture is part of transformers",
            ) from error
        if not Path(ref).is_dir() and looks_local(ref):
            raise no_folder(ref, "" if HF_HUB_OFFLINE else first_line) from error
        if not Path(ref).is_dir():
            raise _not_given(ref, first_line, what) from error
        problem = f"{ref}: cannot be loaded as {what} ({first_line})"
        raise PreflabError(problem, what, "check config.json and the other files of the model") from error


@contextmanager
def quiet_loading() -> Iterator[None]:
    """Silence transformers' progress bars and loading reports: preflab checks and reports what was loaded."""
    had_bars, verbosity = transformers_logging.is_progress_bar_enabled(), transformers_logging.get_verbosity()
    transformers_logging.disable_progress_bar()
    transformers_logging.set_verbosity_error()
    try:
        yield
    finally:
        transformers_logging.set_verbosity(verbosity)
        if had_bars:
            transformers_logging.enable_progress_bar()


def _take_end_token_of_model(tokenizer: Any, ref: Path | str) -> None:
    """Set a tokenizer's missing end token to the one that the model's generation configuration names."""
    from transformers import GenerationConfig

    ids: Any = None
    if (Path(ref) / "generation_config.json").is_file():
        ids = GenerationConfig.from_pretrained(str(ref)).eos_token_id
    if ids is None:
        raise PreflabError(
            f"{ref}: the tokenizer has no end-of-sequence token (eos_token)",
            "an end token, so that completions can end",
            'add "eos_token" to its tokenizer_config.json',
        )
    tokenizer.eos_token = tokenizer.convert_ids_to_tokens(ids if isinstance(ids, int) else ids[-1])


def spare_pad_token(tokenizer: Any) -> str | None:
    """A token for padding that is not the end token: one with "pad" in its name, else the unknown token, else None."""
    added = [token.content for token in tokenizer.added_tokens_decoder.values()]
    called_padding = [token for token in added if "pad" in token.lower()]
    if called_padding:
        return called_padding[0]
    return tokenizer.unk_token if tokenizer.unk_token != tokenizer.eos_token else None


def _choose_pad_token(tokenizer: Any, ref: Path | str) -> None:
    tokenizer.pad_token = spare_pad_token(tokenizer) or tokenizer.eos_token
    if tokenizer.pad_token is None:
        raise PreflabError(
            f"{ref}: the tokenizer has no padding token (pad_token), and no token that could be used instead",
            "a padding, unknown or end token",
            'add "pad_token" to its tokenizer_config.json',
        )
    logger.info("%s: the tokenizer has no padding token; %s is used", ref, tokenizer.pad_token)
