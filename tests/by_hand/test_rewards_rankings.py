"""Rankings to labelled pairs and tokens, and the loss of a step, with numbers that can be checked on paper."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from math import exp, log
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from transformers import BatchEncoding

from preflab.models.tiny import build_tokenizer
from preflab.records import Completion, PairOutcome, Preference, Prompt
from preflab.rewards import train
from preflab.rewards.objectives import Nuisance
from preflab.rewards.rankings import (
    Encoder,
    LabelledPair,
    Ranking,
    add_fail_pairs,
    hard_pairs,
    hard_pairs_and_ties,
    make_rankings,
    soft_pairs,
    soft_pairs_and_ties,
)
from preflab.rewards.train import (
    Denominators,
    accumulate,
    pair_statistics,
    ranking_loss,
    step_figures,
    whole_ranking_batches,
)
from preflab.settings.learning import OptimiserSettings, RewardSettings
from preflab.training.batches import TokenBatch, TokenSequence
from preflab.training.joined_rows import join_rows


def preference(pairs: Sequence[tuple[int, int, float, float, float, float]], ranks: Sequence[int | None]) -> Preference:
    ids = tuple(f"completion-{i}" for i in range(len(ranks)))
    return Preference.make("prompt-1", ids, tuple(ranks), pairs=tuple(PairOutcome(*pair) for pair in pairs))


def ranking(pairs: Sequence[LabelledPair], lengths: Sequence[int], prompt: str = "p") -> Ranking:
    """Completions of the given numbers of tokens, one prompt token each included."""
    sequences = tuple(TokenSequence((1,), (2,) * (length - 1)) for length in lengths)
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


def test_weights_of_votes_may_be_parts_of_one() -> None:
    """Half a vote for a over b, three quarters of a tie of a and c, none on b and c, d over a by ½ : ¼."""
    votes = [(0, 1, 0.5, 0, 0, 0.5), (0, 2, 0, 0, 0.75, 0.0), (1, 2, 0, 0, 0, 0.0), (0, 3, 0.25, 0.5, 0, 0.5)]
    given, third = preference(votes, (2, 3, 2, 1)), pytest.approx(1 / 3)
    assert [tuple(vars(pair).values()) for pair in soft_pairs(given)] == [(0, 1, 1, 0.5, 0), (0, 3, third, 0.5, 0)]
    assert [tuple(vars(pair).values()) for pair in soft_pairs_and_ties(given)] == [
        (0, 1, 1, third, 0), (0, 2, 0.5, third, 1), (0, 3, third, third, 0),
    ]  # fmt: skip
    assert [tuple(vars(pair).values()) for pair in hard_pairs_and_ties(given)] == [
        (0, 1, 1, third, 0), (3, 0, 1, third, 0), (0, 2, 0.5, third, 1),
    ]  # fmt: skip
    assert hard_pairs_and_ties(preference([(0, 1, 1, 1, 0, 0.0)], (1, 1))) == ()


def test_fails_lose_against_all_others_and_the_ranking_still_weighs_one() -> None:
    pairs = (LabelledPair(0, 1, 1.0, 1.0),)
    found = add_fail_pairs(pairs, (1, 2, None))
    # one old and two new pairs: a third each
    assert [(p.first, p.second, p.label) for p in found] == [(0, 1, 1.0), (0, 2, 1.0), (1, 2, 1.0)]
    assert [p.weight for p in found] == [pytest.approx(1 / 3)] * 3
    # two old pairs of a half each and two new ones: a quarter each
    two = add_fail_pairs((LabelledPair(0, 1, 1.0, 0.5), LabelledPair(0, 2, 1.0, 0.5)), (1, None, 2))
    assert [(p.first, p.second, p.weight) for p in two] == [(0, 1, 0.25), (0, 2, 0.25), (0, 1, 0.25), (2, 1, 0.25)]
    assert add_fail_pairs(pairs, (1, 2)) == pairs
    assert add_fail_pairs((), (None, None)) == ()


def test_drop_unpaired_keeps_completions_of_pairs() -> None:
    kept = ranking([LabelledPair(2, 0, 1.0, 1.0)], [3, 4, 5]).drop_unpaired()
    assert [len(s) for s in kept.sequences] == [3, 5]
    assert kept.pairs == (LabelledPair(1, 0, 1.0, 1.0),)


def test_completions_left_in_are_numbered_anew() -> None:
    given = replace(ranking([LabelledPair(2, 1, 1.0, 1.0)], [3, 4, 5]), ranks=(1, None, 2))
    kept = given.drop_unpaired()
    assert kept.pairs == (LabelledPair(1, 0, 1.0, 1.0),)
    assert kept.ranks == (3, 2)  # the F takes the rank after the last
    assert kept.lengths == (4, 5)


def test_decided_pairs_name_the_winner_first() -> None:
    pairs = [LabelledPair(0, 1, 0.75, 0.3), LabelledPair(0, 2, 0.25, 0.3), LabelledPair(1, 2, 0.5, 0.4)]
    given = ranking(pairs, [2, 2, 2])
    assert given.decided == ((0, 1), (2, 0))
    assert given.weight == pytest.approx(1)


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


def test_margins_are_of_the_winner_and_spreads_may_be_small() -> None:
    """a ≻ b by ½ and d ≻ c by 0.1: mean margin 0.3. Scores 0.5, 0, 0.3, 0.4: mean 0.3, variance 0.14 / 4."""
    rankings = [ranking([LabelledPair(0, 1, 1.0, 1.0)], [2, 2]), ranking([LabelledPair(0, 1, 0.0, 1.0)], [2, 2])]
    sums = pair_statistics(torch.tensor([0.5, 0.0, 0.3, 0.4]), rankings)
    figures = step_figures(torch.cat([torch.zeros(1, dtype=torch.float64), sums]))
    assert (figures["accuracy/train"], figures["score/margin"]) == pytest.approx((1, 0.3))
    assert figures["score/std"] == pytest.approx(0.035**0.5)


class LengthModel(torch.nn.Module):
    """Scores a sequence by a learned factor, at first 1, times its last token."""

    def __init__(self) -> None:
        super().__init__()
        self.factor = torch.nn.Parameter(torch.ones(()))

    def forward(self, batch: TokenBatch, roles: tuple[str, ...]) -> Any:
        last = [ids[mask][-1] for ids, mask in zip(batch.completion_ids, batch.completion_mask, strict=True)]
        return {"reward": SimpleNamespace(rewards=self.factor * torch.stack(last).float())}


def step_of(rankings: Sequence[Ranking], budget: int, **other: Any) -> tuple[LengthModel, dict[str, float]]:
    """A model with the gradient of a step on one process, and the step's figures."""
    model, nuisance = LengthModel(), other.pop("nuisance", None)
    optimiser = OptimiserSettings(tokens_per_micro_batch=budget)
    settings = RewardSettings(model="-", preferences="-", optimiser=optimiser, **other)
    alone: Any = SimpleNamespace(device="cpu", process_index=0, num_processes=1, backward=lambda loss: loss.backward())
    return model, accumulate(
        model, rankings, settings, collate=partial(join_rows, pad_id=0), accelerator=alone, nuisance=nuisance
    )


