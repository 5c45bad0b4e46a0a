"""Worlds so small that every completion can be listed: exact probabilities, expectations, gradients and optima.

A policy is a table of logits, one row per context (the tokens so far), one column per token. With an end token
completions differ in length; without one all have `num_tokens`. Expectations are sums over all completions, never
samples.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import product
from typing import NamedTuple

import torch
from torch import Tensor

GradientField = Callable[[Tensor], Tensor]


class Rollout(NamedTuple):
    """What a loop would know of one completion, or, with a leading dimension N, of all of them."""

    logps: Tensor
    """(T,) log-probability of each token, NaN beyond the end; with gradient."""
    ref_logps: Tensor
    """(T,), NaN beyond the end."""
    exact_kl: Tensor
    """(T,) exact KL of the token's position, with gradient."""
    score: Tensor
    """() reward of the whole completion."""
    mask: Tensor
    """(T,) True where there is a token."""


class World:
    """All completions of at most `num_tokens` tokens from `vocabulary`, ending early at `end_token`, if there is one.

    completions: list of N tuples; tokens, contexts (N, T) long; mask (N, T) bool; num_contexts: rows of a policy's
    table.
    ref_logits (contexts, V) and scores (N,) are drawn once from the seed.
    """

    def __init__(self, vocabulary: int, num_tokens: int, *, end_token: int | None = None, seed: int = 0) -> None:
        self.vocabulary, self.num_tokens = vocabulary, num_tokens
        cut = [_cut(tokens, end_token) for tokens in product(range(vocabulary), repeat=num_tokens)]
        self.completions = sorted(set(cut))
        prefixes = sorted({completion[:t] for completion in self.completions for t in range(len(completion))})
        self.num_contexts = len(prefixes)
        numbers = {prefix: index for index, prefix in enumerate(prefixes)}
        shape = (len(self.completions), num_tokens)
        self.tokens, self.contexts = torch.zeros(shape, dtype=torch.long), torch.zeros(shape, dtype=torch.long)
        self.mask = torch.zeros(shape, dtype=torch.bool)
        for n, completion in enumerate(self.completions):
            for t, token in enumerate(completion):
                self.tokens[n, t], self.contexts[n, t], self.mask[n, t] = token, numbers[completion[:t]], True
        generator = torch.Generator().manual_seed(seed)
        self.ref_logits = torch.randn(self.num_contexts, vocabulary, generator=generator, dtype=torch.float64)
        self.scores = torch.randn(len(self.completions), generator=generator, dtype=torch.float64)

    def logps(self, logits: Tensor) -> Tensor:
        """(contexts, V) → (N, T), NaN beyond a completion's end."""
        per_context = logits.log_softmax(-1)
        return per_context[self.contexts, self.tokens].masked_fill(~self.mask, math.nan)

    def seq_logps(self, logits: Tensor) -> Tensor:
        """(contexts, V) → (N,) log-probability of each completion; their exponentials add up to 1."""
        per_token = logits.log_softmax(-1)[self.contexts, self.tokens]
        return torch.where(self.mask, per_token, 0).sum(-1)

    def kl(self, logits: Tensor, ref_logits: Tensor | None = None) -> Tensor:
        """Σ_y π(y) log(π(y) / π_ref(y)), from the definition."""
        logps = self.seq_logps(logits)
        return (logps.exp() * (logps - self.seq_logps(self.ref_logits if ref_logits is None else ref_logits))).sum()

    def objective(self, logits: Tensor, kl_coef: float) -> Tensor:
        """E[score] − kl_coef · KL(π ‖ π_ref), to be maximised; differentiable."""
        return (self.seq_logps(logits).exp() * self.scores).sum() - kl_coef * self.kl(logits)

    def optimum(self, kl_coef: float) -> Tensor:
        """(N,) log π*, with π* ∝ π_ref · exp(score / kl_coef): what maximises `objective` over all distributions."""
        return (self.seq_logps(self.ref_logits) + self.scores / kl_coef).log_softmax(0)

    def distance(self, logits: Tensor, target_logps: Tensor) -> float:
        """KL(π ‖ target) in nats, the target given as (N,) log-probabilities."""
        logps = self.seq_logps(logits)
        return (logps.exp() * (logps - target_logps)).sum().item()

    def rollouts(self, logits: Tensor) -> Rollout:
        """All N completions at once."""
        exact_kl = _exact_kl(logits, self.ref_logits)[self.contexts].masked_fill(~self.mask, math.nan)
        return Rollout(self.logps(logits), self.logps(self.ref_logits), exact_kl, self.scores, self.mask)

    def expected_gradient(self, logits: Tensor, loss: Callable[[Rollout], Tensor]) -> Tensor:
        """Σ_y π(y) ∇ loss(rollout y): the mean of the gradients that sampled completions would give.

        `loss` sees a batch of one, so with denominator 1 it is a sum over that completion's tokens.
        """
        logits = logits.detach().requires_grad_()
        probabilities = self.seq_logps(logits).exp().detach()
        losses = torch.vmap(lambda *row: loss(Rollout(*(part.unsqueeze(0) for part in row))))(*self.rollouts(logits))
        (gradient,) = torch.autograd.grad((probabilities * losses).sum(), logits)
        return gradient

    def descend(self, gradient: GradientField, *, num_steps: int = 400, learning_rate: float = 0.3) -> Tensor:
        """The table reached from the reference by Adam on a gradient field, with a learning rate that decays to 0."""
        logits = self.ref_logits.clone().requires_grad_()
        optimiser = torch.optim.Adam([logits], lr=learning_rate)
        schedule = torch.optim.lr_scheduler.LinearLR(optimiser, 1.0, 0.0, num_steps)
        for _ in range(num_steps):
            logits.grad = gradient(logits.detach())
            optimiser.step()
            schedule.step()
        return logits.detach()


def _cut(tokens: tuple[int, ...], end_token: int | None) -> tuple[int, ...]:
    return tokens if end_token not in tokens else tokens[: tokens.index(end_token) + 1]


def _exact_kl(logits: Tensor, ref_logits: Tensor) -> Tensor:
    """(contexts,) written out here and not taken from the package, so that tests compare two things."""
    logps, ref_logps = logits.log_softmax(-1), ref_logits.log_softmax(-1)
    return (logps.exp() * (logps - ref_logps)).sum(-1)
