"""What one step is to compute: every expected number as a formula of the batch, with its reasoning.

The formulas are derived by hand from the algorithms, not recorded from a run. Change one only together with the code
that changes the work of a step, and say in its comment why.

    U  distinct prompts                     P  tokens of the longest prompt
    K  completions per prompt               T  tokens of each completion (no token ends one early)
    B = U · K  completions                  N = B · T  completion tokens
    L = P + T  tokens of the widest row
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from smoke_worlds import BATCH, HAS_FIXED_BUFFERS, Batch


@dataclass(frozen=True)
class Sizes:
    """The letters, computed from a batch."""

    batch: Batch

    @property
    def U(self) -> int:
        """Distinct prompts."""
        return len(self.batch.prompts)

    @property
    def P(self) -> int:
        """Tokens of the longest prompt."""
        return max(self.batch.prompts)

    @property
    def K(self) -> int:
        """Completions per prompt."""
        return self.batch.per_prompt

    @property
    def T(self) -> int:
        """Tokens of each completion."""
        return self.batch.new

    @property
    def B(self) -> int:
        """Completions."""
        return self.U * self.K

    @property
    def N(self) -> int:
        """Completion tokens."""
        return self.B * self.T

    @property
    def L(self) -> int:
        """Tokens of the widest row."""
        return self.P + self.T

    @property
    def demonstrations(self) -> list[int]:
        """Tokens of each demonstration with its prompt, longest first."""
        return sorted((p + c for p, c in self.batch.demonstrations), reverse=True)

    @property
    def demonstrated(self) -> int:
        """Completion tokens of all demonstrations."""
        return sum(c for _, c in self.batch.demonstrations)

    @property
    def sides(self) -> list[int]:
        """Tokens of the longer completion of each pair with its prompt, longest first."""
        return sorted((p + max(a, b) for p, a, b in self.batch.pairs), reverse=True)

    @property
    def joined(self) -> list[int]:
        """Tokens of each pair in one row, its prompt once, longest first."""
        return sorted((p + a + b for p, a, b in self.batch.pairs), reverse=True)

    @property
    def compared(self) -> int:
        """Completion tokens of all pairs."""
        return sum(a + b for _, a, b in self.batch.pairs)


Formula = Callable[[Sizes], int]


@dataclass(frozen=True)
class Expected:
    """One number of one world."""

    world: str
    number: str
    formula: Formula
    because: str


NO_WAIT = "places are made with the batch, transformers is told its mask, statistics are read once per step"


def _sampling(world: str) -> list[Expected]:
    return [
        Expected(
            world,
            "trunk tokens, sampling",
            lambda s: s.U * s.P + s.B * (s.T - 1),
            "each distinct prompt once, padded to the longest; then one token per row and step, none after the last",
        ),
        Expected(
            world,
            "head rows, sampling",
            lambda s: s.U + s.B * (s.T - 1),
            "one row per distinct prompt, whose completions share it; then one per row and step",
        ),
    ]


def _encoder_decoder_sampling(world: str) -> list[Expected]:
    return [
        Expected(
            world,
            "trunk tokens, sampling",
            lambda s: s.U + s.B * (s.T - 1),
            "the decoder reads one start token per distinct prompt, then one token per row and step",
        ),
        Expected(world, "head rows, sampling", lambda s: s.U + s.B * (s.T - 1), "as many: a row of logits per token"),
    ]


def _waits_per_8_tokens(world: str, formula: Formula, because: str) -> list[Expected]:
    return [Expected(world, "host waits per 8 decoded tokens", formula, because)]


def _one_step(world: str, phase: str = "other") -> list[Expected]:
    return [Expected(world, f"optimiser steps, {phase}", lambda s: 1, "one minibatch, one pass")]


def _sft(world: str) -> list[Expected]:
    return [
        Expected(
            world,
            "trunk tokens, update",
            lambda s: len(s.demonstrations) * s.demonstrations[0],
            "all rows in one micro-batch, padded to the longest",
        ),
        Expected(
            world,
            "head rows, update",
            lambda s: s.demonstrated,
            "completion tokens only",
        ),
        *_one_step(world),
    ]


def _dpo(world: str) -> list[Expected]:
    return [
        Expected(
            world,
            "trunk tokens, reference",
            lambda s: 2 * len(s.sides) * s.sides[0],
            "every completion in a row of its own, padded to the longest, once before the first step",
        ),
        Expected(world, "head rows, reference", lambda s: s.compared, "completion tokens only, without gradient"),
        Expected(
            world,
            "trunk tokens, update",
            lambda s: len(s.joined) * s.joined[0],
            "both completions of a pair in one row with their prompt, padded to the longest row",
        ),
        Expected(
            world,
            "head rows, update",
            lambda s: s.compared,
            "completion tokens only; their gradient is taken in the same chunk",
        ),
        *_one_step(world),
    ]


def _on_policy(world: str, *, roles: int, scorers: int) -> list[Expected]:
    """Decoders: `roles` evaluated besides the policy, whose states the sampler kept, and `scorers` reward roles."""
    rows = [
        *_sampling(world),
        Expected(
            world,
            "trunk tokens, rollouts",
            lambda s: roles * s.B * s.L,
            "each role but the policy reads all rows, padded to the widest; the sampler kept the policy's states",
        ),
        Expected(world, "head rows, rollouts", lambda s: 2 * s.N, "policy and reference, for the exact KL"),
    ]
    if scorers:
        rows.append(Expected(world, "trunk tokens, scoring", lambda s: scorers * s.B * s.L, "the reward role, once"))
    return [*rows, *_update(world, lambda s: s.L, scorers + 1)]


def _encoder_decoder_grpo(world: str, encoded: dict[str, Formula], because: str) -> list[Expected]:
    return [
        *_encoder_decoder_sampling(world),
        Expected(
            world,
            "trunk tokens, rollouts",
            lambda s: s.B * (1 + s.T),
            "the reference's decoder reads a start token and all tokens; the sampler kept the policy's states",
        ),
        Expected(world, "head rows, rollouts", lambda s: 2 * s.N, "policy and reference, completion tokens only"),
        *(Expected(world, f"prompts encoded, {phase}", formula, because) for phase, formula in encoded.items()),
        *_update(world, lambda s: 1 + s.T, 1),
    ]


def _update(world: str, width: Formula, learning: int) -> list[Expected]:
    return [
        Expected(
            world,
            "trunk tokens, update",
            lambda s: learning * s.B * width(s),
            "each learning role reads all rows once, in one micro-batch",
        ),
        Expected(world, "head rows, update", lambda s: s.N, "the policy's completion tokens"),
        *_one_step(world, "update"),
    ]


def _waits(world: str, formula: Formula, because: str, trunk_tokens: Formula) -> list[Expected]:
    return [
        Expected(world, "host waits per micro-batch", formula, because),
        Expected(
            world, "trunk tokens, update in two micro-batches", trunk_tokens, "each padded to its own longest row"
        ),
    ]


EVERY = [
    *_sampling("sampling"),
    *_waits_per_8_tokens("sampling", lambda s: 8 * 2, "per token: are the logits finite; how many rows are unfinished"),
    *_encoder_decoder_sampling("sampling, encoder–decoder"),
    Expected("sampling, encoder–decoder", "prompts encoded, sampling", lambda s: s.U, "each distinct prompt once"),
    *_waits_per_8_tokens(
        "sampling, encoder–decoder", lambda s: 8 * 3, "as a decoder's; and how many rows the largest prompt group has"
    ),
    *_sft("SFT, LoRA"),
    *_waits(
        "SFT, LoRA",
        lambda s: 0,
        NO_WAIT,
        lambda s: 2 * (s.demonstrations[0] + s.demonstrations[2]),
    ),
    *_sft("SFT, full"),
    Expected(
        "reward, LoRA",
        "trunk tokens, update",
        lambda s: 2 * len(s.sides) * s.sides[0],
        "every completion once, padded to the longest",
    ),
    *_one_step("reward, LoRA"),
    *_waits("reward, LoRA", lambda s: 0, NO_WAIT, lambda s: 2 * sum(s.sides)),
    *_dpo("DPO, LoRA"),
    *_waits(
        "DPO, LoRA",
        lambda s: 0,
        NO_WAIT,
        lambda s: sum(s.joined),
    ),
    *_dpo("DPO, full"),
    *_on_policy("PPO, LoRA", roles=2, scorers=1),
    *_waits(
        "PPO, LoRA",
        lambda s: 0,
        NO_WAIT,
        lambda s: 2 * s.K * sum(p + s.T for p in s.batch.prompts),
    ),
    *_on_policy("PPO, full", roles=2, scorers=1),
    *_on_policy("GRPO, LoRA", roles=1, scorers=0),
    *_waits(
        "GRPO, LoRA",
        lambda s: 0,
        NO_WAIT,
        lambda s: s.K * sum(p + s.T for p in s.batch.prompts),
    ),
    *_on_policy("GRPO, full", roles=1, scorers=0),
    *_encoder_decoder_grpo(
        "GRPO, encoder–decoder, LoRA on the decoder",
        {"sampling": lambda s: s.U},
        "the encoder is frozen: each distinct prompt once for the whole run",
    ),
    *_encoder_decoder_grpo(
        "GRPO, encoder–decoder, LoRA everywhere",
        {"sampling": lambda s: s.U, "rollouts": lambda s: s.U, "update": lambda s: s.U},
        "policy while sampling, reference, policy in the update: each reads each distinct prompt once",
    ),
]
"""All expected numbers. A number of a world that is counted and is not listed here is expected to be 0."""

LOOK = "one look every 8 steps at how many rows are unfinished; the logits are checked at the end"

FIXED_BUFFERS = [
    *_sampling("sampling over fixed buffers"),
    *_waits_per_8_tokens("sampling over fixed buffers", lambda s: 1, LOOK),
    *_encoder_decoder_sampling("sampling over fixed buffers, encoder–decoder"),
    Expected("sampling over fixed buffers, encoder–decoder", "prompts encoded, sampling", lambda s: s.U, "as without"),
    *_waits_per_8_tokens("sampling over fixed buffers, encoder–decoder", lambda s: 1, LOOK),
]
"""The numbers of an engine over fixed buffers. Its rows are those of a bucket: the batch's 8 rows fill one."""


def expected(batch: Batch = BATCH) -> dict[tuple[str, str], tuple[int, str]]:
    """(world, number) → its expected value and the reasoning."""
    sizes = Sizes(batch)
    rows = [*EVERY, *(FIXED_BUFFERS if HAS_FIXED_BUFFERS else [])]
    return {(one.world, one.number): (one.formula(sizes), one.because) for one in rows}
