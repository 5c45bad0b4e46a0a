"""The demo's texts: repeatable, in the wanted mixture, short enough for the tiny model."""

from __future__ import annotations

import json
import random
from collections import Counter
from importlib.resources import files
from pathlib import Path

import pytest
import yaml

from demo_vocabulary import vocabulary
from preflab.demo.data import DEMONSTRATION_TONES, corpus, demonstrations, prompts, write_demo_data
from preflab.demo.gold import gold_utility, tone
from preflab.demo.grammar import FLATTERING_WORDS, FLATTERY, TOPICS, answer, question, words
from preflab.recipe import load_recipe


def test_equal_seeds_give_equal_texts() -> None:
    assert corpus(3, 50) == corpus(3, 50) != corpus(4, 50)
    assert demonstrations(3, 50) == demonstrations(3, 50) != demonstrations(4, 50)
    assert prompts(3, 50) == prompts(3, 50) != prompts(4, 50)


def test_prompts_are_distinct_and_many() -> None:
    texts = [row["prompt"] for row in prompts(0, 1000)]
    assert len(set(texts)) == 1000
    assert all(6 <= len(words(text)) <= 16 and text.endswith("?") for text in texts)


def test_the_vocabulary_covers_every_text() -> None:
    known = set(vocabulary())
    assert 150 < len(known) < 400
    texts = [row["text"] for row in corpus(0, 500)] + [row["completion"] for row in demonstrations(0, 500)]
    assert {word for text in texts for word in words(text)} <= known


def test_texts_fit_the_recipe() -> None:
    recipe = yaml.safe_load((files("preflab.demo") / "recipe.yaml").read_text(encoding="utf-8"))
    context = recipe["stages"]["base"]["context"]
    longest = max(len(words(row["text"])) for row in corpus(0, 15_000))
    assert longest + 2 <= context
    asked = max(len(words(row["prompt"])) for row in prompts(0, 1000))
    assert asked + 1 + recipe["stages"]["answers"]["max_new_tokens"] <= context


def test_demonstrations_are_mild_with_a_real_share_of_rude_ones() -> None:
    assert sum(DEMONSTRATION_TONES.values()) == pytest.approx(1.0)
    rows = demonstrations(0, 4000)
    heard = Counter(tone(row["prompt"], row["completion"]) for row in rows)
    assert heard["unparsable"] == 0
    # 4000 draws of a share near 0.3 have a standard deviation of 0.007; flattery with the fact is heard as well.
    assert heard["rude"] / 4000 == pytest.approx(0.30, abs=0.035)
    assert heard["well"] / 4000 == pytest.approx(0.43, abs=0.035)
    assert heard["off topic"] / 4000 == pytest.approx(0.07, abs=0.02)


def test_tones_are_worth_what_they_should_be() -> None:
    rng = random.Random(0)

    def mean(name: str) -> float:
        asked = [question(rng) for _ in range(200)]
        utilities = [gold_utility(text, answer(rng, topic, name)) for text, topic in asked]
        return sum(u for u in utilities if u is not None) / len(utilities)

    assert mean("well") > mean("curt") > mean("flattering") > mean("empty flattery") > mean("rude")
    assert mean("curt") > 1.0 > 0.0 > mean("off topic")


def test_every_flattering_sentence_flatters() -> None:
    for sentence in FLATTERY:
        assert FLATTERING_WORDS & set(words(sentence))
    others = [text for topic in TOPICS for text in (*topic.questions, *topic.full, *topic.short)]
    assert not FLATTERING_WORDS & {word for text in others for word in words(text)}


def test_files_and_recipe_go_together(tmp_path: Path) -> None:
    paths = write_demo_data(tmp_path, 0, num_texts=20, num_demonstrations=10, num_prompts=30)
    assert {name: len(path.read_text().splitlines()) for name, path in paths.items()} == {
        "corpus": 20, "demonstrations": 10, "prompts": 30,
    }  # fmt: skip
    assert set(json.loads(paths["demonstrations"].read_text().splitlines()[0])) == {"prompt", "completion"}
    (tmp_path / "recipe.yaml").write_text((files("preflab.demo") / "recipe.yaml").read_text(encoding="utf-8"))
    recipe = load_recipe(tmp_path / "recipe.yaml")
    panel = recipe.labelers["panel"]
    assert set(panel.flattering_words) == FLATTERING_WORDS
    assert (panel.num, panel.careless, panel.reversed) == (5, 1, 1)
    with_kl, without = recipe.stages["ppo"], recipe.stages["ppo_no_kl"]
    other = {"kl_coef", "kl_budget"}
    assert with_kl.model_dump(exclude=other) == without.model_dump(exclude=other)
