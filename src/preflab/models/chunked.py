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

LOGITS_PER_CHUNK = 2**23
"""Logits held at once (32 MiB in fp32): large enough for full matrix products, small beside any model."""


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
        ref_hidden: (N, H) states of the reference, for `kl` and `ref_logps`.
        ref_head: the reference's head; None: the same.
        logits_per_chunk: logits held at once; never changes the result.
    """
    reference = None if ref_hidden is None else ref_hidden.detach()
    ref_head = ref_head or head
    tokens_per_chunk = max(1, logits_per_chunk // head.weight.shape[0])
    outputs = _ChunkedHead.apply(
        hidden, head.weight, head.bias, targets, reference, ref_head, temperature, entropy, tokens_per_chunk
    )
    return TokenStatistics(*outputs)


class _Chunk(NamedTuple):
    """What one chunk of tokens has in the vocabulary dimension."""

    logps: Tensor
    entropy: Tensor
    kl: Tensor
    ref_logps: Tensor
    log_p: Tensor
    log_ratio: Tensor | None


class _ChunkedHead(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        targets: Tensor,
        reference: Tensor | None,
        ref_head: Head,
        temperature: float,
        entropy: bool,
        tokens_per_chunk: int,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        ctx.settings = (ref_head, temperature, entropy, tokens_per_chunk)
        keep_gradients = ctx.needs_input_grad[0] and not ctx.needs_input_grad[1]
        outputs: tuple[list[Tensor], ...] = ([], [], [], [])
        kept: tuple[list[Tensor], ...] = ([], [], [])
        for part in _parts(hidden.shape[0], tokens_per_chunk):
            chunk = _chunk(hidden, Head(weight, bias), targets, reference, ref_head, temperature, entropy, part)
            for column, output in zip(outputs, chunk[:4], strict=True):
                column.append(output)
            if keep_gradients:
                for column, value in zip(
                    kept, _gradients(chunk, weight, targets[part], temperature, entropy), strict=True
                ):
                    column.append(value)
        ctx.kept = tuple(torch.cat(column) for column in kept if column)
        saved = () if keep_gradients else (hidden, weight, bias, targets, reference)
        ctx.save_for_backward(*saved)
        stacked = [torch.cat(column) for column in outputs]
        ctx.mark_non_differentiable(stacked[3])
        return stacked[0], stacked[1], stacked[2], stacked[3]

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor | None, ...]:
        nothing = (None,) * 6
        if ctx.kept:
            terms = [u[:, None] * g for u, g in zip(upstream[:3], ctx.kept, strict=True) if g.numel()]
            return sum(terms[1:], terms[0]).to(ctx.kept[0].dtype), None, None, *nothing
        return (*_backward_with_head(ctx, upstream), *nothing)


def _backward_with_head(ctx: Any, upstream: tuple[Tensor, ...]) -> tuple[Tensor, Tensor, Tensor | None]:
    """Gradients of hidden, weight and bias; each chunk's logits are computed again."""
    hidden, weight, bias, targets, reference = ctx.saved_tensors
    ref_head, temperature, entropy, tokens_per_chunk = ctx.settings
    grad_hidden, grad_weight = torch.empty_like(hidden), torch.zeros_like(weight)
    grad_bias = None if bias is None else torch.zeros_like(bias)
    for part in _parts(hidden.shape[0], tokens_per_chunk):
        chunk = _chunk(hidden, Head(weight, bias), targets, reference, ref_head, temperature, entropy, part)
        grad_logits = _grad_logits(chunk, targets[part], [u[part, None] for u in upstream[:3]], entropy) / temperature
        grad_logits = grad_logits.to(weight.dtype)
        grad_hidden[part] = grad_logits @ weight
        grad_weight.addmm_(grad_logits.T, hidden[part])
        if grad_bias is not None:
            grad_bias += grad_logits.sum(0)
    return grad_hidden, grad_weight, grad_bias


def _parts(num_tokens: int, tokens_per_chunk: int) -> list[slice]:
    return [slice(i, min(i + tokens_per_chunk, num_tokens)) for i in range(0, max(num_tokens, 1), tokens_per_chunk)]


def _log_probabilities(hidden: Tensor, head: Head, temperature: float) -> Tensor:
    logits = torch.nn.functional.linear(hidden, head.weight, head.bias).float()
    if temperature != 1.0:
        logits = logits / temperature
    return logits.sub_(logits.logsumexp(-1, keepdim=True))


def _chunk(
    hidden: Tensor,
    head: Head,
    targets: Tensor,
    reference: Tensor | None,
    ref_head: Head,
    temperature: float,
    entropy: bool,
    part: slice,
) -> _Chunk:
    log_p = _log_probabilities(hidden[part], head, temperature)
    logps = log_p.gather(-1, targets[part, None]).squeeze(-1)
    zeros = torch.zeros_like(logps)
    entropies = -(log_p.exp() * log_p).sum(-1) if entropy else zeros
    if reference is None:
        return _Chunk(logps, entropies, zeros, zeros, log_p, None)
    log_q = _log_probabilities(reference[part], ref_head, temperature)
    ref_logps = log_q.gather(-1, targets[part, None]).squeeze(-1)
    log_ratio = torch.sub(log_p, log_q, out=log_q)
    return _Chunk(logps, entropies, (log_p.exp() * log_ratio).sum(-1), ref_logps, log_p, log_ratio)


def _gradients(chunk: _Chunk, weight: Tensor, targets: Tensor, temperature: float, entropy: bool) -> list[Tensor]:
    """Each token's gradient of (logps, entropy, kl) with respect to its hidden state: (n, H) each, or empty.

    ∂logps/∂h = (W_y − Σ_v p_v W_v)/τ; ∂entropy/∂h = −Σ_v p_v (log p_v + entropy) W_v / τ;
    ∂kl/∂h = Σ_v p_v (log p_v − log q_v − kl) W_v / τ.
    """
    p = chunk.log_p.exp()
    empty = weight.new_empty(0)
    gradients = [(weight[targets] - p.to(weight.dtype) @ weight) / temperature, empty, empty]
    if entropy:
        inner = p * (chunk.log_p + chunk.entropy[:, None])
        gradients[1] = -(inner.to(weight.dtype) @ weight) / temperature
    if chunk.log_ratio is not None:
        inner = p * (chunk.log_ratio - chunk.kl[:, None])
        gradients[2] = (inner.to(weight.dtype) @ weight) / temperature
    return gradients


def _grad_logits(chunk: _Chunk, targets: Tensor, upstream: list[Tensor], entropy: bool) -> Tensor:
    """Σ over the three outputs of upstream · ∂output/∂(logits/τ): (n, V)."""
    p = chunk.log_p.exp()
    inner = -upstream[0].expand_as(p)
    if entropy:
        inner = inner - upstream[1] * (chunk.log_p + chunk.entropy[:, None])
    if chunk.log_ratio is not None:
        inner = inner + upstream[2] * (chunk.log_ratio - chunk.kl[:, None])
    grad = p * inner
    return grad.scatter_add_(-1, targets[:, None], upstream[0])
