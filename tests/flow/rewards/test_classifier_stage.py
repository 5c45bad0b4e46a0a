"""The stage classifier in a recipe: it finds the word that decides the class, and is read as a reward."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer, GPT2Config, GPT2LMHeadModel

from preflab.errors import PreflabError
from preflab.files import read_jsonl
from preflab.models.tiny import build_classifier, build_model, build_t5, build_tokenizer
from preflab.pipeline import Line, run
from preflab.recipe import load_recipe
from preflab.records import Prompt
from preflab.rewards import text_classifier
from preflab.rewards.sources import make_scorer
from preflab.rewards.text_classifier import LabelledText, from_nothing, train_classifier
from preflab.settings.rewards import RewardSource
from preflab.settings.text_classifier import TextClassifierSettings
from preflab.training.processes import make_accelerator
from preflab.training.protocols import ScoringItem
from preflab.training.state import RunState
from two_processes import call_in_two_processes

WORDS = ["the", "parcel", "came", "late", "on", "monday", "and", "it", "was", "wet", "again", "today"]
SMALL = {"kind": "classifier", "num_layers": 1, "hidden_size": 32, "num_heads": 2, "context": 16, "num_epochs": 4}


def sentences(num: int, seed: int) -> list[dict[str, Any]]:
    """Texts of six words; those of the class `rude` hold `toad`, the others `friend`, at a random place."""
    rng = random.Random(seed)
    rows = []
    for _ in range(num):
        label = rng.choice(["rude", "polite"])
        words = rng.choices(WORDS, k=5)
        words.insert(rng.randrange(6), "toad" if label == "rude" else "friend")
        rows.append({"text": " ".join(words), "label": label})
    return rows


def recipe_in(folder: Path, rows: list[dict[str, Any]], **settings: Any) -> Path:
    (folder / "labels.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    stage = {**SMALL, "labels": "labels", "optimiser": {"learning_rate": 5e-3}, **settings}
    path = folder / "recipe.yaml"
    data = {"labels": {"path": "labels.jsonl"}}
    path.write_text(json.dumps({"recipe": 1, "data": data, "stages": {"tone": stage}}))
    return path


def trained(folder: Path, rows: list[dict[str, Any]], **settings: Any) -> Line:
    return run(load_recipe(recipe_in(folder, rows, **settings)))[-1]


def report_of(line: Line) -> dict[str, Any]:
    report: dict[str, Any] = json.loads((line.folder / "classifier_report.json").read_text())
    return report


@pytest.mark.parametrize("architecture", ["bert", "llama"])
def test_classifier_finds_the_word_that_decides(tmp_path: Path, architecture: str) -> None:
    line = trained(tmp_path, sentences(400, 1), architecture=architecture)
    report = report_of(line)
    assert report["architecture"] == architecture
    assert report["classes"] == ["polite", "rude"]
    held_out = report["held_out"]
    assert held_out["num"] + sum(report["counts"].values()) == 400
    assert held_out["accuracy"]["value"] > 0.95
    assert {recall["num"] for recall in held_out["recall"].values()} == {
        round(held_out["num"] * held_out["most_frequent"]),
        held_out["num"] - round(held_out["num"] * held_out["most_frequent"]),
    }


def test_saved_classifier_is_a_plain_folder_and_a_reward(tmp_path: Path) -> None:
    folder = trained(tmp_path, sentences(400, 1)).folder / "reward"
    model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert model.config.id2label == {0: "polite", 1: "rude"}
    scorer = make_scorer([RewardSource(model="tone", class_label="polite")], lambda name: folder)
    texts = ["the parcel came late friend", "the toad came"]
    items = [ScoringItem(prompt=Prompt.make(text="what came ?"), text=text) for text in texts]
    scores = scorer.score(items).total
    with torch.no_grad():
        expected = [model(**tokenizer(text, return_tensors="pt")).logits[0, 0] for text in texts]
    assert torch.allclose(scores, torch.stack(expected), atol=1e-5)
    assert scores[0] > 0 > scores[1]


def test_interrupted_classifier_ends_with_the_same_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from preflab.rewards import text_classifier

    rows = sentences(120, 2)
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    whole.mkdir()
    broken.mkdir()
    settings = {"run": {"save_every": 3}}
    first = trained(whole, rows, **settings)
    calls = []
    clip = text_classifier.clip_gradients

    def stop_at_eight(*arguments: Any) -> float:
        calls.append(1)
        if len(calls) == 8:
            raise KeyboardInterrupt
        return clip(*arguments)

    monkeypatch.setattr(text_classifier, "clip_gradients", stop_at_eight)
    with pytest.raises(KeyboardInterrupt):
        trained(broken, rows, **settings)
    second = trained(broken, rows, **settings)
    names = [folder / "reward" / "model.safetensors" for folder in (first.folder, second.folder)]
    assert names[0].read_bytes() == names[1].read_bytes()
    # The checkpoint holds six steps and the metrics seven; the seventh row is written anew.
    logged = [read_jsonl(folder / "metrics.jsonl") for folder in (first.folder, second.folder)]
    assert [row["step"] for row in logged[1]] == list(range(len(logged[0])))
    assert [row["loss/nll"] for row in logged[1]] == [row["loss/nll"] for row in logged[0]]


def test_classifier_saves_after_every_third_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """64 texts, 16 of them in a step."""
    saved: list[int] = []
    monkeypatch.setattr(RunState, "save", lambda state, folder: saved.append(state.step))
    rows = [LabelledText(row["text"], row["label"]) for row in sentences(64, 7)]
    settings = TextClassifierSettings.model_validate(
        {**SMALL, "labels": "labels", "num_texts_per_step": 16, "run": {"save_every": 3}}
    )
    classifier = from_nothing([row.text for row in rows], ["polite", "rude"], settings, 0)
    accelerator = make_accelerator(cpu=True)
    logged = train_classifier(classifier, rows, settings, num_steps=7, folder=tmp_path, seed=0, accelerator=accelerator)
    assert saved == [3, 6]
    assert [row["step"] for row in logged] == list(range(7))
    assert 0 < sum(row["time/step"] for row in logged) < 60  # and not seconds since the machine was started


def learn(folder: Path) -> None:
    """Trains a classifier for five steps in the processes of the launch, and writes what was learned."""
    rows = [LabelledText(row["text"], row["label"]) for row in sentences(64, 7)]
    settings = TextClassifierSettings.model_validate(
        {**SMALL, "labels": "labels", "num_texts_per_step": 15, "optimiser": {"tokens_per_micro_batch": 24}}
    )
    classifier = from_nothing([row.text for row in rows], ["polite", "rude"], settings, 0)
    accelerator = make_accelerator(cpu=True)
    train_classifier(classifier, rows, settings, num_steps=5, folder=folder, seed=0, accelerator=accelerator)
    if accelerator.is_main_process:
        weights = [value for each in classifier.model.parameters() for value in each.flatten().tolist()]
        (folder / "learned.json").write_text(json.dumps(weights))
    accelerator.end_training()


@pytest.mark.slow
def test_two_processes_learn_the_classifier_that_one_learns(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    learn(tmp_path / "one")
    call_in_two_processes("flow.rewards.test_classifier_stage:learn", tmp_path / "two")
    one, two = (json.loads((tmp_path / name / "learned.json").read_text()) for name in ("one", "two"))
    assert two == pytest.approx(one, abs=5e-4)
    losses = [
        [json.loads(line)["loss/nll"] for line in (tmp_path / name / "metrics.jsonl").read_text().splitlines()]
        for name in ("one", "two")
    ]
    assert losses[1] == pytest.approx(losses[0], abs=1e-4)


def test_repeated_texts_are_held_out_together(tmp_path: Path) -> None:
    rows = sentences(40, 3) * 3
    report = report_of(trained(tmp_path, rows, held_out=0.3, num_epochs=1))
    assert report["held_out"]["num"] % 3 == 0
    assert report["held_out"]["accuracy"]["num"] * 3 == report["held_out"]["num"]


def test_texts_beyond_the_context_are_cut_and_counted(tmp_path: Path) -> None:
    rows = [*sentences(30, 4), {"text": " ".join(["wet"] * 40), "label": "rude"}]
    line = trained(tmp_path, rows, held_out=0.0, num_epochs=1)
    assert report_of(line)["num_cut"] == 1
    assert "the end of 1 training text not read" in line.summary


@pytest.fixture(scope="module")
def bodies(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders with a BERT without a head, a classifier of three other classes, a Llama, a GPT-2 and a T5."""
    folder = tmp_path_factory.mktemp("bodies")
    words = build_tokenizer([row["text"] for row in sentences(100, 6)], context=16)
    shape = {"num_layers": 1, "hidden_size": 32, "num_heads": 2, "seed": 0}
    of_three = build_classifier(words, ("a", "b", "c"), architecture="bert", context=16, **shape)
    models = {
        "bert": of_three.bert,
        "of three": of_three,
        "llama": build_model(words, context=16, **shape),
        "gpt2": GPT2LMHeadModel(
            GPT2Config(vocab_size=len(words), n_positions=16, n_embd=32, n_layer=1, n_head=2, pad_token_id=0)
        ),
        "t5": build_t5(words, context=16, **shape),
    }
    for name, model in models.items():
        model.save_pretrained(folder / name)
        words.save_pretrained(folder / name)
    return folder


