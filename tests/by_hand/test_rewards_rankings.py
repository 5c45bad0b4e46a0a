"""Rankings to labelled pairs and tokens, and the loss of a step, with numbers that can be checked on paper."""

from __future__ import annotations

from collections.abc import Sequence as Seq
from math import log
from typing import Any

import pytest
import torch

from preflab.models.tiny import build_tokenizer
from preflab.records import Completion, PairOutcome, Preference, Prompt
from preflab.rewards.rankings import (
    Encoder,
    LabelledPair,
    Ranking,
    add_fail_pairs,
    hard_pairs,
    make_rankings,
    soft_pairs,
)
from preflab.rewards.train import Denominators, pair_statistics, ranking_loss, step_figures, whole_ranking_batches
from preflab.training.batches import Sequence


def preference(pairs: Seq[tuple[int, int, float, float, float, float]], ranks: Seq[int | None]) -> Preference:
    ids = tuple(f"completion-{i}" for i in range(len(ranks)))
    return Preference.make("prompt-1", ids, tuple(ranks), pairs=tuple(PairOutcome(*pair) for pair in pairs))


def ranking(pairs: Seq[LabelledPair], lengths: Seq[int], prompt: str = "p") -> Ranking:
    """Completions of the given numbers of tokens, one prompt token each included."""
    sequences = tuple(Sequence((1,), (2,) * (length - 1)) for length in lengths)
    return Ranking(prompt, sequences, tuple(pairs), (1,) * len(lengths), tuple(lengths))


def test_winners_are_labels_one_and_ties_give_no_pair() -> None:
    # a against b: 3 to 1 for a; a against c: 1 to 2, so c; b against c: an even split decides nothing
    found = hard_pairs(preference([(0, 1, 3, 1, 0, 0.5), (0, 2, 1, 2, 0, 0.5), (1, 2, 2, 2, 1, 0.0)], (2, 3, 1)))
    assert found == (LabelledPair(0, 1, 1.0, 0.5), LabelledPair(2, 0, 1.0, 0.5))


def test_soft_labels_are_shares_of_decided_votes() -> None:
    # 3 to 1; 1 to 3 with four ties; ties alone; an even split, which a winner-takes-all label would leave out
    votes = [(0, 1, 3, 1, 0, 0.5), (0, 2, 1, 3, 4, 0.5), (1, 2, 0, 0, 5, 0.0), (1, 3, 2, 2, 0, 0.0)]
    third = pytest.approx(1 / 3)
    assert [(p.first, p.second, p.label, p.weight) for p in soft_pairs(preference(votes, (1, 2, 3, 4)))] == [
        (0, 1, 0.75, third),
        (0, 2, 0.25, third),
        (1, 3, 0.5, third),
    ]


def test_fails_lose_against_all_others_and_the_ranking_still_weighs_one() -> None:
    pairs = (LabelledPair(0, 1, 1.0, 1.0),)
    found = add_fail_pairs(pairs, (1, 2, None))
    # one old and two new pairs: a third each
    assert [(p.first, p.second, p.label) for p in found] == [(0, 1, 1.0), (0, 2, 1.0), (1, 2, 1.0)]
    assert [p.weight for p in found] == [pytest.approx(1 / 3)] * 3
    assert add_fail_pairs(pairs, (1, 2)) == pairs
    assert add_fail_pairs((), (None, None)) == ()


def test_drop_unpaired_keeps_completions_of_pairs() -> None:
    kept = ranking([LabelledPair(2, 0, 1.0, 1.0)], [3, 4, 5]).drop_unpaired()
    assert [len(s) for s in kept.sequences] == [3, 5]
    assert kept.pairs == (LabelledPair(1, 0, 1.0, 1.0),)


def test_the_loss_of_a_step_by_hand() -> None:
    # Scores ln 3, 0 | 0, 0: σ(ln 3) = 3/4 and σ(0) = 1/2. First ranking: a ≻ b, weight 1. Second: label ¾, weight ½.
    rankings = [ranking([LabelledPair(0, 1, 1.0, 1.0)], [2, 2]), ranking([LabelledPair(0, 1, 0.75, 0.5)], [2, 2])]
    scores = torch.tensor([log(3), 0.0, 0.0, 0.0])
    step = Denominators.of(rankings)
    expected = (log(4 / 3) + 0.5 * log(2)) / 1.5
    assert ranking_loss(scores, rankings, step).item() == pytest.approx(expected, abs=1e-6)
    # score_l2 adds its weight times the mean square over the four completions
    assert ranking_loss(scores, rankings, step, 0.1).item() == pytest.approx(expected + 0.1 * log(3) ** 2 / 4, abs=1e-6)
    # Parts add up: each ranking alone, with the denominators of both.
    parts = [ranking_loss(scores[2 * i : 2 * i + 2], [rankings[i]], step, 0.1).item() for i in range(2)]
    assert sum(parts) == pytest.approx(expected + 0.1 * log(3) ** 2 / 4, abs=1e-6)


