"""Stage `ilql` from a recipe: what it leaves behind, how it goes on after an interruption, and what comes after it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from preflab import pipeline
from preflab.errors import PreflabError
from preflab.files import read_json, read_jsonl
from preflab.models.action_values import add_q_head, load_action_values
from preflab.models.language_model import open_language_model
from preflab.models.tiny import build_model, build_tokenizer
from preflab.recipe import load_recipe
from preflab.settings.learning import LoraSettings
from preflab.store.workspace import Workspace
from preflab.training.batches import TokenSequence

TEXTS = ["where is my parcel", "is my parcel late", "where is it", "is it late where"]
REWARD = """
def likes_late(prompt, completion):
    return float(completion.count("late"))

def odd(prompt, completion):
    return float("nan")
"""
RECIPE = """
recipe: 1
data: {prompts: {path: prompts.jsonl}}
stages:
  answers: {kind: sample, model: base, prompts: prompts, num_completions: 32, max_new_tokens: 6}
  ilql:
    kind: ilql
    model: base
    completions: answers
    rewards: [{function: "ilql_rewards:likes_late"}]
    prompts: prompts
    num_completions: 16
    max_new_tokens: 6
    beta: 3.0
    num_epochs: 6
    num_completions_per_step: 32
    lora: {rank: 4}
    optimiser: {learning_rate: 0.01}
    run: {save_every: 5}
  eval:
    kind: evaluate
    models: [base]
    completions: [ilql]
    prompts: prompts
    num_completions: 16
    judges: {late: "ilql_rewards:likes_late"}
    decoding: {max_new_tokens: 6}
  report: {kind: report, of: [ilql, eval]}
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a model, prompts, a reward and a recipe."""
    monkeypatch.chdir(tmp_path)
    tokenizer = build_tokenizer(TEXTS, context=32)
    build_model(tokenizer, num_layers=1, hidden_size=16, num_heads=2, context=32, seed=0).save_pretrained("base")
    tokenizer.save_pretrained("base")
    rows = [json.dumps({"prompt": text}) + "\n" for text in TEXTS]
    (tmp_path / "prompts.jsonl").write_text("".join(rows), encoding="utf-8")
    (tmp_path / "ilql_rewards.py").write_text(REWARD, encoding="utf-8")
    (tmp_path / "recipe.yaml").write_text(RECIPE, encoding="utf-8")
    return tmp_path


def run(*overrides: str, only: str | None = None) -> dict[str, pipeline.Line]:
    recipe = load_recipe("recipe.yaml", overrides)
    return {line.name: line for line in pipeline.run(recipe, until=[only] if only else [])}


@pytest.mark.parametrize("lora", ["{rank: 4}", "null"])
def test_it_learns_writes_completions_and_is_evaluated(project: Path, lora: str) -> None:
    lines = run(f"stages.ilql.lora={lora}")
    folder = lines["ilql"].folder
    assert lines["ilql"].state == "done"
    assert {path.name for path in folder.iterdir()} >= {"values", "rewards.jsonl", "metrics.jsonl", "completions.json"}
    assert not (folder / "model").exists()
    assert len(read_jsonl(folder / "metrics.jsonl")) == 24  # 6 epochs of 128 completions, 32 per step
    with Workspace.open(project) as workspace:
        data = workspace.completions(read_json(lines["answers"].folder / "completions.json"))
        written = workspace.completions(read_json(folder / "completions.json"))
    assert [row["reward"] for row in read_jsonl(folder / "rewards.jsonl")] == [
        float(one.text.count("late")) for one in data
    ]
    assert len(written) == 64
    [base, ilql] = read_json(lines["eval"].folder / "evaluation.json")["models"]
    mean = sum(one.text.count("late") for one in written) / 64
    assert ilql["figures"]["judge/late"]["value"] == pytest.approx(mean)
    assert mean > base["figures"]["judge/late"]["value"]
    notes = read_json(lines["eval"].folder / "evaluation.json")["notes"]
    assert any("ilql: π_ref · exp(3 · (Q − V)) of base" in note for note in notes)
    assert "KL" in lines["ilql"].summary


def test_beta_0_is_the_reference(project: Path) -> None:
    """The log-probabilities are those of the reference, so the measured KL is 0 up to rounding."""
    line = run("stages.ilql.beta=0", only="ilql")["ilql"]
    assert read_json(line.folder / "manifest.json")["figures"]["kl_sampled"] == pytest.approx(0, abs=1e-5)


def test_it_goes_on_where_it_was_interrupted(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """First while it learns, then while it writes; the files are those of an uninterrupted run."""
    from preflab.stages import ilql, sample
    from preflab.training.state import RunState

    whole = run(only="ilql")["ilql"]
    expected = {name: (whole.folder / name).read_bytes() for name in ("completions.json", "rewards.jsonl")}
    q = (whole.folder / "values" / "q_head.safetensors").read_bytes()
    workspace = ("workspace=again",)

    save, write = RunState.save, sample.Writer.write

    def stop_after_saving(self: RunState, folder: Path) -> None:
        save(self, folder)
        raise KeyboardInterrupt

    monkeypatch.setattr(RunState, "save", stop_after_saving)
    with pytest.raises(KeyboardInterrupt):
        run(*workspace, only="ilql")
    monkeypatch.setattr(RunState, "save", save)

    monkeypatch.setattr(sample, "BATCHES_PER_CHUNK", 0)  # a prompt at a time
    calls: list[object] = []

    def stop_at_the_third(self: sample.Writer, *arguments: object) -> object:
        calls.append(arguments)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return write(self, *arguments)

    monkeypatch.setattr(sample.Writer, "write", stop_at_the_third)
    with pytest.raises(KeyboardInterrupt):
        run(*workspace, only="ilql")
    monkeypatch.setattr(sample.Writer, "write", write)
    monkeypatch.setattr(ilql, "_scores", None)  # neither scored nor learned again
    again = run(*workspace, only="ilql")["ilql"]
    assert again.folder != whole.folder
    assert {name: (again.folder / name).read_bytes() for name in expected} == expected
    assert (again.folder / "values" / "q_head.safetensors").read_bytes() == q
    assert len(calls) == 3


def test_saved_values_are_loaded_and_belong_to_their_base(project: Path) -> None:
    folder = run(only="ilql")["ilql"].folder / "values"
    opened = open_language_model("base", dtype="float32")
    trunk = opened.trunk(("value",), lora=LoraSettings(rank=4))
    row = trunk.collate([TokenSequence((1,), (4, 5, 6))])
    load_action_values(trunk, folder, base=open_language_model("base", dtype="float32").base_hash())
    with torch.no_grad():
        assert trunk(row, ("value",))["value"].action_values.abs().min() > 0
    with pytest.raises(PreflabError, match="trained on the base"):
        load_action_values(trunk, folder, base="model-of-another")
    other = open_language_model("base", dtype="float32").trunk(("value",), lora=LoraSettings(rank=2))
    add_q_head(other)
    with pytest.raises(PreflabError):
        load_action_values(other, folder)


def test_no_model_is_exported(project: Path) -> None:
    from preflab.cli.model_places import model_place

    with pytest.raises(PreflabError, match=r"ilql: its policy is π_ref · exp\(beta · \(Q − V\)\), two models"):
        model_place("ilql", Path("recipe.yaml"), [], None)
    with pytest.raises(PreflabError, match="stage answers of kind sample makes no model"):
        model_place("answers", Path("recipe.yaml"), [], None)
    with pytest.raises(PreflabError, match="ilql"):
        load_recipe("recipe.yaml", ["stages.eval.models=[base, ilql]"])


def test_a_reward_that_is_no_number_stops_it(project: Path) -> None:
    with pytest.raises(PreflabError, match="not finite"):
        run("stages.ilql.rewards=[{function: 'ilql_rewards:odd'}]", only="ilql")
