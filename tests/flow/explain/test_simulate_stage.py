"""The stage `simulate` and the command: pools of two small runs, with log-probabilities computed again by hand."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from transformers import AutoModelForCausalLM

from preflab import pipeline
from preflab.cli import run_command
from preflab.errors import PreflabError
from preflab.explain.curve import curve
from preflab.explain.inline import json_in_script
from preflab.explain.pool import read_pool
from preflab.explain.simulator_data import choose, simulator_data
from preflab.files import read_json
from preflab.models.tiny import build_model, build_tokenizer
from preflab.recipe import load_recipe
from preflab.store.workspace import Workspace

WORDS = ("where", "is", "my", "parcel", "late", "</script>")
REWARD = """
FAIL_UTILITY = -2.0

def late(prompt, completion):
    return float(completion.count("late"))

def short(prompt, completion):
    return -float(len(completion.split()))

def gold(prompt, completion):
    return None if "is" in completion else float(completion.count("my"))
"""
COMMON = "kind: grpo, model: base, prompts: prompts.train, rewards: *rewards, num_steps: 2, num_prompts_per_step: 4"
COMMON += ", decoding: {max_new_tokens: 6}, lora: {rank: 2}, optimiser: {learning_rate: 0.05}"
RECIPE = f"""
recipe: 1
data: {{prompts: {{path: prompts.jsonl, held_out: 0.5}}}}
stages:
  low:
    {{kind: grpo, model: base, prompts: prompts.train, num_steps: 2, num_prompts_per_step: 4, kl_coef: 0.05,
     rewards: &rewards [{{function: "sim_rewards:late"}}, {{function: "sim_rewards:short", weight: 0.5}}],
     decoding: {{max_new_tokens: 6}}, lora: {{rank: 2}}, optimiser: {{learning_rate: 0.05}}}}
  high: {{{COMMON}, kl_coef: 0.5}}
  eval: {{kind: evaluate, models: [base, low], prompts: prompts.held_out, judges: {{gold: "sim_rewards:gold"}},
         decoding: {{max_new_tokens: 6}}}}
  sim:
    {{kind: simulate, policies: [low, high], prompts: prompts.held_out, num_prompts: 5, num_completions: 3,
     judges: {{gold: "sim_rewards:gold"}}}}
"""


def make_base(folder: Path, words: tuple[str, ...] = WORDS, seed: int = 0) -> None:
    tokenizer = build_tokenizer([" ".join(words)], context=32)
    model = build_model(tokenizer, num_layers=1, hidden_size=16, num_heads=2, context=32, seed=seed)
    with torch.no_grad():  # not far from certain of its words, so that log-probabilities differ
        model.get_output_embeddings().weight.mul_(8)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the recipe was run."""
    folder = tmp_path_factory.mktemp("simulate")
    make_base(folder / "base")
    prompts = [f"{first} {second}" for first in WORDS[:5] for second in WORDS[:5] if first != second]
    (folder / "prompts.jsonl").write_text("".join(json.dumps({"prompt": text}) + "\n" for text in prompts))
    (folder / "sim_rewards.py").write_text(REWARD)
    (folder / "recipe.yaml").write_text(RECIPE)
    pipeline.run(load_recipe(folder / "recipe.yaml"))
    return folder


def lines_of(project: Path) -> dict[str, pipeline.Line]:
    return {line.name: line for line in pipeline.show(load_recipe(project / "recipe.yaml"))}


@pytest.fixture(scope="module")
def table(project: Path) -> Any:
    """The rows of pool.parquet as pandas reads them."""
    return pq.read_table(lines_of(project)["sim"].folder / "pool.parquet").to_pandas()


def test_pool_has_every_sample_sorted_by_prompt_and_policy(table: Any) -> None:
    assert len(table) == 5 * 3 * 3
    assert table["prompt_id"].nunique() == 5
    assert table["policy"].tolist() == ["base"] * 3 + ["low"] * 3 + ["high"] * 3 + table["policy"].tolist()[9:]
    assert (table["prompt_id"].to_numpy().reshape(5, 9) == table["prompt_id"].to_numpy()[::9, None]).all()
    # Each policy draws with seeds of its own: equal seeds would give near policies near-equal samples.
    assert table["seed"].nunique() == len(table)


