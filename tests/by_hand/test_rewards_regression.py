"""Learning ratings, by hand: the loss, the scales, the one head that several become, what the report says."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
import torch

from preflab.errors import PreflabError
from preflab.models.heads import CriteriaHead, ScalarHead
from preflab.records import Completion, Preference, Prompt
from preflab.rewards.rating_report import overall_groups, rating_quality
from preflab.rewards.ratings import Rated, Scale, choose_criteria, fit_scales, make_rated
from preflab.rewards.regression import rating_loss, standardise_ratings
from preflab.training.batches import TokenSequence

NAN = float("nan")


def rated(prompt: str, *ratings: float | None) -> Rated:
    return Rated(prompt, TokenSequence((1,), (2,)), ratings, 5)


def test_rating_loss_skips_unrated_entries_and_divides_by_the_whole_step() -> None:
    # (1 − 3)² + (2 − 2)² + (0 − 1)² = 5 of three ratings; a step of ten ratings divides by ten.
    scores = torch.tensor([[1.0, 2.0], [0.0, 9.0]], requires_grad=True)
    targets = torch.tensor([[3.0, 2.0], [1.0, NAN]])
    loss = rating_loss(scores, targets, 10.0)
    assert loss.item() == pytest.approx(0.5)
    loss.backward()
    # 2 (score − target) / 10, and nothing where nobody rated
    assert scores.grad is not None
    torch.testing.assert_close(scores.grad, torch.tensor([[-0.4, 0.0], [-0.2, 0.0]]))


def test_standardised_ratings_have_mean_0_and_variance_1() -> None:
    rows = [rated("p", 1, 4), rated("p", 3, None), rated("q", 5, 2)]
    scales = fit_scales(rows, ["help", "harm"])
    # help: mean 3, variance (4 + 0 + 4) / 3; harm: mean 3, variance 1
    assert scales == [Scale(3.0, math.sqrt(8 / 3)), Scale(3.0, 1.0)]
    targets = standardise_ratings(rows, scales)
    assert targets[:, 1].tolist()[::2] == [1.0, -1.0]
    assert math.isnan(targets[1, 1])
    assert targets[0, 0].item() == pytest.approx(-2 / math.sqrt(8 / 3))


def test_equal_ratings_are_refused() -> None:
    with pytest.raises(PreflabError, match="'help': 2 ratings, all equal"):
        fit_scales([rated("p", 4), rated("q", 4)], ["help"])
    with pytest.raises(PreflabError, match="'help': 0 ratings"):
        fit_scales([rated("p", None)], ["help"])


def test_criteria_heads_combine_into_one() -> None:
    heads = CriteriaHead(3, 2, seed=1)
    hidden = torch.randn(5, 3, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        heads.linear.bias.copy_(torch.tensor([1.0, -2.0]))
    # Weights 3 and −1: (3 · first − second) / 4.
    expected = (3 * heads(hidden)[:, 0] - heads(hidden)[:, 1]) / 4
    torch.testing.assert_close(heads.combined([3.0, -1.0]).raw(hidden), expected)
    assert isinstance(heads.combined([1.0, 0.0]), ScalarHead)


def preference(scores: Mapping[str, tuple[float | None, ...]]) -> Preference:
    return Preference.make("prompt-1", ("a", "b"), (1, 2), scores=scores)


def test_choose_criteria_takes_the_wanted_or_all_rated() -> None:
    group = preference({"help": (1.0, 2.0), "never": (None, None), "brief": (3.0, None)})
    assert choose_criteria([group], {}) == {"brief": 1.0, "help": 1.0}
    assert choose_criteria([group], {"help": 2.0}) == {"help": 2.0}
    with pytest.raises(PreflabError, match="'halp': nobody rated it") as raised:
        choose_criteria([group], {"halp": 1.0})
    assert "help" in raised.value.expected
    with pytest.raises(PreflabError, match="preferences without ratings"):
        choose_criteria([preference({})], {})


def test_every_completion_with_a_rating_is_a_row() -> None:
    """The third has none; criteria are in the order asked for, and one that a group lacks is nobody's."""
    ids = ("a", "b", "c")
    group = Preference.make("q", ids, (1, 2, 3), scores={"help": (1.0, None, None), "brief": (3.0, 4.0, None)})
    completions = {name: Completion.make("q", "words" * place, "m") for place, name in enumerate(ids, 1)}
    encoder: Any = lambda prompt, completion: (prompt.text, completion.text)  # noqa: E731
    prompt = Prompt.make("ask")
    found = make_rated([group], {"q": prompt}, completions, encoder, ["brief", "help", "kind"])
    assert found == [
        Rated(prompt.id, ("ask", "words"), (3.0, 1.0, None), 5),  # type: ignore[arg-type]
        Rated(prompt.id, ("ask", "wordswords"), (4.0, None, None), 10),  # type: ignore[arg-type]
    ]


