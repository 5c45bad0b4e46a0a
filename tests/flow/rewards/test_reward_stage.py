"""The stages tiny, sft and reward in a recipe: a word that people like is found, shuffled labels teach nothing."""

from __future__ import annotations

import importlib.util
import json
import random
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from preflab.errors import PreflabError
from preflab.pipeline import Line, run
from preflab.recipe import load_recipe
from preflab.records import Prompt
from preflab.rewards.score import RewardModelCard, load_reward_model
from preflab.training.held_out import held_out_prompts

TOPICS = ["parcel", "refund", "lamp", "invoice", "clock", "chair"]
ENDINGS = ["today", "tomorrow", "on monday", "soon", "later"]
RECIPE = """
recipe: 1
data:
  corpus: {path: corpus.jsonl}
  demonstrations: {path: demonstrations.jsonl}
  pairs: {path: pairs.jsonl}
  shuffled: {path: shuffled.jsonl}
stages:
  base: {kind: tiny, text: corpus, num_layers: 1, hidden_size: 32, num_heads: 2, context: 24, num_steps: 5}
  sft: {kind: sft, model: base, data: demonstrations, num_epochs: 1, lora: {rank: 2}}
  rm:
    {kind: reward, model: sft, preferences: pairs, test_preferences: shuffled, held_out: 0.25, num_epochs: 12,
     lora: {rank: 4}, optimiser: {learning_rate: 1.0e-2}}
"""


