"""Chooses, once per model, a way of feeding it that reproduces its uncached logits on short random rows.

The first way that does is used: preflab's cache with a mask made by preflab; preflab's cache with the model's own mask;
preflab's cache with prompts of equal length in a batch; the model's own cache; no cache, which recomputes the whole
sequence at every step (slow, so it logs a warning). The test rows are long enough to cross a small window, and rows are
shared, moved and dropped during the test.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from transformers import PreTrainedModel

from preflab.models.encoder_decoders import EncoderDecoder
from preflab.models.facts import context_length
from preflab.models.families import Decoder, Family, token_logits
from preflab.models.kinds import family_of
from preflab.models.ordinary_ids import ordinary_ids
from preflab.sampling.buckets import Buckets
from preflab.sampling.encoder_decoder_pass import EncoderDecoderPass, ways_of_encoder_decoders
from preflab.sampling.passes import CachedPass, OwnCachePass, Pass, PlainPass
from preflab.sampling.static_encoder_decoder import StaticEncoderDecoderPass
from preflab.sampling.static_pass import StaticPass
from preflab.training.batches import TokenSequence

logger = logging.getLogger(__name__)

# Errors that a model raises if it does not support a way of feeding, for example its cache or one of its arguments.
UNFIT = (TypeError, ValueError, RuntimeError, AttributeError, IndexError, KeyError, AssertionError)

NUM_STEPS = 6
SHORT, LONG = 12, 48
"""SHORT: tokens of the longest row compared, enough for any way. LONG: upper bound if the row has to cross a window."""

WINDOWS = ("sliding_window", "attention_chunk_size", "attention_window_size", "window_size")


def fitting_pass(model: PreTrainedModel, pad_id: int) -> Pass:
    """The fastest way of feeding this model that gives its own logits; logs a warning if no cache works."""
    for way in WAYS.get(type(family_of(model)), _no_ways)(model, pad_id):
        if reproduces(way, model):
            way.release()
            return way
    logger.warning(
        "%s does not work with preflab's cache: every step recomputes the whole sequence, which is slow",
        type(model).__name__,
    )
    return PlainPass(model)


def fixed_pass(way: Pass, model: PreTrainedModel, buckets: Buckets) -> StaticPass | StaticEncoderDecoderPass | None:
    """The same way over fixed buffers, if that gives the model's own logits; else None, and one line says so."""
    fixed: StaticPass | StaticEncoderDecoderPass | None = None
    if isinstance(way, CachedPass):
        fixed = StaticPass(way, buckets)
    elif isinstance(way, EncoderDecoderPass):
        fixed = StaticEncoderDecoderPass(way, buckets)
    if fixed is not None and reproduces(fixed, model):
        fixed.release()
        return fixed
    logger.warning(
        "%s (%s) cannot be decoded over fixed buffers: its decode steps are launched one by one",
        type(model).__name__,
        way.name,
    )
    return None


def _no_ways(model: PreTrainedModel, pad_id: int) -> Iterator[Pass]:
    return iter(())


def _ways_of_decoders(model: PreTrainedModel, pad_id: int) -> Iterator[Pass]:
    if _all_layers_see_everything(model):
        yield CachedPass(model, pad_id, "ready-made")
    yield CachedPass(model, pad_id, "own")
    yield CachedPass(model, pad_id, "none")
    yield OwnCachePass(model)


WAYS: dict[type[Family], Callable[[PreTrainedModel, int], Iterable[Pass]]] = {
    Decoder: _ways_of_decoders,
    EncoderDecoder: ways_of_encoder_decoders,
}
"""Family → its ways with a cache, fastest first. Models of other families get the whole sequence at every step."""


def _all_layers_see_everything(model: PreTrainedModel) -> bool:
    """Whether all layers attend to all earlier tokens. If not, one ready-made mask for all layers would be wrong."""
    config = model.config.get_text_config()
    kinds = set(getattr(config, "layer_types", None) or ["full_attention"])
    windows = (getattr(config, name, None) for name in ("sliding_window", "attention_chunk_size"))
    return kinds == {"full_attention"} and not any(windows)