def test_log_probabilities_equal_those_of_the_saved_models(project: Path, table: Any) -> None:
    with Workspace.open(project) as workspace:
        records = {one.id: one for one in workspace.completions(sorted(set(table["completion_id"])))}
    tokenizer = build_tokenizer([" ".join(WORDS)], context=32)
    folders = {"base": project / "base"} | {n: lines_of(project)[n].folder / "model" for n in ("low", "high")}
    for name, folder in folders.items():
        model = AutoModelForCausalLM.from_pretrained(folder).eval()
        for _, row in table.iterrows():
            record = records[row["completion_id"]]
            prompt = tokenizer(row["prompt"])["input_ids"]
            ids = torch.tensor([[*prompt, *record.token_ids]])
            with torch.no_grad():
                logps = model(ids).logits[0].double().log_softmax(-1)
            expected = sum(float(logps[len(prompt) - 1 + t, token]) for t, token in enumerate(record.token_ids))
            assert row[f"logps/{name}"] == pytest.approx(expected, abs=1e-4)
            if row["policy"] == name:
                assert row[f"logps/{name}"] == pytest.approx(sum(record.logps), abs=1e-4)


def test_scores_are_unweighted_and_an_f_has_none(table: Any) -> None:
    for _, row in table.iterrows():
        words = row["completion"].split()
        assert row["reward/late"] == row["completion"].count("late")
        assert row["reward/short"] == -len(words)
        assert row["num_words"] == len(words)
        if "is" in row["completion"]:
            assert np.isnan(row["judge/gold"])
        else:
            assert row["judge/gold"] == row["completion"].count("my")
    assert 0 < table["judge/gold"].isna().sum() < len(table)


def test_pool_is_read_as_it_was_written(project: Path, table: Any) -> None:
    pool = read_pool(lines_of(project)["sim"].folder / "pool.parquet")
    assert pool.names == ("base", "low", "high")
    assert [one.kl_coef for one in pool.facts.policies] == [None, 0.05, 0.5]
    assert pool.facts.policies[1].trained_on == {"late": 1.0, "short": 0.5}
    assert [(one.name, one.weight, one.source) for one in pool.facts.terms] == [
        ("late", 1.0, "function sim_rewards:late"),
        ("short", 0.5, "function sim_rewards:short"),
    ]
    assert pool.facts.temperature == 1.0
    assert not pool.facts.simulated
    assert list(pool.completions) == table["completion"].tolist()
    assert pool.reward == pytest.approx((table["reward/late"] + 0.5 * table["reward/short"]).to_numpy())
    assert pool.logps[2] == pytest.approx(table["logps/high"].to_numpy())
    # An F counts as FAIL_UTILITY of the judge's module.
    assert set(pool.criterion(0)[np.isnan(pool.criteria[0])]) == {-2.0}


def test_page_and_summary(project: Path) -> None:
    line = lines_of(project)["sim"]
    assert line.summary.startswith("45 samples of 3 policies on 5 prompts, trusted")
    assert line.link == str(project / "simulator.html")
    page = (project / "simulator.html").read_text(encoding="utf-8")
    assert page == (line.folder / "simulator.html").read_text(encoding="utf-8")
    assert "simulate" not in [other.kind for other in pipeline.run(load_recipe(project / "recipe.yaml")) if other.ran]


def test_curve_doubts_penalties_below_half_of_the_smallest_that_was_trained(project: Path) -> None:
    pool = read_pool(lines_of(project)["sim"].folder / "pool.parquet")
    found = curve(pool, [0.05, 0.02])
    doubted = [
        "the smallest penalty that a pooled policy was trained with is 0.0500" in p.doubts for p in found.values()
    ]
    assert doubted == [False, True]


