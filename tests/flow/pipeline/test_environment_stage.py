"""PPO and GRPO with an environment from a recipe: what is refused before anything runs, and what makes a run stale."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import pytest

import preflab
from preflab import pipeline
from preflab.errors import PreflabError
from preflab.files import read_jsonl
from preflab.models.tiny import build_model, build_tokenizer
from preflab.recipe import load_recipe
from tiny_worlds import kept_rollouts

GAME = '''
from preflab.environments.protocol import Reply

class Guess:
    """Asks for a word; a wrong one may be tried again."""

    def reset(self, prompt, seed):
        self.secret, self.turn = ("red", "blue", "green")[seed % 3], 0
        return "which colour ?"

    def step(self, completion):
        self.turn += 1
        right = self.secret in completion
        return Reply("right" if right else "not it", reward=float(right), end=right or self.turn == 3)

    @staticmethod
    def prompts():
        return ["a game"]

class NoPrompts:
    reset, step = Guess.reset, Guess.step
'''
RECIPE = """
recipe: 1
data: {prompts: {path: prompts.jsonl, held_out: 0.5}}
stages:
  grpo:
    kind: grpo
    model: base
    environment: my_game:Guess
    num_steps: 2
    num_prompts_per_step: 2
    num_completions_per_prompt: 3
    decoding: {max_new_tokens: 3}
    lora: {rank: 2}
  ppo:
    kind: ppo
    model: base
    environment: {source: "my_game:Guess", max_turns: 2}
    num_steps: 2
    num_completions_per_step: 4
    decoding: {max_new_tokens: 3}
    lora: {rank: 2}
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a model, an environment and a recipe."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "my_game", raising=False)
    tokenizer = build_tokenizer(["which colour ? red blue green not it right", "a game"], context=64)
    build_model(tokenizer, num_layers=1, hidden_size=16, num_heads=2, context=64, seed=0).save_pretrained("base")
    tokenizer.save_pretrained("base")
    rows = [json.dumps({"prompt": f"a game {word}"}) + "\n" for word in ("red", "blue", "green", "right")]
    (tmp_path / "prompts.jsonl").write_text("".join(rows), encoding="utf-8")
    (tmp_path / "my_game.py").write_text(GAME, encoding="utf-8")
    (tmp_path / "recipe.yaml").write_text(RECIPE, encoding="utf-8")
    return tmp_path


def run(*overrides: str, only: str) -> pipeline.Line:
    recipe = load_recipe("recipe.yaml", overrides)
    return {line.name: line for line in pipeline.run(recipe, until=[only])}[only]


@pytest.mark.parametrize("name", ["grpo", "ppo"])
def test_a_policy_learns_in_an_environment(project: Path, name: str) -> None:
    line = run(only=name)
    rows = read_jsonl(line.folder / "metrics.jsonl")
    assert len(rows) == 2
    for row in rows:
        assert row["reward/mean"] == pytest.approx(row["reward/environment"])
        assert 1 <= row["reward/environment/num_turns"] <= (3 if name == "grpo" else 2)
    kept = kept_rollouts(line.folder)
    assert {row["prompt"] for row in kept} == {"which colour ?"}
    assert {row["finish_reason"] for row in kept} <= {"stop", "length"}
    assert preflab.load(line.folder / "model") is not None
    assert run(only=name).folder == line.folder, "it is done"


def test_prompts_of_the_recipe_are_used_and_its_criterion_measures_dialogues(project: Path) -> None:
    (project / "judge.py").write_text("def short(prompt, completion):\n    return -float(len(completion))\n")
    asked = [
        "stages.grpo.prompts=prompts.train", "stages.grpo.held_out_prompts=prompts.held_out",
        "stages.grpo.stop.criterion=judge:short", "stages.grpo.stop.every=1",
    ]  # fmt: skip
    line = run(*asked, only="grpo")
    rows = read_jsonl(line.folder / "metrics.jsonl")
    assert all("score/held_out" in row for row in rows), sorted(rows[0])
    assert min(row["score/held_out"] for row in rows) < -len("assistant")


def test_a_changed_environment_makes_the_run_stale(project: Path) -> None:
    first = run(only="ppo")
    (project / "my_game.py").write_text(GAME.replace("== 3", "== 2"), encoding="utf-8")
    sys.modules.pop("my_game")
    assert run(only="ppo").folder != first.folder
    assert run("stages.ppo.environment.max_turns=3", only="ppo").folder != run(only="ppo").folder


def test_faults_are_refused_before_anything_runs(project: Path) -> None:
    cases = {
        "stages.grpo.environment=my_game:Gues": "near it: Guess",
        "stages.grpo.environment=my_game": "module:Class",
        "stages.grpo.environment=no_game:Guess": "no module `no_game`",
        "stages.grpo.environment=my_game:NoPrompts": r"has no `prompts\(\)`",
        "stages.grpo.too_long=cut_prompt": "too_long: cut_prompt with an environment",
        "stages.ppo.environment.max_turns=0": "max_turns",
        "stages.ppo.environment.max_tokens=4": "before the first turn",
    }
    for override, message in cases.items():
        with pytest.raises(PreflabError) as error:
            run(override, only=override.split(".")[1])
        assert re.search(message, str(error.value)), (override, str(error.value))


def test_train_from_python_takes_an_environment(project: Path) -> None:
    made = preflab.train(
        "grpo", project / "base", ["a game"], folder=project / "work", environment="my_game:Guess", num_steps=1,
        num_prompts_per_step=2, decoding={"max_new_tokens": 3}, rewards=[],
    )  # fmt: skip
    assert made.path.is_dir()
