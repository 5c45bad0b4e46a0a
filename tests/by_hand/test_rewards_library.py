"""The library's rewards on texts whose worth one can count."""

from __future__ import annotations

import doctest
import inspect
from collections.abc import Callable
from typing import Any

import pytest

from preflab.errors import PreflabError
from preflab.rewards import library
from preflab.rewards.functions import load_function

CASES: list[tuple[Callable[..., float], tuple[Any, ...], float]] = [
    (library.num_words, ("one two  three",), 3),
    (library.num_words, ("",), 0),
    (library.length_in_range, ("a b c", 2, 4), 1),
    (library.length_in_range, ("a", 3), 0.8),
    (library.length_in_range, ("a b c d e", 0, 2), 0.7),
    (library.length_in_range, ("w " * 30, 0, 2), 0),
    (library.matches, ("call 555-12", r"\d{3}-\d{2}"), 1),
    (library.matches, ("no number", r"\d"), 0),
    (library.matches, ("first\nsecond", "t.s"), 1),
    (library.xml_format, ("<think>a\nb</think>\n<answer>4</answer> ",), 1),
    (library.xml_format, ("<answer>4</answer><think>a</think>",), 0),
    (library.xml_format, ("<think>a</think><answer>4</answer> so there",), 0),
    (library.xml_format, ("<think>a<think></think><answer>4</answer>",), 0),
    (library.xml_tags, ("<think>a</think><answer>4",), 0.75),
    (library.xml_tags, ("<think><think></think>",), 0.25),
    (library.xml_tags, ("without a tag to look for", ()), 0),
    (library.exact_answer, ("thinking\nThe  Moon.", "the moon"), 1),
    (library.exact_answer, ("<answer>Mars</answer> I guess", "mars"), 1),
    (library.exact_answer, ("<answer>the\nmoon</answer>", "the moon"), 1),
    (library.exact_answer, ("<answer>Mars</answer> no, <answer>the moon</answer>", "the moon"), 1),
    (library.exact_answer, ("so #### 42", "42"), 1),
    (library.exact_answer, ("the moon\nor Mars", "the moon"), 0),
    (library.exact_answer, ("", "x"), 0),
    (library.numeric_answer, ("that makes 1,234.50", "1234.5"), 1),
    (library.numeric_answer, ("a half is 1/2", 0.5), 1),
    (library.numeric_answer, ("between 3 and 4", "3"), 0),
    (library.numeric_answer, ("5", "3 + 2 = 5"), 1),
    (library.numeric_answer, ("no idea", "3"), 0),
    (library.numeric_answer, ("3.15", "3.14", 0.05), 1),
    (library.numeric_answer, ("1/0", "3"), 0),
    (library.repetition, ("a b c d",), 0),
    # a b a b a b: four 3-grams, two of them twice
    (library.repetition, ("a b a b a b",), -0.5),
    (library.repetition, ("a b",), 0),
    (library.keywords, ("Please wait for the parcel", ["please", "thank you"], ["stupid"]), 0.5),
    (library.keywords, ("pleased, stupid", ["please"], ["stupid"]), -1),
    (library.keywords, ("x",), 0),
    (library.keywords, ("thank you", "thank you"), 1),
]


REWARDS = [
    name
    for name, value in vars(library).items()
    if inspect.isfunction(value)
    and value.__module__ == library.__name__
    and inspect.get_annotations(value)["return"] == "float"
]


@pytest.mark.parametrize("name", REWARDS)
def test_example_gives_the_number_it_shows(name: str) -> None:
    (example,) = doctest.DocTestFinder(recurse=False).find(getattr(library, name), name, globs=vars(library).copy())
    assert example.examples, f"{name}: show in its docstring, under `Example:`, a completion and the number it is worth"
    lines: list[str] = []
    assert doctest.DocTestRunner().run(example, out=lines.append).failed == 0, "".join(lines)


@pytest.mark.parametrize(("reward", "given", "expected"), CASES)
def test_worth(reward: Callable[..., float], given: tuple[Any, ...], expected: float) -> None:
    assert reward(*given) == pytest.approx(expected)


def test_a_column_without_a_number_is_an_error_with_prompt_and_completion() -> None:
    reward = load_function("preflab.rewards.library:numeric_answer")
    assert reward(["p", "p"], ["4", "it is 5"], answer=["4", "4"]) == [1.0, 0.0]
    with pytest.raises(PreflabError, match="the column `answer` holds no number: 'four'; prompt 'p', completion '4'"):
        reward(["p"], ["4"], answer=["four"])


def test_columns_with_defaults_are_optional() -> None:
    reward = load_function("preflab.rewards.library:keywords")
    assert reward(["p"], ["thanks"]) == [0.0]
    assert reward(["p"], ["thanks"], wanted=[["thanks"]]) == [1.0]