def test_figures_of_a_step_by_hand() -> None:
    pairs = [LabelledPair(0, 1, 1.0, 0.5), LabelledPair(0, 2, 0.25, 0.25), LabelledPair(1, 2, 0.5, 0.25)]
    rankings = [ranking(pairs, [2, 2, 2])]
    scores = torch.tensor([1.0, 1.0, 4.0])
    figures = step_figures(torch.cat([torch.tensor([7.0], dtype=torch.float64), pair_statistics(scores, rankings)]))
    # a ≻ b with equal scores: half right, margin 0; c ≻ a by 3; the even pair is not counted
    assert figures["accuracy/train"] == pytest.approx(0.75)
    assert figures["score/margin"] == pytest.approx(1.5)
    # scores 1, 1, 4: mean 2, variance 2
    assert figures["score/std"] == pytest.approx(2**0.5)
    assert figures["loss/total"] == 7.0


def test_micro_batches_take_whole_rankings_within_the_budget() -> None:
    rankings = [ranking([], lengths) for lengths in ([3, 3], [9, 2], [4, 4, 4], [30, 1])]
    # 30 × 2 > 24 stands alone; 9 × 2 = 18, with three more 9 × 5 > 24; 4 × (3 + 2) = 20
    assert whole_ranking_batches(rankings, 24) == [[3], [1], [2, 0]]
    assert whole_ranking_batches(rankings, 1) == [[3], [1], [2], [0]]


def test_long_sequences_lose_their_beginning_but_not_their_first_token() -> None:
    encoder = Encoder(None, causal=True, max_tokens=5)
    assert encoder.truncate(Sequence((1, 2, 3), (4, 5))) == Sequence((1, 2, 3), (4, 5))
    # seven tokens: 1 stays, 2 and 3 go
    assert encoder.truncate(Sequence((1, 2, 3, 4), (5, 6, 7))) == Sequence((1, 4), (5, 6, 7))
    # the completion alone is too long: its end stays, and the marks of what the policy wrote with it
    assert encoder.truncate(Sequence((1, 2), (3, 4, 5, 6, 7, 8))) == Sequence((1,), (5, 6, 7, 8))
    marked = Sequence((1, 2), (3, 4, 5, 6, 7, 8), (True, True, True, False, True, True))
    assert encoder.truncate(marked) == Sequence((1,), (5, 6, 7, 8), (True, False, True, True))


def test_sampled_tokens_are_kept_and_other_text_is_encoded() -> None:
    tokenizer = build_tokenizer(["ask me : yes no"], context=16)
    eos = tokenizer.eos_token_id
    yes, no = (tokenizer.convert_tokens_to_ids(word) for word in ("yes", "no"))
    encoder = Encoder(tokenizer, causal=True, max_tokens=16)
    prompt = Prompt.make("ask me :")
    # Two tokenizations of one text: the sampled one wins, also without an end token after a cut.

    def encoded(text: str, **other: Any) -> Sequence:
        return encoder(prompt, Completion.make(prompt.id, text, "m", **other))

    assert encoded("yes no", finish_reason="length", token_ids=(yes, no)).completion_ids == (yes, no)
    assert encoded("yes no").completion_ids == (yes, no, eos)
    assert encoded("yes no", token_ids=(9999,)).completion_ids == (yes, no, eos)
    assert encoded("yes no", token_ids=(no, eos)).completion_ids == (yes, no, eos)
    assert encoded("yes").prompt_ids[0] == tokenizer.bos_token_id


def test_records_become_rankings_with_fails_scored_but_not_paired() -> None:
    tokenizer = build_tokenizer(["ask me : yes no"], context=16)
    prompt = Prompt.make("ask me :")
    completions = [Completion.make(prompt.id, text, "m", index=i) for i, text in enumerate(["yes", "no", "me me me"])]
    record = Preference.make(
        prompt.id, tuple(c.id for c in completions), (1, 2, None), pairs=(PairOutcome(0, 1, 2.0, 1.0, 0.0, 1.0),)
    )
    arguments = ([record], {prompt.id: prompt}, {c.id: c for c in completions}, Encoder(tokenizer, True, 16))
    (plain,) = make_rankings(*arguments)
    assert (len(plain.sequences), plain.decided, plain.ranks) == (3, ((0, 1),), (1, 2, None))
    assert plain.lengths == (3, 2, 8)
    (failing,) = make_rankings(*arguments, fail_as_rejected=True)
    assert failing.decided == ((0, 1), (0, 2), (1, 2))
    (soft,) = make_rankings(*arguments, soft_labels=True)
    assert soft.pairs[0].label == pytest.approx(2 / 3)