def scored(*last: int, pair: LabelledPair) -> Ranking:
    """Completions of one token each beside a prompt token, which `LengthModel` scores as they are."""
    sequences = tuple(TokenSequence((1,), (token,)) for token in last)
    return Ranking("p", sequences, (pair,), (1,) * len(last), (1,) * len(last))


@pytest.mark.parametrize("budget", [64, 4, 1])
def test_step_takes_the_likelihood_and_what_it_learns_beside(budget: int) -> None:
    """A tie of 2 and 0 with ν = 1: weights e, 1 and 1/e, of which the tie has 1; and a win of 2 over 0.

    loss = ½ (ln s + ln s − 1) with s = e + 1 + 1/e. With d = 2 f the gradients of ln s are (e − 1/e) / s by the factor
    and 1 / s by log ν, less 1 for each tie and by the factor for each win.
    """
    given = [scored(2, 0, pair=LabelledPair(0, 1, 0.5, 1.0, tie=1.0)), scored(2, 0, pair=LabelledPair(0, 1, 1.0, 1.0))]
    nuisance = Nuisance(learns_ties=True, length_scale=None)
    model, figures = step_of(given, budget, likelihood="davidson", nuisance=nuisance)
    total = exp(1) + 1 + exp(-1)
    assert figures["loss/total"] == pytest.approx(log(total) - 0.5)
    assert model.factor.grad is not None
    assert nuisance.log_nu is not None
    assert nuisance.log_nu.grad is not None
    assert model.factor.grad.item() == pytest.approx((exp(1) - exp(-1)) / total - 0.5, abs=1e-6)
    assert nuisance.log_nu.grad.item() == pytest.approx(1 / total - 0.5, abs=1e-6)


