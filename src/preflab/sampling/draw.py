"""Exact and cheap draws from logits by inverting the cumulative distribution, without softmax or multinomial.

B rows, V vocabulary. Weights w = exp((logits − max) / temperature) are summed within blocks of 256 tokens in float32,
and across blocks in float64. Over 150,000 tokens the rounding of a plain float32 cumulative sum would distort draws.
"""

from __future__ import annotations

import torch

from preflab.errors import PreflabError

BLOCK = 256


def draw(
    logits: torch.Tensor,
    uniforms: torch.Tensor,
    *,
    temperature: float = 1.0,
    top_k: int = 0,
    top_p: float = 1.0,
    min_p: float = 0.0,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Draw one token per row: the first whose cumulative probability exceeds the row's uniform number.

    p(v) ∝ exp(logits_v / temperature) over the tokens that are kept; log-probabilities are those of this distribution.
    A token of probability 0 is not drawn for any uniform in [0, 1].

    Args:
        logits: (B, V); not changed.
        uniforms: (B,) in [0, 1).
        temperature: 0 takes the most likely token and gives it the log-probability 0.
        top_k, top_p, min_p: select the tokens that are kept, see `kept_from`.

    Returns:
        tokens (B,) long and their log-probabilities (B,) float32, nats.

    Raises:
        PreflabError: a row's logits contain NaN or +inf, or no finite value.
    """
    tokens, logps, drawn = draw_without_waiting(
        logits, uniforms, temperature=temperature, top_k=top_k, top_p=top_p, min_p=min_p, search=True
    )
    if not bool(drawn.all()):
        raise not_numbers()
    return tokens, logps


def draw_without_waiting(
    logits: torch.Tensor,
    uniforms: torch.Tensor,
    *,
    temperature: float = 1.0,
    top_k: int = 0,
    top_p: float = 1.0,
    min_p: float = 0.0,
    search: bool = False,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The same draw, in operations that the host does not wait for.

    Args:
        logits, uniforms, temperature, top_k, top_p, min_p: as in `draw`.
        search: whether the nucleus is searched among the likeliest tokens first, which waits for the device; else all
            tokens are sorted.

    Returns:
        tokens (B,), log-probabilities (B,), and (B,) bool: which rows could be drawn. Where it is False, token and
        log-probability mean nothing.
    """
    if temperature == 0.0:
        likeliest = logits.argmax(-1, keepdim=True)  # the place of a NaN, if there is one
        certain = torch.zeros(logits.shape[0], device=logits.device)
        return likeliest[:, 0], certain, torch.isfinite(logits.gather(1, likeliest)[:, 0])
    top = logits.amax(-1, keepdim=True).float()
    weights = drawn_weights(logits, top, temperature=temperature, top_k=top_k, top_p=top_p, min_p=min_p, search=search)
    tokens, totals = _invert(weights, uniforms)
    tokens = tokens.clamp_max_(logits.shape[1] - 1)
    chosen = logits.gather(1, tokens).float()
    logps = (chosen - top).to(totals.dtype).div_(temperature) - totals.log()
    return tokens[:, 0], logps[:, 0].float(), torch.isfinite(totals[:, 0])


def drawn_weights(
    logits: torch.Tensor,
    top: torch.Tensor,
    *,
    temperature: float,
    top_k: int,
    top_p: float,
    min_p: float,
    search: bool = True,
) -> torch.Tensor:
    """Weights (B, V rounded up to whole blocks) that tokens are drawn with: 0 for tokens that are not kept."""
    weights = _weights(logits, top, temperature)
    if top_k > 0 or top_p < 1.0 or min_p > 0.0:
        weights.masked_fill_(weights < kept_from(weights, top_k, top_p, min_p, search=search), 0.0)
    return weights


def kept_tokens(logits: torch.Tensor, *, temperature: float, top_k: int, top_p: float, min_p: float) -> torch.Tensor:
    """(B, V) bool: the tokens that `draw` can return for these logits, computed exactly as it does."""
    top = logits.amax(-1, keepdim=True).float()
    weights = drawn_weights(logits, top, temperature=temperature, top_k=top_k, top_p=top_p, min_p=min_p)
    return weights[:, : logits.shape[1]] > 0


def not_numbers() -> PreflabError:
    """The error for logits from which no token can be drawn."""
    return PreflabError(
        "the model's logits are not numbers (NaN or infinite), so no token can be drawn",
        "finite logits",
        "check the weights (a diverged run or a wrong dtype?) with `preflab check MODEL`",
    )


def kept_from(weights: torch.Tensor, top_k: int, top_p: float, min_p: float, *, search: bool = True) -> torch.Tensor:
    """(B, 1) the smallest weight that is kept: by top-k, then top-p of the remaining weights, then min-p.

    top_k keeps the k largest weights. top_p keeps the smallest set of largest weights whose share of the sum is at
    least top_p. min_p keeps weights of at least this share of the largest weight. Equal weights at the boundary are all
    kept, so the order of tokens does not matter. `search`: see `draw_without_waiting`.
    """
    threshold = torch.zeros_like(weights[:, :1])
    if 0 < top_k < weights.shape[1]:
        threshold = weights.topk(top_k).values[:, -1:]
    if top_p < 1.0:
        threshold = _nucleus(weights.masked_fill(weights < threshold, 0.0), top_p, search)
    return torch.maximum(threshold, min_p * weights.amax(-1, keepdim=True))


def _nucleus(weights: torch.Tensor, top_p: float, search: bool) -> torch.Tensor:
    """(B, 1) the smallest weight of the nucleus; searches the 256 most likely tokens, then 2,048, …, then all.

    Without `search` it looks at all of them at once.
    """
    exact = exact_dtype(weights.device)
    target = top_p * weights.sum(-1, keepdim=True, dtype=exact)
    num_looked_at = BLOCK if search else weights.shape[1]
    while True:
        num_looked_at = min(num_looked_at, weights.shape[1])
        largest = weights.topk(num_looked_at).values
        mass_before = largest.to(exact).cumsum(-1) - largest
        num_kept = (mass_before < target).sum(-1, keepdim=True)
        if num_looked_at == weights.shape[1] or bool((num_kept < num_looked_at).all()):
            return largest.gather(1, num_kept.clamp_min(1) - 1)
        num_looked_at *= 8


def _weights(logits: torch.Tensor, top: torch.Tensor, temperature: float) -> torch.Tensor:
    """Weights (B, V rounded up to whole blocks) in float32: 0 beyond V; the largest of each row is 1."""
    num_tokens = logits.shape[1]
    width = -(-num_tokens // BLOCK) * BLOCK
    weights = torch.empty(logits.shape[0], width, device=logits.device)
    real = weights[:, :num_tokens]
    torch.sub(logits, top, out=real)
    if temperature != 1.0:
        real.div_(temperature)
    real.exp_()
    weights[:, num_tokens:].zero_()
    return weights


def _invert(weights: torch.Tensor, uniforms: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Per row the first token whose cumulative weight exceeds uniform × total, (B, 1) long, and the totals (B, 1).

    Totals that are not finite give some place in the row, so that no index lies beyond it.
    """
    exact = exact_dtype(weights.device)
    blocks = weights.view(weights.shape[0], -1, BLOCK)
    up_to_block = blocks.sum(-1).to(exact).cumsum(-1)
    totals = up_to_block[:, -1:]
    target = _below(uniforms[:, None].to(exact) * totals, totals)
    block = torch.searchsorted(up_to_block, target, right=True).clamp_max_(blocks.shape[1] - 1)
    before = torch.where(block > 0, up_to_block.gather(1, (block - 1).clamp_min(0)), 0.0)
    inside = blocks.gather(1, block[:, :, None].expand(-1, -1, BLOCK))[:, 0].to(exact).cumsum(-1)
    place = torch.searchsorted(inside, _below(target - before, inside[:, -1:]), right=True)
    return block * BLOCK + place.clamp_max_(BLOCK - 1), totals


def _below(target: torch.Tensor, end: torch.Tensor) -> torch.Tensor:
    """Clamp to [0, end), so that the first larger cumulative sum always belongs to a weight that is not 0."""
    return torch.minimum(target.clamp_min(0.0), torch.nextafter(end, torch.zeros_like(end)))


def exact_dtype(device: torch.device) -> torch.dtype:
    """The type of cumulative sums and uniform numbers: float64, except on devices that lack it."""
    return torch.float32 if device.type == "mps" else torch.float64  # Apple's GPUs have no float64