def test_data_of_the_page(project: Path, table: Any) -> None:
    data = simulator_data(read_pool(lines_of(project)["sim"].folder / "pool.parquet"))
    assert data["policies"] == ["base", "low", "high"]
    assert data["samples"]["text"] == table["completion"].tolist()
    assert data["samples"]["policy"] == [0, 0, 0, 1, 1, 1, 2, 2, 2] * 5
    assert data["samples"]["prompt"] == [number for number in range(5) for _ in range(9)]
    assert data["samples"]["logps"][1] == [round(value, 4) for value in table["logps/low"]]
    assert data["samples"]["criteria"][0].count(None) == table["judge/gold"].isna().sum()
    own = table[table["policy"] == "low"]
    assert data["runs"][0]["name"] == "low"
    assert data["runs"][0]["kl"]["value"] == pytest.approx((own["logps/low"] - own["logps/base"]).mean(), abs=1e-4)
    assert data["runs"][0]["criteria"][0]["value"] == pytest.approx(own["judge/gold"].fillna(-2.0).mean(), abs=1e-4)
    assert data["criteria"] == [{"name": "gold", "label": "gold", "fail": -2.0, "higher_is_better": True}]
    json.dumps(data, allow_nan=False)


def test_data_that_would_be_too_large_leaves_prompts_out_and_says_so(project: Path) -> None:
    pool = read_pool(lines_of(project)["sim"].folder / "pool.parquet")
    whole = simulator_data(pool)
    size = len(json.dumps(whole, ensure_ascii=False))
    data = simulator_data(pool, most_bytes=size * 2 // 3)
    kept = len(data["prompts"])
    assert 1 <= kept < 5
    assert data["notes"] == [f"{5 - kept} prompts of 5 left out of this page: it would be too large"]
    assert len(json.dumps(data, ensure_ascii=False)) < size
    assert data["samples"]["text"] == whole["samples"]["text"][: 9 * kept]
    assert data["runs"] == whole["runs"]
    assert len(choose(pool, pool.policies == 1)) == 15


def test_size_counts_characters_as_they_are_escaped(project: Path) -> None:
    """200 `<` are 1,200 bytes of the page: 9 samples of a prompt have 10,800, and three prompts fit into 40,000."""
    pool = read_pool(lines_of(project)["sim"].folder / "pool.parquet")
    data = simulator_data(replace(pool, completions=("<" * 200,) * len(pool)), most_bytes=40_000)
    assert len(json_in_script(data)) < 40_000
    assert len(data["prompts"]) == 3


def refused(project: Path, *overrides: str) -> PreflabError:
    with pytest.raises(PreflabError) as caught:
        pipeline.run(load_recipe(project / "recipe.yaml", overrides), until=["sim"])
    return caught.value


def test_policies_that_do_not_fit_are_refused_before_anything_is_sampled(project: Path) -> None:
    make_base(project / "other", seed=1)
    assert "high was trained from the reference other" in refused(project, "stages.high.reference=other").found
    assert "temperature 0.5" in refused(project, "stages.high.decoding.temperature=0.5").found
    assert "truncated" in refused(project, "stages.sim.decoding={top_k: 2}").found
    assert "each policy once" in str(refused(project, "stages.sim.policies=[low, low]"))
    assert "without one" in refused(project, "stages.sim.policies=[base]", "stages.sim.reference=base").found


def test_policy_with_another_vocabulary_is_refused(project: Path) -> None:
    make_base(project / "foreign", (*WORDS, "refund"))
    error = refused(project, "stages.sim.policies=[low, foreign]")
    assert "foreign has another tokenizer" in error.found


def ended(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    capsys.readouterr()
    try:
        code = run_command(words)
    except SystemExit as leaving:
        code = int(leaving.code or 0)
    out, err = capsys.readouterr()
    return code, out, err


def test_command_on_runs_takes_what_their_recipe_says(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Run folders or names; the same arguments find the same pool; no stage is run again."""
    workspace = tmp_path / "copy"
    shutil.copytree(project, workspace)
    monkeypatch.chdir(workspace)
    folder = next((workspace / "runs").glob("low-*"))
    small = ("--num-prompts", "3", "--num-completions", "2")
    code, out, err = ended(capsys, "simulate", str(folder), "high", *small, "--out", "page.html")
    assert code == 0, err
    assert "18 samples of 3 policies on 3 prompts" in out
    assert "open page.html in a browser" in out
    (made,) = (workspace / "runs").glob("simulate-*")
    settings = read_json(made / "manifest.json")["settings"]
    assert (settings["prompts"], settings["judges"]) == ("prompts.held_out", {"gold": "sim_rewards:gold"})
    assert (workspace / "page.html").read_bytes() == (workspace / "simulator.html").read_bytes()
    before = (made / "pool.parquet").stat().st_mtime_ns
    code, out, _ = ended(capsys, "simulate", "low", "high", *small, "--json")
    assert code == 0
    assert json.loads(out)["pool"] == str(made / "pool.parquet")
    assert (made / "pool.parquet").stat().st_mtime_ns == before
    (workspace / "mine.jsonl").write_text('{"prompt": "my parcel"}\n')
    code, out, err = ended(capsys, "simulate", "low", "--prompts", "mine.jsonl", "--num-completions", "2")
    assert code == 0, err
    assert "4 samples of 2 policies on 1 prompt" in out


def test_pool_of_the_command_is_made_again_when_prompts_or_functions_changed(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    workspace = tmp_path / "copy"
    shutil.copytree(project, workspace)
    monkeypatch.chdir(workspace)
    words = ("simulate", "low", "--prompts", "mine.jsonl", "--num-completions", "2", "--json")

    def pool() -> str:
        code, out, err = ended(capsys, *words)
        assert code == 0, err
        return str(json.loads(out)["pool"])

    (workspace / "mine.jsonl").write_text('{"prompt": "my parcel"}\n')
    first = pool()
    assert pool() == first
    (workspace / "mine.jsonl").write_text('{"prompt": "late parcel"}\n')
    second = pool()
    assert set(read_pool(Path(second)).prompts) == {"late parcel"}
    (workspace / "sim_rewards.py").write_text(REWARD.replace('count("my")', 'count("late")'))
    assert len({first, second, pool()}) == 3


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["lowe"], ["lowe: neither the folder of a run nor a stage with a finished run", "near it: low"]),
        (["low", "--prompts", "promts"], ["--prompts promts: neither data of recipe.yaml nor a file"]),
        (["low", "--prompts", "prompts.all"], ["--prompts: no data `prompts.all`"]),
        (["eval"], ["eval: a run of kind evaluate, which trains no policy"]),
        (["low", "eval"], ["eval: a run of kind evaluate, which trains no policy"]),
        (["low", "--live", "--port", "99999"], ["'--port'", "65535"]),
    ],
)
def test_command_says_what_is_wrong(
    project: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    said: list[str],
) -> None:
    """A refused command leaves no run folder behind."""
    monkeypatch.chdir(project)
    before = sorted(project.glob("runs/*"))
    code, _, err = ended(capsys, "simulate", *words)
    assert code == 2
    assert [part for part in said if part not in err] == []
    assert sorted(project.glob("runs/*")) == before


def test_two_runs_of_one_stage_are_told_apart(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A sweep by --set makes runs with one name; the second is called by the start of its key."""
    workspace = tmp_path / "sweep"
    shutil.copytree(project, workspace)
    monkeypatch.chdir(workspace)
    pipeline.run(load_recipe("recipe.yaml", ["stages.low.kl_coef=0.2"]), until=["low"])
    folders = sorted(
        (workspace / "runs").glob("low-*"), key=lambda folder: read_json(folder / "manifest.json")["finished"]
    )
    words = [str(folder) for folder in folders]
    code, _, err = ended(capsys, "simulate", *words, "--num-prompts", "2", "--num-completions", "2")
    assert code == 0, err
    (made,) = (workspace / "runs").glob("simulate-*")
    pool = read_pool(made / "pool.parquet")
    assert pool.names == ("base", "low", f"low-{folders[1].name.removeprefix('low-')[:4]}")
    assert [one.kl_coef for one in pool.facts.policies] == [None, 0.05, 0.2]
