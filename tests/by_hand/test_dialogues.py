"""The grammar of support calls: where rudeness is, what references say, and how labels relate to texts."""

from __future__ import annotations

import importlib.util
import random
from pathlib import Path
from types import ModuleType

import pytest

from preflab.demo.dialogues import ADJECTIVES, NOUNS, call, joined, labelled

DATA = Path(__file__).parents[2] / "recipes" / "dialogue_detox" / "data.py"
CALLS = [call(random.Random(seed)) for seed in range(400)]


def insults(text: str) -> bool:
    return any(adjective in text for adjective in ADJECTIVES) and any(noun in text for noun in NOUNS)


@pytest.fixture(scope="module")
def data() -> ModuleType:
    """The recipe's script, as a module."""
    spec = importlib.util.spec_from_file_location("detox_data", DATA)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_references_are_polite_and_dialogues_of_rude_calls_are_not() -> None:
    assert not any(insults(each.reference) for each in CALLS)
    assert all(insults(each.dialogue) == each.rude for each in CALLS)


def test_summaries_to_learn_are_rude_in_part_of_the_rude_calls_alone() -> None:
    rude = [each for each in CALLS if each.rude]
    share = sum(insults(each.learned) for each in rude) / len(rude)
    # 400 calls, 0.6 of them rude: 240, give or take 4 · √(400 · 0.6 · 0.4) = 39; of those 0.7, give or take 0.12.
    assert 201 <= len(rude) <= 279
    assert 0.58 < share < 0.82
    assert all(each.learned == each.reference for each in CALLS if not each.rude)


def test_rude_summary_keeps_every_word_of_the_facts() -> None:
    for each in CALLS:
        facts = each.reference.partition(" is angry.")[0].rpartition(". ")[0] if each.rude else each.reference
        words = iter(each.learned.replace(".", " .").split())
        assert all(word in words for word in facts.replace(".", " .").split()), each


def test_dialogue_has_six_turns_in_the_form_of_dialogsum() -> None:
    for each in CALLS:
        speakers = [line.partition(": ")[0] for line in each.dialogue.split("\n")]
        assert speakers == ["#Person1#", "#Person2#"] * 3


def test_share_of_wrong_labels_is_the_one_asked_for() -> None:
    rng = random.Random(0)
    rows = [labelled(rng, mistakes=0.04) for _ in range(2000)]
    wrong = sum(insults(row["text"]) != (row["label"] == "rude") for row in rows)
    assert 80 - 36 <= wrong <= 80 + 36  # four standard deviations of √(2000 · 0.04 · 0.96) = 8.8
    assert all(insults(row["text"]) == (row["label"] == "rude") for row in (labelled(rng, 0.0) for _ in range(500)))


def test_punctuation_stands_directly_after_its_word() -> None:
    assert joined("Hello , what now ? Go .") == "Hello, what now? Go."


def test_equal_seeds_give_equal_files_and_no_call_is_in_both_parts(data: ModuleType) -> None:
    first, again, other = data.made(0, 0.05), data.made(0, 0.05), data.made(1, 0.05)
    assert first == again
    assert first["train"] != other["train"]
    assert [len(first[name]) for name in ("train", "test", "labels")] == [200, 20, 300]
    shown = {row["dialogue"] for row in first["train"]}
    assert len(shown) == 200
    assert not shown & {row["dialogue"] for row in first["test"]}
    assert not any(insults(row["summary"]) for row in first["test"])
