"""Log-probabilities, entropy and exact KL from hidden states, in chunks over tokens.

N tokens, H hidden, V vocabulary. Logits exist for one chunk of tokens at a time, forward and backward: a
(batch × length × vocabulary) tensor never does. Where only the hidden states learn (adapters), the forward pass keeps
each token's gradient, an H-vector, so that the backward pass is one multiplication; where the head learns too, the
backward pass computes the chunk's logits again.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

LOGITS_PER_CHUNK = 2**24
"""Logits held at once (64 MiB in fp32): large enough for full matrix products, small beside any model."""


class Head(NamedTuple):
    """The linear language-model head: logits = hidden @ weight.T + bias."""

    weight: Tensor
    """(V, H)."""
    bias: Tensor | None = None
    """(V,)."""


class TokenStatistics(NamedTuple):
    """Per token, float32, nats."""

    logps: Tensor
    """(N,) log π(target)."""
    entropy: Tensor
    """(N,) −Σ_v p_v log p_v; zeros when not asked for."""
    kl: Tensor
    """(N,) Σ_v p_v (log p_v − log q_v), q the reference's probabilities; zeros without a reference."""
    ref_logps: Tensor
    """(N,) log q(target), never with gradient; zeros without a reference."""


def token_statistics(
    hidden: Tensor,
    head: Head,
    targets: Tensor,
    *,
    temperature: float = 1.0,
    entropy: bool = False,
    entropy_gradient: bool = True,
    ref_hidden: Tensor | None = None,
    ref_head: Head | None = None,
    logits_per_chunk: int = LOGITS_PER_CHUNK,
) -> TokenStatistics:
    """Statistics of the next-token distribution softmax(logits / temperature) at N positions.

    Args:
        hidden: (N, H) states before the targets.
        head: the policy's head.
        targets: (N,) token ids.
        temperature: the sampling temperature; policy and reference are divided by the same one.
        entropy: whether to compute the entropy.
        entropy_gradient: whether the entropy is part of a loss; False saves a matrix product.
        ref_hidden: (N, H) states of the reference, for `kl` and `ref_logps`.
        ref_head: the reference's head; None: the same.
        logits_per_chunk: logits held at once; never changes the result.
    """
    wanted = _Wanted(
        temperature,
        entropy,
        entropy and entropy_gradient,
        ref_head or head,
        max(1, logits_per_chunk // head.weight.shape[0]),
    )
    reference = None if ref_hidden is None else ref_hidden.detach()
    outputs = _ChunkedHead.apply(hidden, head.weight, head.bias, targets, reference, wanted)
    return TokenStatistics(*outputs)


class _Wanted(NamedTuple):
    """What is asked for, and in what pieces."""

    temperature: float
    entropy: bool
    entropy_gradient: bool
    ref_head: Head
    tokens_per_chunk: int


class _Buffers(NamedTuple):
    """Room for one chunk in the vocabulary dimension, (n, V) float32 each, used again for every chunk.

    New memory for each chunk costs more than the arithmetic: the system clears every page of it.
    """

    shifted: Tensor
    powers: Tensor
    ratio: Tensor | None


class _Chunk(NamedTuple):
    """One chunk of n tokens: its statistics (n,), and views of the buffers that they were made of.

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
    ratio_offset: Tensor | None
    """(n, 1)"""


class _ChunkedHead(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        targets: Tensor,
        reference: Tensor | None,
        wanted: _Wanted,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        ctx.wanted = wanted
        keep_gradients = ctx.needs_input_grad[0] and not ctx.needs_input_grad[1]
        outputs: tuple[list[Tensor], ...] = ([], [], [], [])
        kept: tuple[list[Tensor], ...] = ([], [], [])
        buffers = _buffers(hidden, weight, reference, wanted)
        for part in _parts(hidden.shape[0], wanted.tokens_per_chunk):
            chunk = _chunk(hidden, Head(weight, bias), targets, reference, wanted, part, buffers)
            for column, output in zip(outputs, chunk[:4], strict=True):
                column.append(output)
            if keep_gradients:
                for column, value in zip(kept, _gradients(chunk, weight, targets[part], wanted), strict=True):
                    column.append(value)
        ctx.kept = tuple(torch.cat(column) for column in kept if column)
        saved = () if keep_gradients else (hidden, weight, bias, targets, reference)
        ctx.save_for_backward(*saved)
        stacked = [torch.cat(column) for column in outputs]
        unlearned = stacked[3:] if wanted.entropy_gradient else [stacked[1], stacked[3]]
        ctx.mark_non_differentiable(*unlearned)
        return stacked[0], stacked[1], stacked[2], stacked[3]

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor | None, ...]:
        nothing = (None,) * 3
        if ctx.kept:
            terms = [u[:, None] * g for u, g in zip(upstream[:3], ctx.kept, strict=True) if g.numel()]
            return sum(terms[1:], terms[0]).to(ctx.kept[0].dtype), None, None, *nothing
        return (*_backward_with_head(ctx, upstream), *nothing)


def _backward_with_head(ctx: Any, upstream: tuple[Tensor, ...]) -> tuple[Tensor, Tensor, Tensor | None]:
    """Gradients of hidden, weight and bias; each chunk's logits are computed again."""
    hidden, weight, bias, targets, reference = ctx.saved_tensors
    wanted: _Wanted = ctx.wanted
    grad_hidden, grad_weight = torch.empty_like(hidden), torch.zeros_like(weight)
    grad_bias = None if bias is None else torch.zeros_like(bias)
    buffers = _buffers(hidden, weight, reference, wanted)
    for part in _parts(hidden.shape[0], wanted.tokens_per_chunk):
        chunk = _chunk(hidden, Head(weight, bias), targets, reference, wanted, part, buffers)
        per_logit = [u[part, None] / wanted.temperature for u in upstream[:3]]
        grad_logits = _grad_logits(chunk, targets[part], per_logit, wanted).to(weight.dtype)
        grad_hidden[part] = grad_logits @ weight
        grad_weight.addmm_(grad_logits.T, hidden[part])
        if grad_bias is not None:
            grad_bias += grad_logits.sum(0)
    return grad_hidden, grad_weight, grad_bias


def _parts(num_tokens: int, tokens_per_chunk: int) -> list[slice]:
    return [slice(i, min(i + tokens_per_chunk, num_tokens)) for i in range(0, max(num_tokens, 1), tokens_per_chunk)]


def _buffers(hidden: Tensor, weight: Tensor, reference: Tensor | None, wanted: _Wanted) -> _Buffers:
    rows = min(wanted.tokens_per_chunk, hidden.shape[0])
    shape = (rows, weight.shape[0])
    made = [torch.empty(shape, dtype=torch.float32, device=hidden.device) for _ in range(2 if reference is None else 3)]
    return _Buffers(made[0], made[1], made[2] if reference is not None else None)


def _exponentials(hidden: Tensor, head: Head, temperature: float, shifted: Tensor, powers: Tensor) -> Tensor:
    """Fill `shifted` with logits less their largest and `powers` with their exponentials; returns the sums (n, 1)."""
    if hidden.dtype == torch.float32 and head.weight.dtype == torch.float32:
        torch.mm(hidden, head.weight.T, out=shifted)
    else:
        shifted.copy_(hidden @ head.weight.T)
    if head.bias is not None:
        shifted.add_(head.bias)
    if temperature != 1.0:
        shifted.div_(temperature)
    shifted.sub_(shifted.amax(-1, keepdim=True))
    torch.exp(shifted, out=powers)
    return powers.sum(-1, keepdim=True)


def _dot(one: Tensor, other: Tensor) -> Tensor:
    """(n, V) · (n, V) → (n, 1), without a product in between."""
    return torch.bmm(one[:, None], other[:, :, None])[:, :, 0]


def _chunk(
    hidden: Tensor,
    head: Head,
    targets: Tensor,
    reference: Tensor | None,
    wanted: _Wanted,
    part: slice,
    buffers: _Buffers,
) -> _Chunk:
    rows = part.stop - part.start
    shifted, powers = buffers.shifted[:rows], buffers.powers[:rows]
    target = targets[part, None]
    ratio = ref_log_total = ref_logps = None
    if reference is not None and buffers.ratio is not None:
        ratio = buffers.ratio[:rows]
        ref_log_total = _exponentials(reference[part], wanted.ref_head, wanted.temperature, ratio, powers).log()
        ref_logps = ratio.gather(-1, target) - ref_log_total
    total = _exponentials(hidden[part], head, wanted.temperature, shifted, powers)
    log_total = total.log()
    logps = shifted.gather(-1, target) - log_total
    zeros = torch.zeros_like(logps)
    entropies = log_total - _dot(powers, shifted) / total if wanted.entropy else zeros
    if ratio is None or ref_log_total is None or ref_logps is None:
        return _Chunk(logps[:, 0], entropies[:, 0], zeros[:, 0], zeros[:, 0], shifted, powers, total, None, None)
    torch.sub(shifted, ratio, out=ratio)
    offset = ref_log_total - log_total
    kl = _dot(powers, ratio) / total + offset
    return _Chunk(logps[:, 0], entropies[:, 0], kl[:, 0], ref_logps[:, 0], shifted, powers, total, ratio, offset)


def _gradients(chunk: _Chunk, weight: Tensor, targets: Tensor, wanted: _Wanted) -> list[Tensor]:
    """Each token's gradient of (logps, entropy, kl) with respect to its hidden state: (n, H) each, or empty.

    ∂logps/∂h = (W_y − Σ_v p_v W_v)/τ; ∂entropy/∂h = −Σ_v p_v (log p_v + entropy) W_v / τ;
    ∂kl/∂h = Σ_v p_v (log p_v − log q_v − kl) W_v / τ. Uses the buffers up.
    """
    empty = weight.new_empty(0)
    p = chunk.powers.div_(chunk.total)
    gradients = [weight[targets] - p.to(weight.dtype) @ weight, empty, empty]
    if wanted.entropy_gradient:
        inner = chunk.shifted.add_(chunk.entropy[:, None] - chunk.total.log()).mul_(p)
        gradients[1] = -(inner.to(weight.dtype) @ weight)
    if chunk.ratio is not None and chunk.ratio_offset is not None:
        inner = chunk.ratio.add_(chunk.ratio_offset - chunk.kl[:, None]).mul_(p)
        gradients[2] = inner.to(weight.dtype) @ weight
    return [gradient.div_(wanted.temperature) for gradient in gradients]


def _grad_logits(chunk: _Chunk, targets: Tensor, upstream: list[Tensor], wanted: _Wanted) -> Tensor:
    """Σ over the three outputs of upstream · ∂output/∂(logits/τ): (n, V). Uses the buffers up.

    p_v (−u_logps − u_entropy (log p_v + entropy) + u_kl (log p_v − log q_v − kl)), and u_logps more at the target.
    """
    for_logps, for_entropy, for_kl = upstream
    grad = chunk.powers
    inner: Tensor | None = None
    if wanted.entropy_gradient:
        inner = chunk.shifted.add_(chunk.entropy[:, None] - chunk.total.log()).mul_(-for_entropy)
    if chunk.ratio is not None and chunk.ratio_offset is not None:
        of_kl = chunk.ratio.add_(chunk.ratio_offset - chunk.kl[:, None]).mul_(for_kl)
        inner = of_kl if inner is None else inner.add_(of_kl)
    if inner is None:
        grad.mul_(-for_logps / chunk.total)
    else:
        grad.mul_(inner.sub_(for_logps)).div_(chunk.total)
    return grad.scatter_add_(-1, targets[:, None], for_logps)
