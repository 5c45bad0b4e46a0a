"""Two rounds of a small recipe on a real model, from sampling to the report, and what one does with it afterwards."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from preflab.cli import run_command

WORDS = """
def happy(prompt, completion):
    return float(sum(completion.count(w) for w in ("happy", "love", "smile", "fun"))) - 0.01 * len(completion)
"""
RECIPE = """
recipe: 1
data: {{prompts: {{path: prompts.jsonl, held_out: 0.3}}}}
labelers: {{panel: {{utility: "words_of_joy:happy", num: 3, noise: 0.1}}}}
stages:
  answers: {{kind: sample, model: {model}, prompts: prompts.train, num_completions: 3, max_new_tokens: 24}}
  labels: {{kind: judge, completions: answers, labelers: panel, overlap: 2}}
  prefs: {{kind: preferences, judgments: labels}}
  rm: {{kind: reward, model: {model}, preferences: prefs, lora: {{rank: 4}}}}
  ppo:
    kind: ppo
    model: {model}
    prompts: prompts.train
    rewards: [{{model: rm}}]
    num_steps: 2
    num_completions_per_step: 16
    decoding: {{max_new_tokens: 24}}
    lora: {{rank: 4}}
  eval:
    kind: evaluate
    models: [{model}, ppo]
    prompts: prompts.held_out
    judges: {{happy: "words_of_joy:happy"}}
    rewards: [rm]
    decoding: {{max_new_tokens: 24}}
  report: {{kind: report, of: [answers, labels, prefs, rm, ppo, eval]}}
rounds: {{num: 2, repeat: [answers, labels, prefs, rm, ppo]}}
"""


@pytest.fixture
def project(tmp_path: Path, stories_model: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with prompts, a utility and a recipe."""
    monkeypatch.chdir(tmp_path)
    rows = [
        {"prompt": f"Once upon a time, {name} went to the {place}."}
        for name in ("Tom", "Lily", "Ben", "Sue", "Max", "Amy", "Sam", "Anna")
        for place in ("park", "house", "beach", "forest", "farm")
    ]
    (tmp_path / "prompts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    (tmp_path / "words_of_joy.py").write_text(WORDS, encoding="utf-8")
    (tmp_path / "recipe.yaml").write_text(RECIPE.format(model=stories_model), encoding="utf-8")
    return tmp_path


@pytest.mark.slow
def test_two_rounds_and_what_follows(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def called(*words: str) -> dict[str, object]:
        capsys.readouterr()
        assert run_command([*words, "--json"]) == 0
        content: dict[str, object] = json.loads(capsys.readouterr().out)
        return content

    def ran(content: dict[str, object]) -> list[str]:
        return [stage["stage"] for stage in content["stages"] if stage["ran"]]  # type: ignore[attr-defined]

    first = called("run")
    assert ran(first)[-2:] == ["eval", "report"]
    assert len(ran(first)) == 12
    assert Path(str(first["result"])).read_text(encoding="utf-8").startswith("<!doctype html>")
    assert ran(called("run")) == []
    again = called("run", "--set", "stages.ppo.num_steps=3")  # both rounds' runs go on, and what read them is stale
    assert "labels" not in ran(again)
    assert {"ppo", "answers@2", "ppo@2", "eval", "report"} <= set(ran(again))
    policy = next((project / "runs").glob("ppo-*"))
    steps = [json.loads(line)["step"] for line in (policy / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    assert steps == sorted(set(steps))
    assert len(steps) == 3
    keep = ("--set", "stages.ppo.num_steps=3")
    exported = called("export", "model", "rm", "rm-plain", *keep)
    assert exported["opener"] == "AutoModelForSequenceClassification"
    assert called("export", "preferences", "pairs.jsonl")["num_rows"]
    (project / "c.jsonl").write_text('{"prompt": "Once", "completion": " upon a time."}\n', encoding="utf-8")
    assert called("score", "c.jsonl", "--by", "rm", *keep)["num"] == 1
