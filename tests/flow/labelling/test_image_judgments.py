"""Judgments about images are collected and kept, and reach nothing that reads texts: trainers, scorers, evaluation."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from preflab.cli import run_command
from preflab.errors import PreflabError
from preflab.files import write_json
from preflab.labelling.accounts import create_account
from preflab.labelling.assignment import next_turn
from preflab.labelling.campaigns import list_campaigns
from preflab.labelling.exporting import export_campaign
from preflab.labelling.submissions import Submission, submit
from preflab.models.tiny import build_model, build_tokenizer
from preflab.pipeline import run
from preflab.recipe import load_recipe
from preflab.records import RankingAnswer
from preflab.stages.base import StageContext, StageOutput
from preflab.store.exports import EXPORTS
from preflab.store.image_texts import images_among
from preflab.store.workspace import Workspace

Captured = pytest.CaptureFixture[str]
PNG = b"\x89PNG\r\n\x1a\n"
SENTENCE = "models here read and write text"
NAME = "0123456789abcdef" * 4 + ".png"


@pytest.mark.parametrize(
    ("texts", "found"),
    [
        (["It is here.", NAME], [1]),  # the workspace's own name is an image wherever it stands
        ([f" {NAME}\n", "b"], [0]),
        (["cats/a.png", "cats/b.JPG"], [0, 1]),
        (["photo 1.png", "photo 2.webp"], [0, 1]),
        (["https://example.org/a.png?size=2", "data:image/png;base64,iVBORw0KGgo="], [0, 1]),
        (["cats/a.png", "It is here."], []),  # one answer may well be a file's name
        (["Look at the drawing that I saved for you as a.png", "The file is a.png"], []),
        (["a.png\nb.png"], []),
        ([NAME + " is the file"], []),
        ([], []),
    ],
)
def test_images_are_told_from_texts(texts: list[str], found: list[int]) -> None:
    assert images_among(texts) == found


@pytest.fixture(scope="module")
def judged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with a campaign of images and one of texts, both judged by two people; tests change copies of it."""
    folder = tmp_path_factory.mktemp("judged")
    for name in "abcd":
        (folder / f"{name}.png").write_bytes(PNG + name.encode())
    pictures = [{"prompt": "a cat", "completions": ["a.png", "b.png"]},
                {"prompt": "a dog", "completions": ["c.png", "d.png"]}]  # fmt: skip
    words = [{"prompt": "Where?", "completions": ["It is here.", "No idea."]}]
    for name, rows, content in (("pictures", pictures, "image"), ("words", words, "plain")):
        write_rows(folder / f"{name}.jsonl", rows)
        made = ["campaign", "create", str(folder / f"{name}.jsonl"), "--name", name, "--option", f"content={content}"]
        assert run_command([*made, "--workspace", str(folder)]) == 0
    with Workspace.open(folder) as workspace:
        for who in ("Ann", "Bo"):
            labeler = create_account(workspace, who, "labeler").labeler_id
            for view in list_campaigns(workspace):
                while (turn := next_turn(workspace, view.campaign.id, labeler)) is not None:
                    answer = Submission(f"{who}-{turn.task.id}", turn.task.id, labeler, turn.revision,
                                        RankingAnswer((1, 2)), 4000)  # fmt: skip
                    submit(workspace, answer)
    return folder


@pytest.fixture
def here(judged: Path, empty: Path) -> Path:
    """The current folder, with that workspace."""
    shutil.copytree(judged, empty, dirs_exist_ok=True)
    return empty


@pytest.fixture
def empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with nothing in it."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write_rows(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def refused(capsys: Captured, *words: str) -> str:
    capsys.readouterr()
    with pytest.raises(SystemExit) as leaving:
        run_command(words)
    assert leaving.value.code == 2
    return capsys.readouterr().err


def test_exports_for_readers_of_texts_refuse_images(here: Path, capsys: Captured) -> None:
    texts = [export for export in EXPORTS.values() if export.of in ("preference", "judgment")]
    kept = {"judgments", "preferences", "rankings"}
    for export in texts:
        command = "judgments" if export.of == "judgment" else "preferences"
        words = ["export", command, "out.jsonl", "--format", export.name, "--campaign", "pictures"]
        if export.name in kept:
            assert run_command(words) == 0
            (here / "out.jsonl").unlink()
        else:
            complaint = refused(capsys, *words)
            assert "are about images" in complaint, export.name
            assert SENTENCE in complaint
            assert not (here / "out.jsonl").exists()
    assert len(texts) > len(kept)


def test_the_app_refuses_the_same_exports(here: Path) -> None:
    with Workspace.open(here) as workspace:
        (campaign,) = [v.campaign.id for v in list_campaigns(workspace) if v.campaign.name == "pictures"]
        with pytest.raises(PreflabError, match="about images"):
            export_campaign(workspace, campaign, "trl-explicit")
        assert export_campaign(workspace, campaign, "preferences")[1]["num_rows"] == 2


