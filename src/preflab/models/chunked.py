"""Log-probabilities, entropy and exact KL from hidden states, in chunks over tokens.

N tokens, H hidden, V vocabulary. Forward and backward passes hold the logits of one chunk of tokens at a time, never a
(batch × length × vocabulary) tensor. The gradient is computed in one of three ways, cheapest first:

- A loss can be passed to `token_loss`. If it is a sum over tokens, or if all tokens fit into one chunk, its gradient is
  computed while the chunk's logits exist.
- If only the hidden states need a gradient (adapters), the forward pass stores each token's gradient, an H-vector, and
  the backward pass is one multiplication.
- Otherwise the backward pass computes each chunk's logits again.

Counted in products of all tokens with the head (N · H · V multiplications each), if the head is trained: 3 in the first
way (logits, gradient of the states, gradient of the head), 4 in the last. If it is not trained: 2 in the first way, and
in the second 2 for log-probabilities and 1 more for each gradient of entropy or KL.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from preflab.models.chunk import (
    Chunk,
    Head,
    Projection,
    Wanted,
    logit_gradients,
    make_chunk,
    make_tools,
    slices,
    token_gradients,
)
from preflab.models.packed import can_pack
from preflab.models.products import product
from preflab.models.vocabulary import Vocabulary
from preflab.training.kept_tokens import KeptTokens

LOGITS_PER_CHUNK = 2**24
"""Logits per chunk (64 MiB in float32): enough for efficient matrix products, and small compared with any model."""

LOGITS_PER_PACKED_CHUNK = 2**22
"""Logits per chunk if the head is packed: its products are as fast with fewer rows, and a small chunk fits into the
cache."""


class TokenStatistics(NamedTuple):
    """Statistics per token, in nats and float32."""

    logps: Tensor
    """(N,) log π(target)."""
    entropy: Tensor
    """(N,) −Σ_v p_v log p_v; zeros if not requested."""
    kl: Tensor
    """(N,) Σ_v p_v (log p_v − log q_v), where q is the reference's distribution; zeros without a reference."""
    ref_logps: Tensor
    """(N,) log q(target), without gradient; zeros without a reference."""


TokenLoss = Callable[[TokenStatistics, slice], Tensor]
"""Maps the statistics of the tokens in a slice of 0 … N, and the slice, to the sum of their losses (0-d). The loss of a
token must not depend on other tokens, unless the loss is passed as a whole (`token_loss`)."""


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
    vocabulary: Vocabulary | None = None,
    kept: KeptTokens | None = None,
    logits_per_chunk: int | None = None,
) -> TokenStatistics:
    """Statistics of the next-token distribution softmax(logits / temperature) at N positions.

    Args:
        hidden: (N, H) states from which the targets are predicted.
        head: the policy's head.
        targets: (N,) token ids.
        temperature: the sampling temperature; divides the logits of policy and reference alike.
        entropy: whether to compute the entropy.
        entropy_gradient: whether the entropy is part of a loss; False saves a matrix product.
        ref_hidden: (N, H) states of the reference, for `kl` and `ref_logps`.
        ref_head: the reference's head; None: the policy's head.
        vocabulary: the ids that exist, whose probabilities sum to 1; None: every row of the head is an id.
        kept: the ids that each target was drawn from, to which the policy's distribution is restricted; the
            reference's is not. None: all.
        logits_per_chunk: logits held at once; does not change the result. None: a default that suits the head.
    """
    wanted = _wanted(head, temperature, entropy, entropy_gradient, ref_head, vocabulary, kept, logits_per_chunk)
    reference = None if ref_hidden is None else ref_hidden.detach()
    outputs = _ChunkedHead.apply(hidden, head.weight, head.bias, targets, reference, wanted)
    return TokenStatistics(*outputs)


