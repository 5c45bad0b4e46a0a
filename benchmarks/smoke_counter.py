"""Counts what one step computes: tokens, rows of logits, prompts read by an encoder, optimiser steps, host waits.

A host wait is a call for which a program on a GPU waits until the device has done all work before it: reading a number
(`item`, `tolist`, `cpu`), or an operation whose output size depends on data (`nonzero`, indexing with a mask). On the
CPU nothing waits, but the same calls are made, so they can be counted there. Copies to the device are not counted: on
the CPU they cannot be told from no copy.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor, nn
from torch.optim.optimizer import register_optimizer_step_post_hook
from torch.utils._python_dispatch import TorchDispatchMode

from preflab.models import chunk

WAITING = {
    "aten::_local_scalar_dense": "item",
    "aten::item": "item",
    "aten::is_nonzero": "item",
    "aten::nonzero": "nonzero",
    "aten::nonzero_numpy": "nonzero",
    "aten::argwhere": "nonzero",
    "aten::equal": "equal",
    "aten::masked_select": "masked_select",
    "aten::_unique2": "unique",
    "aten::unique_consecutive": "unique",
}
"""Operation → the name of its wait. `bool`, `float` and `int` of a tensor are `_local_scalar_dense`, in inference mode
`item` or `is_nonzero`; an operation that consists of others is counted once, since those in it are not seen."""

INDEXING = {"aten::index", "aten::index_put", "aten::index_put_", "aten::_unsafe_index"}
"""Operations that wait if one of their indices is a mask: they look for its `nonzero` places."""

READING = ("cpu", "tolist", "numpy")
"""Methods of a tensor that copy it to the host; they are no operations of their own on the CPU."""


@dataclass
class Counts:
    """Numbers by phase of a step, such as `sampling` or `update`."""

    trunk_tokens: Counter[str] = field(default_factory=Counter)
    """Rows × width of every pass through the text model or decoder, padding included."""
    head_rows: Counter[str] = field(default_factory=Counter)
    """States for which a row of logits over the whole vocabulary was computed."""
    encoded_prompts: Counter[str] = field(default_factory=Counter)
    """Rows of every pass through the encoder of an encoder–decoder."""
    optimiser_steps: Counter[str] = field(default_factory=Counter)
    waits: Counter[str] = field(default_factory=Counter)
    """Host waits."""
    kinds_of_waits: Counter[tuple[str, str]] = field(default_factory=Counter)
    """Host waits by (phase, kind)."""


class Counting:
    """Counts while `on` is active. Everything outside of a `phase` belongs to the phase "other"."""

    def __init__(self) -> None:
        self.counts = Counts()
        self.phases = ["other"]

    @contextmanager
    def on(self, models: Sequence[Any]) -> Iterator[Counts]:
        """Count what happens inside the block in these models, in every chunked head and in every optimiser."""
        with ExitStack() as stack:
            for hook in self._hooks(models):
                stack.callback(hook.remove)
            steps = register_optimizer_step_post_hook(self._stepped)
            stack.callback(steps.remove)
            stack.enter_context(patch.object(chunk.Projection, "__call__", self._counted_projection()))
            for name in READING:
                stack.enter_context(patch.object(Tensor, name, self._counted_reading(name)))
            stack.enter_context(_Waits(self.wait))
            yield self.counts

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Count what happens inside the block under this name."""
        self.phases.append(name)
        try:
            yield
        finally:
            self.phases.pop()

    def in_phase(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function, counted under a phase's name."""

        def counted(*args: Any, **kwargs: Any) -> Any:
            with self.phase(name):
                return function(*args, **kwargs)

        return counted

    def wait(self, kind: str) -> None:
        """Count one host wait."""
        self.counts.waits[self.phases[-1]] += 1
        self.counts.kinds_of_waits[self.phases[-1], kind] += 1

    def _hooks(self, models: Sequence[Any]) -> Iterator[Any]:
        seen: set[int] = set()
        for model in models:
            for part, count in self._parts(model):
                if part is not None and id(part) not in seen:
                    seen.add(id(part))
                    yield part.register_forward_pre_hook(count, with_kwargs=True)

    def _parts(self, model: Any) -> Iterator[tuple[nn.Module | None, Callable[..., None]]]:
        """The modules whose calls are counted: text model or decoder, head, encoder."""
        is_encoder_decoder = bool(model.config.is_encoder_decoder)
        body = model.get_decoder() if is_encoder_decoder or model.get_output_embeddings() is not None else model
        yield body, self._counted_tokens
        yield model.get_output_embeddings(), self._counted_head
        if is_encoder_decoder:
            yield model.get_encoder(), self._counted_prompts

    def _counted_tokens(self, _: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self.counts.trunk_tokens[self.phases[-1]] += _ids(args, kwargs).numel()

    def _counted_prompts(self, _: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self.counts.encoded_prompts[self.phases[-1]] += _ids(args, kwargs).shape[0]

    def _counted_head(self, _: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        states = args[0] if args else kwargs["input"]
        self.counts.head_rows[self.phases[-1]] += states.numel() // states.shape[-1]

    def _counted_projection(self) -> Callable[..., Tensor]:
        whole = chunk.Projection.__call__

        def counted(projection: Any, hidden: Tensor) -> Tensor:
            self.counts.head_rows[self.phases[-1]] += hidden.shape[0]
            return whole(projection, hidden)

        return counted

    def _counted_reading(self, name: str) -> Callable[..., Any]:
        whole = getattr(Tensor, name)

        def counted(tensor: Tensor, *args: Any, **kwargs: Any) -> Any:
            self.wait(name)
            return whole(tensor, *args, **kwargs)

        return counted

    def _stepped(self, optimiser: Any, *_: Any) -> None:
        if not hasattr(optimiser, "optimizer"):  # accelerate's wrapper calls the optimiser that it holds
            self.counts.optimiser_steps[self.phases[-1]] += 1


class _Waits(TorchDispatchMode):
    """Tells `wait` of every operation that waits for the device."""

    def __init__(self, wait: Callable[[str], None]) -> None:
        super().__init__()
        self.wait = wait

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run the operation, after counting it."""
        name = func._schema.name
        if name in WAITING:
            self.wait(WAITING[name])
        elif name in INDEXING and any(_is_mask(index) for index in args[1]):
            self.wait("mask index")
        return func(*args, **(kwargs or {}))


def _is_mask(index: Any) -> bool:
    return isinstance(index, Tensor) and index.dtype in (torch.bool, torch.uint8)


def _ids(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
    """The token ids of a call (rows, width); for embeddings the mask of their rows and columns."""
    ids = kwargs.get("input_ids", args[0] if args else None)
    return ids if ids is not None else kwargs["inputs_embeds"][..., 0]
