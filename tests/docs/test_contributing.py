"""The diffs of CONTRIBUTING.md are real: few files, no loop among them; copies of the tree with them pass and train."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from changed_tree import DIFFS, ROOT, changed_files, changed_tree, run_python, run_tests

MOST_FILES = {"engine": 3, "family": 4, "loss": 3, "reward": 1}
"""Name of a diff → how many files it may touch."""
LOOPS = "src/preflab/policy/"

TEXT = ["where is my parcel ?", "please wait until today .", "you wait until later .", "is my parcel late ?"]
PAIRS = [
    {"prompt": f"where is my parcel {n} ?", "chosen": "please wait until today .", "rejected": "you wait until later ."}
    for n in range(16)
]
BASE = "{kind: tiny, text: corpus, num_layers: 1, hidden_size: 32, num_heads: 2, context: 24, num_steps: 20}"
LOSS_RECIPE = f"""
recipe: 1
data: {{corpus: {{path: corpus.jsonl}}, pairs: {{path: pairs.jsonl}}}}
stages:
  base: {BASE}
  apo:
    {{kind: dpo, model: base, preferences: pairs, losses: [{{kind: apo_zero, beta: 0.5}}], lora: null, held_out: 0,
     num_epochs: 8, watch: {{num_samples: 0}}, optimiser: {{learning_rate: 3.0e-3}}}}
  report: {{kind: report, of: [apo]}}
"""
REWARD_RECIPE = f"""
recipe: 1
data: {{corpus: {{path: corpus.jsonl}}, prompts: {{path: prompts.jsonl}}}}
stages:
  base: {BASE}
  grpo:
    {{kind: grpo, model: base, prompts: prompts, rewards: [{{function: "preflab.rewards.library:ended_sentence"}}],
     num_steps: 2, num_prompts_per_step: 4, num_completions_per_prompt: 4, decoding: {{max_new_tokens: 6}},
     lora: {{rank: 2}}}}
"""
FAMILY_RECIPE = """
recipe: 1
data: {demos: {path: demos.jsonl}, prompts: {path: prompts.jsonl}, pairs: {path: pairs.jsonl}}
stages:
  sft: {kind: sft, model: ./prefix, data: demos, num_epochs: 10, lora: null, optimiser: {learning_rate: 5.0e-3}}
  grpo:
    {kind: grpo, model: sft, prompts: prompts, rewards: [{function: "my_rewards:num_words"}], num_steps: 4,
     lora: {rank: 2}, num_prompts_per_step: 2, num_completions_per_prompt: 4, decoding: {max_new_tokens: 6}}
  ppo:
    {kind: ppo, model: sft, prompts: prompts, rewards: [{function: "my_rewards:num_words"}], num_steps: 1,
     lora: {rank: 2}, num_completions_per_step: 8, decoding: {max_new_tokens: 6}}
  dpo: {kind: dpo, model: sft, preferences: pairs, held_out: 0, num_epochs: 1, lora: {rank: 2}, watch: {num_samples: 0}}
  rm: {kind: reward, model: sft, preferences: pairs, num_epochs: 1, lora: {rank: 2}}
  eval: {kind: evaluate, models: [sft, grpo], prompts: prompts, decoding: {max_new_tokens: 6}}