def test_figures_of_micro_batches_are_summed_in_double_precision() -> None:
    """Squares of 4096 and 1 sum to 2²⁴ + 1, which single precision rounds to 2²⁴."""
    given = [scored(4096, 0, pair=LabelledPair(0, 1, 1.0, 1.0)), scored(1, 0, pair=LabelledPair(0, 1, 1.0, 1.0))]
    _, figures = step_of(given, 4)
    assert figures["score/std"] == pytest.approx(((2**24 + 1) / 4 - (4097 / 4) ** 2) ** 0.5, rel=1e-10)


def test_micro_batches_take_whole_rankings_within_the_budget() -> None:
    rankings = [ranking([], lengths) for lengths in ([3, 3], [9, 2], [4, 4, 4], [30, 1])]
    # 30 × 2 > 24 stands alone; 9 × 2 = 18, with three more 9 × 5 > 24; 4 × (3 + 2) = 20
    assert whole_ranking_batches(rankings, 24) == [[3], [1], [2, 0]]
    assert whole_ranking_batches(rankings, 1) == [[3], [1], [2], [0]]


def test_long_sequences_lose_their_beginning_but_not_their_first_token() -> None:
    encoder = Encoder(None, causal=True, max_tokens=5)
    assert encoder.truncate(TokenSequence((1, 2, 3), (4, 5))) == TokenSequence((1, 2, 3), (4, 5))
    assert encoder.truncate(TokenSequence((), (1, 2, 3, 4, 5))) == TokenSequence((), (1, 2, 3, 4, 5))
    assert encoder.truncate(TokenSequence((1, 2, 3), (4, 5, 6))) == TokenSequence((1, 3), (4, 5, 6))
    # seven tokens: 1 stays, 2 and 3 go
    assert encoder.truncate(TokenSequence((1, 2, 3, 4), (5, 6, 7))) == TokenSequence((1, 4), (5, 6, 7))
    # the completion alone is too long: its end stays, and the marks of what the policy wrote with it
    assert encoder.truncate(TokenSequence((1, 2), (3, 4, 5, 6, 7, 8))) == TokenSequence((1,), (5, 6, 7, 8))
    marked = TokenSequence((1, 2), (3, 4, 5, 6, 7, 8), (True, True, True, False, True, True))
    assert encoder.truncate(marked) == TokenSequence((1,), (5, 6, 7, 8), (True, False, True, True))


@pytest.mark.parametrize(
    ("limits", "expected"),
    [
        ((99, 5, 3), TokenSequence((1, 2, 3, 4, 5), (6, 7, 8), (True, False, True))),
        ((99, 3, 2), TokenSequence((1, 4, 5), (7, 8), (False, True))),
        ((99, 1, 3), TokenSequence((1,), (6, 7, 8), (True, False, True))),
        ((4, 3, 2), TokenSequence((1, 5), (7, 8), (False, True))),  # room for two beside the completion
        ((2, 3, 2), TokenSequence((1,), (8,), (True,))),  # a token of each
    ],
)
def test_encoder_decoders_lose_tokens_of_each_text(limits: tuple[int, int, int], expected: TokenSequence) -> None:
    """Limits of both, of the prompt and of the completion: the first prompt token stays, and the last ones of both."""
    encoder = Encoder(None, True, limits[0], apart=True, max_prompt=limits[1], max_completion=limits[2])
    row = TokenSequence((1, 2, 3, 4, 5), (6, 7, 8), (True, False, True))
    assert encoder.truncate(row) == expected
    unmarked = TokenSequence(expected.prompt_ids, expected.completion_ids)
    assert encoder.truncate(TokenSequence(row.prompt_ids, row.completion_ids)) == unmarked


def test_sampled_tokens_are_kept_and_other_text_is_encoded() -> None:
    tokenizer = build_tokenizer(["ask me : yes no"], context=16)
    eos = tokenizer.eos_token_id
    yes, no = (tokenizer.convert_tokens_to_ids(word) for word in ("yes", "no"))
    encoder = Encoder(tokenizer, causal=True, max_tokens=16)
    prompt = Prompt.make("ask me :")
    # Two tokenizations of one text: the sampled one wins, also without an end token after a cut.

    def encoded(text: str, **other: Any) -> TokenSequence:
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


class Framing:
    """Stands for an encoder's tokenizer: [CLS] prompt [SEP] completion [SEP], a token per word."""

    def __call__(self, prompt: str, text: str, **_: Any) -> BatchEncoding:
        ids = [1, *(10 for _ in prompt.split()), 2, *(20 for _ in text.split()), 2]
        parts = [None, *(0 for _ in prompt.split()), None, *(1 for _ in text.split()), None]
        encoding = BatchEncoding({"input_ids": ids})
        encoding.sequence_ids = lambda _: parts  # type: ignore[method-assign]
        return encoding