@pytest.mark.parametrize("name", ["bert", "of three", "llama"])
def test_body_of_a_pretrained_model_gets_a_new_head(tmp_path: Path, bodies: Path, name: str) -> None:
    line = trained(tmp_path, sentences(400, 1), model=str(bodies / name))
    model = AutoModelForSequenceClassification.from_pretrained(line.folder / "reward")
    assert model.config.id2label == {0: "polite", 1: "rude"}
    assert report_of(line)["held_out"]["accuracy"]["value"] > 0.95


def test_encoder_decoder_is_no_body_of_a_classifier(tmp_path: Path, bodies: Path) -> None:
    with pytest.raises(PreflabError, match="T5"):
        trained(tmp_path, sentences(20, 1), model=str(bodies / "t5"))


def test_report_shows_each_classifier_beside_the_commonest_class(tmp_path: Path) -> None:
    rows = [{"text": f"friend {number}", "label": "polite"} for number in range(6)]
    rows += [{"text": f"toad {number}", "label": "rude"} for number in range(2)]
    path = recipe_in(tmp_path, rows, held_out=0.0, test_labels="labels", num_epochs=40)
    settings = json.loads(path.read_text())
    settings["stages"]["report"] = {"kind": "report", "of": ["tone"]}
    path.write_text(json.dumps(settings))
    run(load_recipe(path))
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "The classifiers" in page
    assert "tone (bert: polite and rude)" in page
    assert "8 further labels" in page
    assert "75\u00a0%" in page  # 6 of 8 texts have the commonest class


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([{"text": "a", "label": "rude"}, {"text": "b", "label": "rude"}], "have the label 'rude'"),
        ([{"text": " ", "label": "rude"}, {"text": "b", "label": "x"}], "line 1: the column `text` is empty"),
        ([{"text": "a", "label": None}, {"text": "b", "label": "x"}], "line 1: the column `label` holds None"),
        ([{"text": "a", "labels": "x"}], "no column `label`"),
    ],
)
def test_labels_that_teach_nothing_are_refused(tmp_path: Path, rows: list[dict[str, Any]], message: str) -> None:
    with pytest.raises(PreflabError) as error:
        trained(tmp_path, rows, held_out=0.0)
    assert message in str(error.value)