"""
SAVE_MODEL = """
from test_prefix_decoders import tiny_prefix_model
model, tokenizer = tiny_prefix_model()
model.save_pretrained("prefix"), tokenizer.save_pretrained("prefix")
"""


def test_diffs_stand_in_contributing_word_for_word(repository: Path) -> None:
    page = (repository / "CONTRIBUTING.md").read_text(encoding="utf-8")
    shown = re.findall(r"^```diff\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    assert sorted(shown) == sorted(diff.read_text(encoding="utf-8") for diff in DIFFS.glob("*.diff"))


@pytest.mark.parametrize("name", sorted(diff.stem for diff in DIFFS.glob("*.diff")))
def test_diff_touches_few_files_and_no_loop(name: str) -> None:
    assert name in MOST_FILES, f"say in MOST_FILES how many files {name}.diff may touch"
    files = changed_files(DIFFS / f"{name}.diff")
    assert 1 <= len(files) <= MOST_FILES[name]
    assert not [file for file in files if file.startswith(LOOPS)]


@pytest.mark.parametrize("diff", sorted(DIFFS.glob("*.diff")), ids=lambda diff: diff.stem)
def test_diff_applies_to_the_tree_as_it_is(diff: Path) -> None:
    if shutil.which("git") is None:
        pytest.skip("git, which applies the diff, is not installed")
    done = subprocess.run(["git", "apply", "--check", str(diff)], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"renew {diff.name} and CONTRIBUTING.md: {done.stderr}"


def write_recipe(folder: Path, recipe: str) -> None:
    folder.mkdir()
    (folder / "corpus.jsonl").write_text("".join(json.dumps({"text": line}) + "\n" for line in TEXT))
    (folder / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in PAIRS))
    (folder / "prompts.jsonl").write_text("".join(json.dumps({"prompt": row["prompt"]}) + "\n" for row in PAIRS))
    (folder / "recipe.yaml").write_text(recipe)


def rows_of(folder: Path, stage: str, name: str) -> list[dict[str, Any]]:
    """The rows of a file that a stage left."""
    (file,) = (folder / "runs").glob(f"{stage}-*/{name}")
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


@pytest.mark.slow
def test_added_loss_passes_its_tests_and_trains(tmp_path: Path) -> None:
    tree = changed_tree(tmp_path, DIFFS / "loss.diff")
    names = ("by_hand/test_preference_losses", "by_hand/test_dpo", "docs/test_dpo_pages", "flow/policy/test_dpo_loop")
    files = [f"tests/{name}.py" for name in (*names, "enumerated/test_dpo_optimum")]
    assert re.match(
        r"\d+ passed", run_tests(tree, "-k", "apo_zero or test_preference_losses or test_dpo_pages", *files)
    )
    for page in ("reference/settings.md", "reference/metrics.md", "algorithms/dpo.md"):
        assert "apo_zero" in (tree / "docs" / page).read_text(encoding="utf-8"), page
    write_recipe(tmp_path / "run", LOSS_RECIPE)
    run_python(tree, "-m", "preflab", "run", "recipe.yaml", where=tmp_path / "run")
    losses = [row["loss/apo_zero"] for row in rows_of(tmp_path / "run", "apo", "metrics.jsonl")]
    assert losses[0] == pytest.approx(1, abs=1e-5)  # at the reference 1 − σ(0) + σ(0)
    assert losses[-1] < 0.9
    (report,) = (tmp_path / "run" / "runs").glob("report-*/report.html")
    assert "apo_zero loss" in report.read_text(encoding="utf-8")


@pytest.mark.slow
def test_added_reward_passes_its_tests_and_trains(tmp_path: Path) -> None:
    tree = changed_tree(tmp_path, DIFFS / "reward.diff")
    assert re.match(r"\d+ passed", run_tests(tree, "tests/by_hand/test_rewards_library.py"))
    assert "`ended_sentence`" in (tree / "docs" / "how-to" / "reward-function.md").read_text(encoding="utf-8")
    write_recipe(tmp_path / "run", REWARD_RECIPE)
    run_python(tree, "-m", "preflab", "run", "recipe.yaml", where=tmp_path / "run")
    (folder,) = (tmp_path / "run" / "runs").glob("grpo-*/rollouts")
    rollouts = pq.read_table(folder).to_pylist()
    assert {row["reward"] for row in rollouts} <= {0.0, 1.0}
    for row in rollouts:
        assert row["reward"] == (row["completion"].rstrip()[-1:] in (".", "?", "!"))


@pytest.mark.slow
def test_added_family_passes_its_tests_and_trains(tmp_path: Path) -> None:
    tree = changed_tree(tmp_path, DIFFS / "family.diff")
    tests = tree / "tests" / "flow" / "models"
    assert re.match(r"\d+ passed", run_tests(tree, str(tests / "test_prefix_decoders.py")))
    run = tmp_path / "run"
    write_recipe(run, FAMILY_RECIPE)
    demos = [{"prompt": row["prompt"], "completion": "please wait until today ."} for row in PAIRS]
    (run / "demos.jsonl").write_text("".join(json.dumps(row) + "\n" for row in demos))
    (run / "my_rewards.py").write_text(
        "def num_words(completion: str) -> float:\n    return float(len(completion.split()))\n"
    )
    run_python(tree, "-c", f"import sys; sys.path.insert(0, {str(tests)!r})\n{SAVE_MODEL}", where=run)
    run_python(tree, "-m", "preflab", "run", "recipe.yaml", where=run)
    kept = [json.loads(file.read_text()) for file in (run / "runs").glob("sft-*/**/config.json")]
    assert kept
    assert all(config["prefix_lm"] for config in kept), "what is trained stays a prefix language model"
    losses = [row["loss/nll"] for row in rows_of(run, "sft", "metrics.jsonl")]
    assert losses[-1] < 0.5 * losses[0]
    for stage in ("grpo", "ppo"):
        first, *_ = rows_of(run, stage, "metrics.jsonl")
        assert first["mismatch/logps"] < 1e-4, "sampler and trainer agree"
    for stage, left in (("dpo", "policy"), ("rm", "reward"), ("eval", "manifest.json")):
        assert list((run / "runs").glob(f"{stage}-*/{left}")), f"{stage} ran to its end"
