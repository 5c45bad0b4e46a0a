"""Plain text put to a model with a chat template is said once for a stage and its data, with the cure."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from preflab.pipeline import run
from preflab.recipe import load_recipe
from preflab.stages.common.plain_texts import has_chat_template
from starter_world import pairs, save_model, turn_pairs, write_rows

RECIPE = """
recipe: 1
data:
  prompts: {{path: prompts.jsonl, held_out: 0.3{more}}}
  pairs: {{path: pairs.jsonl{more}}}
  demonstrations: {{path: demonstrations.jsonl{more}}}
  questions: {{path: questions.jsonl{more}}}
stages:
  answers: {{kind: sample, model: ./model, prompts: prompts.train, num_completions: 1, max_new_tokens: 2}}
  sft: {{kind: sft, model: ./model, data: demonstrations, num_epochs: 1}}
  rm: {{kind: reward, model: ./model, preferences: pairs, num_epochs: 1}}
  eval:
    kind: evaluate
    models: [./model, sft]
    prompts: prompts.held_out
    rewards: [rm]
    decoding: {{max_new_tokens: 2}}
  ask: {{kind: probe, models: [./model], refusal: questions, decoding: {{max_new_tokens: 2}}}}
"""
CURE = "`as_turns: true` under data.{} makes each a user's turn"


def lines_of(
    folder: Path, capsys: pytest.CaptureFixture[str], family: str, more: str = "", until: Sequence[str] = ("answers",)
) -> list[str]:
    """What a recipe's stages say of plain texts; a row of 24 pairs, and prompts that are the same 24."""
    folder.mkdir()
    save_model(folder / "model", family)
    rows = pairs()
    write_rows(folder / "pairs.jsonl", rows)
    write_rows(folder / "prompts.jsonl", [{"prompt": row["prompt"]} for row in rows])
    write_rows(
        folder / "demonstrations.jsonl", [{"prompt": row["prompt"], "completion": row["chosen"]} for row in rows]
    )
    write_rows(
        folder / "questions.jsonl", [{"prompt": "Where?", "label": "safe"}, {"prompt": "How?", "label": "unsafe"}]
    )
    (folder / "recipe.yaml").write_text(RECIPE.format(more=more), encoding="utf-8")
    capsys.readouterr()
    run(load_recipe(folder / "recipe.yaml"), until=until)
    return [line for line in capsys.readouterr().err.splitlines() if "plain text" in line]


@pytest.mark.slow
def test_each_stage_says_once_that_its_prompts_are_no_turns(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = lines_of(tmp_path / "chat", capsys, "chatml", until=())
    assert [line.partition(":")[0] for line in said] == ["answers", "sft", "rm", "eval", "ask"]
    answers, sft, rm, eval_, ask = said
    assert " prompts of prompts.jsonl are plain text, passed to ./model without a chat template; " in answers
    assert answers.endswith(CURE.format("prompts"))
    assert sft.startswith(
        "sft: 24 prompts of demonstrations.jsonl are plain text, passed to ./model with their completions"
    )
    assert rm.endswith(CURE.format("pairs"))
    assert "passed to ./model, sft without" in eval_
    assert ask.endswith(CURE.format("questions"))


@pytest.mark.parametrize("more", [", as_turns: true", ", as_turns: false"])
def test_whoever_has_decided_is_told_nothing(more: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert lines_of(tmp_path / "chat", capsys, "chatml", more) == []


def test_a_model_without_a_template_is_told_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert lines_of(tmp_path / "base", capsys, "no template") == []


def test_of_turns_and_texts_the_texts_are_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save_model(tmp_path / "model", "chatml")
    rows = [{"prompt": row["chosen"][:1]} for row in turn_pairs(3)]
    write_rows(tmp_path / "prompts.jsonl", [*rows, {"prompt": "Where is my parcel?"}])
    stage = "{kind: sample, model: ./model, prompts: prompts, num_completions: 1, max_new_tokens: 2}"
    (tmp_path / "recipe.yaml").write_text(
        f"recipe: 1\ndata: {{prompts: {{path: prompts.jsonl}}}}\nstages:\n  answers: {stage}\n", encoding="utf-8"
    )
    run(load_recipe(tmp_path / "recipe.yaml"))
    assert (
        "answers: 1 of 4 prompts of prompts.jsonl is plain text, passed to ./model without" in capsys.readouterr().err
    )


def test_templates_are_found_where_tokenizers_keep_them(tmp_path: Path) -> None:
    with_template = save_model(tmp_path / "chat", "chatml")
    assert has_chat_template(with_template)
    assert not has_chat_template(save_model(tmp_path / "base", "no template"))
    (with_template / "chat_template.jinja").unlink()
    assert not has_chat_template(with_template)
    (with_template / "tokenizer_config.json").write_text('{"chat_template": "{{ messages }}"}', encoding="utf-8")
    assert has_chat_template(with_template)