def test_frame_without_a_prompt_counts_one_token_as_prompt() -> None:
    def bare(prompt: str, text: str, **_: Any) -> BatchEncoding:
        encoding = BatchEncoding({"input_ids": [20, 21, 22]})
        encoding.sequence_ids = lambda _: [1, 1, 1]  # type: ignore[method-assign]
        return encoding

    given = Prompt.make("")
    found = Encoder(bare, causal=False, max_tokens=9)(given, Completion.make(given.id, "yes", "m"))
    assert found == TokenSequence((20,), (21, 22))


@pytest.mark.parametrize(
    ("prompt", "text", "max_tokens", "expected"),
    [
        ("ask me", "yes no", 9, TokenSequence((1, 10, 10, 2), (20, 20, 2))),
        ("ask me", "yes no", 6, TokenSequence((1, 10, 2), (20, 20, 2))),
        ("ask me", "", 9, TokenSequence((1, 10, 10, 2), (2,))),  # without a word of the completion its end alone
    ],
)
def test_encoder_reads_the_frame_of_its_tokenizer(prompt: str, text: str, max_tokens: int, expected: Sequence) -> None:
    encoder = Encoder(Framing(), causal=False, max_tokens=max_tokens)
    given = Prompt.make(prompt)
    completion = Completion.make(given.id, text, "m")
    assert encoder(given, completion) == encoder.encode_written(given, completion) == expected


@pytest.mark.parametrize(
    ("soft_labels", "ties", "expected"),
    [
        (False, False, [(0, 1, 1, 1, 0)]),
        (True, False, [(0, 1, 0.75, 0.5, 0), (1, 2, 0.5, 0.5, 0)]),
        (False, True, [(0, 1, 1, 0.5, 0), (1, 2, 0.5, 0.5, 1)]),
        (True, True, [(0, 1, 0.75, 0.5, 0.2), (1, 2, 0.5, 0.5, 0.6)]),
    ],
)
def test_pairs_by_labels_and_ties(soft_labels: bool, ties: bool, expected: list[tuple[float, ...]]) -> None:
    """a against b 3 : 1 with one tie; b against c 1 : 1 with three ties, which is a tie."""
    record = preference([(0, 1, 3, 1, 1, 1.0), (1, 2, 1, 1, 3, 0.0)], (1, 2, 2))
    completions = {name: Completion.make("prompt-1", "yes", "m") for name in record.completion_ids}
    encoder = Encoder(build_tokenizer(["yes"], context=16), causal=True, max_tokens=16)
    arguments = ([record], {"prompt-1": Prompt.make("yes")}, completions, encoder)
    (found,) = make_rankings(*arguments, soft_labels=soft_labels, ties=ties)
    if not soft_labels and not ties:
        assert make_rankings(*arguments) == [found], "labels of winners, and no ties, unless asked for"
    assert [(p.first, p.second, p.label, p.weight, p.tie) for p in found.pairs] == [
        pytest.approx(row) for row in expected
    ]


def test_what_explains_judgments_besides_the_scores_learns_at_its_own_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    own, beside = torch.nn.Parameter(torch.zeros(2)), torch.nn.Parameter(torch.zeros(1))
    trunk: Any = SimpleNamespace(parameters_of=lambda role: [("own", own), ("beside", beside)])
    nuisance: Any = SimpleNamespace(parameters=lambda: [beside])
    groups: list[Any] = []

    class Seen(Exception):
        pass

    def note(given: Any, settings: OptimiserSettings, model: Any) -> None:
        groups.extend(given)
        raise Seen

    monkeypatch.setattr(train, "make_optimiser", note)
    monkeypatch.setattr(train, "add_nuisance", lambda *_: nuisance)
    rows = [ranking([LabelledPair(0, 1, 1.0, 1.0)], [3, 4])]
    settings = RewardSettings(
        model="-", preferences="-", nuisance_learning_rate=0.5, optimiser=OptimiserSettings(learning_rate=0.25)
    )
    nothing: Any = None
    with pytest.raises(Seen):
        train.train_reward_model(
            trunk, rows, settings, num_steps=1, folder=Path(), seed=0, accelerator=nothing, name="rm"
        )
    assert [([id(p) for p in parameters], rate) for parameters, rate in groups] == [
        ([id(own)], 0.25), ([id(beside)], 0.5)
    ]  # fmt: skip
