"""Python functions as rewards: how they are found and called, and that what they do wrong is said, never made a 0."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from preflab.errors import PreflabError
from preflab.records import Prompt
from preflab.rewards.combine import Term, WeightedSum
from preflab.rewards.functions import FunctionScorer, load_function, reward_function
from preflab.stages.common.evaluated import classes_of
from preflab.training.protocols import Scores, ScoringItem


def item(prompt: str, text: str, **columns: Any) -> ScoringItem:
    return ScoringItem(Prompt.make(prompt, columns=columns), text)


def test_single_and_batched_functions_give_equal_rewards() -> None:
    def single(completion: str) -> int:
        return len(completion)

    def batched(completions: list[str]) -> list[int]:
        return [len(completion) for completion in completions]

    for function in (single, batched):
        assert reward_function(function, "f")(["p", "q"], ["abc", "a"]) == [3.0, 1.0]


def test_columns_are_given_by_name() -> None:
    def exact(prompt: str, completion: str, answer: str, unit: str = "kg") -> float:
        return float(completion == answer + unit)

    scorer = FunctionScorer(reward_function(exact, "exact"))
    items = [item("3 + 4", "7kg", answer="7", unused=1), item("1 + 1", "3kg", answer="2", unused=1)]
    assert scorer.score(items).total.tolist() == [1.0, 0.0]
    items = [item("3 + 4", "7g", answer="7", unit="g")]
    assert scorer.score(items).total.tolist() == [1.0]


def test_a_missing_column_is_named() -> None:
    def exact(completion: str, answer: str) -> float:
        return 1.0

    with pytest.raises(PreflabError, match="'answer'") as error:
        reward_function(exact, "my:exact")(["p"], ["c"], answers=["7"])
    assert "answers" in error.value.expected


def test_keyword_arguments_take_every_column() -> None:
    def count(completions: list[str], **columns: list[Any]) -> list[int]:
        return [len(columns)] * len(completions)

    assert reward_function(count, "count")(["p"], ["c"], one=[1], two=[2]) == [2.0]


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (float("nan"), "nan"),
        (float("inf"), "inf"),
        (1e39, "1e\\+39, which is not finite in float32"),
        (10**400, "inf"),
        ("1.0", "not a number"),
        (None, "not a number"),
        ([1], "not a num"),
    ],
)
def test_reward_that_is_not_a_finite_number_is_refused_with_prompt_and_completion(value: Any, said: str) -> None:
    def bad(completion: str) -> Any:
        return 0.5 if completion == "good" else value

    with pytest.raises(PreflabError, match=said) as error:
        reward_function(bad, "my:bad")(["first", "second"], ["good", "worse"])
    assert "my:bad" in error.value.found
    assert "'second'" in error.value.found
    assert "'worse'" in error.value.found


def test_none_is_accepted_only_with_allow_none() -> None:
    def utility(completion: str) -> float | None:
        return None if completion == "gibberish" else 1.0

    assert reward_function(utility, "u", allow_none=True)(["p", "p"], ["gibberish", "fine"]) == [None, 1.0]


def test_a_raising_function_is_named_with_its_error() -> None:
    def raising(prompt: str, completion: str) -> float:
        return 1.0 / len(completion)

    with pytest.raises(PreflabError, match=r"my:raising raised ZeroDivisionError.*'q'") as error:
        reward_function(raising, "my:raising")(["p", "q"], ["a", ""])
    assert isinstance(error.value.__cause__, ZeroDivisionError)


def test_exit_in_a_function_is_reported() -> None:
    def leaving(completion: str) -> float:
        raise SystemExit(3)

    def all_leaving(completions: list[str]) -> list[float]:
        raise SystemExit(3)

    for function in (leaving, all_leaving):
        with pytest.raises(PreflabError, match="raised SystemExit: 3"):
            reward_function(function, "leaving")(["p"], ["c"])


def test_a_batched_function_must_give_one_value_each() -> None:
    def short(completions: list[str]) -> list[float]:
        return [1.0]

    with pytest.raises(PreflabError, match="1 value for 2 completions"):
        reward_function(short, "short")(["p", "q"], ["a", "b"])


def test_tensors_and_numpy_numbers_are_numbers() -> None:
    def tensor(completions: list[str]) -> torch.Tensor:
        return torch.tensor([0.5] * len(completions))

    def scalar(completion: str) -> torch.Tensor:
        return torch.tensor(0.25)

    assert reward_function(tensor, "t")(["p"], ["c"]) == [0.5]
    assert reward_function(scalar, "s")(["p"], ["c"]) == [0.25]


def test_signature_without_prompt_or_completion_is_refused() -> None:
    def odd(text: str) -> float:
        return 1.0

    def mixed(prompts: list[str], completion: str) -> float:
        return 1.0

    for function in (odd, mixed):
        with pytest.raises(PreflabError, match="takes"):
            reward_function(function, "odd")


def test_functions_are_found_in_the_current_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "reward_of_this_folder.py").write_text("def brevity(completion):\n    return -len(completion)\n")
    (tmp_path / "broken_of_this_folder.py").write_text("import nothing_of_that_name\n")
    monkeypatch.chdir(tmp_path)
    assert load_function("reward_of_this_folder:brevity")(["p"], ["four"]) == [-4.0]
    with pytest.raises(PreflabError, match="brevety") as error:
        load_function("reward_of_this_folder:brevety")
    assert "brevity" in error.value.expected
    with pytest.raises(PreflabError, match="nothing_of_that_name"):
        load_function("broken_of_this_folder:f")
    with pytest.raises(PreflabError, match="does not name a function"):
        load_function("reward_of_this_folder")


def test_a_sum_of_rewards_keeps_its_weighted_terms() -> None:
    def length(completion: str) -> float:
        return float(len(completion))

    def polite(completion: str) -> float:
        return float("please" in completion)

    total = WeightedSum(
        [
            Term("length", -0.5, FunctionScorer(reward_function(length, "length"))),
            Term("polite", 10.0, FunctionScorer(reward_function(polite, "polite"))),
        ]
    )
    scores = total.score([item("p", "please"), item("p", "no")])
    # -0.5 · 6 + 10 · 1 = 7 and -0.5 · 2 + 0 = -1
    assert scores.total.tolist() == [7.0, -1.0]
    assert scores.terms["length"].tolist() == [-3.0, -1.0]
    assert scores.terms["polite"].tolist() == [10.0, 0.0]


def test_details_of_terms_are_kept_under_the_terms_names_and_not_weighted() -> None:
    class Detailed:
        def score(self, items: Sequence[ScoringItem]) -> Scores:
            return Scores(torch.tensor([2.0, 4.0]), details={"spread": torch.tensor([1.0, 3.0])})

    scores = WeightedSum([Term("a", 0.5, Detailed()), Term("b", -1.0, Detailed())]).score([item("p", "x")] * 2)
    # ½ · 2 − 2 and ½ · 4 − 4; the details add nothing.
    assert scores.total.tolist() == [-1.0, -2.0]
    assert {name: values.tolist() for name, values in scores.details.items()} == {
        "a/spread": [1.0, 3.0],
        "b/spread": [1.0, 3.0],
    }


def test_terms_of_one_name_are_refused() -> None:
    scorer = FunctionScorer(reward_function(lambda completion: 1.0, "one"))
    with pytest.raises(PreflabError, match="one, one"):
        WeightedSum([Term("one", 1.0, scorer), Term("one", 1.0, scorer)])


def test_text_classes_are_called_like_rewards() -> None:
    """A classifier of texts gives names instead of numbers: the same columns go in, the same errors come out."""

    def single(completion: str, topic: str) -> str:
        if not completion:
            raise ValueError("nothing to read")
        return topic if topic in completion else "off topic"

    def batched(completions: list[str], topic: list[str]) -> list[str]:
        return [single(completion, about) for completion, about in zip(completions, topic, strict=True)]

    prompts = [Prompt.make("where?", columns={"topic": "parcel"}), Prompt.make("when?", columns={"topic": "refund"})]
    for function in (single, batched):
        labels = classes_of(reward_function(function, "my:topic"), prompts, ["the parcel", "the parcel"])
        assert labels == ["parcel", "off topic"]
        with pytest.raises(PreflabError, match="my:topic raised ValueError: nothing to read"):
            classes_of(reward_function(function, "my:topic"), prompts, ["", ""])
    with pytest.raises(PreflabError, match="gave 3 as the class"):
        classes_of(reward_function(lambda completion: 3, "my:number"), prompts, ["a", "b"])


def test_reward_sum_beyond_float32_is_refused_with_the_terms_name() -> None:
    def large(completion: str) -> float:
        return 3e38

    scorer = FunctionScorer(reward_function(large, "large"))
    with pytest.raises(PreflabError, match="1 of 1 rewards much are not finite"):
        WeightedSum([Term("much", 2.0, scorer)]).score([item("p", "c")])
    with pytest.raises(PreflabError, match="1 of 1 sums of rewards are not finite"):
        WeightedSum([Term("one", 1.0, scorer), Term("other", 1.0, scorer)]).score([item("p", "c")])


async def _slow_length(prompt: str, completion: str) -> float:
    await asyncio.sleep(0)
    if completion == "bad":
        raise ValueError("no such thing")
    return float(len(completion))


async def _slow_lengths(prompts: list[str], completions: list[str]) -> list[float]:
    await asyncio.sleep(0)
    return [float(len(completion)) for completion in completions]


@pytest.mark.parametrize("function", [_slow_length, _slow_lengths])
def test_async_functions_are_waited_for(function: Any) -> None:
    reward = reward_function(function, "slow")
    assert reward(["p", "p", "p"], ["a", "bb", ""]) == [1.0, 2.0, 0.0]

    async def inside_a_loop() -> list[Any]:
        return reward(["p"], ["abc"])

    assert asyncio.run(inside_a_loop()) == [3.0]


def test_async_function_error_names_its_completion() -> None:
    reward = reward_function(_slow_length, "slow")
    with pytest.raises(PreflabError, match=r"raised ValueError: no such thing; prompt 'q', completion 'bad'"):
        reward(["p", "q"], ["a", "bad"])


def test_value_that_is_no_number_is_said_with_its_prompt_and_completion() -> None:
    def nan(prompt: str, completion: str) -> float:
        return float("nan")

    with pytest.raises(PreflabError, match="prompt 'ask', completion 'answer'"):
        reward_function(nan, "nan")(["ask"], ["answer"])


@pytest.mark.parametrize("value", ["ab", {1.0, 2.0}, (value for value in (1.0, 2.0))])
def test_batch_is_a_list(value: Any) -> None:
    def batch(prompts: list[str]) -> Any:
        return value

    with pytest.raises(PreflabError, match="instead of a list"):
        reward_function(batch, "batch")(["p", "q"], ["a", "b"])


def test_largest_number_of_float32_is_a_reward_and_so_is_a_scalar_without_dimensions() -> None:
    largest = (2 - 2**-23) * 2.0**127

    def given(completion: str) -> Any:
        return largest if completion == "large" else SimpleNamespace(item=lambda: 2.0)

    assert reward_function(given, "given")(["p", "p"], ["large", "small"]) == [largest, 2.0]


def test_scores_are_float32_whatever_torch_makes_by_default() -> None:
    torch.set_default_dtype(torch.float64)
    scorer = FunctionScorer(reward_function(lambda completion: 0.1, "tenth"))
    assert scorer.score([item("p", "c")]).total.dtype == torch.float32


def test_current_directory_comes_first_and_the_path_stays_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for folder, value in (("here", "None"), ("elsewhere", "1.0")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "found_twice.py").write_text(f"def given(completion):\n    return {value}\n")
    monkeypatch.syspath_prepend(tmp_path / "elsewhere")
    monkeypatch.chdir(tmp_path / "here")
    before = list(sys.path)
    assert load_function("found_twice:given", allow_none=True)(["p"], ["c"]) == [None]
    assert sys.path == before
    monkeypatch.delitem(sys.modules, "found_twice")
