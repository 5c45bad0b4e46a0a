"""The stages grpo, online_dpo and best_of_n from a recipe, and what comes after them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from preflab import pipeline
from preflab.errors import PreflabError
from preflab.files import read_json, read_jsonl
from preflab.models.tiny import build_model, build_tokenizer
from preflab.recipe import load_recipe
from preflab.store.workspace import Workspace
from tiny_worlds import kept_rollouts

TEXTS = ["where is my parcel", "is my parcel late", "where is it", "is it late where"]
REWARD = """
def likes_late(prompt, completion):
    return float(completion.count("late"))

def odd(prompt, completion):
    return float("nan")
"""
RECIPE = """
recipe: 1
data: {prompts: {path: prompts.jsonl}, kept: {path: kept.jsonl}}
stages:
  grpo:
    kind: grpo
    model: base
    prompts: prompts
    rewards: &rewards [{function: "group_rewards:likes_late"}]
    num_steps: 2
    num_prompts_per_step: 2
    num_completions_per_prompt: 3
    decoding: {max_new_tokens: 6}
    lora: {rank: 2}
  online: {kind: online_dpo, model: base, prompts: prompts, rewards: *rewards, num_steps: 2, num_prompts_per_step: 2,
           decoding: {max_new_tokens: 6}, lora: null}
  best: {kind: best_of_n, model: base, prompts: prompts, rewards: *rewards, num_completions: 5, max_new_tokens: 6}
  distilled: {kind: sft, model: base, data: best, num_epochs: 2}
  eval:
    kind: evaluate
    models: [base]
    completions: [best]
    prompts: prompts
    judges: {late: "group_rewards:likes_late"}
    decoding: {max_new_tokens: 6}
  report: {kind: report, of: [grpo, online, best, eval]}
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a model, prompts, a reward and a recipe."""
    monkeypatch.chdir(tmp_path)
    tokenizer = build_tokenizer(TEXTS, context=32)
    build_model(tokenizer, num_layers=1, hidden_size=16, num_heads=2, context=32, seed=0).save_pretrained("base")
    tokenizer.save_pretrained("base")
    rows = [json.dumps({"prompt": text, "topic": "parcels"}) + "\n" for text in TEXTS]
    (tmp_path / "prompts.jsonl").write_text("".join(rows), encoding="utf-8")
    (tmp_path / "kept.jsonl").write_text("".join(rows), encoding="utf-8")
    (tmp_path / "group_rewards.py").write_text(REWARD, encoding="utf-8")
    (tmp_path / "recipe.yaml").write_text(RECIPE, encoding="utf-8")
    return tmp_path


def run(*overrides: str, only: str | None = None) -> dict[str, pipeline.Line]:
    recipe = load_recipe("recipe.yaml", overrides)
    return {line.name: line for line in pipeline.run(recipe, until=[only] if only else [])}


@pytest.mark.parametrize(("name", "algorithm"), [("grpo", "gspo"), ("grpo", "rloo"), ("online", None)])
def test_a_policy_is_left_behind_and_a_raised_num_steps_goes_on(
    project: Path, name: str, algorithm: str | None
) -> None:
    chosen = [f"stages.{name}.algorithm={algorithm}"] if algorithm else []
    first = run(*chosen, only=name)[name]
    assert first.state == "done"
    assert "reward" in first.summary
    assert {path.name for path in first.folder.iterdir()} >= {
        "model", "policy", "checkpoint", "metrics.jsonl", "rollouts"
    }  # fmt: skip
    again = run(*chosen, f"stages.{name}.num_steps=3", only=name)[name]
    assert again.folder == first.folder
    assert [row["step"] for row in read_jsonl(again.folder / "metrics.jsonl")] == [0, 1, 2]
    rows = kept_rollouts(again.folder)
    assert "values" not in rows[0]
    assert rows[0]["prompt"] == rows[1]["prompt"], "the completions of a prompt stand together"


def test_best_of_n_keeps_the_best_and_says_what_every_n_is_worth(project: Path) -> None:
    line = run(only="best")["best"]
    rows = read_jsonl(line.folder / "chosen.jsonl")
    with Workspace.open(project) as workspace:
        completions = workspace.completions()
    texts = {completion.id: completion.text for completion in completions}
    ended = {completion.id: completion.finish_reason for completion in completions}
    assert len(texts) == 20
    for row in rows:
        counted = [float(texts[id_].count("late")) for id_ in row["completions"]]
        assert row["rewards"] == counted
        assert row["kept"] == row["completions"][counted.index(max(counted))]
    assert read_json(line.folder / "completions.json") == [row["kept"] for row in rows]
    worth = read_json(line.folder / "worth.json")["best_of"]
    assert [one["n"] for one in worth] == [1, 2, 3, 4, 5]
    assert worth[0]["reward"] == pytest.approx(sum(sum(row["rewards"]) for row in rows) / 20)
    assert worth[4]["reward"] == pytest.approx(sum(max(row["rewards"]) for row in rows) / 4)
    assert worth[0]["kl_bound"] == 0
    demonstrations = read_jsonl(line.folder / "demonstrations.jsonl")
    assert [row["prompt"] for row in demonstrations] == TEXTS
    assert [row["completion"] for row in demonstrations] == [texts[row["kept"]] for row in rows]
    assert [row["finish_reason"] for row in demonstrations] == [ended[row["kept"]] for row in rows]
    assert demonstrations[0]["topic"] == "parcels"


def test_best_of_n_is_evaluated_beside_models(project: Path) -> None:
    lines = run(only="eval")
    rows = read_jsonl(lines["best"].folder / "chosen.jsonl")
    [base, best] = read_json(lines["eval"].folder / "evaluation.json")["models"]
    late = best["figures"]["judge/late"]["value"]
    assert late == pytest.approx(sum(max(row["rewards"]) for row in rows) / 4)
    assert late > base["figures"]["judge/late"]["value"]
    assert "kl/exact" not in best["figures"]
    assert "entropy/token" not in best["figures"]
    assert best["weights"].startswith("best of 5 of model-")
    evaluation = read_json(lines["eval"].folder / "evaluation.json")
    assert any("at most log n − (n−1)/n = 0.81 nats" in note for note in evaluation["notes"])  # ln 5 − 4/5
    assert [one["model"] for one in evaluation["comparisons"]] == ["best"]
    with pytest.raises(PreflabError, match="has 1 completion of"):
        run("stages.eval.num_completions=2", only="eval")


def test_the_report_shows_their_training_as_that_of_ppo(project: Path) -> None:
    page = Path(run()["report"].folder / "report.html").read_text(encoding="utf-8")
    assert "grpo and online on the same axes" in page
    for shown in ("Rollouts of grpo", "Rollouts of online", "group/no_spread", "loss/dpo", "best of 5"):
        assert shown in page, shown


def test_what_best_of_n_kept_is_learned_from(project: Path) -> None:
    """Rejection sampling: the stage is named as the data of an `sft` stage, and changing it makes that one stale."""
    lines = run(only="distilled")
    assert "loss" in lines["distilled"].summary
    assert (lines["distilled"].folder / "model" / "config.json").is_file()
    other = run("stages.best.num_completions=3", only="distilled")
    assert other["distilled"].folder != lines["distilled"].folder
    with pytest.raises(PreflabError, match="demonstrations `grpo`"):
        load_recipe("recipe.yaml", ["stages.distilled.data=grpo"])


def test_best_of_n_goes_on_where_it_was_interrupted(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from preflab.stages import best_of_n, sample

    monkeypatch.setattr(sample, "BATCHES_PER_CHUNK", 0)  # a prompt at a time
    row, calls = best_of_n._row, []

    def interrupted(*args: object) -> dict[str, object]:
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return row(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(best_of_n, "_row", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(only="best")
    [folder] = (project / "runs").glob("best-*")
    begun = (folder / "chosen.jsonl").read_text(encoding="utf-8")
    assert begun.count("\n") == 2
    monkeypatch.setattr(best_of_n, "_row", row)
    whole = run(only="best")["best"].folder / "chosen.jsonl"
    assert whole.read_text(encoding="utf-8").startswith(begun)
    assert len(calls) == 3
    assert len(read_jsonl(whole)) == 4


@pytest.mark.parametrize("name", ["grpo", "online", "best"])
def test_a_reward_that_is_no_number_stops_the_stage_and_leaves_nothing(project: Path, name: str) -> None:
    with pytest.raises(PreflabError, match="odd"):
        run(f"stages.{name}.rewards=[{{function: 'group_rewards:odd'}}]", only=name)
    [folder] = (project / "runs").glob(f"{name}-*")
    assert not (folder / "model").exists()
    assert not (folder / "completions.json").exists()


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("stages.grpo.num_completions_per_prompt=1", "at least 2"),
        ("stages.grpo.kl_treatment=exact_reward", "kl_treatment"),
        ("stages.online.labels=hard", "do not converge to π"),
        ("stages.best.num_completions=1", "at least 2"),
        ("stages.best.temperature=0", "nothing to choose from"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_runs(project: Path, override: str, message: str) -> None:
    with pytest.raises(PreflabError) as refused:
        load_recipe("recipe.yaml", [override])
    assert message in str(refused.value)


def test_a_misspelt_function_is_found_before_anything_has_run(project: Path) -> None:
    (project / "recipe.yaml").write_text(
        RECIPE.replace("*rewards, num_completions", "[{function: 'group_rewards:likes_lat'}], num_completions")
    )
    with pytest.raises(PreflabError, match="has no function 'likes_lat'"):
        run()
    assert [path.name for path in (project / "runs").iterdir() if not path.name.startswith(".")] == []