def test_errors_are_in_the_ratings_own_units() -> None:
    # Predictions 3 + 2 · score: 1, 5, 3 for ratings 2, 5, 3: squared errors 1, 0, 0. Always 3: 1, 4, 0.
    rows = [rated("p", 2), rated("p", 5), rated("q", 3)]
    found = rating_quality(rows, [[-1.0], [1.0], [0.0]], ["help"], [Scale(3.0, 2.0)])["help"]
    assert (found["squared_error"]["value"], found["squared_error"]["num"]) == (pytest.approx(1 / 3), 2)
    assert found["rmse"] == pytest.approx(math.sqrt(1 / 3))
    assert found["rmse_of_mean"] == pytest.approx(math.sqrt(5 / 3))
    assert found["explained"] == pytest.approx(1 - 1 / 5)
    assert (found["explained_interval"]["value"], found["explained_interval"]["num"]) == (pytest.approx(1 - 1 / 5), 2)
    # Only p has two ratings that differ, and they are in the right order.
    assert (found["tau"]["value"], found["tau"]["num"]) == (pytest.approx(1.0), 1)


def test_pairs_follow_the_weighted_rating() -> None:
    # Scale 1 each: help − 2 · harm: 4 − 2 = 2, 5 − 8 = −3, 2 − 0 = 2: first and third tie above the second.
    rows = [rated("p", 4, 1), rated("p", 5, 4), rated("p", 2, 0), rated("q", None, 3)]
    groups = overall_groups(rows, [Scale(0.0, 1.0)] * 2, {"help": 1.0, "harm": -2.0}, [0.5, 0.1, 0.2, 9.0])
    assert [(g.prompt_id, g.pairs, g.ranks, g.scores) for g in groups] == [
        ("p", ((0, 1), (2, 1)), (1, 3, 1), (0.5, 0.1, 0.2))
    ]


def test_criteria_nobody_rated_have_no_figures() -> None:
    found = rating_quality([rated("p", None)], [[0.5]], ["help"], [Scale(3.0, 2.0)])["help"]
    assert (found["num"], found["squared_error"], found["explained"], found["explained_interval"], found["tau"]) == (
        0, None, 0.0, None, None,
    )  # fmt: skip
    assert math.isnan(found["rmse"])
    assert math.isnan(found["rmse_of_mean"])


def test_figures_of_two_criteria_are_those_of_their_own_columns() -> None:
    """help is predicted as 1, 3 and rated 1, 3; harm as 4, 4, 4, of which 4, 2 and 5 were given."""
    rows = [rated("p", 1, 4), rated("p", 3, 2), rated("q", None, 5)]
    scores = [[-1.0, 0.0], [0.0, 0.0], [7.0, 0.0]]
    found = rating_quality(rows, scores, ["help", "harm"], [Scale(3.0, 2.0), Scale(4.0, 1.0)])
    assert (found["help"]["num"], found["help"]["rmse"], found["help"]["explained"]) == (2, 0, 1)
    assert found["harm"]["rmse"] == found["harm"]["rmse_of_mean"] == pytest.approx(math.sqrt(5 / 3))
    assert found["harm"]["explained"] == 0
    assert (found["harm"]["tau"]["value"], found["harm"]["tau"]["num"]) == (0, 1)  # one score for both orders nothing


def test_exact_ratings_of_the_mean_leave_nothing_to_explain() -> None:
    found = rating_quality([rated("p", 3), rated("q", 3)], [[0.5], [0.5]], ["help"], [Scale(3.0, 2.0)])["help"]
    assert (found["rmse"], found["rmse_of_mean"], found["explained"], found["explained_interval"]) == (1, 0, 0, None)
    assert found["tau"] is None


def test_small_errors_of_the_mean_are_explained_too() -> None:
    """Rated 3½ where the mean is 3 and 3¼ is predicted: of an error of ¼ a quarter of it is left."""
    found = rating_quality([rated("p", 3.5)], [[0.25]], ["help"], [Scale(3.0, 1.0)])["help"]
    assert (found["rmse"], found["rmse_of_mean"], found["explained"]) == (0.25, 0.5, 0.75)
    assert (found["explained_interval"]["value"], found["explained_interval"]["num"]) == (0.75, 1)


def test_tau_is_the_mean_over_prompts() -> None:
    """p: of three pairs two in the right order, (2 − 1) / 3; q: the wrong order, −1."""
    rows = [rated("p", 1), rated("p", 2), rated("p", 3), rated("q", 1), rated("q", 2)]
    scores = [[0.1], [0.3], [0.2], [0.5], [0.4]]
    found = rating_quality(rows, scores, ["help"], [Scale(0.0, 1.0)])["help"]
    assert (found["tau"]["value"], found["tau"]["num"]) == (pytest.approx((1 / 3 - 1) / 2), 2)


def test_combined_ratings_are_on_the_scales_of_their_criteria() -> None:
    """(help − 1) / 2 − 2 (harm − 3) / ½: 2 − 0, 1 + 4 and 4 − 0; undivided or multiplied the third would be best."""
    rows = [
        replace(rated("p", help_, harm), length=length) for help_, harm, length in ((5, 3, 7), (3, 2, 8), (9, 3, 9))
    ]
    (group,) = overall_groups(rows, [Scale(1.0, 2.0), Scale(3.0, 0.5)], {"help": 1.0, "harm": -2.0}, [0.1, 0.2, 0.3])
    assert group.pairs == ((1, 0), (1, 2), (2, 0))
    assert (group.ranks, group.scores, group.lengths) == ((3, 1, 2), (0.1, 0.2, 0.3), (7, 8, 9))
