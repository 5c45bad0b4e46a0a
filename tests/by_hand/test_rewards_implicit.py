"""The implicit reward of a policy by hand: with a reference and without one, from tokens and from text."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pytest
import torch

from preflab.errors import PreflabError
from preflab.models.role_output import RoleOutput
from preflab.records import Prompt
from preflab.rewards.implicit import ImplicitCard, ImplicitScorer
from preflab.training.batches import TokenBatch, TokenSequence
from preflab.training.joined_rows import join_rows
from preflab.training.protocols import ScoringItem


class NumberedTrunk:
    """Token i has the log-probability −i under the policy and −3i under the reference, where there is one."""

    pad_id = 0
    device = "cpu"

    def __init__(self, *roles: str) -> None:
        self.models = dict.fromkeys(roles)

    @staticmethod
    def collate(sequences: Sequence[TokenSequence]) -> TokenBatch:
        return join_rows(sequences, 0)

    def __call__(self, batch: TokenBatch, roles: tuple[str, ...]) -> dict[str, RoleOutput]:
        assert set(roles) == set(self.models)
        logps = -torch.where(batch.completion_mask, batch.completion_ids, 0).float()
        return {role: RoleOutput(logps=logps * {"policy": 1, "reference": 3}[role]) for role in roles}


class PlainEncoder:
    """Tokens as they are; a text is the token 9."""

    def encode_sampled(
        self, prompt: Prompt, prompt_ids: tuple[int, ...], completion_ids: tuple[int, ...]
    ) -> TokenSequence:
        return TokenSequence(prompt_ids, completion_ids)

    def encode_written(self, prompt: Prompt, completion: Any) -> TokenSequence:
        return TokenSequence((1,), (9,))


PROMPT = Prompt.make(text="p")
# In falling order of length they are batched as 2, 0, 1.
ITEMS = [
    ScoringItem(PROMPT, "a", (1,), (2, 4)),
    ScoringItem(PROMPT, "b"),
    ScoringItem(PROMPT, "c", (1, 1), (5, 6, 7)),
]


def scores(of: str, scale: float, *roles: str, takes_tokens: bool = True) -> list[float]:
    trunk: Any = NumberedTrunk(*roles)
    encoder: Any = PlainEncoder()
    scorer = ImplicitScorer(trunk, encoder, ImplicitCard(of, scale, "ref", "hash"), "dpo", takes_tokens, 6)
    total = scorer.score(ITEMS)
    assert total.terms["dpo"].tolist() == total.total.tolist()
    return total.total.tolist()


def test_log_ratio_is_scaled_policy_minus_reference() -> None:
    # −6 + 18, −9 + 27 and −18 + 54, times a half.
    assert scores("log_ratio", 0.5, "policy", "reference") == [6.0, 9.0, 18.0]


def test_mean_log_probability_needs_no_reference() -> None:
    # −6/2, −9/1 and −18/3, times 2.
    assert scores("mean_logp", 2.0, "policy") == [-6.0, -18.0, -12.0]


def test_text_is_scored_where_tokens_are_anothers() -> None:
    assert scores("mean_logp", 1.0, "policy", takes_tokens=False) == [-9.0, -9.0, -9.0]


def test_scores_that_are_not_finite_are_refused() -> None:
    trunk: Any = NumberedTrunk("policy")
    encoder: Any = PlainEncoder()
    scorer = ImplicitScorer(trunk, encoder, ImplicitCard("mean_logp", math.inf, "ref", "hash"), "dpo", True, 6)
    with pytest.raises(PreflabError, match="implicit reward dpo scored -inf"):
        scorer.score(ITEMS)
