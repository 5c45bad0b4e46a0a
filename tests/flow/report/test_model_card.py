"""The card of an exported model says what the run says: base, data, figures with intervals, alarms, limits."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from preflab.cli import run_command
from preflab.models.tiny import build_model, build_tokenizer
from preflab.pipeline import run
from preflab.recipe import load_recipe
from preflab.report.card import Use, model_card
from preflab.report.card_recipe import redact_recipe
from preflab.report.escaped_markdown import fenced
from preflab.report.lineage import lineage_of
from report_runs import estimate, write_run
from starter_world import save_model

LM, CLASSIFIER = "AutoModelForCausalLM", "AutoModelForSequenceClassification"
REWARDS = [{"model": "rm", "ensemble": [], "function": None, "implicit": None, "judge": None}]
RECIPE = """# recipe.yaml with every default written out
recipe: 1
workspace: /lab/ann/work
data:
  prompts: {path: /lab/ann/secret/prompts.jsonl, held_out: 0.1}
  other: {path: other.jsonl}
labelers:
  panel: {kind: simulated, utility: "my:worth"}
stages:
  labels: {kind: judge, labelers: panel}
  sft: {kind: sft, model: org/base, data: ../demos.jsonl}
  rm: {kind: reward, model: sft}
  ppo: {kind: ppo, model: sft, prompts: prompts.train}
  unrelated: {kind: sft, model: org/other, data: other}
  eval: {kind: evaluate, models: [sft, ppo], judge: {base_url: "http://10.0.0.3/v1"}}