def reproduces(way: Pass, model: PreTrainedModel) -> bool:
    """Whether a way gives the same logits as the model without cache and padding.

    The test has two prompts, of different lengths if the way allows it, and four rows. One row is dropped after each
    third of the steps until two are left; another row moves to its place. In float32 the mean difference may be 3e-5
    of the logits' standard deviation (measured: 1e-7 to 5e-7).
    """
    longest = _longest_row(model)
    ids = _random_ids(model, longest)
    shorter = min(3, longest - NUM_STEPS - 1) if way.pads else 0
    lengths = (longest - NUM_STEPS, longest - NUM_STEPS - shorter)
    prompts = [tuple(row[:length]) for row, length in zip(ids, lengths, strict=False)]
    rows = [(*prompts[b % 2], *ids[b][longest - NUM_STEPS :]) for b in range(4)]
    try:
        with _padded_with(way, ids[3][0]):
            written = _written(way, prompts, rows, model.device)
    except UNFIT as error:
        logger.info("%s cannot be decoded with %s: %s", type(model).__name__, type(way).__name__, error)
        return False
    return _close(written, _expected(model, prompts, rows), exact=model.dtype == torch.float32)


def _random_ids(model: Any, longest: int) -> list[list[int]]:
    """Four rows of random ids."""
    ids = torch.tensor(ordinary_ids(model.config))
    places = torch.randint(len(ids), (4, longest), generator=torch.Generator().manual_seed(0))
    return ids[places].tolist()


@contextmanager
def _padded_with(way: Pass, token: int) -> Iterator[None]:
    """Pad with an ordinary token, so that attention to padding shows: the padding token's embedding may be zero."""
    if not hasattr(way, "pad_id"):
        yield
        return
    pad_id, way.pad_id = way.pad_id, token
    try:
        yield
    finally:
        way.pad_id = pad_id


def _longest_row(model: PreTrainedModel) -> int:
    """Tokens of the longest row compared: beyond the model's window if it is small, and within its context."""
    config = model.config.get_text_config()
    windows = [value for name in WINDOWS if isinstance(value := getattr(config, name, None), int) and value > 0]
    beyond = min(windows, default=LONG) + SHORT
    context = context_length(model.config) or LONG
    return max(NUM_STEPS + 1, min(beyond if beyond <= LONG else SHORT, context))


def _written(
    way: Pass, prompts: list[tuple[int, ...]], rows: list[tuple[int, ...]], device: torch.device
) -> list[list[torch.Tensor]]:
    """Logits (V,) of each row by step, until the row is dropped."""
    live = list(range(4))
    written: list[list[torch.Tensor]] = [[] for _ in live]
    logits = way.start(prompts, torch.tensor([b % 2 for b in live], device=device))
    for t in range(NUM_STEPS):
        for place, row in enumerate(live):
            written[row].append(logits[place].float())
        if t % 2 and len(live) > 2:  # the last row takes the place of the second
            live = [live[0], live[-1], *live[2:-1]]
            places = torch.tensor([len(live)], device=device), torch.tensor([1], device=device)
            way.move_rows(*places, len(live))
        tokens = [rows[row][len(prompts[row % 2]) + t] for row in live]
        logits = way.step(torch.tensor(tokens, device=device))
    return written


def _expected(model: Any, prompts: list[tuple[int, ...]], rows: list[tuple[int, ...]]) -> list[torch.Tensor]:
    """(steps, V) logits of each row, from one uncached pass per prompt over rows of equal length."""
    expected: list[torch.Tensor] = [torch.empty(0)] * 4
    for number, prompt in enumerate(prompts):
        written = [TokenSequence(prompt, row[len(prompt) :]) for row in (rows[number], rows[number + 2])]
        logits = token_logits(family_of(model), model, written).float().unflatten(0, (2, -1))
        expected[number], expected[number + 2] = logits[0], logits[1]
    return expected


def _close(outputs: list[list[torch.Tensor]], expected: list[torch.Tensor], *, exact: bool) -> bool:
    pairs = [(torch.stack(ours), theirs[: len(ours)]) for ours, theirs in zip(outputs, expected, strict=True)]
    difference = torch.cat([(ours - theirs).abs().flatten() for ours, theirs in pairs])
    spread = torch.cat([theirs.flatten() for _, theirs in pairs]).std()
    if not exact:
        return bool(difference.mean() <= 5e-2 * spread)
    return bool(difference.mean() <= 3e-5 * spread) and bool(difference.max() <= 1e-3 * spread)
