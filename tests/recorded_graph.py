"""A stand-in for a CUDA graph on a CPU: it records the operations of a step with their tensors, and runs them again.

Like a graph it knows addresses, not Python: whatever the code of the step looked up, counted or decided while it was
recorded stays as it was. Like a graph it refuses what the host waits for, or has to copy to the device.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map_only

WAITS = (
    "aten._local_scalar_dense",
    "aten.item",
    "aten.nonzero",
    "aten.nonzero_numpy",
    "aten.argwhere",
    "aten.bincount",
    "aten.equal",
    "aten.is_nonzero",
    "aten.masked_select",
    "aten.unique_dim",
    "aten._unique2",
    "aten.unique_consecutive",
    "transformers.grouped_mm_fallback",
)
"""Operations whose results the host needs."""


class RecordedGraph:
    """Records a step while it runs on copies, and replays it on the originals."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, Any, Any, list[Tensor]]] = []
        self.num_replays = 0

    def warm_up(self, step: Any) -> None:
        """Run the step as it is."""
        step()

    def capture(self, step: Any) -> None:
        """Record the step without changing anything that was there before it."""
        mode = _Recording(self)
        try:
            with mode, nothing_read_by_the_host():
                step()
        finally:
            mode.undo()

    def replay(self) -> None:
        """Run the recorded operations again, each with its results in the same places."""
        self.num_replays += 1
        for function, args, kwargs, results in self.calls:
            again = [one for one in tree_flatten(function(*args, **kwargs))[0] if isinstance(one, Tensor)]
            for kept, new in zip(results, again, strict=True):
                if kept.data_ptr() != new.data_ptr():
                    kept.copy_(new)


@contextmanager
def nothing_read_by_the_host() -> Iterator[None]:
    """Refuse `tolist` and `numpy`: on a CPU they read memory without an operation, on a GPU they wait."""

    def refuse(tensor: Tensor, *args: Any, **kwargs: Any) -> Any:
        raise RuntimeError("operation not permitted when stream is capturing: tolist")

    with patch.object(Tensor, "tolist", refuse), patch.object(Tensor, "numpy", refuse):
        yield


class _Recording(TorchDispatchMode):
    def __init__(self, graph: RecordedGraph) -> None:
        super().__init__()
        self.graph = graph
        self.before: dict[int, tuple[Tensor, Tensor]] = {}
        self.made: set[int] = set()

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name = str(function).rpartition(".")[0]
        booleans = [t for t in tree_flatten(args)[0] if isinstance(t, Tensor) and t.dtype == torch.bool]
        indexes_by_mask = name in ("aten.index", "aten.index_put", "aten.index_put_") and any(
            isinstance(i, Tensor) and i.dtype == torch.bool for i in args[1]
        )
        one_sided = str(function) == "aten.where.default" or str(function) == "aten.repeat_interleave.Tensor"
        # A single number may stay on the host: kernels take it as an argument.
        uploads = name == "aten.lift_fresh" and args[0].ndim > 0
        if name in WAITS or uploads or one_sided or (indexes_by_mask and booleans):
            raise RuntimeError(f"operation not permitted when stream is capturing: {name}")
        for place, argument in enumerate(function._schema.arguments):
            if argument.alias_info is not None and argument.alias_info.is_write:
                value = args[place] if place < len(args) else kwargs.get(argument.name)
                tree_map_only(Tensor, self._save, value)
        result = function(*args, **kwargs)
        results = [one for one in tree_flatten(result)[0] if isinstance(one, Tensor)]
        for one in results:
            if not any(a.is_write for a in _aliases(function)) and not _is_view(function):
                self.made.add(one.untyped_storage().data_ptr())
        self.graph.calls.append((function, args, kwargs, results))
        return result

    def _save(self, tensor: Tensor) -> Tensor:
        """Keep the contents of a tensor that is about to be written, unless the step itself made it."""
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in self.made and storage.data_ptr() not in self.before:
            whole = torch.empty(0, dtype=tensor.dtype, device=tensor.device).set_(storage)
            self.before[storage.data_ptr()] = (whole, whole.clone())
        return tensor

    def undo(self) -> None:
        """Give all written tensors their contents from before the recording."""
        for whole, contents in self.before.values():
            whole.copy_(contents)


def _aliases(function: Any) -> list[Any]:
    return [a.alias_info for a in function._schema.arguments if a.alias_info is not None]


def _is_view(function: Any) -> bool:
    return any(r.alias_info is not None for r in function._schema.returns)
