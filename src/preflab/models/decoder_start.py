"""The tokens that every decoder row of an encoder–decoder starts with: a start token, and a token forced after it.

    T5, Marian    padding token               BART      end token, BOS
    T5Gemma       BOS                         mBART     end token, target language (or the language alone)

They come from `decoder_start_token_id` and `forced_bos_token_id` of the generation configuration. The policy does not
choose them, so they are never part of a completion.
"""

from __future__ import annotations

import logging
from typing import Any

from preflab.errors import PreflabError

logger = logging.getLogger(__name__)

DO = (
    "set decoder_start_token_id in generation_config.json; a translation model also needs the target language's token "
    "there, as decoder_start_token_id or forced_bos_token_id"
)


def start_tokens(model: Any) -> tuple[int, ...]:
    """The start token, and the forced token if the configuration names one.

    Raises:
        PreflabError: the configuration names no start token.
    """
    if kept := getattr(model.config, "preflab_decoder_start", None):  # of a reward model's body
        return tuple(kept)
    start, forced = _start(model), _configured(model, "forced_bos_token_id")
    if start is None:
        problem = f"{model.config.model_type}: no decoder_start_token_id"
        raise PreflabError(problem, "the token that the decoder starts with", DO)
    return (start,) if forced is None else (start, forced)


def force_first_tokens(model: Any, tokenizer: Any) -> None:
    """Set `forced_bos_token_id` to the token that the tokenizer puts before a target text, if nothing forces one yet.

    BART's tokenizer puts BOS there, mBART's the target language. Otherwise the policy would have to learn this token.

    Raises:
        PreflabError: the tokenizer needs a target language and has none, or puts several tokens before a text.
    """
    before, _ = target_frame(tokenizer)
    start = _start(model)
    if not before or _configured(model, "forced_bos_token_id") is not None or before == (start,):
        return
    if len(before) > 1:
        problem = f"a tokenizer that puts {len(before)} tokens before a target text"
        raise PreflabError(problem, "at most one", "set forced_bos_token_id in generation_config.json")
    model.generation_config.forced_bos_token_id = before[0]
    token = tokenizer.convert_ids_to_tokens(before[0])
    logger.info("%s: the decoder always begins with %s, as the tokenizer's texts do", model.config.model_type, token)


def target_frame(tokenizer: Any) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The tokens that a tokenizer puts before and after a text for the decoder.

    Raises:
        PreflabError: the tokenizer needs a target language and has none.
    """
    try:
        plain = tuple(tokenizer(text_target="a", add_special_tokens=False)["input_ids"])
        full = tuple(tokenizer(text_target="a")["input_ids"])
    except (TypeError, ValueError, KeyError) as error:
        raise PreflabError(
            f"{type(tokenizer).__name__} cannot encode a target text ({error})", "a tokenizer with a target language",
            'set "tgt_lang" in tokenizer_config.json',
        ) from error  # fmt: skip
    for place in range(len(full) - len(plain) + 1):
        if full[place : place + len(plain)] == plain:
            return _known(tokenizer, full[:place]), full[place + len(plain) :]
    return (), ()


def _known(tokenizer: Any, before: tuple[int | None, ...]) -> tuple[int, ...]:
    if any(token is None or token == tokenizer.unk_token_id for token in before):
        problem = f"{type(tokenizer).__name__} without a target language"
        raise PreflabError(problem, "a target language", 'set "tgt_lang" in tokenizer_config.json')
    return tuple(token for token in before if token is not None)


def _start(model: Any) -> int | None:
    """The start token; if none is named, the BOS in the decoder's part of the configuration, as T5Gemma has it."""
    named = _configured(model, "decoder_start_token_id")
    return named if named is not None else getattr(getattr(model.config, "decoder", None), "bos_token_id", None)


def _configured(model: Any, name: str) -> int | None:
    """A token id of the generation configuration, else of the configuration or of its decoder's part."""
    config = model.config
    places = (getattr(model, "generation_config", None), config, getattr(config, "decoder", None))
    value = next((one for place in places if (one := getattr(place, name, None)) is not None), None)
    return None if value is None else int(value)
