"""Tokenized preferences for training: each completion of a group once, and the pairs of its completions.

A group is one ranking of one prompt's completions. It stays whole in one optimiser step and on one side of a split.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from preflab.conversations.marks import as_text
from preflab.conversations.renderer import Renderer
from preflab.records import Completion, Preference, Prompt
from preflab.training.batches import TokenSequence
from preflab.training.token_limits import NO_LIMIT, TokenLimits


@dataclass(frozen=True)
class LabelledPair:
    """Two completions of one ranking (indices), P(first ≻ second) to be learned, and the weight of the pair."""

    first: int
    second: int
    label: float
    weight: float
    tie: float = 0.0
    """P(neither is preferred) to be learned; `label` is then P(first ≻ second) given that there is no tie."""


@dataclass(frozen=True)
class Ranking:
    """One preference group, tokenized."""

    prompt_id: str
    sequences: tuple[TokenSequence, ...]
    """One per completion, including those marked F: they are scored for the report even if they are in no pair."""
    pairs: tuple[LabelledPair, ...]
    ranks: tuple[int | None, ...]
    lengths: tuple[int, ...]
    """Characters of each completion."""

    @property
    def weight(self) -> float:
        """Sum of the weights of its pairs."""
        return sum(pair.weight for pair in self.pairs)

    @property
    def decided(self) -> tuple[tuple[int, int], ...]:
        """(chosen, rejected) indices of the pairs that have a winner."""
        return tuple(
            (p.first, p.second) if p.label > 0.5 else (p.second, p.first) for p in self.pairs if p.label != 0.5
        )

    def drop_unpaired(self) -> Ranking:
        """The ranking without completions that are in no pair, which training need not score.

        A completion marked F that is in a pair (`fail_as_rejected`) gets the last rank.
        """
        used = sorted({i for pair in self.pairs for i in (pair.first, pair.second)})
        last = 1 + max((rank for rank in self.ranks if rank is not None), default=0)
        place = {old: new for new, old in enumerate(used)}
        return replace(
            self,
            sequences=tuple(self.sequences[i] for i in used),
            ranks=tuple(self.ranks[i] or last for i in used),
            lengths=tuple(self.lengths[i] for i in used),
            pairs=tuple(replace(p, first=place[p.first], second=place[p.second]) for p in self.pairs),
        )


@dataclass(frozen=True)
class Encoder:
    """Encodes a prompt and a completion as the token ids that a reward model reads.

    A decoder reads the tokens that `conversations` makes of the two, with the end token if the completion ended itself,
    and is scored at the last one. An encoder reads the format of its tokenizer ([CLS] prompt [SEP] completion [SEP] for
    BERT). A sequence longer than `max_tokens` loses its beginning except the first token (BOS, [CLS]), because the end
    of a dialogue matters most.
    """

    tokenizer: Any
    causal: bool
    max_tokens: int
    stops: tuple[int, ...] = ()
    """Tokens that stop the model's sampler, from its configuration."""
    apart: bool = False
    """Whether the model is an encoder–decoder: its encoder reads the prompt, its decoder the completion."""
    max_prompt: int = NO_LIMIT
    """Most tokens of the prompt, for an encoder–decoder."""
    max_completion: int = NO_LIMIT
    """Most tokens of the completion, for an encoder–decoder."""

    @property
    def limits(self) -> TokenLimits:
        """The most tokens that the model reads."""
        return TokenLimits(self.max_tokens, self.max_prompt, self.max_completion)

    @cached_property
    def renderer(self) -> Renderer:
        """Renders conversations as the decoder's tokens."""
        return Renderer(self.tokenizer, self.stops, apart=self.apart)

    def __call__(self, prompt: Prompt, completion: Completion) -> TokenSequence:
        """The sequence of a completion; tokens sampled with this tokenizer are used unchanged."""
        if not self.causal:
            return self._framed(prompt, completion.text)
        return self.truncate(self.renderer.sequence(prompt, completion))

    def encode_written(self, prompt: Prompt, completion: Completion) -> TokenSequence:
        """The sequence of a policy's completion; text that the chat template would refuse or change stays unchanged."""
        if not self.causal:
            return self._framed(prompt, completion.text)
        return self.truncate(self.renderer.scored(prompt, completion))

    def encode_sampled(
        self,
        prompt: Prompt,
        prompt_ids: tuple[int, ...],
        completion_ids: tuple[int, ...],
        policy_tokens: tuple[bool, ...] | None = None,
    ) -> TokenSequence:
        """The sequence of a completion sampled with this tokenizer, with the end that its text would get."""
        ids = self.renderer.closed(prompt, completion_ids)
        if policy_tokens is None:
            return self.truncate(TokenSequence(prompt_ids, ids))
        added = len(ids) - len(completion_ids)  # of the end of the last turn, which is the policy's
        return self.truncate(TokenSequence(prompt_ids, ids, (*policy_tokens, *(True,) * added)[: len(ids)]))

    def truncate(self, sequence: TokenSequence) -> TokenSequence:
        """The sequence cut to the limits: the first token and the last ones; at least one token counts as prompt.

        The two texts of an encoder–decoder are cut one by one, the prompt also to leave room for the completion.
        """
        if self.limits.fits(sequence):
            return sequence
        if self.apart:
            return self._truncate_apart(sequence)
        surplus = len(sequence) - self.max_tokens
        prompt, completion, policy = sequence.prompt_ids, sequence.completion_ids, sequence.policy_tokens
        kept = (prompt + completion)[:1] + (prompt + completion)[1 + surplus :]
        num_prompt = max(1, len(prompt) - surplus)
        num_left = len(kept) - num_prompt
        return TokenSequence(kept[:num_prompt], kept[num_prompt:], policy[len(policy) - num_left :] if policy else None)

    def _truncate_apart(self, sequence: TokenSequence) -> TokenSequence:
        prompt, policy = sequence.prompt_ids, sequence.policy_tokens
        most = min(self.max_completion, self.max_tokens - 1)
        completion = sequence.completion_ids[-most:]
        room = max(1, min(self.max_prompt, self.max_tokens - len(completion)))
        kept = prompt if len(prompt) <= room else prompt[:1] + prompt[len(prompt) - room + 1 :]
        return TokenSequence(kept, completion, policy[-most:] if policy else None)

    def _framed(self, prompt: Prompt, text: str) -> TokenSequence:
        encoding = as_text(self.tokenizer, prompt.shown, text, verbose=False)
        ids = tuple(encoding["input_ids"])
        num_prompt = next((i for i, part in enumerate(encoding.sequence_ids(0)) if part == 1), len(ids) - 1)
        return self.truncate(TokenSequence(ids[: max(1, num_prompt)], ids[max(1, num_prompt) :]))