def token_loss(
    hidden: Tensor,
    head: Head,
    targets: Tensor,
    *,
    loss: TokenLoss,
    whole: bool = False,
    temperature: float = 1.0,
    entropy: bool = False,
    entropy_gradient: bool = True,
    ref_hidden: Tensor | None = None,
    ref_head: Head | None = None,
    vocabulary: Vocabulary | None = None,
    kept: KeptTokens | None = None,
    logits_per_chunk: int | None = None,
) -> tuple[Tensor, TokenStatistics]:
    """The sum of a loss over N tokens, 0-d, and the statistics that it was computed from, without gradient.

    Value and gradient equal those of `loss(token_statistics(…), slice(0, N))`, but take one pass over the logits
    instead of two: the gradient of each chunk's loss is computed immediately, down to the states and the head.

    Args:
        loss: called once per chunk, with the chunk's statistics.
        whole: whether the loss needs the statistics of all tokens at once (ratios of completions, pairs). It is then
            called once. If the tokens fit into one chunk and the head is trained, this saves a pass over the logits
            too. Otherwise the loss is differentiated by autograd through `token_statistics`: with several chunks, a
            pass that finds the statistics and one that applies the loss's derivatives would compute the logits twice as
            well; if the head is not trained, nothing is computed twice.

    The other arguments are those of `token_statistics`. The backward pass can run only once.
    """
    wanted = _wanted(head, temperature, entropy, entropy_gradient, ref_head, vocabulary, kept, logits_per_chunk)
    reference = None if ref_hidden is None else ref_hidden.detach()
    num_tokens = hidden.shape[0]
    if whole and (num_tokens > wanted.tokens_per_chunk or not head.weight.requires_grad):
        statistics = TokenStatistics(*_ChunkedHead.apply(hidden, head.weight, head.bias, targets, reference, wanted))
        return loss(statistics, slice(0, num_tokens)), TokenStatistics(*(column.detach() for column in statistics))
    outputs = _ChunkedLoss.apply(hidden, head.weight, head.bias, targets, reference, wanted, loss)
    return outputs[0], TokenStatistics(*outputs[1:])


