"""Attention within the sequences of an unpadded row, under the name `preflab_varlen` in transformers' registries.

On a GPU it calls `torch.nn.attention.varlen`, whose kernels take the beginnings of sequences instead of a mask; its
signature is checked at first use, because only that of torch 2.13 is known. Elsewhere a loop over sequences stands in.
A feature of attention that the kernel does not have raises ValueError, by which `models.packing` finds the models that
keep their padded passes.

The attention is switched inside a pass only, because sampling uses the model's own. In shapes, H is the number of query
heads, K that of key heads, N the tokens of the row, D the width of a head.
"""

from __future__ import annotations

import functools
import inspect
import itertools
import weakref
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import pad, scaled_dot_product_attention
from transformers import AttentionInterface, AttentionMaskInterface

from preflab.models.precision import HALF
from preflab.training.batches import TokenBatch
from preflab.training.unpadded_rows import UnpaddedRows

NAME = "preflab_varlen"
REFUSED = {
    "softcap": "a soft cap on attention scores",
    "s_aux": "attention sinks",
    "position_bias": "a bias added to attention scores",
    "head_mask": "a mask of heads",
}
"""Arguments that models pass to their attention → the feature that variable-length attention does not have."""

TAKES = ("query", "key", "value", "cu_seq_q", "cu_seq_k", "max_q", "max_k", "scale", "window_size", "enable_gqa")
"""Arguments of the kernel that are used."""


@dataclass
class WindowRecord:
    """The windows that a model's masks have, and those that its attention is told of."""

    of_masks: set[int] = field(default_factory=set)
    told: set[int] = field(default_factory=set)


_configs_in_use: ContextVar[tuple[Any, ...]] = ContextVar("configs_in_use", default=())
_record: ContextVar[WindowRecord | None] = ContextVar("record", default=None)
_known_configs: weakref.WeakKeyDictionary[nn.Module, tuple[Any, ...]] = weakref.WeakKeyDictionary()


@contextmanager
def packed_attention(model: nn.Module) -> Iterator[None]:
    """Make a model attend within the sequences of unpadded rows inside the block, and restore its own attention."""
    if model not in _known_configs:
        configs = [module.config for module in model.modules() if hasattr(module, "config")]
        inner = [getattr(one, name, None) for one in configs for name in getattr(one, "sub_configs", None) or ()]
        able = {id(one): one for one in (*configs, *inner) if hasattr(one, "_attn_implementation_internal")}
        _known_configs[model] = tuple(able.values())
    with _using(_known_configs[model]):
        yield


def attention_for(model: nn.Module, batch: TokenBatch) -> AbstractContextManager[None]:
    """`packed_attention` for an unpadded row; for other batches the model keeps its own."""
    return packed_attention(model) if isinstance(batch, UnpaddedRows) else nullcontext()


def attention_in_use() -> Callable[[], AbstractContextManager[None]]:
    """A way to use the present attention again later, as recomputation in a backward pass has to."""
    return functools.partial(_using, _configs_in_use.get())


@contextmanager
def recorded_windows() -> Iterator[WindowRecord]:
    """Record the windows of masks and of attention inside the block."""
    token = _record.set(WindowRecord())
    try:
        yield _record.get() or WindowRecord()
    finally:
        _record.reset(token)


@contextmanager
def _using(configs: tuple[Any, ...]) -> Iterator[None]:
    former = [config._attn_implementation_internal for config in configs]
    token = _configs_in_use.set(configs)
    try:
        for config in configs:
            config._attn_implementation_internal = NAME
        yield
    finally:
        for config, implementation in zip(configs, former, strict=True):
            config._attn_implementation_internal = implementation
        _configs_in_use.reset(token)


@functools.cache
def find_kernel() -> Callable[..., Any] | str:
    """The kernel of this torch, or the reason why there is none that preflab can call."""
    try:
        from torch.nn.attention.varlen import varlen_attn
    except ImportError:
        return f"torch {torch.__version__} has no torch.nn.attention.varlen"
    missing = [name for name in TAKES if name not in inspect.signature(varlen_attn).parameters]
    return f"varlen_attn of torch {torch.__version__} does not take {', '.join(missing)}" if missing else varlen_attn


