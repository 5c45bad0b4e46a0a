"""A policy trained on preferences as a reward: scale · (log π − log π_ref), or the implicit reward of its loss.

    r(x, y) = β log π(y|x) / π_ref(y|x)                                     Rafailov et al. 2023, section 4

The stage `dpo` writes implicit_reward.json beside the policy's weights, with the quantity, its scale, and the reference
with the hash of its weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from preflab.errors import PreflabError
from preflab.files import read_json
from preflab.maths.dpo import IMPLICIT, Side
from preflab.models.four_bit import quantise_base
from preflab.models.language_model import LanguageModel, open_language_model
from preflab.models.trunk import Role, Trunk
from preflab.rewards.rankings import Encoder
from preflab.rewards.score import same_tokenizer
from preflab.training.batches import TokenSequence, token_budget_batches
from preflab.training.protocols import Scores, ScoringItem

CARD = "implicit_reward.json"


@dataclass(frozen=True)
class ImplicitCard:
    """The content of implicit_reward.json."""

    of: str
    """A quantity of `maths.dpo.IMPLICIT`."""
    scale: float
    reference: str
    """Place of the reference: a path relative to the card's folder, or a Hub id."""
    reference_hash: str
    format: int = 1
    reference_storage: str = "as_loaded"
    """`nf4` if the reference was quantised in training (`lora.base`), as it is then for scoring."""

    @classmethod
    def read(cls, folder: Path) -> ImplicitCard:
        """The card of a model's folder.

        Raises:
            PreflabError: there is no card, or this version of preflab does not know its quantity.
        """
        expected = "the model of a stage `dpo`, with the file written by that stage"
        if not (folder / CARD).is_file():
            raise PreflabError(f"{folder}: no {CARD}", expected, "name a stage of kind dpo, or its model folder")
        try:
            card = cls(**read_json(folder / CARD))
        except TypeError as error:
            raise PreflabError(f"{folder / CARD}: {error}", expected, "run that stage again") from error
        if card.of not in IMPLICIT:
            raise PreflabError(f"{folder / CARD}: of `{card.of}`", f"one of {', '.join(IMPLICIT)}", "correct the file")
        return card


def load_implicit(
    folder: Path, name: str, *, dtype: str = "float32", tokenizer: Any = None, tokens_per_batch: int = 4096
) -> ImplicitScorer:
    """The scorer of a policy's folder.

    Args:
        folder: the model of a stage `dpo`.
        name: the term's name in the metrics.
        dtype: of the weights.
        tokenizer: of the policy that is scored; if it equals this one's, token ids are scored directly, else text.
        tokens_per_batch: tokens in one forward pass; never changes a score.

    Raises:
        PreflabError: there is no such card, or the reference is missing or has other weights.
    """
    card = ImplicitCard.read(folder)
    opened = open_language_model(folder, dtype=dtype)
    reference = _reference(folder, card, opened) if IMPLICIT[card.of].reads_reference else None
    roles: tuple[Role, ...] = ("policy",) if reference is None else ("policy", "reference")
    facts, limits = opened.facts, opened.limits()
    trunk = opened.trunk(roles, reference=reference)
    trunk.freeze("policy")
    takes_tokens = tokenizer is not None and same_tokenizer(opened.tokenizer, tokenizer)
    encoder = Encoder(
        opened.tokenizer, True, limits.both, facts.stop_token_ids, opened.reads_prompts_apart, limits.prompt,
        limits.completion,
    )  # fmt: skip
    return ImplicitScorer(trunk, encoder, card, name, takes_tokens, tokens_per_batch)


class ImplicitScorer:
    """A `Scorer` from a policy and its reference, see `load_implicit`."""

    def __init__(
        self, trunk: Trunk, encoder: Encoder, card: ImplicitCard, name: str, takes_tokens: bool, tokens_per_batch: int
    ) -> None:
        self.trunk, self.encoder, self.card, self.name = trunk, encoder, card, name
        self.takes_tokens, self.tokens_per_batch = takes_tokens, tokens_per_batch

    @torch.no_grad()
    def score(self, items: Sequence[ScoringItem]) -> Scores:
        """Implicit rewards (B,) of the items, one term.

        Raises:
            PreflabError: a score is not finite.
        """
        sequences = [self.sequence(item) for item in items]
        total = torch.zeros(len(items))
        for part in token_budget_batches([len(s) for s in sequences], self.tokens_per_batch):
            total[part] = self._rewards([sequences[i] for i in part]).float().cpu()
        if not bool(total.isfinite().all()):
            bad = items[int((~total.isfinite()).nonzero()[0])]
            raise PreflabError(
                f"implicit reward {self.name} scored {total[~total.isfinite()][0]}; completion {bad.text[:80]!r}",
                "a finite number per completion",
                "train it again in float32 or with a lower learning rate",
            )
        return Scores(total, {self.name: total})

    def _rewards(self, sequences: Sequence[TokenSequence]) -> torch.Tensor:
        batch = self.trunk.collate(sequences)
        roles: tuple[Role, ...] = ("policy", "reference") if "reference" in self.trunk.models else ("policy",)
        logps = {role: output.logps.sum(1) for role, output in self.trunk(batch, roles).items()}
        side = Side(logps["policy"], logps.get("reference", logps["policy"]), batch.completion_mask.sum(1))
        return self.card.scale * IMPLICIT[self.card.of].value(side)

    def sequence(self, item: ScoringItem) -> TokenSequence:
        """The sequence to score: the sampled token ids if the tokenizers are the same, else the encoded text."""
        if self.takes_tokens and item.completion_ids:
            return self.encoder.encode_sampled(item.prompt, item.prompt_ids, item.completion_ids, item.policy_tokens)
        return self.encoder.encode_written(item.prompt, item.completion)


def _reference(folder: Path, card: ImplicitCard, opened: LanguageModel) -> LanguageModel:
    beside = (folder / card.reference).resolve()
    ref = beside if beside.is_dir() else card.reference
    reference = opened.another(ref)
    weights = reference.base_hash()
    if weights != card.reference_hash:
        raise PreflabError(
            f"{folder}: the reference at {card.reference} has the weights {weights}",
            f"{card.reference_hash}, the weights of the reference in training",
            "restore that model, or run the stage again",
        )
    if card.reference_storage == "nf4":
        quantise_base(reference.model)
    return reference
