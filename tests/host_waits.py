"""Counts what would make the host wait for a GPU, on a machine without one.

Counted are operations whose result the host needs before it can go on: reading numbers (`item`, `tolist`, `cpu`,
`numpy`, `bool`), selecting by a boolean mask (the size of the result is read), and copies to a device from memory that
is not pinned (`torch.tensor(…, device=…)`, `tensor.to(device)` in preflab's own code). On the CPU these cannot be told
from the same operations on tensors that are on the CPU on every machine: `ON_HOST` leaves out places that have no
others.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

import preflab

SOURCE = str(Path(preflab.__file__).parent)
READS = ("tolist", "cpu", "numpy")
"""Methods that read data of a tensor; they are not operations that a dispatch mode sees."""

ALWAYS = ("_local_scalar_dense", "nonzero", "nonzero_static", "is_nonzero", "equal", "masked_select", "_unique2")
BY_INDEX = ("index", "index_put", "index_put_", "_index_put_impl_", "_unsafe_index")

ON_HOST = frozenset({
    "training/batches.py:__post_init__",
    "training/transfers.py:to_device",
    "models/packed.py:_works",
    "policy/dpo_statistics.py:reduced",
    "policy/online_dpo.py:_group_lengths",
})  # fmt: skip
"""Places whose tensors are on the CPU on every machine, or whose copies are pinned."""


class HostWaits(TorchDispatchMode):
    """Where preflab waited, and how often: `counts` maps `file:function` to a number."""

    def __init__(self) -> None:
        super().__init__()
        self.counts: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        by_mask = name in BY_INDEX and any(
            isinstance(index, Tensor) and index.dtype in (torch.bool, torch.uint8) for index in args[1]
        )
        if name in ALWAYS or by_mask:
            self.note(name)
        return func(*args, **(kwargs or {}))

    def note(self, what: str) -> None:
        """Count one wait under the innermost place in preflab."""
        place = calling_place()
        if place and place not in ON_HOST:
            self.counts[f"{place} {what}"] += 1


def calling_place() -> str:
    """`file:function` of the innermost frame in preflab; "" if there is none."""
    frame: Any = sys._getframe(1)
    while frame is not None:
        name = frame.f_code.co_filename
        if name.startswith(SOURCE):
            return f"{name[len(SOURCE) + 1 :]}:{frame.f_code.co_name}"
        frame = frame.f_back
    return ""


@contextmanager
def counted_waits() -> Iterator[Counter[str]]:
    """Counts the waits of everything called inside."""
    waits = HostWaits()

    def counting(method: Callable[..., Any], name: str, when: Callable[..., bool]) -> Callable[..., Any]:
        def counted(*args: Any, **kwargs: Any) -> Any:
            if when(*args, **kwargs):
                waits.note(name)
            return method(*args, **kwargs)

        return counted

    with ExitStack() as stack:
        for name in (*READS, "new_tensor"):
            always = counting(getattr(Tensor, name), name, lambda *a, **k: True)
            stack.enter_context(patch.object(Tensor, name, always))
        stack.enter_context(patch.object(Tensor, "to", counting(Tensor.to, "to", _is_copy_of_preflab)))
        stack.enter_context(patch.object(torch, "tensor", counting(torch.tensor, "tensor", _names_device)))
        stack.enter_context(waits)
        yield waits.counts


def _names_device(*args: Any, device: Any = None, **kwargs: Any) -> bool:
    return device is not None


def _is_copy_of_preflab(tensor: Tensor, *args: Any, **kwargs: Any) -> bool:
    """Whether preflab itself calls `tensor.to(device)`: libraries call it on tensors that are there already."""
    caller = sys._getframe(2).f_code.co_filename
    targets = [*args, kwargs.get("device")]
    return caller.startswith(SOURCE) and any(isinstance(one, (str, torch.device)) for one in targets)


def per_micro_batch(run: Callable[[int], Any], numbers: Sequence[int]) -> tuple[Counter[str], Counter[str]]:
    """The waits of one more micro-batch, and those of the rest of a step.

    `run` performs a step in the given number of micro-batches; `numbers` are two of them. It returns the waits that it
    counted itself, or else all are counted.
    """
    few, many = numbers
    counts = []
    for number in numbers:
        with counted_waits() as waits:
            found = run(number)
        counts.append(Counter(found if isinstance(found, Counter) else waits))
    more = Counter({place: (counts[1][place] - n) // (many - few) for place, n in counts[0].items()})
    more |= Counter({place: n // (many - few) for place, n in counts[1].items() if place not in counts[0]})
    each = Counter({place: n for place, n in more.items() if n})
    rest = Counter(counts[0])
    rest.subtract({place: few * n for place, n in each.items()})
    return each, +rest
