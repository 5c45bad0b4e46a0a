"""The implicit reward of a policy by hand: with a reference and without one, from tokens and from text."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from preflab.errors import PreflabError
from preflab.models.role_output import RoleOutput
from preflab.records import Prompt
from preflab.rewards import implicit
from preflab.rewards.implicit import ImplicitCard, ImplicitScorer
from preflab.rewards.rankings import Encoder
from preflab.training.batches import TokenBatch, TokenSequence
from preflab.training.joined_rows import join_rows
from preflab.training.protocols import ScoringItem
from preflab.training.token_limits import TokenLimits


class NumberedTrunk:
    """Token i has the log-probability −i under the policy and −3i under the reference, where there is one."""

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
        self,
        prompt: Prompt,
        prompt_ids: tuple[int, ...],
        completion_ids: tuple[int, ...],
        policy_tokens: tuple[bool, ...] | None,
    ) -> TokenSequence:
        return TokenSequence(prompt_ids, completion_ids, policy_tokens)

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


def test_turns_of_an_environment_are_not_rewarded() -> None:
    """Tokens 2 and 4 are the policy's, 8 is the environment's: −6 + 18, times a half."""
    trunk: Any = NumberedTrunk("policy", "reference")
    encoder: Any = PlainEncoder()
    scorer = ImplicitScorer(trunk, encoder, ImplicitCard("log_ratio", 0.5, "ref", "hash"), "dpo", True, 6)
    item = ScoringItem(PROMPT, "a", (1,), (2, 8, 4), policy_tokens=(True, False, True))
    assert scorer.score([item]).total.tolist() == [6.0]


def test_mean_log_probability_needs_no_reference() -> None:
    # −6/2, −9/1 and −18/3, times 2.
    assert scores("mean_logp", 2.0, "policy") == [-6.0, -18.0, -12.0]


def test_implicit_reward_encodes_text_for_another_tokenizer() -> None:
    assert scores("mean_logp", 1.0, "policy", takes_tokens=False) == [-9.0, -9.0, -9.0]


def test_scores_that_are_not_finite_are_refused() -> None:
    trunk: Any = NumberedTrunk("policy")
    encoder: Any = PlainEncoder()
    scorer = ImplicitScorer(trunk, encoder, ImplicitCard("mean_logp", math.inf, "ref", "hash"), "dpo", True, 6)
    with pytest.raises(PreflabError, match="implicit reward dpo scored -inf"):
        scorer.score(ITEMS)


def test_completion_without_a_finite_score_is_named_and_texts_are_read_with_their_prompt(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Encoding(PlainEncoder):
        def encode_written(self, prompt: Prompt, completion: Any) -> TokenSequence:
            return TokenSequence((len(prompt.text),), (len(completion.text),))

    trunk: Any = NumberedTrunk("policy")
    encoder: Any = Encoding()
    scorer = ImplicitScorer(trunk, encoder, ImplicitCard("mean_logp", 1.0, "ref", "hash"), "dpo", True, 6)
    assert scorer.sequence(ScoringItem(Prompt.make("ask"), "answer")) == TokenSequence((3,), (6,))
    monkeypatch.setattr(scorer, "_rewards", lambda sequences: torch.tensor([1.0, math.nan])[: len(sequences)])
    with pytest.raises(PreflabError, match="completion 'bad'"):
        scorer.score([ScoringItem(PROMPT, "fine"), ScoringItem(PROMPT, "bad")])


class Opened(SimpleNamespace):
    """A language model that is open: its tokens are words, and it remembers what trunk was made of it."""

    def another(self, ref: Any) -> Any:
        return SimpleNamespace(ref=ref, base_hash=lambda: "hash")

    def trunk(self, roles: Any, *, reference: Any) -> Any:
        self.made.append((roles, reference))
        return SimpleNamespace(freeze=self.made.append)


@pytest.mark.parametrize("of", ["log_ratio", "mean_logp"])
@pytest.mark.parametrize(("tokenizer", "takes_tokens"), [("words", True), ("others", False), (None, False)])
@pytest.mark.parametrize("shares_experts", [True, False])
def test_folder_is_opened_with_a_reference_where_it_is_read(
    of: str,
    tokenizer: str | None,
    takes_tokens: bool,
    shares_experts: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder, beside = tmp_path / "dpo", tmp_path / "start"
    folder.mkdir()
    if shares_experts:
        beside.mkdir()
    card = {"of": of, "scale": 0.5, "reference": "../start", "reference_hash": "hash"}
    (folder / "implicit_reward.json").write_text(json.dumps(card))
    limits = TokenLimits(both=64, prompt=40, completion=30)
    facts = SimpleNamespace(stop_token_ids=(7,))
    opened = Opened(tokenizer="words", facts=facts, limits=lambda: limits, reads_prompts_apart=True, made=[])
    asked: list[Any] = []
    monkeypatch.setattr(implicit, "open_language_model", lambda *a, **other: asked.append((a, other)) or opened)
    monkeypatch.setattr(implicit, "same_tokenizer", lambda one, other: one == other)
    scorer = implicit.load_implicit(folder, "dpo", dtype="bfloat16", tokenizer=tokenizer, tokens_per_batch=32)
    assert asked == [((folder,), {"dtype": "bfloat16"})]
    (roles, reference), frozen = opened.made
    assert roles == (("policy", "reference") if of == "log_ratio" else ("policy",))
    assert frozen == "policy"
    assert (reference is None) == (of == "mean_logp")
    assert reference is None or reference.ref == (beside if shares_experts else "../start")
    assert scorer.encoder == Encoder("words", True, 64, (7,), True, 40, 30)
    assert (scorer.name, scorer.takes_tokens, scorer.tokens_per_batch) == ("dpo", takes_tokens, 32)
    assert scorer.card == ImplicitCard(of, 0.5, "../start", "hash")