def pairs(*, shuffled: bool) -> list[dict[str, str]]:
    """Two answers to a question, of which the one with `please` is preferred, or with `shuffled` either."""
    rng = random.Random(7)
    rows = []
    for number in range(160):
        prompt = f"my {rng.choice(TOPICS)} number {number} ?"
        polite, plain = f"please wait until {rng.choice(ENDINGS)} .", f"you wait until {rng.choice(ENDINGS)} ."
        chosen, rejected = rng.sample([polite, plain], 2) if shuffled else (polite, plain)
        rows.append({"prompt": prompt, "chosen": chosen, "rejected": rejected})
    return rows


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recipe with its data."""
    made = tmp_path_factory.mktemp("recipe")
    words = " ".join([*TOPICS, *ENDINGS, "please you wait until . my number ?", *map(str, range(160))]).split()
    files: dict[str, list[dict[str, Any]]] = {
        "corpus": [{"text": " ".join(words[i : i + 12])} for i in range(0, len(words), 6)],
        "demonstrations": [{"prompt": f"my {topic} ?", "completion": "please wait until today ."} for topic in TOPICS],
        "pairs": pairs(shuffled=False),
        "shuffled": pairs(shuffled=True),
    }
    for name, rows in files.items():
        (made / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (made / "recipe.yaml").write_text(RECIPE)
    return made


@pytest.fixture(scope="module")
def lines(folder: Path) -> dict[str, Line]:
    """The recipe, run once for all tests."""
    return {line.name: line for line in run(load_recipe(folder / "recipe.yaml"))}


def test_stages_write_models_and_summaries(lines: dict[str, Line]) -> None:
    assert [line.state for line in lines.values()] == ["done"] * 3
    assert lines["base"].summary.startswith("loss ")
    for name in ("base", "sft"):
        assert (lines[name].folder / "model" / "model.safetensors").is_file()
        assert not (lines[name].folder / "checkpoint").exists()
    # 160 prompts, those whose hash is below a quarter held out: 42 pairs
    assert "of 42 held-out pairs" in lines["rm"].summary


def test_scores_of_eight_held_out_pairs_are_kept(lines: dict[str, Line]) -> None:
    rows = pq.read_table(lines["rm"].folder / "pairs").to_pylist()
    num_steps = len((lines["rm"].folder / "metrics.jsonl").read_text().splitlines())
    last = [row for row in rows if row["step"] == num_steps]
    sides = [(pair, side) for pair in range(8) for side in ("chosen", "rejected")]
    assert [(row["pair"], row["side"]) for row in last] == sides
    assert len({row["prompt_id"] for row in last}) == 8
    assert all(row["completion_id"].startswith("completion-") for row in rows)
    assert sum(row["margin"] > 0 for row in last) >= 14, "as right as on all held-out pairs"


def test_the_report_has_what_its_page_says(lines: dict[str, Line], repository: Path) -> None:
    report = json.loads((lines["rm"].folder / "reward_report.json").read_text())
    page = (repository / "docs" / "algorithms" / "reward-model.md").read_text(encoding="utf-8")
    for key in [*report, *report["held_out"], *report["reference"]]:
        assert f"`{key}`" in page, key
    held_out = report["held_out"]
    assert held_out["accuracy"]["value"] > 0.9
    assert held_out["accuracy"]["num"] == held_out["num_prompts"] == 42
    beyond = held_out["accuracy"]["value"] - held_out["longer_wins"]["value"]
    assert held_out["beyond_length"]["value"] == pytest.approx(beyond)
    assert held_out["log_loss"] < 0.4
    # The same pairs with labels by the toss of a coin: about half of 160 right, standard error 0.04
    assert abs(report["test"]["accuracy"]["value"] - 0.5) < 0.12
    assert report["fails"] is None
    assert report["reference"]["num"] == 2 * 160


def test_the_reward_is_normalised_where_it_was_labelled(lines: dict[str, Line]) -> None:
    folder = lines["rm"].folder / "reward"
    card, report = RewardModelCard.read(folder), json.loads((folder.parent / "reward_report.json").read_text())
    assert card.gain == pytest.approx(1 / report["reference"]["std"], rel=1e-5)
    assert card.offset == pytest.approx(-report["reference"]["mean"] / report["reference"]["std"], rel=1e-4)
    assert not Path(card.base).is_absolute()
    trunk, encoder = load_reward_model(folder)
    assert (trunk.causal, encoder.causal, encoder.max_tokens) == (True, True, 24)


def test_shuffled_labels_teach_nothing(folder: Path) -> None:
    recipe = load_recipe(folder / "recipe.yaml", ["stages.rm.preferences=shuffled", "stages.rm.test_preferences=pairs"])
    (line,) = run(recipe, only=["rm"])
    report = json.loads((line.folder / "reward_report.json").read_text())
    low, high = report["held_out"]["accuracy"]["low"], report["held_out"]["accuracy"]["high"]
    assert low < 0.5 < high or abs(report["held_out"]["accuracy"]["value"] - 0.5) < 0.17


def test_bad_rows_are_refused_or_left_out_by_line(folder: Path, lines: dict[str, Line]) -> None:
    rows = (folder / "pairs.jsonl").read_text().splitlines()
    equal = json.dumps({"prompt": "my lamp ?", "chosen": "soon .", "rejected": "soon ."})
    (folder / "odd.jsonl").write_text("\n".join([*rows[:20], equal, *rows[20:40]]) + "\n")
    text = (folder / "recipe.yaml").read_text()
    for skip in ("false", "true"):
        path = folder / f"odd_{skip}.yaml"
        path.write_text(text.replace("{path: pairs.jsonl}", f"{{path: odd.jsonl, skip_bad: {skip}}}"))
    with pytest.raises(PreflabError, match="line 21") as error:
        run(load_recipe(folder / "odd_false.yaml"), only=["rm"])
    assert error.value.do == "correct them, or leave bad rows out with `skip_bad: true` in data.pairs"
    (line,) = run(load_recipe(folder / "odd_true.yaml", ["stages.rm.num_epochs=1"]), only=["rm"])
    data = json.loads((line.folder / "reward_report.json").read_text())["data"]["train"]
    assert data["num_rows"] == 41
    assert [problem["line"] for problem in data["left_out"]] == [21]


def test_a_tracker_that_is_not_installed_is_refused(folder: Path, lines: dict[str, Line]) -> None:
    if importlib.util.find_spec("wandb") is not None:
        pytest.skip("wandb is installed here")
    recipe = load_recipe(folder / "recipe.yaml", ["stages.rm.run.log_with=[wandb]", "stages.rm.num_epochs=2"])
    with pytest.raises(PreflabError, match="wandb, which is not installed"):
        run(recipe, only=["rm"])


def test_completions_at_the_limit_are_counted_and_equal_ones_make_no_pair(folder: Path, lines: dict[str, Line]) -> None:
    # Six tokens keep the first one and the last five: "wait until <ending> ." and the end token, equal on both sides
    # of a pair that shares its ending.
    changes = ["stages.rm.max_tokens=6", "stages.rm.num_epochs=1", "stages.rm.test_preferences=null"]
    (line,) = run(load_recipe(folder / "recipe.yaml", changes), only=["rm"])
    assert "; 160 rows longer than 6 tokens cut at the beginning: pairs.jsonl, line 1, 2, 3" in line.summary
    report = json.loads((line.folder / "reward_report.json").read_text())
    rows = [json.loads(row) for row in (folder / "pairs.jsonl").read_text().splitlines()]
    differing = sum(row["chosen"].split()[-2] != row["rejected"].split()[-2] for row in rows)
    assert differing < 160
    assert report["train"]["num_pairs"] + report["held_out"]["num_pairs"] == differing


def test_stages_with_other_seeds_and_kinds_hold_out_the_same_prompts(folder: Path, lines: dict[str, Line]) -> None:
    asked = [Prompt.make(json.loads(row)["prompt"]) for row in (folder / "pairs.jsonl").read_text().splitlines()]
    apart = held_out_prompts(asked, 0.25)
    assert len(apart) == 42
    for other in (42, 43):
        changes = [f"stages.rm.seed={other}", "stages.rm.num_epochs=1", "stages.rm.test_preferences=null"]
        (line,) = run(load_recipe(folder / "recipe.yaml", changes), only=["rm"])
        report = json.loads((line.folder / "reward_report.json").read_text())
        assert report["held_out"]["num_prompts"] == 42
    # Another column makes another prompt, but none that is tested on where it was trained on.
    columns = [Prompt.make(prompt.text, columns={"topic": "x"}) for prompt in asked]
    assert {p.text for p in columns if p.id in held_out_prompts(columns, 0.25)} == {
        p.text for p in asked if p.id in apart
    }
    # A smaller share is a part of a larger one.
    assert held_out_prompts(asked, 0.1) < apart


def test_held_out_share_of_zero_is_allowed(folder: Path, lines: dict[str, Line]) -> None:
    changes = ["stages.rm.held_out=0", "stages.rm.num_epochs=1", "stages.rm.test_preferences=null"]
    (line,) = run(load_recipe(folder / "recipe.yaml", changes), only=["rm"])
    assert line.summary == "nothing held out"
    report = json.loads((line.folder / "reward_report.json").read_text())
    assert (report["train"]["num_prompts"], report["held_out"]["num_prompts"]) == (160, 0)


def test_at_least_one_prompt_stands_on_each_side() -> None:
    asked = [Prompt.make(str(number)) for number in range(2)]
    assert len(held_out_prompts(asked, 0.01)) == len(held_out_prompts(asked, 0.99)) == 1
    with pytest.raises(PreflabError, match="1 prompt") as error:
        held_out_prompts(asked[:1], 0.1)
    assert "held_out: 0" in error.value.do
    alike = [Prompt.make("the same", columns={"article": number}) for number in range(3)]
    with pytest.raises(PreflabError, match="3 prompts with the same text, which differ only in other columns"):
        held_out_prompts(alike, 0.1)
    assert held_out_prompts(asked[:1], 0.0) == set()