def test_a_mixed_export_holds_the_texts_and_counts_the_images(here: Path, capsys: Captured) -> None:
    assert run_command(["export", "preferences", "p.jsonl", "--format", "preferences", "--campaign", "pictures"]) == 0
    assert run_command(["export", "preferences", "w.jsonl", "--format", "preferences", "--campaign", "words"]) == 0
    for file in ("p.jsonl", "w.jsonl"):
        assert run_command(["import", file]) == 0
    capsys.readouterr()
    assert run_command(["export", "preferences", "all.jsonl", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["num_rows"], said["dropped"]) == (1, {"preferences about images": 2})
    (row,) = [json.loads(line) for line in (here / "all.jsonl").read_text(encoding="utf-8").splitlines()]
    assert (row["chosen"], row["rejected"]) == ("It is here.", "No idea.")


def test_a_campaign_of_images_is_known_by_its_content_where_names_say_nothing(here: Path, capsys: Captured) -> None:
    """A text campaign turned into one of images: its texts are no image's names, its labelers were shown none."""
    assert run_command(["campaign", "options", "words", "content=image"]) == 0
    assert "are about images" in refused(capsys, "export", "judgments", "out.jsonl", "--format", "stiennon",
                                         "--campaign", "words")  # fmt: skip
    assert "are about images" in refused(capsys, "export", "preferences", "out.jsonl", "--campaign", "words")
    assert run_command(["export", "judgments", "j.jsonl", "--campaign", "words"]) == 0
    write_rows(here / "prompts.jsonl", [{"prompt": "Where?"}])
    recipe_of(here, "rm: {kind: reward, model: ./model, preferences: labels, lora: {rank: 2}}", "j.jsonl")
    assert "campaign words are about images" in refused(capsys, "run")


@pytest.fixture
def model(here: Path) -> Path:
    """A tiny model beside the recipe."""
    tokenizer = build_tokenizer(["a cat dog where ? it is here . no idea ."], context=64)
    build_model(tokenizer, num_layers=1, hidden_size=16, num_heads=2, context=64, seed=0).save_pretrained(
        here / "model"
    )
    tokenizer.save_pretrained(here / "model")
    return here / "model"


def recipe_of(here: Path, stage: str, labels: str) -> None:
    (here / "model").mkdir(exist_ok=True)
    (here / "recipe.yaml").write_text(
        f"recipe: 1\ndata: {{labels: {{path: {labels}}}}}\nstages:\n  {stage}\n", encoding="utf-8"
    )


STAGES = {
    "reward": "learned: {kind: reward, model: ./model, preferences: labels, lora: {rank: 2}}",
    "rating": "learned: {kind: rating, model: ./model, preferences: labels, lora: {rank: 2}}",
    "dpo": "learned: {kind: dpo, model: ./model, preferences: labels, lora: {rank: 2}}",
    "kto": "learned: {kind: dpo, model: ./model, preferences: labels, losses: [{kind: kto}], lora: {rank: 2}}",
    "sft": "learned: {kind: sft, model: ./model, data: labels}",
}
PAIRS = [{"prompt": "a cat", "chosen": NAME, "rejected": NAME.replace("0", "1")}]
PATHS = [{"prompt": f"cat {i}", "chosen": f"cats/{i}.png", "rejected": f"cats/{i + 1}.png"} for i in range(3)]
ONE_BY_ONE = [{"prompt": "a cat", "completion": NAME, "label": True}, {"prompt": "a dog", "completion": "It is here.",
              "label": False}]  # fmt: skip
SHOWN = [{"prompt": "a cat", "completion": NAME}, {"prompt": "where ?", "completion": "It is here."}]
TURNS = [{"prompt": [{"role": "user", "content": "a cat"}], "chosen": [{"role": "assistant", "content": NAME}],
          "rejected": [{"role": "assistant", "content": "No idea."}]}]  # fmt: skip


@pytest.mark.parametrize(
    ("stage", "rows"),
    [
        ("reward", PAIRS), ("reward", PATHS), ("reward", TURNS), ("dpo", PAIRS), ("dpo", PATHS), ("kto", ONE_BY_ONE),
        ("sft", SHOWN),
    ],
)  # fmt: skip
def test_stages_that_learn_refuse_files_of_images(
    empty: Path, capsys: Captured, stage: str, rows: list[dict[str, Any]]
) -> None:
    write_rows(empty / "labels.jsonl", rows)
    recipe_of(empty, STAGES[stage], "labels.jsonl")
    complaint = refused(capsys, "run")
    assert "completions are images" in complaint
    assert SENTENCE in complaint


@pytest.mark.parametrize("archive", ["preferences", "judgments", "rankings"])
@pytest.mark.parametrize("stage", ["reward", "dpo"])
def test_an_archive_of_images_is_refused_by_stages_that_learn(
    here: Path, capsys: Captured, stage: str, archive: str
) -> None:
    command = "preferences" if archive == "preferences" else "judgments"
    words = ["export", command, "labels.jsonl", "--format", archive, "--campaign", "pictures"]
    assert run_command(words) == 0
    recipe_of(here, STAGES[stage], "labels.jsonl")
    assert "images" in refused(capsys, "run")


def test_ratings_of_images_are_refused(empty: Path, capsys: Captured) -> None:
    rows = [{"instruction": f"a cat {i}", "completions": [
        {"response": f"{i}{j}" * 32 + ".jpg", "annotations": {"helpfulness": {"Rating": str(3 + j)}}, "model": "m"}
        for j in (0, 1)]} for i in (1, 2)]  # fmt: skip
    write_rows(empty / "labels.jsonl", rows)
    recipe_of(empty, STAGES["rating"], "labels.jsonl")
    assert "completions are images" in refused(capsys, "run")


def test_a_judge_stage_does_not_show_texts_as_images(empty: Path, capsys: Captured) -> None:
    write_rows(empty / "prompts.jsonl", [{"prompt": "where ?"}])
    (empty / "model").mkdir()
    (empty / "recipe.yaml").write_text(
        "recipe: 1\ndata: {prompts: {path: prompts.jsonl}}\nstages:\n"
        "  answers: {kind: sample, model: ./model, prompts: prompts, max_new_tokens: 4}\n"
        "  labels: {kind: judge, completions: answers, content: image}\n",
        encoding="utf-8",
    )
    complaint = refused(capsys, "run")
    assert "content: image, but stage answers writes texts" in complaint
    assert not list((empty / "runs").glob("answers-*"))


def test_the_preferences_stage_refuses_a_campaign_that_became_one_of_images(
    here: Path, model: Path, capsys: Captured
) -> None:
    write_rows(here / "prompts.jsonl", [{"prompt": "where ?"}, {"prompt": "a cat ?"}])
    path = here / "recipe.yaml"
    path.write_text(
        "recipe: 1\ndata: {prompts: {path: prompts.jsonl}}\nstages:\n"
        "  answers: {kind: sample, model: ./model, prompts: prompts, num_completions: 2, max_new_tokens: 4}\n"
        "  labels: {kind: judge, completions: answers, overlap: 1}\n"
        "  prefs: {kind: preferences, judgments: labels}\n",
        encoding="utf-8",
    )
    assert run(load_recipe(path))[-1].state == "–"
    with Workspace.open(here) as workspace:
        (campaign,) = [v.campaign.id for v in list_campaigns(workspace) if v.campaign.name == "labels"]
        labeler = create_account(workspace, "Cy", "labeler").labeler_id
        while (turn := next_turn(workspace, campaign, labeler)) is not None:
            answer = RankingAnswer((1, 2))
            submit(workspace, Submission(turn.task.id, turn.task.id, labeler, turn.revision, answer, 4000))
    assert run_command(["campaign", "options", "labels", "content=image"]) == 0
    complaint = refused(capsys, "run")
    assert "stage prefs: the judgments of campaign labels are about images" in complaint
    assert SENTENCE in complaint


def test_completions_of_a_stage_are_refused_where_they_are_images(here: Path) -> None:
    """What ai_judge, evaluate and the stages that sample read of another stage goes through one door."""
    folder = here / "runs" / "answers-0"
    with Workspace.open(here) as workspace:
        write_json(folder / "completions.json", [completion.id for completion in workspace.completions()])
        output = StageOutput("answers", "sample", "0", folder, {})
        recipe_of(here, STAGES["sft"], "words.jsonl")
        recipe = load_recipe(here / "recipe.yaml")
        ctx = StageContext(
            "eval", recipe.stages["learned"], 0, here, recipe, {"answers": output}, {"answers": output},
            recipe.device, lambda: workspace,
        )  # fmt: skip
        with pytest.raises(PreflabError, match="answers: 4 of 6 completions are images"):
            ctx.completions("answers")


def test_scoring_refuses_images(empty: Path, capsys: Captured) -> None:
    write_rows(empty / "c.jsonl", SHOWN)
    (empty / "ones.py").write_text("def one(prompt, completion):\n    return 1.0\n", encoding="utf-8")
    complaint = refused(capsys, "score", "c.jsonl", "--by", "ones:one")
    assert "c.jsonl: 1 of 2 completions are images (the first: 0123456789abcdef…89abcdef.png)" in complaint
