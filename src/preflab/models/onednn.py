"""Matrix products of float32 tensors on a CPU by oneDNN, on processors where torch's own products are slower.

torch multiplies by MKL, which uses the 512-bit instructions of Intel's processors only. On an AMD EPYC of 2024, oneDNN
takes half the time or less for products of 4 million multiplications and more (benchmarks/README.md). The operators
belong to torch but have no stable interface, so they are tried before they are used.
"""

from __future__ import annotations

import functools
import platform
from pathlib import Path

import torch
from torch import Tensor

SMALLEST = 2**21
"""Multiplications from which a product by oneDNN is faster: a call takes about 10 µs in addition to the arithmetic."""

FEWEST_ROWS = 8
"""Rows from which it is faster; with fewer, both wait for the weight to be read from memory."""

CPUINFO = Path("/proc/cpuinfo")
"""File in which Linux names the maker of the processor."""


def multiply(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """x @ weight.T + bias (n, V), without gradient.

    Args:
        x: (n, H) float32.
        weight: (V, H) float32, or its copy packed by `_reorder_linear_weight`. x and weight may have any strides.
        bias: (V,) contiguous, because oneDNN ignores its strides, or None.
    """
    product: Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")
    return product


def pays(x: Tensor, weight: Tensor) -> bool:
    """Whether x (…, H) @ weight.T, weight (V, H), is faster by oneDNN than by torch's own product."""
    if x.dtype != torch.float32 or weight.dtype != torch.float32 or x.device.type != "cpu":
        return False
    num = x.numel()
    large = num * weight.shape[0] >= SMALLEST and num >= FEWEST_ROWS * weight.shape[1]
    return large and weight.device.type == "cpu" and is_faster()


def multiply_rows(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """As `multiply`, for a number of rows that varies: rows of zeros are added up to a multiple of `row_step`.

    If x is wider than the result, only its last rows are copied for that, and the results are joined.
    """
    num = x.shape[0]
    rest = num % row_step(num)
    if not rest:
        return multiply(x, weight, bias)
    more = x.new_zeros(1, 1).expand(row_step(num) - rest, x.shape[1])
    if x.shape[1] <= weight.shape[0]:
        y = multiply(torch.cat([x, more]), weight, bias)
        return y.resize_(num, y.shape[1])  # no view: autograd restricts changes of views
    last = multiply(torch.cat([x[-rest:], more]), weight, bias)
    return torch.cat([multiply(x[:-rest], weight, bias), last[:rest]])


def row_step(num_rows: int) -> int:
    """The step to which a number of rows that varies is rounded: at most 16 numbers of rows per power of two.

    oneDNN generates code for every combination of shapes. That takes about 1 ms, as long as MKL needs for 600 rows of
    288 × 288, and 0.4 MiB, and only the last 1,024 combinations are stored.
    """
    return 2 ** max(num_rows.bit_length() - 5, 3) if num_rows >= 16 else 1


@functools.cache
def is_faster() -> bool:
    """Whether this processor multiplies faster by oneDNN: not Intel's, with 512-bit instructions, and torch uses MKL.

    False with `ATEN_CPU_CAPABILITY=avx2` in the environment. The packed head (`models.packed`) is multiplied by oneDNN
    even then; `ONEDNN_MAX_CPU_ISA=avx2` limits its instructions.
    """
    wide = torch.backends.mkl.is_available() and torch.backends.cpu.get_cpu_capability() == "AVX512"
    return wide and works() and "GenuineIntel" not in _maker()


@functools.cache
def works() -> bool:
    """Whether oneDNN's operators exist and give correct results, plain and packed."""
    if platform.machine().lower() not in ("x86_64", "amd64") or not torch.backends.mkldnn.is_available():
        return False
    x, weight = torch.arange(12.0).view(3, 4), torch.arange(8.0).view(2, 4)
    try:
        packed = multiply(x, torch.ops.mkldnn._reorder_linear_weight(weight, 3))
        transposed = multiply(weight, x.T.contiguous().T, torch.ones(3))
    except (AttributeError, RuntimeError, TypeError):
        return False
    return torch.equal(packed, x @ weight.T) and torch.equal(transposed, weight @ x.T + 1)


def _maker() -> str:
    """Text that contains the processor maker's name as the processor gives it, such as `AuthenticAMD`."""
    try:
        return CPUINFO.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return platform.processor()