def test_width_that_the_heads_cannot_share_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PreflabError, match="multiple of the number of heads"):
        trained(tmp_path, sentences(20, 5), hidden_size=33)


def weights_of(line: Line) -> dict[str, torch.Tensor]:
    return AutoModelForSequenceClassification.from_pretrained(line.folder / "reward").state_dict()


@pytest.mark.parametrize("name", ["bert", "gpt2"])
def test_recomputed_blocks_learn_the_same(
    tmp_path: Path, bodies: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A decoder's key–value cache would be filled twice, once more by the recomputation."""
    recomputed: list[Any] = []
    checkpoint = text_classifier.checkpoint

    def counted(function: Any, *args: Any, **kwargs: Any) -> Any:
        recomputed.append(function)
        return checkpoint(function, *args, **kwargs)

    monkeypatch.setattr(text_classifier, "checkpoint", counted)
    settings = {"model": str(bodies / name), "num_epochs": 1}
    stored = weights_of(trained(tmp_path, sentences(40, 4), **settings))
    assert recomputed == []
    optimiser = {"learning_rate": 5e-3, "gradient_checkpointing": True}
    found = weights_of(trained(tmp_path, sentences(40, 4), **settings, optimiser=optimiser))
    assert len(recomputed) >= 2, "a block in each of two steps"
    assert all(torch.equal(found[key], tensor) for key, tensor in stored.items())


def test_half_precision_computes_the_passes_and_keeps_float32_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A product under autocast is rounded to 8 bits, as far as one part in 256."""
    dtypes: set[torch.dtype] = set()
    linear = torch.nn.Linear.forward

    def noted(layer: torch.nn.Linear, x: torch.Tensor) -> torch.Tensor:
        output = linear(layer, x)
        dtypes.add(output.dtype)
        return output

    monkeypatch.setattr(torch.nn.Linear, "forward", noted)
    plain = trained(tmp_path, sentences(40, 4), num_epochs=1)
    assert dtypes == {torch.float32}
    dtypes.clear()
    path = recipe_in(tmp_path, sentences(40, 4), num_epochs=1)
    path.write_text(json.dumps({**json.loads(path.read_text()), "device": {"precision": "bfloat16"}}))
    half = run(load_recipe(path))[-1]
    assert dtypes == {torch.bfloat16}
    losses = [read_jsonl(line.folder / "metrics.jsonl")[0]["loss/nll"] for line in (plain, half)]
    assert 0 < abs(losses[1] - losses[0]) < losses[0] / 256
    assert {tensor.dtype for tensor in weights_of(half).values() if tensor.is_floating_point()} == {torch.float32}


def test_packing_that_is_asked_for_is_said_to_have_no_effect(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = recipe_in(tmp_path, sentences(40, 4), num_epochs=1)
    path.write_text(json.dumps({**json.loads(path.read_text()), "device": {"packing": "on"}}))
    run(load_recipe(path))
    assert "tone: a classifier's texts keep their padding, whatever device.packing says" in caplog.messages
