"""Diversity counted by hand on texts short enough to count."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from preflab.evaluation.diversity import (
    distinct_difference,
    distinct_interval,
    distinct_n_left_out,
    repeated_share,
    without_overstating,
    words,
)
from preflab.evaluation.paired import Sheet, binary_as_shares, differences, figures, label_columns
from preflab.statistics.interval import NO_VARIATION


def test_words() -> None:
    assert words("I'm in, OK?") == ["i'm", "in", ",", "ok", "?"]
    assert words("") == []


def test_distinct_by_hand() -> None:
    # Bigrams: ab, bc | ab, ba. Four, of which ab, bc, ba are different. Unigrams: a b c a b a: 3 of 6.
    texts = ["abc", "aba"]
    assert distinct_n_left_out(texts, 2, [0, 1])[0] == 3 / 4
    assert distinct_n_left_out(texts, 1, [0, 1])[0] == 3 / 6
    assert distinct_n_left_out(["ssss"], 2, [0])[0] == 1 / 3
    assert math.isnan(distinct_n_left_out(["a"], 2, [0])[0])


def test_left_out_by_hand() -> None:
    # Prompts p: "abc"; q: "aba"; r: "abab" (ab, ba, ab). All: ab bc ab ba ab ba ab: 3 of 7.
    value, rest = distinct_n_left_out(["abc", "aba", "abab"], 2, ["p", "q", "r"])
    assert value == pytest.approx(3 / 7)
    # Without p: ab ba ab ba ab: 2 of 5; without q: ab bc ab ba ab: 3 of 5; without r: 3 of 4.
    assert rest == pytest.approx([2 / 5, 3 / 5, 3 / 4])


def test_left_out_where_little_is_left() -> None:
    # All n-grams are p's: without p none are left, which counts 0; without q nothing changes.
    value, rest = distinct_n_left_out(["aba", ""], 2, ["p", "q"])
    assert (value, rest.tolist()) == (1.0, [0.0, 1.0])
    assert distinct_n_left_out(["ab"], 2, ["p"])[0] == 1.0
    value, rest = distinct_n_left_out(["a", ""], 2, ["p", "q"])
    assert math.isnan(value)
    assert np.isnan(rest).tolist() == [True, True]


def test_left_out_equals_counting_again() -> None:
    """Of five prompts, where nothing is taken off the jackknife's variance."""
    generator = np.random.default_rng(0)
    texts = [tuple(generator.integers(0, 4, size=generator.integers(0, 7)).tolist()) for _ in range(10)]
    prompts = [i // 2 for i in range(10)]
    _, rest = distinct_n_left_out(texts, 2, prompts)

    def distinct_without(left: int) -> float:
        kept = [text for text, prompt in zip(texts, prompts, strict=True) if prompt != left]
        bigrams = [pair for text in kept for pair in pairwise(text)]
        return len(set(bigrams)) / len(bigrams)

    again = [distinct_without(left) for left in range(5)]
    assert rest == pytest.approx(again)


def test_what_clusters_share_is_taken_off_the_variance_by_hand() -> None:
    # Ten clusters, own = 1, 0, …, 0: mean 0.1, Σ (own − mean)² = 0.81 + 9 · 0.01 = 0.9; one n-gram of two clusters:
    # share = 1 − ½ · 1 / 0.9 = 4/9, so deviations shrink to 2/3.
    own = np.array([1.0] + [0.0] * 9)
    expected = [0.1 + 2 / 3 * 0.9, *[0.1 - 2 / 3 * 0.1] * 9]
    assert without_overstating(own, 1, 0) == pytest.approx(expected)
    assert without_overstating(own, 2, 1) == pytest.approx(expected), "one of three clusters puts one back"
    assert without_overstating(own, 0, 7) == pytest.approx(own), "never more than the jackknife"
    least = [0.1 + 0.5 * 0.9, *[0.1 - 0.5 * 0.1] * 9]
    assert without_overstating(own, 50, 0) == pytest.approx(least), "at least a quarter of the variance"
    assert without_overstating(np.ones(10), 3, 0) == pytest.approx(np.ones(10))
    both = without_overstating(np.stack([own, own]), [1, 0], [0, 7])
    assert both == pytest.approx(np.stack([expected, own]))


def test_shared_words_make_the_interval_of_distinct_n_narrower() -> None:
    # Ten prompts with a word of their own, the first with two: own = 2, 1, …, 1; five words of two prompts each.
    texts = [[f"own{i}", f"of two {i // 2}"] for i in range(10)]
    texts[0] = [*texts[0], "another"]
    value, rest = distinct_n_left_out(texts, 1, range(10))
    assert value == pytest.approx(16 / 21)
    share = 1 - 0.5 * 5 / 0.9  # below a quarter, the least
    assert share < 0.25
    own = 1.1 + 0.5 * np.array([0.9] + [-0.1] * 9)
    assert rest == pytest.approx((16 - own) / (21 - np.array([3] + [2] * 9)))


def test_distinct_interval_and_difference() -> None:
    varied = [f"{letter}bcdefg" for letter in "ahijklmnop"]
    same = [*["sssssss"] * 9, "ssssssz"]
    found = distinct_difference([f"{i}{text}{i}" for i, text in enumerate(varied)], same, 2, range(10))
    assert found.value < -0.3
    assert found.excludes_zero
    # Two sets that vary alike do not differ, whichever prompt is left out.
    assert distinct_difference(same, same, 2, range(10)).note == NO_VARIATION
    # Prompts in which nothing differs: no interval can be had.
    assert distinct_interval(["ab", "cd", "ef"], 2, [0, 1, 2]).note == NO_VARIATION


def test_repeats_within_a_completion() -> None:
    assert repeated_share("ababab", 2) == pytest.approx(1 - 2 / 5)
    assert repeated_share("abc", 2) == 0
    # By default 3-grams: aba bab aba bab.
    assert repeated_share("ababab") == pytest.approx(1 / 2)
    assert repeated_share("", 2) == 0


def sheet(model: str, gold: list[float], texts: tuple[str, ...]) -> Sheet:
    return Sheet(
        model,
        ("p", "p", "q", "q"),
        texts,
        num_tokens=(1, 1, 1, 3),
        sum_logps=(-1.0, -1.0, -1.0, -3.0),
        means={"judge/gold": np.array(gold)},
        shares={**label_columns(["rude", "kind", "kind", "kind"], ["rude", "kind"])},
    )


def test_figures_of_one_model() -> None:
    found = figures(sheet("sft", [0.0, 2.0, math.nan, 4.0], ("one two", "one", "two", "a b c")))
    assert found["judge/gold"].value == pytest.approx(2.0)
    assert found["label/rude"].value == pytest.approx(0.25)
    assert found["length/tokens"].value == pytest.approx(1.5)
    assert found["length/words"].value == pytest.approx(7 / 4)
    # Six nats over six tokens.
    assert found["entropy/token"].value == pytest.approx(1.0)
    # Bigrams: one two | a b, b c: all three different.
    assert found["distinct/2"].value == 1.0
    assert found["judge/gold"].num == 2


def test_differences_are_second_minus_first() -> None:
    before = sheet("sft", [0.0, 0.0, 1.0, 1.0], ("one two", "one", "two", "a b c"))
    after = sheet("ppo", [1.0, 1.0, 4.0, 4.0], ("one two", "one", "two", "a b c"))
    found = differences(before, after)
    # Prompt p gains 1, prompt q gains 3.
    assert found["judge/gold"].value == pytest.approx(2.0)
    assert found["judge/gold"].note == "no interval: too few (n = 2)"
    # Equal shares: (0 ∓ t √(1/4 / 4)) with t of one degree of freedom 12.7: the whole range.
    assert (found["label/rude"].low, found["label/rude"].high) == (-1.0, 1.0)
    other = Sheet("x", ("p", "q", "p", "q"), before.texts, before.num_tokens)
    with pytest.raises(ValueError, match="same prompts"):
        differences(before, other)


def test_spreads_are_reported_and_paired() -> None:
    # 0 and 2 have the spread 1, 0 and 6 the spread 3.
    before = Sheet("sft", ("p", "q"), ("a", "b"), spreads={"spread/tone": np.array([0.0, 2.0])})
    after = Sheet("ppo", ("p", "q"), ("a", "b"), spreads={"spread/tone": np.array([0.0, 6.0])})
    assert figures(after)["spread/tone"].value == pytest.approx(3.0)
    assert differences(before, after)["spread/tone"].value == pytest.approx(2.0)


def test_one_text_is_paired_with_several_completions() -> None:
    model = sheet("sft", [0.0, 2.0, 4.0, 6.0], ("one two", "one", "two", "a b c"))
    human = Sheet(
        "human", ("p", "q"), ("a a", "b"), means={"judge/gold": np.array([5.0, 7.0])},
        spreads={"spread/gold": np.array([5.0, 7.0])},
    ).repeat(2)  # fmt: skip
    assert human.prompt_ids == model.prompt_ids
    assert not model.repeat(1).repeated, "listed once, its texts have distinct-n"
    assert "distinct/1" in figures(model.repeat(1))
    found = figures(human)
    assert found["judge/gold"].value == 6.0
    assert found["judge/gold"].num == 2
    assert found["spread/gold"].value == pytest.approx(1.0)
    assert found["length/words"].value == 1.5
    assert not {"distinct/1", "length/tokens", "entropy/token"} & found.keys()
    # Prompt p: 5 − 1, prompt q: 7 − 5; mean 3.
    differs = differences(model, human)
    assert differs["judge/gold"].value == pytest.approx(3.0)
    assert not {"distinct/1", "length/tokens", "spread/gold"} & differs.keys()


def test_differences_in_variety_and_entropy_by_hand() -> None:
    prompts = ("p", "q", "r")
    before = Sheet("sft", prompts, ("a b", "a b", "c d"), num_tokens=(1, 1, 2), sum_logps=(-1.0, -2.0, -3.0))
    after = Sheet("ppo", prompts, ("a b", "c d", "e f"), num_tokens=(2, 2, 2), sum_logps=(-4.0, -4.0, -4.0))
    differs = differences(before, after)
    # Words: 4 different of 6, then 6 of 6; bigrams: 2 of 3, then 3 of 3. Both gain 1/3.
    for name in ("distinct/1", "distinct/2"):
        assert differs[name].value == pytest.approx(1 / 3)
        assert differs[name].note == "no interval: too few (n = 3)"
    # 6 nats over 4 tokens, then 12 over 6.
    assert differs["entropy/token"].value == pytest.approx(2 - 1.5)
    without = Sheet("x", prompts, before.texts, before.num_tokens)
    assert "entropy/token" not in differences(before, without)


def test_interval_of_a_difference_in_variety_by_hand() -> None:
    """Ten prompts: two of them say "a" before, nothing else is said twice: 9 of 10 words, then 10 of 10.

    Without one of the two the gain is 0, without another 1/9: mean 4/45. Σ = 2 (4/45)² + 8 (1/45)² = 40/2025, and the
    jackknife's SE² = 9/10 · 40/2025 = 4/225. One word of two prompts, own words 0, 0, 1, …, 1, Σ (own − 0.8)² = 1.6:
    11/16 = 1 − ½ / 1.6 of it is kept, SE² = 11/900. t of nine degrees of freedom is 2.262157.
    """
    prompts, tokens = tuple("0123456789"), (1,) * 10
    before = Sheet("sft", prompts, ("a", *"abcdefghi"), tokens)
    found = differences(before, Sheet("ppo", prompts, tuple("abcdefghij"), tokens))["distinct/1"]
    assert found.value == pytest.approx(0.1)
    half = 2.262157 * math.sqrt(11) / 30
    assert (found.low, found.high) == pytest.approx((0.1 - half, 0.1 + half), abs=1e-6)


def test_judges_that_say_yes_or_no_have_shares() -> None:
    one = sheet("sft", [0.0, 1.0, math.nan, 1.0], ("a",) * 4)
    other = replace(one, model="ppo", means={"judge/gold": np.zeros(4), "kl/exact": np.zeros(4)})
    shares = binary_as_shares({"sft": one, "ppo": other})
    assert [sorted(each.means) for each in shares.values()] == [[], ["kl/exact"]]
    assert all("judge/gold" in each.shares for each in shares.values())
    assert shares["sft"].shares["judge/gold"].tolist()[:2] == [0.0, 1.0]
    # All 0 in all models may be a share or a count: it stays a mean.
    alone = binary_as_shares({"ppo": other})["ppo"]
    assert sorted(alone.means) == ["judge/gold", "kl/exact"]
    half = sheet("sft", [0.0, 1.0, 0.5, 1.0], ("a",) * 4)
    assert list(binary_as_shares({"sft": half})["sft"].means) == ["judge/gold"]


def test_intervals_of_sheets_draw_from_the_seed() -> None:
    generator = np.random.default_rng(0)
    prompts = tuple(str(i) for i in range(30))
    tokens = tuple(range(1, 31))

    def drawn(name: str) -> Sheet:
        logps, gold = generator.normal(size=(2, 30))
        return Sheet(name, prompts, ("a",) * 30, tokens, tuple(logps.tolist()), {"judge/gold": gold})

    one, other = drawn("one"), drawn("other")
    for name in ("judge/gold", "entropy/token"):
        assert figures(one, seed=1)[name] == figures(one, seed=1)[name] != figures(one)[name]
        assert differences(one, other, seed=1)[name] != differences(one, other)[name]


def test_columns_of_a_sheet() -> None:
    columns = sheet("sft", [0.0, 1.0, 2.0, 3.0], ("one two", "a b a b a b", "two", "")).columns
    assert columns["judge/gold"].tolist() == [0, 1, 2, 3]
    assert columns["length/tokens"].tolist() == [1, 1, 1, 3]
    assert columns["length/words"].tolist() == [2, 6, 1, 0]
    assert columns["repeat/share"].tolist() == [0, 0.5, 0, 0]