def make_rankings(
    preferences: Iterable[Preference],
    prompts: Mapping[str, Prompt],
    completions: Mapping[str, Completion],
    encoder: Encoder,
    *,
    soft_labels: bool = False,
    fail_as_rejected: bool = False,
    ties: bool = False,
) -> list[Ranking]:
    """Tokenized rankings from preference records, in their order.

    Args:
        soft_labels: a pair's label is its share of decided votes instead of 1 for the winner.
        fail_as_rejected: every completion marked F loses against every other one of its group.
        ties: tied pairs are kept, for a likelihood in which a tie is an outcome.
    """
    make_pairs = {
        (False, False): hard_pairs,
        (True, False): soft_pairs,
        (False, True): hard_pairs_and_ties,
        (True, True): soft_pairs_and_ties,
    }[soft_labels, ties]
    rankings = []
    for preference in preferences:
        ranked = [completions[i] for i in preference.completion_ids]
        prompt = prompts[preference.prompt_id]
        pairs = make_pairs(preference)
        rankings.append(
            Ranking(
                prompt_id=preference.prompt_id,
                sequences=tuple(encoder(prompt, completion) for completion in ranked),
                pairs=add_fail_pairs(pairs, preference.ranks) if fail_as_rejected else pairs,
                ranks=preference.ranks,
                lengths=tuple(len(c.text) for c in ranked),
            )
        )
    return rankings


def same_text(ranking: Ranking, pair: LabelledPair) -> bool:
    """Whether a pair's two completions have the same tokens, so that the pair carries no information."""
    return ranking.sequences[pair.first] == ranking.sequences[pair.second]


def hard_pairs(preference: Preference) -> tuple[LabelledPair, ...]:
    """The winner of every decided pair, label 1; ties give none."""
    return tuple(LabelledPair(i, j, 1.0, weight) for i, j, weight in preference.chosen_rejected())


def soft_pairs(preference: Preference) -> tuple[LabelledPair, ...]:
    """label = num_for / (num_for + num_against); votes for a tie are ignored (unbiased under Davidson's model).

    An even split has the label ½ and counts like any other, so all pairs with a decided vote share a weight of 1.
    """
    voted = [pair for pair in preference.pairs if pair.num_for + pair.num_against > 0]
    return tuple(
        LabelledPair(p.first, p.second, p.num_for / (p.num_for + p.num_against), 1.0 / len(voted)) for p in voted
    )


def hard_pairs_and_ties(preference: Preference) -> tuple[LabelledPair, ...]:
    """The winner of every decided pair, and the pairs whose consensus is a tie; their equal weights sum to 1.

    A pair is tied as in `feedback.settling`: its margin is 0 and more than half of the weight votes for a tie. Any
    other pair with margin 0 is undecided and left out.
    """
    tied = [p for p in preference.pairs if p.margin == 0 and p.num_tie > p.num_for + p.num_against]
    decided = preference.chosen_rejected()
    weight = 1.0 / max(1, len(tied) + len(decided))
    won = tuple(LabelledPair(i, j, 1.0, weight) for i, j, _ in decided)
    return won + tuple(LabelledPair(p.first, p.second, 0.5, weight, tie=1.0) for p in tied)


def soft_pairs_and_ties(preference: Preference) -> tuple[LabelledPair, ...]:
    """tie = share of votes for a tie, label = share of the other votes for the first; the weights sum to 1."""
    voted = [p for p in preference.pairs if p.num_for + p.num_against + p.num_tie > 0]
    return tuple(
        LabelledPair(
            p.first,
            p.second,
            p.num_for / decided if (decided := p.num_for + p.num_against) > 0 else 0.5,
            1.0 / len(voted),
            tie=p.num_tie / (decided + p.num_tie),
        )
        for p in voted
    )


def add_fail_pairs(pairs: tuple[LabelledPair, ...], ranks: tuple[int | None, ...]) -> tuple[LabelledPair, ...]:
    """Add a pair (other, F) for every completion marked F; the weights of all pairs sum to 1 again."""
    lost = [(i, j) for i, rank in enumerate(ranks) if rank is not None for j, f in enumerate(ranks) if f is None]
    if not lost:
        return pairs
    num = len(pairs) + len(lost)
    kept = tuple(replace(pair, weight=pair.weight * len(pairs) / num) for pair in pairs)
    return kept + tuple(LabelledPair(i, j, 1.0, 1.0 / num) for i, j in lost)
