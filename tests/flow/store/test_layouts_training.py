"""Files of others to trained models: splits, ratings, thumbs and dialogues reach their stages, and are spoken of.

What is exported and imported again is learned from as before, token for token.
"""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest

from chat_templates import BY_NAME, byte_tokenizer
from imported_files import import_into
from preflab.conversations.renderer import Renderer
from preflab.errors import PreflabError
from preflab.models.tiny import build_model
from preflab.pipeline import run
from preflab.policy.sft import Demonstration, encode_demonstrations
from preflab.progress import mode_for
from preflab.recipe import load_recipe
from preflab.rewards.rankings import Encoder, Ranking, make_rankings
from preflab.stages.common.data import demonstrations_in
from preflab.store.formats import read_file
from preflab.store.transfer import export_from
from preflab.store.workspace import Workspace
from preflab.training.too_long import LongRows

RECIPE = """
recipe: 1
data:
  talks: {path: talks, split: train}
  rated: {path: rated.tsv, columns: {question: prompt}}
  thumbs: {path: thumbs.jsonl.gz}
stages:
  sft: {kind: sft, model: ./model, data: talks, num_epochs: 1}
  rm:
    {kind: rating, model: sft, preferences: rated, held_out: 0.25, num_epochs: 6, lora: {rank: 4},
     optimiser: {learning_rate: 1.0e-2}}
  dpo:
    {kind: dpo, model: sft, preferences: rated, losses: [{kind: kto}], held_out: 0.25, num_epochs: 1, lora: {rank: 2},
     verdicts: {criterion: kind}}
  kto:
    {kind: dpo, model: sft, preferences: thumbs, losses: [{kind: kto}], held_out: 0.25, num_epochs: 1, lora: {rank: 2}}
"""


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recipe with a chat model and files as others lay them out."""
    import gzip

    made = tmp_path_factory.mktemp("recipe")
    tokenizer = byte_tokenizer(BY_NAME["chatml"])
    model = build_model(tokenizer, num_layers=1, hidden_size=32, num_heads=2, context=200, seed=0)
    model.save_pretrained(made / "model")
    tokenizer.save_pretrained(made / "model")
    talk = [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Hello"}]
    write(made / "talks" / "train.jsonl", [{"conversations": talk, "system": "Be kind.", "id": "1"}] * 2)
    write(made / "talks" / "test.jsonl", [{"conversations": talk}])
    rng = random.Random(0)
    lines = ["question\tresponse\tscore\tkind\tsource\tscore_kind"]
    for number in range(40):
        kind = rng.random() < 0.5
        words = f"{'yes' if kind else 'no'} {number}"
        lines.append(f"q {number % 10}\t{words}\t{4 if kind else 2}\tx\tweb\t{5 if kind else 1}")
    (made / "rated.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    asked = [{"role": "user", "content": f"q {number}"} for number in range(8)]
    said = [{"role": "assistant", "content": word} for word in ("yes", "no")]
    rows = [{"messages": [q, a], "label": a["content"] == "yes"} for q in asked for a in said]
    (made / "thumbs.jsonl.gz").write_bytes(gzip.compress("".join(json.dumps(r) + "\n" for r in rows).encode()))
    (made / "recipe.yaml").write_text(RECIPE)
    return made


def test_ratings_thumbs_and_splits_reach_their_stages(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with mode_for("lines"):
        lines = {line.name: line for line in run(load_recipe(folder / "recipe.yaml"))}
    assert {line.state for line in lines.values()} == {"done"}
    err = capsys.readouterr().err.splitlines()
    assert "talks: columns used: conversations (as messages), system" in err
    assert "talks: the split train: train.jsonl" in err
    assert "talks: 1 row equal to an earlier one: row 2 (as row 1)" in err
    assert "rated.tsv: columns used: prompt, response (as completion), score, score_kind" in err
    assert "rated.tsv: kept with the records: kind, source" in err
    assert "rated.tsv: criteria: kind, score" in err
    report = json.loads((lines["rm"].folder / "reward_report.json").read_text())
    assert sorted(report["criteria"]) == ["kind", "score"]
    assert report["ratings"]["train"]["score"]["num"] + report["ratings"]["held_out"]["score"]["num"] == 40
    metrics = [json.loads(row) for row in (lines["sft"].folder / "metrics.jsonl").read_text().splitlines()]
    assert sum(row["num/tokens"] for row in metrics) == 2 * (len("Hello") + 1), "an example twice is learned twice"


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("path: talks, split: train", "path: talks", "several splits (train, test)"),
        ("path: talks, split: train", "path: talks", "name it: `split: train` in data.talks"),
        ("split: train", "split: dev", "no split 'dev'"),
        ("rated.tsv, columns: {question: prompt}", "bad.jsonl", "winner tells of a judgment"),
        (
            "rated.tsv, columns: {question: prompt}",
            "bad.jsonl",
            "`columns: {answer_a: response_a, answer_b: response_b}`",
        ),
    ],
)
def test_a_recipe_is_told_its_own_settings(folder: Path, old: str, new: str, said: str) -> None:
    write(folder / "bad.jsonl", [{"prompt": "a", "answer_a": "b", "answer_b": "c", "winner": "a"}])
    assert old in RECIPE
    (folder / "other.yaml").write_text(RECIPE.replace(old, new))
    with pytest.raises(PreflabError) as caught:
        run(load_recipe(folder / "other.yaml"))
    assert said in str(caught.value)
    assert "--" not in str(caught.value)


def test_a_data_set_of_the_hub_in_a_recipe(folder: Path) -> None:
    text = RECIPE.replace("path: talks, split: train", "path: someone/no-such-talks")
    (folder / "hub.yaml").write_text(text)
    recipe = load_recipe(folder / "hub.yaml")
    assert recipe.data_path("talks") == Path("hub:someone/no-such-talks"), "whatever the current folder holds"
    with pytest.raises(PreflabError, match="someone/no-such-talks lacks its rows: data.talks.path"):
        run(recipe)
    for path in ("someone/talks.jsonl", "talks/trian"):  # an ending of a file; a folder that is here
        (folder / "typo.yaml").write_text(RECIPE.replace("path: talks, split: train", f"path: {path}"))
        with pytest.raises(PreflabError, match=f"no such file `{path}`"):
            load_recipe(folder / "typo.yaml")


LAYOUTS = Path(__file__).parents[2] / "by_hand" / "data" / "layouts"


def rankings(file: Path, encoder: Encoder) -> list[Ranking]:
    """What a reward model would learn of a file, in an order of its own."""
    found = read_file(file)
    prompts, completions = ({r.id: r for r in records} for records in (found.prompts, found.completions))
    made = make_rankings(found.preferences, prompts, completions, encoder)
    return sorted(made, key=lambda ranking: str(ranking.sequences))


@pytest.mark.parametrize(
    ("name", "format"),
    [
        ("ultrafeedback-binarized", "trl-explicit"),
        ("capybara-preferences", "trl-implicit"),
        ("orca-pairs", "trl-conversational"),
        ("openai-preferences", "openai-preferences"),
        ("skywork-ultrafeedback-by-trl", "trl-explicit"),
        ("lmarena-33k-100k-mt-bench", "preferences"),
        ("rewardbench-2", "preferences"),
        ("helpsteer3", "preferences"),
    ],
)
def test_pairs_are_learned_alike_after_export_and_import(tmp_path: Path, name: str, format: str) -> None:
    encoder = Encoder(byte_tokenizer(BY_NAME["chatml"]), True, 2**31)
    file = LAYOUTS / f"{name}.jsonl"
    if name == "orca-pairs":  # its second pair has no system turn: a text, which this export would make a turn
        file = tmp_path / "first.jsonl"
        file.write_text((LAYOUTS / "orca-pairs.jsonl").read_text(encoding="utf-8").splitlines()[0] + "\n")
    with Workspace.open(tmp_path / "w", create=True) as workspace:
        import_into(workspace, file)
        export_from(workspace, tmp_path / "out.jsonl", format)
    before, after = (rankings(each, encoder) for each in (file, tmp_path / "out.jsonl"))
    assert after
    assert [(r.sequences, r.pairs) for r in after] == [(r.sequences, r.pairs) for r in before]


@pytest.mark.parametrize(
    "name", ["alpaca", "dolly", "openai-s-messages-tulu-3-smoltalk", "capybara", "prompt-and-response"]
)
def test_demonstrations_are_learned_alike_after_export_and_import(tmp_path: Path, name: str) -> None:
    renderer = Renderer(byte_tokenizer(BY_NAME["chatml"]))
    rows = [json.loads(line) for line in (LAYOUTS / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()]
    for row in rows:
        row.pop("tools", None)  # this template has no place for them
    file = write(tmp_path / "in.jsonl", rows + rows[:1])
    with Workspace.open(tmp_path / "w", create=True) as workspace:
        import_into(workspace, file)
        export_from(workspace, tmp_path / "out.jsonl", "demonstrations")
    both = []
    for each in (file, tmp_path / "out.jsonl"):
        made = [Demonstration(*pair) for pair in demonstrations_in(each)]
        both.append(sorted(encode_demonstrations(renderer, made, LongRows(2**31, "refuse"), learn="all"), key=str))
    assert both[0] == both[1]
    assert len(both[0]) == len(rows) + 1, "an example that stands there twice is exported twice"
