"""The stage `sample`: records in the workspace, resumed where it was interrupted, refusals before anything is done."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from preflab.errors import PreflabError
from preflab.files import read_json
from preflab.models.tiny import build_model, build_tokenizer
from preflab.progress import progress
from preflab.records import Prompt
from preflab.settings.recipe import DeviceSettings
from preflab.settings.sampling import SampleSettings
from preflab.stages import sample
from preflab.store.workspace import Workspace

TEXTS = ["where is my parcel", "is my parcel late", "where is it", "is it late where"]


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    tokenizer = build_tokenizer(TEXTS, context=32)
    model = build_model(tokenizer, num_layers=1, hidden_size=16, num_heads=2, context=32, seed=0)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture
def workspace(tmp_path: Path) -> Iterator[Workspace]:
    with Workspace.open(tmp_path / "workspace", create=True) as opened:
        yield opened


def context(folder: Path, model: Path, workspace: Workspace, texts: list[str] = TEXTS, **settings: Any) -> Any:
    """As much of a stage's context as `sample` uses."""
    folder.mkdir(exist_ok=True)
    chosen = {"model": "sft", "prompts": "p", "num_completions": 3, "max_new_tokens": 6, "max_batch_rows": 2} | settings
    return SimpleNamespace(
        name="answers",
        settings=SampleSettings(**chosen),
        seed=11,
        folder=folder,
        precision="float32",
        device=DeviceSettings(),
        workspace=workspace,
        progress=progress,
        model_folder=lambda ref: model,
        prompts=lambda name: [Prompt.make(text=t, source=f"p.jsonl, line {n}") for n, t in enumerate(texts, 1)],
    )


def test_every_prompt_gets_its_completions(tmp_path: Path, model_folder: Path, workspace: Workspace) -> None:
    result = sample.run(context(tmp_path / "run", model_folder, workspace))
    assert result.summary == "4 prompts × 3 completions"
    ids = read_json(tmp_path / "run" / "completions.json")
    completions = workspace.completions(ids)
    prompts = {prompt.text: prompt for prompt in workspace.prompts()}
    assert [c.prompt_id for c in completions] == [prompts[text].id for text in TEXTS for _ in range(3)]
    assert [c.index for c in completions] == [0, 1, 2] * 4
    assert len({c.seed for c in completions}) == 12
    for completion in completions:
        assert completion.model.startswith("model-")
        assert len(completion.token_ids) == len(completion.logps) > 0
        ended = completion.token_ids[-1] == 2
        assert completion.finish_reason == ("stop" if ended else "length")
        assert "</s>" not in completion.text
    assert result.figures["tokens_mean"] == sum(len(c.token_ids) for c in completions) / 12
    assert result.figures["stopped_share"] == sum(c.finish_reason == "stop" for c in completions) / 12


def test_an_interrupted_run_goes_on_and_ends_like_an_uninterrupted_one(
    tmp_path: Path, model_folder: Path, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    sample.run(context(tmp_path / "whole", model_folder, workspace))
    write, calls = sample.Writer.write, []

    def interrupted(self: Any, prompts: Any, on_done: Any) -> Any:
        calls.append([prompt.text for prompt in prompts])
        if len(calls) == 2:
            raise KeyboardInterrupt
        return write(self, prompts, on_done)

    monkeypatch.setattr(sample.Writer, "write", interrupted)
    monkeypatch.setattr(sample, "BATCHES_PER_CHUNK", 2)  # one prompt per chunk
    with pytest.raises(KeyboardInterrupt):
        sample.run(context(tmp_path / "cut", model_folder, workspace))
    assert not (tmp_path / "cut" / "completions.json").exists()
    sample.run(context(tmp_path / "cut", model_folder, workspace))
    assert [text for [text] in calls] == [TEXTS[0], TEXTS[1], *TEXTS[1:]]
    ids = [read_json(tmp_path / name / "completions.json") for name in ("whole", "cut")]
    assert ids[0] == ids[1]


def test_what_is_done_is_not_loaded_again(
    tmp_path: Path, model_folder: Path, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = sample.run(context(tmp_path / "run", model_folder, workspace))
    monkeypatch.setattr(sample.Writer, "load", None)
    assert sample.run(context(tmp_path / "run", model_folder, workspace)) == first


def test_a_prompt_without_room_is_refused_before_anything_is_sampled(
    tmp_path: Path, model_folder: Path, workspace: Workspace
) -> None:
    texts = [*TEXTS, "late " * 30]
    with pytest.raises(PreflabError) as error:
        sample.run(context(tmp_path / "run", model_folder, workspace, texts))
    assert "p.jsonl, line 5: a prompt of 31 tokens and max_new_tokens 6" in str(error.value)
    assert workspace.counts()["completion"] == 0
    assert (
        sample.run(context(tmp_path / "run", model_folder, workspace, texts, max_prompts=4)).figures["num_prompts"] == 4
    )


def test_another_seed_or_temperature_gives_other_completions(
    tmp_path: Path, model_folder: Path, workspace: Workspace
) -> None:
    sample.run(context(tmp_path / "one", model_folder, workspace))
    other = context(tmp_path / "two", model_folder, workspace)
    other.seed = 12
    sample.run(other)
    one, two = (json.loads((tmp_path / name / "completions.json").read_text()) for name in ("one", "two"))
    assert not set(one) & set(two)
