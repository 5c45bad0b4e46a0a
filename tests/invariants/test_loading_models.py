"""Models and tokenizers from folders: what is loaded is known, what cannot be loaded is refused with a way out."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForSequenceClassification, BertConfig, BertForSequenceClassification

from preflab.errors import PreflabError
from preflab.models.facts import model_facts, weights_hash
from preflab.models.loading import load_causal_lm, load_classifier, load_encoder, load_tokenizer, torch_dtype
from preflab.models.tiny import build_model, build_tokenizer
from tiny_models import tiny_model


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("original")
    tokenizer = build_tokenizer(["a parcel is late", "where is it"], context=32)
    build_model(tokenizer, num_layers=1, hidden_size=16, num_heads=2, context=32, seed=0).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture
def folder(model_folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(model_folder, tmp_path / "model"))


def change(path: Path, edit: Callable[[dict[str, Any]], object]) -> None:
    content = json.loads(path.read_text())
    edit(content)
    path.write_text(json.dumps(content))


def refused(load: Callable[[], object]) -> PreflabError:
    with pytest.raises(PreflabError) as error:
        load()
    assert error.value.expected
    assert error.value.do
    return error.value


def test_a_model_is_loaded_in_the_type_asked_for(folder: Path) -> None:
    build = load_causal_lm(folder, dtype="bfloat16")
    build.save_pretrained(folder)
    assert load_causal_lm(folder, dtype="float32").dtype == torch.float32
    assert load_causal_lm(folder, dtype=torch.bfloat16).dtype == torch.bfloat16
    assert not load_causal_lm(folder, dtype="float32").training
    assert "float32, bfloat16, float16" in refused(lambda: torch_dtype("float31")).expected


def test_a_missing_folder(folder: Path) -> None:
    for load in (load_tokenizer, lambda ref: load_causal_lm(ref, dtype="float32")):
        assert "there is no such folder" in refused(lambda load=load: load(folder / "no" / "such")).found


def test_a_file_is_not_a_folder(folder: Path) -> None:
    assert "a file" in refused(lambda: load_causal_lm(folder / "config.json", dtype="float32")).found


def test_a_hub_id_without_a_network(monkeypatch: pytest.MonkeyPatch) -> None:
    error = refused(lambda: load_causal_lm("nobody/no-such-model", dtype="float32"))
    assert error.found.startswith("nobody/no-such-model: there is no such folder, and the Hub did not provide it")
    assert "network" in error.do
    assert "there is no such folder" in refused(lambda: load_tokenizer("nobody/no-such-model")).found


def test_a_mistyped_folder_is_told_what_is_near_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever stands near it here, or lies within a folder that is here, is no id of the Hub."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("preflab.models.loading.HF_HUB_OFFLINE", True)
    for name in ("model", "runs/sft-1234/model", "runs/dpo-5678/model", "owner"):
        (tmp_path / name).mkdir(parents=True)
    near = {
        "modle": "model",
        "./modle": "model",
        str(tmp_path / "modle"): str(tmp_path / "model"),
        "runs/sft-1243": "runs/sft-1234",
        "runs/sft-1243/model": "runs/sft-1234",
        "rnus/sft-1234": "runs",
    }
    for word, meant in near.items():
        error = refused(lambda word=word: load_tokenizer(word))
        assert error.found == f"{word}: there is no such folder"
        assert error.do == f"check the path; near it: {meant}"
    monkeypatch.setattr("preflab.models.loading.HF_HUB_OFFLINE", False)  # a gated model beside a fetched one
    asked = []
    monkeypatch.setattr("preflab.models.loading.why_unreachable", lambda ref: asked.append(ref) or "no network")
    error = refused(lambda: load_tokenizer("modle"))  # at once: the Hub is not asked
    assert (error.found, asked) == ("modle: there is no such folder", [])
    assert error.do == "check the path; near it: model; for a model of the Hub, write owner/modle"
    assert "(no network)" in refused(lambda: load_tokenizer("nobody/model")).found
    assert asked == ["nobody/model"]
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("preflab.models.loading.HF_HUB_OFFLINE", False)
    assert ", and the Hub did not provide it (" in refused(lambda: load_tokenizer("owner/other")).found
    monkeypatch.setattr("preflab.models.loading.HF_HUB_OFFLINE", True)
    error = refused(lambda: load_tokenizer("runs/other"))
    assert (error.found, error.do) == ("runs/other: there is no such folder", "check the path")
    assert "the Hub did not provide it" in refused(lambda: load_tokenizer("nobody/model")).found
    assert "the Hub did not provide it" in refused(lambda: load_tokenizer("gpt2")).found


def test_a_folder_without_a_configuration(folder: Path) -> None:
    (folder / "config.json").unlink()
    assert "config.json is missing" in refused(lambda: load_causal_lm(folder, dtype="float32")).found


def test_a_folder_without_a_tokenizer(folder: Path) -> None:
    for file in folder.glob("tokenizer*"):
        file.unlink()
    error = refused(lambda: load_tokenizer(folder))
    assert error.found == f"{folder}: a model without a tokenizer"
    assert error.expected == "a model folder with its tokenizer (tokenizer.json, …)"
    assert error.do == f"save the tokenizer there: tokenizer.save_pretrained('{folder}')"


def test_a_folder_without_weights(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    assert "config.json is there, but no weights" in refused(lambda: load_causal_lm(folder, dtype="float32")).found
    (folder / "adapter_config.json").write_text("{}")
    assert "preflab export" in refused(lambda: load_causal_lm(folder, dtype="float32")).expected


def test_a_missing_shard(folder: Path) -> None:
    model = load_causal_lm(folder, dtype="float32")
    (folder / "model.safetensors").unlink()
    model.save_pretrained(folder, max_shard_size="4KB")
    whole = load_causal_lm(folder, dtype="float32")
    assert weights_hash(folder) == weights_hash(whole)
    shard = sorted(folder.glob("model-*.safetensors"))[0]
    shard.unlink()
    assert f"the shard {shard.name} is missing" in refused(lambda: load_causal_lm(folder, dtype="float32")).found


@pytest.mark.parametrize("place", ["../elsewhere/x.safetensors", "/etc/passwd", "sub/x.safetensors"])
def test_an_index_that_leads_out_of_its_folder(folder: Path, place: str) -> None:
    (folder / "model.safetensors").unlink()
    index = {"metadata": {}, "weight_map": {"model.embed_tokens.weight": place}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    assert (
        f"the shard {place!r} is outside the folder" in refused(lambda: load_causal_lm(folder, dtype="float32")).found
    )


@pytest.mark.parametrize("index", [[], {}, {"weight_map": ["a"]}, {"weight_map": {"a": 3}}])
def test_an_index_that_is_none(folder: Path, index: Any) -> None:
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    assert "no weight_map" in refused(lambda: load_causal_lm(folder, dtype="float32")).found


class Runs:
    """Its pickle would call print."""

    def __reduce__(self) -> Any:
        return (print, ("this ran",))


def test_a_pickle_of_more_than_tensors_is_refused_in_our_own_words(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "model.safetensors").unlink()
    torch.save({"a": Runs()}, folder / "pytorch_model.bin")
    error = refused(lambda: load_causal_lm(folder, dtype="float32"))
    assert "a pickle file with more than tensors" in error.found
    assert "weights_only" not in str(error)
    assert "this ran" not in capsys.readouterr().out


@pytest.mark.parametrize("place", ["num_hidden_layers", "inside"])
def test_a_million_layers_are_not_built(folder: Path, place: str) -> None:
    layers = {"num_hidden_layers": 1_000_000}
    change(
        folder / "config.json", lambda config: config.update({"text_config": layers} if place == "inside" else layers)
    )
    error = refused(lambda: load_causal_lm(folder, dtype="float32"))
    assert "config.json says 1,000,000 layers, but the weights have only 1" in error.found


@pytest.mark.parametrize("keep", [0, 7, 3000])
def test_a_corrupted_file(folder: Path, keep: int) -> None:
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:keep])
    assert "model.safetensors: corrupted" in refused(lambda: load_causal_lm(folder, dtype="float32")).found
    assert "model.safetensors: corrupted" in refused(lambda: weights_hash(folder)).found


def test_weights_that_do_not_fill_the_model(folder: Path) -> None:
    tensors = load_file(folder / "model.safetensors")
    removed = next(name for name in tensors if "q_proj" in name)
    del tensors[removed]
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    error = refused(lambda: load_causal_lm(folder, dtype="float32"))
    assert "1 weight is missing" in error.found
    assert "q_proj" in error.found


def test_weights_of_another_shape(folder: Path) -> None:
    change(folder / "config.json", lambda config: config.update(intermediate_size=24))
    assert "cannot be loaded as a language model" in refused(lambda: load_causal_lm(folder, dtype="float32")).found


def test_a_broken_configuration(folder: Path) -> None:
    (folder / "config.json").write_text('{"model_type": "nothing-known"}')
    assert "cannot be loaded" in refused(lambda: load_causal_lm(folder, dtype="float32")).found
    (folder / "config.json").write_text("{")
    assert "cannot be loaded" in refused(lambda: load_causal_lm(folder, dtype="float32")).found


def test_a_language_model_is_no_classifier_and_an_encoder_no_language_model(folder: Path, tmp_path: Path) -> None:
    assert "score.weight" in refused(lambda: load_classifier(folder, dtype="float32")).found
    config = BertConfig(vocab_size=50, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16)
    BertForSequenceClassification(config).save_pretrained(tmp_path / "bert")
    assert isinstance(load_classifier(tmp_path / "bert", dtype="float32"), BertForSequenceClassification)
    encoder = load_encoder(tmp_path / "bert", dtype="float32")
    expected = AutoModelForSequenceClassification.from_pretrained(tmp_path / "bert").bert.eval()
    ids = torch.arange(6)[None]
    assert torch.equal(encoder(ids).last_hidden_state, expected(ids).last_hidden_state)


def test_a_saved_tokenizer_does_not_say_how_it_was_opened(folder: Path, tmp_path: Path) -> None:
    load_tokenizer(folder).save_pretrained(tmp_path / "saved")
    written = json.loads((tmp_path / "saved" / "tokenizer_config.json").read_text())
    assert {"is_local", "local_files_only"} & set(written) == set()


def test_a_tokenizer_without_an_end_token(folder: Path) -> None:
    change(folder / "tokenizer_config.json", lambda config: config.update(eos_token=None))
    (folder / "generation_config.json").unlink(missing_ok=True)
    assert "no end-of-sequence token" in refused(lambda: load_tokenizer(folder)).found
    assert load_tokenizer(folder, writes=False).eos_token is None
    (folder / "generation_config.json").write_text('{"eos_token_id": [2]}')
    assert load_tokenizer(folder).eos_token_id == 2


def test_a_tokenizer_without_a_padding_token_gets_one(folder: Path) -> None:
    original = load_tokenizer(folder)
    assert original.pad_token_id == 0
    change(folder / "tokenizer_config.json", lambda config: config.pop("pad_token"))
    # The vocabulary's own padding token, though nobody said so.
    assert load_tokenizer(folder).pad_token == original.pad_token


def test_padding_falls_back_to_the_unknown_token_and_then_to_the_end_token(folder: Path) -> None:
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.WordLevel({"?": 0, "<end>": 1, "a": 2}, unk_token="?"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<end>", unk_token="?").save_pretrained(folder)
    assert load_tokenizer(folder).pad_token == "?"
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<end>").save_pretrained(folder)
    assert load_tokenizer(folder).pad_token == "<end>"


def test_the_hash_is_of_the_weights_alone(folder: Path) -> None:
    model = load_causal_lm(folder, dtype="float32")
    first = weights_hash(folder)
    assert first.startswith("model-")
    assert len(first) == 6 + 24
    assert weights_hash(model) == weights_hash(model.state_dict()) == first
    change(folder / "config.json", lambda config: config.update(note="other"))
    assert weights_hash(folder) == first
    with torch.no_grad():
        model.model.norm.weight[3] += 1e-3
    assert weights_hash(model) != first
    assert weights_hash({"a": torch.ones(2)}) != weights_hash({"b": torch.ones(2)})
    assert weights_hash({"a": torch.ones(2)}) != weights_hash({"a": torch.ones(2, 1)})
    assert weights_hash({"a": torch.ones(2)}) != weights_hash({"a": torch.ones(2, dtype=torch.bfloat16)})
    assert "no *.safetensors" in refused(lambda: weights_hash(folder / "nothing")).found


@pytest.mark.parametrize("kind", ["gpt2", "llama", "opt"])
def test_a_saved_model_has_the_hash_of_the_loaded_one(kind: str, tmp_path: Path) -> None:
    model = tiny_model(kind)
    model.save_pretrained(tmp_path)
    assert weights_hash(tmp_path) == weights_hash(model)


def test_facts_of_a_story_model(stories_model: Path) -> None:
    model, tokenizer = load_causal_lm(stories_model, dtype="float32"), load_tokenizer(stories_model)
    facts = model_facts(model, tokenizer)
    assert facts.stop_token_ids == (1, 2)  # a story ends with BOS
    assert (facts.bos_id, facts.eos_id, facts.pad_id) == (1, 2, 0)
    assert facts.context_length == 512
    assert facts.adds_bos
    assert not facts.adds_end
    assert not facts.pad_is_eos
    assert not facts.has_chat_template
    tokenizer.pad_token = tokenizer.bos_token
    assert model_facts(model, tokenizer).pad_is_eos  # BOS stops, so padding with it is padding with an end


def test_stop_tokens_come_from_the_generation_configuration_then_the_configuration(folder: Path) -> None:
    model, tokenizer = load_causal_lm(folder, dtype="float32"), load_tokenizer(folder)
    assert model_facts(model, tokenizer).stop_token_ids == (2,)
    model.generation_config.eos_token_id = [5, 6]
    assert model_facts(model, tokenizer).stop_token_ids == (2, 5, 6)
    model.generation_config.eos_token_id = None
    model.config.eos_token_id = 7
    assert model_facts(model, tokenizer).stop_token_ids == (2, 7)


@pytest.mark.slow
def test_a_hub_that_does_not_answer_is_tried_once_and_quietly(tmp_path: Path) -> None:
    """Port 9 of this machine refuses every connection."""
    there = {name: value for name, value in os.environ.items() if name not in ("HF_HUB_OFFLINE", "HF_ENDPOINT")}
    words = ["-m", "preflab", "init", "--model", "nobody/model", "--data", "pairs.jsonl"]
    started = time.monotonic()
    ended = subprocess.run(
        [sys.executable, *words], cwd=tmp_path, capture_output=True, text=True, timeout=120,
        env={**there, "HF_ENDPOINT": "http://127.0.0.1:9", "HF_HOME": str(tmp_path / "hub")},
    )  # fmt: skip
    seconds = time.monotonic() - started
    assert ended.returncode == 2
    assert "nobody/model: there is no such folder, and the Hub did not provide it (" in ended.stderr
    assert "Retrying" not in ended.stderr
    assert len(ended.stderr.splitlines()) <= 5
    assert seconds < 60
