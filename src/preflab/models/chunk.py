"""One chunk of the language-model head: logits of n tokens, the statistics computed from them, and their gradient.

n tokens, H hidden, V vocabulary. This module does not use autograd; `models.chunked` combines the chunks. A chunk is
large enough for fast matrix products. All other operations process it in blocks that fit into the processor's cache,
because passes over main memory would cost as much as the products.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from preflab.models.onednn import pays
from preflab.models.packed import packed_product
from preflab.models.products import product
from preflab.training.kept_tokens import KeptTokens

LOGITS_PER_BLOCK = 2**20
"""Logits per block on a CPU (4 MiB in float32, which fits into its cache)."""


HIDDEN = -1e30
"""The logit of an id that sampling did not keep: finite, so that 0 · logit is 0."""


class Head(NamedTuple):
    """The linear language-model head: logits = hidden @ weight.T + bias."""

    weight: Tensor
    """(V, H)."""
    bias: Tensor | None = None
    """(V,)."""


class Projection:
    """Maps states (n, H) to logits / temperature (n, V) in float32, without gradient; used again for every chunk.

    For states in half precision the weight is rounded to their type; sums stay float32.
    """

    def __init__(self, head: Head, temperature: float, num_rows: int, dtype: torch.dtype) -> None:
        self.weight, self.bias, self.temperature = head.weight.to(dtype), head.bias, temperature
        self.product = packed_product(self.weight, num_rows) if dtype == torch.float32 else None
        shape = (num_rows if dtype == torch.float32 and self.product is None else 0, head.weight.shape[0])
        self.room = torch.empty(shape, dtype=torch.float32, device=head.weight.device)
        self.backward: Callable[[Tensor], Tensor] | None = None

    def __call__(self, hidden: Tensor) -> Tensor:
        weight, bias = self.weight, self.bias
        if self.product is not None:
            logits = self.product(hidden)
        elif hidden.dtype == torch.float32:
            logits = torch.mm(hidden, weight.T, out=self.room[: len(hidden)])
        else:
            logits = product(hidden, weight.T)
        if bias is not None:
            logits.add_(bias)
        return logits if self.temperature == 1.0 else logits.div_(self.temperature)

    def states(self, of_logits: Tensor) -> Tensor:
        """of_logits (n, V) @ weight, (n, H) in float32: the gradient of the states from that of the logits.

        The first call packs the transposed weight where oneDNN is faster; packing takes about as long as 50 rows.
        """
        of_logits = of_logits.to(self.weight.dtype)
        if self.backward is None:
            faster = pays(of_logits, self.weight.T)
            packed = packed_product(self.weight.T, len(of_logits)) if faster else None
            self.backward = packed or functools.partial(product, right=self.weight)
        return self.backward(of_logits)


class Wanted(NamedTuple):
    """Which statistics to compute, and the chunk size."""

    temperature: float
    entropy: bool
    entropy_gradient: bool
    ref_head: Head
    tokens_per_chunk: int
    cut: Callable[[Head], Head] | None = None
    """Restricts a head to the ids that exist; None: every row of the head is an id."""
    kept: KeptTokens | None = None
    """The ids that each token was drawn from; None: from all."""

    def head(self, weight: Tensor, bias: Tensor | None) -> Head:
        """The head that computes the logits, restricted to the ids that exist."""
        return Head(weight, bias) if self.cut is None else self.cut(Head(weight, bias))


class Tools(NamedTuple):
    """Both heads and buffers for one chunk, which every chunk reuses (packed products allocate a few MiB themselves).

    Allocating new memory for each chunk would cost more than the arithmetic: the system clears every new page.
    """

    policy: Projection
    reference: Projection | None
    powers: Tensor
    """(n, V) float32; only one block of rows if no gradient is needed."""
    products: Tensor
    """One block of rows, (rows, V) float32."""


class Chunk(NamedTuple):
    """Statistics (n,) of a chunk of n tokens, and the intermediate results, which the next chunk may overwrite.

    log p = shifted − log_total; p = powers / total; log p − log q = ratio + ratio_offset.
    """

    logps: Tensor
    entropy: Tensor
    kl: Tensor
    ref_logps: Tensor
    shifted: Tensor
    powers: Tensor
    total: Tensor
    """(n, 1)"""
    ratio: Tensor | None
    ratio_offset: Tensor
    """(n, 1)"""


def slices(num_rows: int, per_slice: int) -> list[slice]:
    """Slices of `per_slice` rows that cover 0 … num_rows; one empty slice if num_rows is 0."""
    return [slice(i, min(i + per_slice, num_rows)) for i in range(0, max(num_rows, 1), per_slice)]


def make_tools(hidden: Tensor, head: Head, wanted: Wanted, *, reference: bool, gradients: bool) -> Tools:
    """The heads and buffers for the chunks of `hidden` (N, H)."""
    num_tokens, vocabulary = min(wanted.tokens_per_chunk, hidden.shape[0]), head.weight.shape[0]
    per_block = max(1, min(_rows_per_block(hidden, vocabulary), num_tokens))
    policy = Projection(head, wanted.temperature, num_tokens, hidden.dtype)
    other = wanted.ref_head
    same = _is_same(other.weight, head.weight) and _is_same(other.bias, head.bias)  # adapters share the head
    if reference and (policy.product is None or not same):
        answers: Projection | None = Projection(other, wanted.temperature, num_tokens, hidden.dtype)
    else:
        answers = policy if reference else None
    return Tools(
        policy,
        answers,
        hidden.new_empty((num_tokens if gradients else per_block, vocabulary), dtype=torch.float32),
        hidden.new_empty((per_block, vocabulary), dtype=torch.float32),
    )


def make_chunk(
    hidden: Tensor, targets: Tensor, reference: Tensor | None, wanted: Wanted, tools: Tools, part: slice
) -> Chunk:
    """Compute the statistics of n tokens from hidden and reference states (n, H) and targets (n,).

    `part` is the slice of `wanted.kept` that belongs to these tokens; the policy is restricted to it.
    """
    num = hidden.shape[0]
    shifted = tools.policy(hidden)
    if wanted.kept is not None:
        shifted.masked_fill_(~wanted.kept[part].mask(shifted.shape[1]), HIDDEN)
    ratio = None if reference is None or tools.reference is None else tools.reference(reference)
    whole = tools.powers.shape[0] >= num
    target = targets[:, None]
    total, inner, ref_logps, log_ratio = hidden.new_zeros((4, num, 1), dtype=torch.float32)
    ref_log_total = torch.zeros_like(total)
    for block in slices(num, tools.products.shape[0]):
        rows = block.stop - block.start
        products = tools.products[:rows]
        powers = tools.powers[block] if whole else tools.powers[:rows]
        if ratio is not None:
            ref_log_total[block] = _exponentials(ratio[block], powers).log()
            ref_logps[block] = ratio[block].gather(-1, target[block]) - ref_log_total[block]
        total[block] = _exponentials(shifted[block], powers)
        if wanted.entropy:
            inner[block] = _dot(powers, shifted[block], products)
        if ratio is not None:
            torch.sub(shifted[block], ratio[block], out=ratio[block])
            log_ratio[block] = _dot(powers, ratio[block], products)
    log_total = total.log()
    logps = shifted.gather(-1, target) - log_total
    entropy = log_total - inner / total if wanted.entropy else inner
    offset = ref_log_total - log_total
    kl = log_ratio / total + offset if ratio is not None else log_ratio
    return Chunk(
        logps[:, 0], entropy[:, 0], kl[:, 0], ref_logps[:, 0], shifted, tools.powers[:num], total, ratio, offset
    )


def token_gradients(chunk: Chunk, head: Projection, targets: Tensor, wanted: Wanted) -> list[Tensor]:
    """Each token's gradient of (logps, entropy, kl) with respect to its hidden state: (n, H) float32 each, or empty.

    ∂logps/∂h = (W_y − Σ_v p_v W_v)/τ; ∂entropy/∂h = −Σ_v p_v (log p_v + entropy) W_v / τ;
    ∂kl/∂h = Σ_v p_v (log p_v − log q_v − kl) W_v / τ. `head` is what the logits were computed with. The chunk's tensors
    are overwritten.
    """
    empty = chunk.powers.new_empty(0)
    p = chunk.powers.div_(chunk.total)
    gradients = [head.weight[targets] - head.states(p), empty, empty]
    if wanted.entropy_gradient:
        inner = chunk.shifted.add_(chunk.entropy[:, None] - chunk.total.log()).mul_(p)
        gradients[1] = -head.states(inner)
    if chunk.ratio is not None:
        inner = chunk.ratio.add_(chunk.ratio_offset - chunk.kl[:, None]).mul_(p)
        gradients[2] = head.states(inner)
    return [gradient.div_(wanted.temperature) for gradient in gradients]


def logit_gradients(chunk: Chunk, targets: Tensor, upstream: list[Tensor], wanted: Wanted) -> Tensor:
    """Σ over (logps, entropy, kl) of upstream (n,) · ∂output/∂logits: (n, V). Overwrites the chunk's tensors.

    p_v (−u_logps − u_entropy (log p_v + entropy) + u_kl (log p_v − log q_v − kl))/τ, plus u_logps/τ at the target.
    """
    for_logps, for_entropy, for_kl = (u[:, None] / wanted.temperature for u in upstream)
    grad = chunk.powers
    inner: Tensor | None = None
    if wanted.entropy_gradient:
        inner = chunk.shifted.add_(chunk.entropy[:, None] - chunk.total.log()).mul_(-for_entropy)
    if chunk.ratio is not None:
        of_kl = chunk.ratio.add_(chunk.ratio_offset - chunk.kl[:, None]).mul_(for_kl)
        inner = of_kl if inner is None else inner.add_(of_kl)
    if inner is None:
        grad.mul_(-for_logps / chunk.total)
    else:
        grad.mul_(inner.sub_(for_logps)).div_(chunk.total)
    return grad.scatter_add_(-1, targets[:, None], for_logps)


def _is_same(one: Tensor | None, other: Tensor | None) -> bool:
    """Whether two tensors have the same shape and start at the same memory address, or are both None."""
    if one is None or other is None:
        return one is other
    return one.data_ptr() == other.data_ptr() and one.shape == other.shape


def _rows_per_block(hidden: Tensor, vocabulary: int) -> int:
    """Rows that one block holds. A GPU uses a single block: launch overhead would dominate small kernels."""
    return max(1, LOGITS_PER_BLOCK // vocabulary) if hidden.device.type == "cpu" else hidden.shape[0]


def _exponentials(logits: Tensor, powers: Tensor) -> Tensor:
    """Subtract each row's maximum from the logits in place, fill `powers` with exponentials; return the sums (n, 1)."""
    logits.sub_(logits.amax(-1, keepdim=True))
    torch.exp(logits, out=powers)
    return powers.sum(-1, keepdim=True)


def _dot(one: Tensor, other: Tensor, products: Tensor) -> Tensor:
    """Row-wise dot products, (n, V) · (n, V) → (n, 1); overwrites `products`."""
    return torch.mul(one, other, out=products).sum(-1, keepdim=True)
