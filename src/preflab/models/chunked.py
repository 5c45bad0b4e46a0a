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

LOGITS_PER_CHUNK = 2**22
"""Logits held at once (16 MiB in fp32): large enough for full matrix products, small beside any model."""


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


class _Chunk(NamedTuple):
    """One chunk of n tokens: its statistics (n,), and what they are made of in the vocabulary dimension (n, V)."""

    logps: Tensor
    entropy: Tensor
    kl: Tensor
    ref_logps: Tensor
    log_p: Tensor
    p: Tensor
    log_ratio: Tensor | None
    """log p − log q; None without a reference."""


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
        for part in _parts(hidden.shape[0], wanted.tokens_per_chunk):
            chunk = _chunk(hidden, Head(weight, bias), targets, reference, wanted, part)
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
    for part in _parts(hidden.shape[0], wanted.tokens_per_chunk):
        chunk = _chunk(hidden, Head(weight, bias), targets, reference, wanted, part)
        grad_logits = _grad_logits(chunk, targets[part], [u[part, None] for u in upstream[:3]], wanted)
        grad_logits = grad_logits.div_(wanted.temperature).to(weight.dtype)
        grad_hidden[part] = grad_logits @ weight
        grad_weight.addmm_(grad_logits.T, hidden[part])
        if grad_bias is not None:
            grad_bias += grad_logits.sum(0)
    return grad_hidden, grad_weight, grad_bias


def _parts(num_tokens: int, tokens_per_chunk: int) -> list[slice]:
    return [slice(i, min(i + tokens_per_chunk, num_tokens)) for i in range(0, max(num_tokens, 1), tokens_per_chunk)]


def _probabilities(hidden: Tensor, head: Head, temperature: float) -> tuple[Tensor, Tensor]:
    """(n, V) log-probabilities and probabilities in two buffers: the exponentials are taken once."""
    log_p = torch.nn.functional.linear(hidden, head.weight, head.bias).float()
    if temperature != 1.0:
        log_p = log_p.div_(temperature)
    log_p.sub_(log_p.amax(-1, keepdim=True))
    p = log_p.exp()
    total = p.sum(-1, keepdim=True)
    return log_p.sub_(total.log()), p.div_(total)


def _dot(one: Tensor, other: Tensor) -> Tensor:
    """(n, V) · (n, V) → (n,), without a product in between."""
    return torch.bmm(one[:, None], other[:, :, None]).flatten()


def _chunk(
    hidden: Tensor, head: Head, targets: Tensor, reference: Tensor | None, wanted: _Wanted, part: slice
) -> _Chunk:
    log_p, p = _probabilities(hidden[part], head, wanted.temperature)
    logps = log_p.gather(-1, targets[part, None]).squeeze(-1)
    zeros = torch.zeros_like(logps)
    entropies = -_dot(p, log_p) if wanted.entropy else zeros
    if reference is None:
        return _Chunk(logps, entropies, zeros, zeros, log_p, p, None)
    log_q, _ = _probabilities(reference[part], wanted.ref_head, wanted.temperature)
    ref_logps = log_q.gather(-1, targets[part, None]).squeeze(-1)
    log_ratio = torch.sub(log_p, log_q, out=log_q)
    return _Chunk(logps, entropies, _dot(p, log_ratio), ref_logps, log_p, p, log_ratio)


def _gradients(chunk: _Chunk, weight: Tensor, targets: Tensor, wanted: _Wanted) -> list[Tensor]:
    """Each token's gradient of (logps, entropy, kl) with respect to its hidden state: (n, H) each, or empty.

    ∂logps/∂h = (W_y − Σ_v p_v W_v)/τ; ∂entropy/∂h = −Σ_v p_v (log p_v + entropy) W_v / τ;
    ∂kl/∂h = Σ_v p_v (log p_v − log q_v − kl) W_v / τ.
    """
    empty = weight.new_empty(0)
    gradients = [weight[targets] - chunk.p.to(weight.dtype) @ weight, empty, empty]
    if wanted.entropy_gradient:
        inner = chunk.log_p.add(chunk.entropy[:, None]).mul_(chunk.p)
        gradients[1] = -(inner.to(weight.dtype) @ weight)
    if chunk.log_ratio is not None:
        inner = chunk.log_ratio.sub(chunk.kl[:, None]).mul_(chunk.p)
        gradients[2] = inner.to(weight.dtype) @ weight
    return [gradient.div_(wanted.temperature) for gradient in gradients]


def _grad_logits(chunk: _Chunk, targets: Tensor, upstream: list[Tensor], wanted: _Wanted) -> Tensor:
    """Σ over the three outputs of upstream · ∂output/∂(logits/τ): (n, V)."""
    inner = torch.empty_like(chunk.p).copy_(-upstream[0].expand_as(chunk.p))
    if wanted.entropy_gradient:
        inner.sub_(upstream[1] * (chunk.log_p + chunk.entropy[:, None]))
    if chunk.log_ratio is not None:
        inner.add_(upstream[2] * (chunk.log_ratio - chunk.kl[:, None]))
    return inner.mul_(chunk.p).scatter_add_(-1, targets[:, None], upstream[0])
