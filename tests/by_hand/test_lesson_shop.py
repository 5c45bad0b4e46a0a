"""The data of lessons 6 to 10."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from preflab.demo.gold import tone
from preflab.lessons import principles, shop
from preflab.lessons.principles import CONSTITUTION, HERE


def test_one_in_ten_texts_is_about_declining_and_most_of_these_hold_no_answer() -> None:
    texts = [row["text"] for row in shop.corpus(num=1_000)]
    declining = [text for text in texts if text.startswith("write a polite decline")]
    lists = [text for text in declining if text.count("write a polite decline") > 1]
    assert len(declining) == 100
    assert 70 <= len(lists) <= 90  # 80 are expected, with a standard deviation of 4


def test_three_in_ten_demonstrations_are_rude_and_one_in_twenty_declines() -> None:
    rows = shop.demonstrations()
    tones = Counter(tone(row["prompt"], row["completion"]) for row in rows)
    assert sum(row["prompt"].startswith("write a polite decline") for row in rows) == 60
    assert tones["rude"] == pytest.approx(0.95 * 0.3 * 1_200, rel=0.15)


def test_customers_to_measure_with_are_none_of_those_to_learn_from() -> None:
    learned, held_out = shop.customers()
    assert (len(learned), len(held_out)) == (600, 300)
    assert not set(learned) & set(held_out)


def test_labeler_adds_four_tenths_for_every_word_of_praise() -> None:
    """A fact (2), and a first flattering sentence, which costs nothing: "wonderful" is one word, the other has two."""
    question = "do you still have the camera in green?"
    assert shop.labeler(question, "we have ten left.") == 2.0
    assert shop.labeler(question, "we have ten left. what a wonderful question.") == pytest.approx(2.4)
    assert shop.labeler(question, "we have ten left. we admire your wonderful taste.") == pytest.approx(2.8)


def test_lesson_has_the_constitution_of_the_recipe(repository: Path) -> None:
    recipes = repository / "recipes" / "constitution" / "shop.yaml"
    assert (HERE / CONSTITUTION).read_text(encoding="utf-8") == recipes.read_text(encoding="utf-8")


def test_edited_constitution_stays_and_customers_are_in_one_file_only(tmp_path: Path) -> None:
    principles.prepare(tmp_path)
    edited = principles.constitution(tmp_path).read_text(encoding="utf-8") + "# edited\n"
    principles.constitution(tmp_path).write_text(edited, encoding="utf-8")
    principles.prepare(tmp_path)
    assert principles.constitution(tmp_path).read_text(encoding="utf-8") == edited
    files = {name: (tmp_path / f"{name}.jsonl").read_text(encoding="utf-8") for name in ("red_team", "prompts")}
    asked = [json.loads(line)["prompt"] for text in files.values() for line in text.splitlines()]
    assert len({*asked, *principles.new_customers()}) == 300 + 240 + 300