def why_no_kernel(device: torch.device, dtype: torch.dtype) -> str | None:
    """None if there is a kernel for this device and precision, else the reason; the stand-in needs none."""
    if device.type != "cuda":
        return f"variable-length kernels run on CUDA devices, not on {device.type}"
    if dtype not in HALF:
        return "variable-length kernels compute in half precision, and device.precision is float32"
    kernel = find_kernel()
    return kernel if isinstance(kernel, str) else None


def attend_within_sequences(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    is_causal: bool | None = None,
    sliding_window: int | None = None,
    cu_seq_lens_q: Tensor | None = None,
    max_length_q: int | None = None,
    **further: Any,
) -> tuple[Tensor, None]:
    """(1, N, H, D) attention of query (1, H, N, D) to key and value (1, K, N, D), within each sequence of the row.

    Raises:
        ValueError: the model asks for something that variable-length attention does not have.
    """
    if cu_seq_lens_q is None or max_length_q is None:
        raise ValueError("its layers do not pass on where sequences begin")
    if attention_mask is not None:
        raise ValueError("it makes an attention mask of its own")
    for name, feature in REFUSED.items():
        if further.get(name) is not None:
            raise ValueError(f"its attention has {feature}")
    if dropout:
        raise ValueError("its attention has dropout")
    if key.shape[2] != query.shape[2]:
        raise ValueError(f"{query.shape[2]} tokens attend to {key.shape[2]}")
    causal = bool(getattr(module, "is_causal", True) if is_causal is None else is_causal)
    if sliding_window is not None and not causal:
        raise ValueError("its attention has windows on both sides")
    if sliding_window is not None and (record := _record.get()) is not None:
        record.told.add(sliding_window)
    compute = _by_kernel if query.is_cuda else _by_loop
    return compute(query, key, value, cu_seq_lens_q, max_length_q, scaling, causal, sliding_window), None


def _by_kernel(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    cumulative: Tensor,
    longest: int,
    scale: float | None,
    causal: bool,
    window: int | None,
) -> Tensor:
    """By one kernel for all sequences. A window of w tokens is the token itself and w − 1 to its left.

    The kernel has one width of heads. Narrower ones, such as the values of latent attention, get zeros, which change
    neither scores nor other columns; the scale is that of the narrow query.
    """
    kernel = find_kernel()
    if isinstance(kernel, str):
        raise ValueError(kernel)
    dtype = query.dtype if query.dtype in HALF else torch.get_autocast_dtype("cuda")
    width = max(query.shape[-1], value.shape[-1])
    narrow = (states[0].transpose(0, 1).to(dtype) for states in (query, key, value))
    q, k, v = (states if states.shape[-1] == width else pad(states, (0, width - states.shape[-1])) for states in narrow)
    scale = query.shape[-1] ** -0.5 if scale is None else scale
    window_size = (-1 if window is None else window - 1, 0 if causal else -1)
    gqa = q.shape[1] != k.shape[1]
    out: Tensor = kernel(
        q, k, v, cumulative, cumulative, longest, longest, scale=scale, window_size=window_size, enable_gqa=gqa
    )
    return out[None, :, :, : value.shape[-1]]


def _by_loop(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    cumulative: Tensor,
    longest: int,
    scale: float | None,
    causal: bool,
    window: int | None,
) -> Tensor:
    """Sequence by sequence with torch's ordinary attention."""
    bounds = cumulative.tolist()
    parts = []
    for start, end in itertools.pairwise(bounds):
        q, k, v = (states[:, :, start:end] for states in (query, key, value))
        seen = None if window is None or end - start <= window else _window(end - start, window, query.device)
        parts.append(
            scaled_dot_product_attention(
                q, k, v, attn_mask=seen, scale=scale, is_causal=causal and seen is None,
                enable_gqa=query.shape[1] != key.shape[1],
            )
        )  # fmt: skip
    return torch.cat(parts, dim=2).transpose(1, 2).contiguous()


def _window(length: int, window: int, device: torch.device) -> Tensor:
    """(length, length) bool: a token attends to itself and the `window` − 1 tokens before it."""
    places = torch.arange(length, device=device)
    distance = places[:, None] - places
    return (distance >= 0) & (distance < window)


def _no_mask(*args: Any, local_size: int | None = None, **further: Any) -> None:
    """In place of a mask. transformers passes the size of a window, or of a chunk, as `local_size`."""
    if local_size and (record := _record.get()) is not None:
        record.of_masks.add(local_size)


AttentionInterface.register(NAME, attend_within_sequences)
AttentionMaskInterface.register(NAME, _no_mask)