"""


def run_after(runs: Path, name: str, kind: str, inputs: dict[str, Path], **about: Any) -> Path:
    """A run folder that read others; `finished` and `data` go into its manifest."""
    manifest_too = {key: about.pop(key) for key in ("finished", "data", "figures") if key in about}
    folder = write_run(runs, name, kind, seconds=1.0, summary=about.pop("summary", f"{name} | <b>done</b>"), **about)
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    keys = {other: json.loads((path / "manifest.json").read_text())["key"] for other, path in inputs.items()}
    (folder / "manifest.json").write_text(json.dumps(manifest | {"inputs": keys} | manifest_too), encoding="utf-8")
    return folder


@pytest.fixture
def runs(tmp_path: Path) -> dict[str, Path]:
    """sft → simulated labels → rm → ppo, an old evaluation, a new one, and one of other models."""
    place = tmp_path / "runs"
    demos = {"demos": {"file": "demos.jsonl", "sha256": "ab" * 32, "num": 1234}}
    found = {"sft": run_after(place, "sft", "sft", {}, settings={"model": "org/base"}, data=demos)}
    found["labels"] = run_after(place, "labels", "judge", {"sft": found["sft"]}, settings={"labelers": "panel"})
    snapshot = {"content_hash": "snapshot-1", "counts": {"pairs": 7, "prompts": 5}}
    found["prefs"] = run_after(place, "prefs", "preferences", {"labels": found["labels"]},
                               files={"agreement.json": {"simulated": True}})  # fmt: skip
    (found["prefs"] / "snapshot").mkdir()
    (found["prefs"] / "snapshot" / "manifest.json").write_text(json.dumps(snapshot), encoding="utf-8")
    quality = {"num_pairs": 40, "num_prompts": 20, "accuracy": estimate(0.75, 0.1, 20),
               "longer_wins": estimate(0.5, 0.1, 20)}  # fmt: skip
    found["rm"] = run_after(place, "rm", "reward", {"sft": found["sft"], "prefs": found["prefs"]},
                            settings={"model": "sft"}, files={"reward_report.json": {"held_out": quality}})  # fmt: skip
    alarm = {"alarm": "kl_budget", "step": 3, "setting": "kl_coef", "message": "KL 9.1 is above the budget of 8"}
    found["ppo"] = run_after(
        place, "ppo", "ppo", {"sft": found["sft"], "rm": found["rm"]}, settings={"model": "sft", "rewards": REWARDS},
        lines={"alarms.jsonl": [alarm, {**alarm, "step": 4}]}, figures={"num_alarms": 2},
        finished="2025-01-02T12:00:00+00:00",
    )  # fmt: skip
    (found["ppo"] / "recipe.resolved.yaml").write_text(RECIPE, encoding="utf-8")
    both = {"sft": found["sft"], "ppo": found["ppo"], "rm": found["rm"]}
    for name, finished, worth in (("eval", "2025-01-02T13:00:00+00:00", 0.5), ("old", "2025-01-02T11:00:00+00:00", 9)):
        found[name] = run_after(place, name, "evaluate", both, settings={"models": ["sft", "ppo"]}, finished=finished,
                                files={"evaluation.json": evaluation(worth)})  # fmt: skip
    found["elsewhere"] = run_after(place, "elsewhere", "evaluate", both, settings={"models": ["sft"]})
    return found


def evaluation(worth: float) -> dict[str, Any]:
    """ppo is `worth` better by its own training reward, no different by gold."""
    figures = {"sft": {"judge/gold": estimate(1.0, 0.2), "reward/rm": estimate(0.0, 0.1)},
               "ppo": {"judge/gold": estimate(1.1, 0.2), "reward/rm": estimate(worth, 0.1)}}  # fmt: skip
    rise = estimate(worth, 0.1) | {"p": 0.01, "p_holm": 0.08}
    differences = {"judge/gold": estimate(0.1, 0.2), "reward/rm": rise}
    return {
        "primary": "judge/gold",
        "prompts": {"name": "prompts.held_out", "num": 50, "num_completions": 1}, "baseline": "sft", "reference": "sft",
        "notes": ["gold: a completion marked F counts −3"], "judges": {"gold": {"function": "my:gold"}},
        "models": [{"name": name, "figures": found} for name, found in figures.items()],
        "comparisons": [{"model": "ppo", "baseline": "sft", "differences": differences}],
    }  # fmt: skip


def card_of(folder: Path, opener: str = LM) -> str:
    lineage = lineage_of(folder / ("reward" if opener == CLASSIFIER else "model"))
    assert lineage is not None
    return model_card(lineage, Use(opener, "my-model"))


def header(card: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(card.split("---")[1])
    return found


def test_the_header_is_what_the_hub_reads(runs: dict[str, Path]) -> None:
    from huggingface_hub import ModelCard

    card = card_of(runs["ppo"])
    assert header(card) == {
        "library_name": "transformers", "pipeline_tag": "text-generation", "base_model": "org/base",
        "base_model_relation": "finetune", "tags": ["preflab", "ppo"],
    }  # fmt: skip
    assert ModelCard(card).data.base_model == "org/base"
    assert header(card_of(runs["rm"], CLASSIFIER))["pipeline_tag"] == "text-classification"


def test_stages_and_data_that_led_to_it_are_named(runs: dict[str, Path]) -> None:
    card = card_of(runs["ppo"])
    made = card.split("## How it was made")[1].split("##")[0]
    assert [line.split(" | ")[0] for line in made.splitlines() if line.startswith("| `")] == [
        "| `sft`", "| `labels`", "| `prefs`", "| `rm`", "| `ppo`",
    ]  # fmt: skip
    assert "| ppo | ppo \\| &lt;b>done&lt;/b> | 7 |" in card  # nothing in a cell breaks the table or is a tag
    assert f"| `demos` | `sft` | `demos.jsonl` | 1,234 | `{'ab' * 32}` |" in card
    assert "| labels of `prefs` | stages after it | frozen snapshot | 7 pairs, 5 prompts | `snapshot-1` |" in card


def test_figures_are_those_of_the_newest_evaluation_of_this_model(runs: dict[str, Path]) -> None:
    card = card_of(runs["ppo"])
    assert "| measure | `sft` | `ppo` | difference (95 % interval) | in words |" in card
    assert (
        "| gold (judge), primary | 1.00 (0.80 to 1.20) | 1.10 (0.90 to 1.30) | 0.10 (−0.10 to 0.30) "
        "| no difference found " in card
    )
    row = "| rm (reward model), its training reward | 0.00 (−0.10 to 0.10) | 0.50 (0.40 to 0.60) | 0.50 (0.40 to 0.60) "
    assert row + "| 0.50 higher, but not found among several measures (Holm) |" in card
    assert card.count("`eval`: 50 prompts") == 1
    assert "`old`" not in card  # measured before the model was trained on
    assert "elsewhere" not in card
    assert "| `rm` | 75 % (65 to 85 %) |" in card_of(runs["rm"], CLASSIFIER)


def test_alarms_are_named_with_how_often_they_fired(runs: dict[str, Path]) -> None:
    assert "- `ppo`: kl_budget, 2 times, first at step 3. KL 9.1 is above the budget of 8" in card_of(runs["ppo"])
    assert "Training of this kind has no alarms" in card_of(runs["sft"])


def test_limits_say_whose_labels_and_what_nobody_measured(runs: dict[str, Path]) -> None:
    limits = card_of(runs["ppo"]).split("## Limits")[1].split("##")[0]
    assert "The labels of stage labels are simulated" in limits
    assert "Sycophancy, over-refusal, bias and misinformation were not probed." in limits
    assert "whether people would prefer it" not in limits  # gold was no training reward
    report = json.loads((runs["eval"] / "evaluation.json").read_text())
    report["judges"] = {}
    (runs["eval"] / "evaluation.json").write_text(json.dumps(report), encoding="utf-8")
    assert "It was judged only by its own training rewards" in card_of(runs["ppo"])
    for path in (runs["eval"], runs["prefs"]):
        (path / "manifest.json").unlink()
    card = card_of(runs["ppo"])
    assert "No evaluation compared it with the model it started from." in card
    assert "The folders of these earlier stages no longer exist: prefs." in card


def test_the_recipe_is_shown_without_what_is_the_machines_own(runs: dict[str, Path]) -> None:
    card = card_of(runs["ppo"])
    shown = yaml.safe_load(card.split("```yaml\n")[1].split("```")[0])
    assert list(shown["stages"]) == ["labels", "sft", "rm", "ppo", "eval"]
    assert shown["data"] == {"prompts": {"path": "prompts.jsonl", "held_out": 0.1}}
    assert shown["labelers"]["panel"]["utility"] == "my:worth"
    assert shown["stages"]["sft"] == {"kind": "sft", "model": "org/base", "data": "demos.jsonl"}
    assert not [word for word in ("/lab", "ann", "10.0.0.3", "..") if word in card]


def test_a_local_base_is_no_id_of_the_hub(runs: dict[str, Path], tmp_path: Path) -> None:
    (tmp_path / "org" / "base").mkdir(parents=True)
    card = card_of(runs["ppo"])
    assert "base_model" not in header(card)
    assert "Base model: a local folder called `org/base`" in card


def test_a_fence_is_longer_than_those_within() -> None:
    assert fenced("a ```` b") == "`````\na ```` b\n`````"


def test_a_run_on_files_is_exported_with_its_card(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Counts and hashes of the files come from the run itself."""
    monkeypatch.chdir(tmp_path)
    tokenizer = build_tokenizer(["where is it ? on its way no idea . 0 1 2 3 4 5 6 7"], context=32)
    build_model(tokenizer, num_layers=1, hidden_size=16, num_heads=2, context=32, seed=0).save_pretrained("base")
    tokenizer.save_pretrained("base")
    rows = [{"prompt": f"where is {n} ?", "chosen": "on its way .", "rejected": "no idea ."} for n in range(8)]
    text = "".join(json.dumps(row) + "\n" for row in rows)
    (tmp_path / "pairs.jsonl").write_text(text, encoding="utf-8")
    (tmp_path / "recipe.yaml").write_text(
        "recipe: 1\ndata: {pairs: {path: pairs.jsonl}}\nstages:\n"
        "  dpo: {kind: dpo, model: ./base, preferences: pairs, lora: {rank: 2}, watch: {num_samples: 0}}\n",
        encoding="utf-8",
    )
    run(load_recipe(tmp_path / "recipe.yaml"))
    assert run_command(["export", "model", "dpo", "out"]) == 0
    card = (tmp_path / "out" / "README.md").read_text(encoding="utf-8")
    digest = hashlib.sha256(text.encode()).hexdigest()
    assert f"| `pairs` | `dpo` | `pairs.jsonl` | 8 | `{digest}` |" in card
    assert "by DPO, stage `dpo` of a recipe. Base model: a local folder called `base`." in card
    assert "Nothing was measured after training" in card
    assert "The labels in pairs were read from a file; who gave them" in card
    assert run_command(["export", "model", "base", "copy"]) == 0
    assert "is unknown" in (tmp_path / "copy" / "README.md").read_text(encoding="utf-8")