def _wanted(
    head: Head,
    temperature: float,
    entropy: bool,
    entropy_gradient: bool,
    ref_head: Head | None,
    vocabulary: Vocabulary | None,
    kept: KeptTokens | None,
    logits_per_chunk: int | None,
) -> Wanted:
    suits = LOGITS_PER_PACKED_CHUNK if can_pack(head.weight) else LOGITS_PER_CHUNK
    per_chunk = max(1, (logits_per_chunk or suits) // head.weight.shape[0])
    cut = None if vocabulary is None else vocabulary.cut_head
    ref_head = ref_head or head
    with torch.no_grad():
        ref_head = ref_head if cut is None else cut(ref_head)
    return Wanted(temperature, entropy, entropy and entropy_gradient, ref_head, per_chunk, cut, kept)


class _ChunkedHead(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        targets: Tensor,
        reference: Tensor | None,
        wanted: Wanted,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        head, ctx.wanted, ctx.states_dtype = wanted.head(weight, bias), wanted, hidden.dtype
        keep_gradients = ctx.needs_input_grad[0] and not ctx.needs_input_grad[1]
        outputs: tuple[list[Tensor], ...] = ([], [], [], [])
        kept: tuple[list[Tensor], ...] = ([], [], [])
        tools = make_tools(hidden, head, wanted, reference=reference is not None, gradients=keep_gradients)
        for part in slices(hidden.shape[0], wanted.tokens_per_chunk):
            chunk = make_chunk(hidden[part], targets[part], _cut(reference, part), wanted, tools, part)
            for column, output in zip(outputs, chunk[:4], strict=True):
                column.append(output)
            if keep_gradients:
                gradients = token_gradients(chunk, tools.policy, targets[part], wanted)
                for column, value in zip(kept, gradients, strict=True):
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
            return sum(terms[1:], terms[0]).to(ctx.states_dtype), None, None, *nothing
        hidden, weight, bias, targets, reference = ctx.saved_tensors
        wanted = ctx.wanted
        head = wanted.head(weight, bias)
        tools = make_tools(hidden, head, wanted, reference=reference is not None, gradients=True)
        gradients = _Gradients(hidden, tools.policy, weight, bias)
        for part in slices(hidden.shape[0], wanted.tokens_per_chunk):
            chunk = make_chunk(hidden[part], targets[part], _cut(reference, part), wanted, tools, part)
            gradients.add(part, chunk, targets[part], [u[part] for u in upstream[:3]], wanted)
        return (gradients.hidden, gradients.weight, gradients.bias, *nothing)


class _ChunkedLoss(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        targets: Tensor,
        reference: Tensor | None,
        wanted: Wanted,
        loss: TokenLoss,
    ) -> tuple[Tensor, ...]:
        head = wanted.head(weight, bias)
        learning = (weight, bias) if ctx.needs_input_grad[1] else (None, None)
        total = hidden.new_zeros((), dtype=torch.float32)
        outputs: tuple[list[Tensor], ...] = ([], [], [], [])
        tools = make_tools(hidden, head, wanted, reference=reference is not None, gradients=True)
        gradients = _Gradients(hidden, tools.policy, *learning)
        for part in slices(hidden.shape[0], wanted.tokens_per_chunk):
            chunk = make_chunk(hidden[part], targets[part], _cut(reference, part), wanted, tools, part)
            value, upstream = _with_upstream(loss, TokenStatistics(*chunk[:4]), part)
            total += value
            gradients.add(part, chunk, targets[part], upstream, wanted)
            for column, output in zip(outputs, chunk[:4], strict=True):
                column.append(output)
        ctx.gradients = gradients
        stacked = [torch.cat(column) for column in outputs]
        ctx.mark_non_differentiable(*stacked)
        return total, *stacked

    @staticmethod
    def backward(ctx: Any, upstream: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
        gradients: _Gradients = ctx.gradients
        del ctx.gradients  # the gradients are scaled in place: a second backward pass would scale them again
        filled = (gradients.hidden, gradients.weight, gradients.bias)
        return (*(None if one is None else one.mul_(upstream) for one in filled), *(None,) * 4)


def _with_upstream(loss: TokenLoss, chunk: TokenStatistics, part: slice) -> tuple[Tensor, list[Tensor]]:
    """The chunk's loss and its gradient with respect to logps, entropy and kl, (n,) each."""
    with torch.enable_grad():
        leaves = [column.detach().requires_grad_() for column in chunk[:3]]
        value = loss(TokenStatistics(leaves[0], leaves[1], leaves[2], chunk.ref_logps), part)
        slopes = torch.autograd.grad(value, leaves, allow_unused=True)
    upstream = [torch.zeros_like(leaf) if one is None else one for leaf, one in zip(leaves, slopes, strict=True)]
    return value.detach(), upstream


class _Gradients:
    """Gradients of the states (N, H) and, if the head is trained, of the head; filled chunk by chunk.

    `head` computes the logits, with the rows that are ids, in the type of the states. `weight` and `bias` are the whole
    trained parameters, or None; their gradients are summed in the parameters' own type.
    """

    def __init__(self, hidden: Tensor, head: Projection, weight: Tensor | None, bias: Tensor | None) -> None:
        self.states, self.head = hidden, head
        self.hidden = torch.empty_like(hidden)
        self.weight = None if weight is None else torch.zeros_like(weight)
        self.bias = None if bias is None else torch.zeros_like(bias)

    def add(self, part: slice, chunk: Chunk, targets: Tensor, upstream: list[Tensor], wanted: Wanted) -> None:
        """Add the gradient of the tokens in `part`, given upstream gradients (n,) of logps, entropy and kl."""
        exact = logit_gradients(chunk, targets, upstream, wanted)
        logits = exact.to(self.head.weight.dtype)
        self.hidden[part] = self.head.states(logits)
        num_ids = logits.shape[1]
        if self.weight is not None and logits.dtype == self.weight.dtype == torch.float32:
            self.weight[:num_ids].addmm_(logits.T, self.states[part])
        elif self.weight is not None:
            self.weight[:num_ids] += product(logits.T, self.states[part])
        if self.bias is not None:
            self.bias[:num_ids] += exact.sum(0)


def _cut(tensor: Tensor | None, part: slice) -> Tensor | None:
    return None if tensor is None else tensor[part]
