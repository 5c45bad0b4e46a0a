"""Every stage that learns from judgments of one file keeps the same prompts apart, whatever it can learn from each."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from preflab.errors import PreflabError
from preflab.models.tiny import build_model, build_tokenizer
from preflab.pipeline import run
from preflab.recipe import load_recipe
from preflab.records import Message, Prompt
from preflab.training import held_out

RECIPE = """
recipe: 1
data: {judged: {path: judged.jsonl}}
stages:
  rm: {kind: reward, model: ./model, preferences: judged, held_out: 0.3, num_epochs: 1, lora: {rank: 2}}
  rating: {kind: rating, model: ./model, preferences: judged, held_out: 0.3, num_epochs: 1, lora: {rank: 2}}
  dpo:
    {kind: dpo, model: ./model, preferences: judged, held_out: 0.3, num_epochs: 1, lora: {rank: 2},
     watch: {num_samples: 0}}
"""
NUM = 12


def judged(number: int, *, tied: bool) -> dict[str, Any]:
    """A prompt with two rated completions; equal ratings are a pair that teaches neither reward model nor DPO."""
    responses = [
        {"model": "someone", "response": f"answer {word}", "annotations": {"quality": {"Rating": str(rating)}}}
        for word, rating in (("one", 4), ("two", 4 if tied else 2))
    ]
    return {"instruction": f"question {number}", "completions": responses}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A recipe; of every second prompt the ratings are equal."""
    monkeypatch.chdir(tmp_path)
    texts = [f"question {number} answer one two" for number in range(NUM)]
    tokenizer = build_tokenizer(texts, context=32)
    build_model(tokenizer, num_layers=1, hidden_size=16, num_heads=2, context=32, seed=0).save_pretrained("model")
    tokenizer.save_pretrained("model")
    rows = [judged(number, tied=number % 2 == 1) for number in range(NUM)]
    (tmp_path / "judged.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    return tmp_path


def test_reward_rating_and_dpo_hold_out_the_same_prompts(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found: list[set[str]] = []
    parted: list[tuple[set[str], set[str]]] = []
    choose, part = held_out.held_out_prompts, held_out.parted

    def noted(*arguments: Any) -> set[str]:
        found.append(choose(*arguments))
        return found[-1]

    def noted_parts(*arguments: Any) -> Any:
        both = part(*arguments)
        parted.append(({row.prompt_id for row in both[0]}, {row.prompt_id for row in both[1]}))
        return both

    monkeypatch.setattr(held_out, "held_out_prompts", noted)
    monkeypatch.setattr(held_out, "parted", noted_parts)
    lines = run(load_recipe("recipe.yaml"))
    assert [line.state for line in lines] == ["done"] * 3
    rm, rating, dpo = found
    assert rm == rating == dpo
    assert 0 < len(rm) < NUM
    assert all(not train & rm and apart <= rm for train, apart in parted)


def test_a_stage_holds_out_the_same_questions_as_texts_and_as_turns() -> None:
    """Also under a system turn, or an empty one; what was said before the last turn tells conversations apart."""
    questions = [f"question {number}" for number in range(200)]

    def apart(*before: Message, texts: bool = False) -> set[str]:
        made = [
            Prompt.make(question) if texts else Prompt.make(messages=(*before, Message("user", question)))
            for question in questions
        ]
        ids = held_out.held_out_prompts(made, 0.2)
        return {question for prompt, question in zip(made, questions, strict=True) if prompt.id in ids}

    expected = apart(texts=True)
    assert 20 < len(expected) < 60
    assert expected == apart() == apart(Message("system", "Be kind.")) == apart(Message("system", ""))
    earlier = (Message("user", "Hi"), Message("assistant", "Hey"))
    assert expected != apart(*earlier)
    assert apart(*earlier) == apart(Message("system", "Be kind."), *earlier)


@pytest.mark.parametrize("name", ["rm", "rating", "dpo"])
def test_every_stage_can_do_without_held_out_prompts(name: str, folder: Path) -> None:
    (line,) = run(load_recipe("recipe.yaml", [f"stages.{name}.held_out=0"]), only=[name])
    assert line.state == "done"
    assert "held-out" not in line.summary.replace("nothing held out", "")


@pytest.mark.parametrize(
    ("name", "what"), [("rm", "11 rankings"), ("rating", "22 rated completions"), ("dpo", "11 groups")]
)
def test_a_stage_whose_teaching_prompts_are_all_held_out_says_so(name: str, what: str, folder: Path) -> None:
    """With 99 % held out one prompt is left to train on, and it teaches nothing: a tie, rated by another criterion."""
    rows = [judged(number, tied=False) for number in range(NUM)]
    prompts = {row["instruction"]: Prompt.make(row["instruction"]) for row in rows}
    apart = held_out.held_out_prompts(prompts.values(), 0.99)
    (left,) = [row for row in rows if prompts[row["instruction"]].id not in apart]
    for completion in left["completions"]:
        completion["annotations"] = {"other": {"Rating": "3"}}
    (folder / "judged.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    changes = [f"stages.{name}.held_out=0.99", "stages.rating.criteria={quality: 1.0}"]
    with pytest.raises(PreflabError, match=f"judged: all {what} to learn from are about held-out prompts") as raised:
        run(load_recipe("recipe.yaml", changes), only=[name])
    assert "lower held_out, or set it to 0" in raised.value.do