def test_the_recipe_has_the_stages_that_its_stages_name() -> None:
    stages = {
        "dpo": {"model": "m", "preferences": "pairs.train"},
        "judge": {"kind": "reward", "preferences": "others"},
        "eval": {"models": ["dpo"], "rewards": ["judge"]},
        "unused": {"model": "dpo"},
    }
    recipe = {"stages": stages, "data": {"pairs": {"path": "p"}, "others": {"path": "o"}, "third": {"path": "t"}}}
    shown = yaml.safe_load(redact_recipe(yaml.safe_dump(recipe), ["eval"]))
    assert set(shown["stages"]) == {"dpo", "judge", "eval"}
    assert set(shown["data"]) == {"pairs", "others"}


@pytest.mark.parametrize("template", ["chatml", "no template"])
def test_the_snippet_runs_as_it_stands(
    template: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It opens the folder by its name, and asks a chat model in a conversation."""
    monkeypatch.chdir(tmp_path)
    save_model(tmp_path / "start", template)
    assert run_command(["export", "model", "start", "deep/my-bot"]) == 0
    card = (tmp_path / "deep" / "my-bot" / "README.md").read_text(encoding="utf-8")
    snippet = card.split("```python\n")[1].split("```")[0]
    assert '.from_pretrained("my-bot")' in snippet
    assert "OWNER/NAME" not in card
    assert ("apply_chat_template" in snippet) == (template == "chatml")
    monkeypatch.chdir(tmp_path / "deep")
    capsys.readouterr()
    exec(snippet.replace("max_new_tokens=256", "max_new_tokens=2"), {})
    assert bool(capsys.readouterr().out) == (template == "chatml")
